"""A whole sidecar in a process of its own, in front of an upstream of the test: for its memory.

Run as a module it is that sidecar: `python -m tests.proxy.sidecar_process <upstream port>`. With
uvloop if the second argument is `uvloop`. It writes its port, and ends with its standard input.
"""

import asyncio
import contextlib
import re
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

Talk = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@dataclass(frozen=True)
class SidecarProcess:
    """Where it listens, and how much memory it takes."""

    port: int
    pid: int

    def resident_bytes(self, which: str = "VmRSS") -> int:
        """Its resident memory: now, or the most so far (`VmHWM`)."""
        status = Path(f"/proc/{self.pid}/status").read_text()
        found = re.search(rf"{which}:\s+(\d+) kB", status)
        assert found
        return int(found[1]) * 1024


@asynccontextmanager
async def sidecar_in_front_of(
    talk: Talk, *, loop: str = "asyncio"
) -> AsyncIterator[SidecarProcess]:
    """A sidecar whose upstream's connections are served by `talk`."""
    upstream = await asyncio.start_server(talk, "127.0.0.1", 0)
    at = upstream.sockets[0].getsockname()[1]
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.proxy.sidecar_process", str(at), loop,
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
        cwd=Path(__file__).parents[2],
    )  # fmt: skip
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        async with asyncio.timeout(20):
            port = int(await process.stdout.readline())
        yield SidecarProcess(port, process.pid)
    finally:
        process.stdin.close()
        async with asyncio.timeout(20):
            await process.wait()
        upstream.close()


async def _serve(upstream_port: str) -> None:
    from sidecar.app import running
    from sidecar.config.settings import Config
    from sidecar.logs import configure_logging

    configure_logging("error")
    config = Config.load(
        {
            "SIDECAR_LISTEN": "127.0.0.1:0",
            "SIDECAR_ADMIN_LISTEN": "127.0.0.1:0",
            "SIDECAR_UPSTREAM": f"http://127.0.0.1:{upstream_port}",
            "SIDECAR_PUBLIC_URL": "http://argocd.example.org",
            "SIDECAR_ISSUER": "http://127.0.0.1:1",
            "SIDECAR_CLIENT_ID": "argocd",
        }
    )
    async with running(config) as served:
        print(served.public[1], flush=True)
        await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)


def _main() -> None:
    factory = None
    if sys.argv[2:] == ["uvloop"]:
        import uvloop

        factory = uvloop.new_event_loop
    with contextlib.suppress(KeyboardInterrupt), asyncio.Runner(loop_factory=factory) as runner:
        runner.run(_serve(sys.argv[1]))


if __name__ == "__main__":
    _main()
