"""The sidecar as it runs in a pod: a process of its own, with environment variables."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass

from aiohttp import ClientConnectionError, ClientSession


@dataclass
class Process:
    """A running `sidecar run`."""

    process: asyncio.subprocess.Process
    output: asyncio.Task[bytes]

    async def stop(self) -> tuple[int, str]:
        """End it by SIGTERM; its exit code, and all it wrote."""
        if self.process.returncode is None:
            self.process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(90):  # a hundred of them may start at once
            written = await self.output
            return await self.process.wait(), written.decode()


@asynccontextmanager
async def sidecar_process(
    environment: Mapping[str, str], *, module: str = "sidecar"
) -> AsyncIterator[Process]:
    """`sidecar run` with nothing in its environment but this; killed at the end if need be."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        module,
        "run",
        env={"PATH": os.environ["PATH"], **environment},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    assert process.stdout
    running = Process(process, asyncio.ensure_future(process.stdout.read()))
    try:
        yield running
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()
        await running.output


async def until_ready(admin: str) -> None:
    """Wait until the process serves."""
    async with ClientSession() as http, asyncio.timeout(90):  # a hundred of them may start at once
        while True:
            try:
                async with http.get(f"{admin}/readyz") as answer:
                    if answer.status == 200:
                        return
            except ClientConnectionError:
                pass
            await asyncio.sleep(0.05)
