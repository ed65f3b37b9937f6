"""Real sidecar processes: started at once, killed, stopped, and looked at from outside."""

import asyncio
import json
import os
import signal
import sys
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from tests.chaos.evidence import Halt
from tests.hostile.client import ROOT
from tests.system.process import until_ready
from tests.world import free_port

START_SECONDS = 30.0
_ESTABLISHED = "01"


class Nursery:
    """Starts processes of `sidecar run`."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self._one_at_a_time = asyncio.Lock()

    async def start(self, environment: Mapping[str, str], log: Path) -> int:
        """The process id of a new sidecar."""
        order = {"environment": {"PATH": os.environ["PATH"], **environment}, "log": str(log)}
        assert self._process.stdin
        assert self._process.stdout
        async with self._one_at_a_time, asyncio.timeout(START_SECONDS):
            self._process.stdin.write(json.dumps(order).encode() + b"\n")
            return int(await self._process.stdout.readline())


@asynccontextmanager
async def nursery() -> AsyncIterator[Nursery]:
    """A nursery; with it end all that it has started."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.chaos.nursery"),
        cwd=ROOT,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdout
    try:
        async with asyncio.timeout(START_SECONDS):
            assert await process.stdout.readline() == b"ready\n"
        yield Nursery(process)
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


@dataclass
class Replica:
    """One of the sidecars, whatever process it is just now."""

    name: str
    environment: Mapping[str, str]
    log: Path
    nursery: Nursery
    pid: int = 0
    started_at: float = 0.0
    stopped: bool = False

    @property
    def base(self) -> str:
        """Where browsers reach it."""
        return "http://" + self.environment["SIDECAR_LISTEN"]

    @property
    def admin(self) -> str:
        """Where probes reach it."""
        return "http://" + self.environment["SIDECAR_ADMIN_LISTEN"]

    async def start(self) -> None:
        """A new process, though it may not listen yet."""
        self.started_at = time.monotonic()
        self.pid = await self.nursery.start(self.environment, self.log)

    async def kill(self) -> Halt:
        """`kill -9`, and at once a new process."""
        halt = self.stop()
        await self.die()
        return halt

    async def die(self) -> None:
        """`kill -9` of a process that stands still, so that what it held is known for certain."""
        os.kill(self.pid, signal.SIGKILL)
        await self._until_gone()
        await self.start()
        self.stopped = False

    def stop(self, *, provider_port: int = 0) -> Halt:
        """SIGSTOP; what it held."""
        os.kill(self.pid, signal.SIGSTOP)
        self.stopped = True
        ports = connections_to(self.pid, provider_port)
        at = time.monotonic()
        return Halt(replica=self.name, started_at=self.started_at, at=at, ports=ports)

    def go_on(self) -> None:
        """SIGCONT."""
        os.kill(self.pid, signal.SIGCONT)
        self.stopped = False

    async def end(self) -> float:
        """SIGTERM; when it had gone. An Ingress asks it nothing new from the start."""
        self.stopped = True
        os.kill(self.pid, signal.SIGTERM)
        await self._until_gone()
        return time.monotonic()

    async def start_again(self) -> float:
        """A new process; when it was ready."""
        await self.start()
        await until_ready(self.admin)
        self.stopped = False
        return time.monotonic()

    async def _until_gone(self) -> None:
        """Until the kernel has closed its sockets: a new process could not listen before."""
        async with asyncio.timeout(START_SECONDS):
            while lives(self.pid):  # noqa: ASYNC110
                await asyncio.sleep(0.002)


@dataclass
class Fleet:
    """All replicas, of which those in service are asked."""

    replicas: Sequence[Replica]

    def in_service(self) -> list[Replica]:
        """Those that a readiness probe would find; a dead one is noticed by whoever asks it."""
        return [each for each in self.replicas if not each.stopped]


def addresses(names: Sequence[str]) -> dict[str, dict[str, str]]:
    """Ports of their own for replicas: two variables of each."""
    return {
        name: {
            "SIDECAR_LISTEN": f"127.0.0.1:{free_port()}",
            "SIDECAR_ADMIN_LISTEN": f"127.0.0.1:{free_port()}",
        }
        for name in names
    }


@asynccontextmanager
async def fleet(environments: Mapping[str, Mapping[str, str]], logs: Path) -> AsyncIterator[Fleet]:
    """Replicas by their names, all ready."""
    async with nursery() as started_by:
        replicas = [
            Replica(name, environment, new_log(logs, name), started_by)
            for name, environment in environments.items()
        ]
        for replica in replicas:
            await replica.start()
        await asyncio.gather(*(until_ready(replica.admin) for replica in replicas))
        yield Fleet(replicas)


def new_log(folder: Path, name: str) -> Path:
    """The file for what a replica says, without what it said in an earlier run."""
    folder.mkdir(parents=True, exist_ok=True)
    log = folder / f"{name}.log"
    log.unlink(missing_ok=True)
    return log


def lives(pid: int) -> bool:
    """Whether there is such a process."""
    return Path(f"/proc/{pid}").exists()


def connections_to(pid: int, port: int) -> frozenset[int]:
    """A process' own ports of its connections to a loopback port."""
    inodes: set[str] = set()
    with suppress(OSError):
        for descriptor in os.scandir(f"/proc/{pid}/fd"):
            with suppress(OSError):
                inodes.add(os.readlink(descriptor.path))
    found: set[int] = set()
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        columns = line.split()
        local, remote, state, inode = columns[1], columns[2], columns[3], columns[9]
        there = int(remote.rpartition(":")[2], 16)
        if state == _ESTABLISHED and there == port and f"socket:[{inode}]" in inodes:
            found.add(int(local.rpartition(":")[2], 16))
    return frozenset(found)
