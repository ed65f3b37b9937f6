"""Real servers that can be killed, stopped and started again at the same port."""

import asyncio
import os
import shutil
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from sidecar.demo.valkey import DIE_WITH_PARENT, _program
from tests.world import free_port

HOST = "127.0.0.1"
WITHIN_SECONDS = 30.0
DOWN_AFTER_MS = 500


def redis_program() -> str:
    """Debian's redis-server, which speaks TLS; without it the test is skipped."""
    found = shutil.which("redis-server")
    if found is None:
        if os.environ.get("REQUIRE_REDIS"):
            pytest.fail("redis-server is not there")
        pytest.skip("redis-server is not installed")
    return found


def valkey_program() -> str:
    """The wheel's Valkey, which speaks no TLS."""
    return str(_program())


def free_ports(number: int) -> list[int]:
    """So many loopback ports, each another."""
    found: set[int] = set()
    while len(found) < number:
        found.add(free_port())
    return list(found)


@dataclass(eq=False)
class Server:
    """A Redis or Valkey, as whatever process it is just now."""

    program: str
    folder: Path
    options: dict[str, str]
    port: int = field(default_factory=free_port)
    arguments: tuple[str, ...] = ()
    secrets: dict[str, Any] = field(default_factory=dict)
    process: asyncio.subprocess.Process | None = None

    @property
    def url(self) -> str:
        """Its address, without TLS and password."""
        return f"redis://{HOST}:{self.port}/0"

    async def start(self, **changes: str) -> None:
        """A new process that answers, or loads its data."""
        await self.launch(**changes)
        await self.until_it_answers()

    async def launch(self, **changes: str) -> None:
        """A new process, whether it answers yet or not."""
        self.options |= {name.replace("_", "-"): value for name, value in changes.items()}
        self.folder.mkdir(parents=True, exist_ok=True)
        config = self.folder / "server.conf"
        known = {"port": str(self.port), "bind": HOST, "dir": str(self.folder)}
        if not config.exists() or "sentinel" not in self.arguments:
            lines = [f"{name} {value}" for name, value in {**known, **self.options}.items()]
            config.write_text("\n".join(lines) + "\n")
        extra = ("--sentinel",) if "sentinel" in self.arguments else ()
        with (self.folder / "log").open("ab") as log:
            self.process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-I", "-S", "-c", DIE_WITH_PARENT, str(os.getpid())),
                *(self.program, str(config), *extra),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    async def until_it_answers(self) -> None:
        """Until it answers something, if only that it is loading."""
        async with asyncio.timeout(WITHIN_SECONDS):
            while not await self.answers():
                assert self.process
                if self.process.returncode is not None:
                    raise AssertionError((self.folder / "log").read_text()[-2000:])
                await asyncio.sleep(0.01)

    async def answers(self) -> bool:
        """Whether it answers PING with PONG."""
        try:
            async with self.client() as redis:
                return bool(await redis.ping())
        except (RedisError, OSError):
            return False

    def client(self) -> "Redis":
        """A client of the server's operator, to be closed by its block."""
        retry = Retry(NoBackoff(), 0)
        return Redis(host=HOST, port=self.port, retry=retry, socket_timeout=5, **self.secrets)

    async def told(self, *command: str | int) -> Any:
        """The answer to a command of the operator's."""
        async with self.client() as redis:
            return await redis.execute_command(*command)  # type: ignore[no-untyped-call]

    async def kill(self) -> None:
        """`kill -9`, and it is gone."""
        assert self.process
        if self.process.returncode is None:
            with suppress(ProcessLookupError):
                self.process.kill()
        await self.process.wait()

    async def end(self) -> None:
        """SIGTERM, and it is gone."""
        assert self.process
        self.process.terminate()
        async with asyncio.timeout(WITHIN_SECONDS):
            await self.process.wait()

    def stop(self) -> None:
        """SIGSTOP: its connections stay open, and nothing is answered."""
        assert self.process
        os.kill(self.process.pid, signal.SIGSTOP)

    def go_on(self) -> None:
        """SIGCONT."""
        assert self.process
        os.kill(self.process.pid, signal.SIGCONT)

    async def role(self) -> str:
        """`master` or `slave`; "" where it does not say."""
        try:
            return str((await self.told("ROLE"))[0].decode())
        except (RedisError, OSError):
            return ""


class Servers:
    """Makes servers, and ends them all with its block."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.made: list[Server] = []

    async def new(self, program: str, *arguments: str, **options: str) -> Server:
        """A server that answers, with these lines in its configuration."""
        usual = {"save": '""', "appendonly": "no"} if "sentinel" not in arguments else {}
        named = {name.replace("_", "-"): value for name, value in options.items()}
        made = Server(
            program, self.folder / str(len(self.made)), {**usual, **named}, arguments=arguments
        )
        self.made.append(made)
        await made.start()
        return made


@asynccontextmanager
async def servers() -> AsyncIterator[Servers]:
    """A place for servers; they end with it."""
    with TemporaryDirectory(prefix="atr-") as folder:
        made = Servers(Path(folder))
        try:
            yield made
        finally:
            for server in made.made:
                await server.kill()


@dataclass
class Watched:
    """A primary and a replica, watched by three Sentinels."""

    primary: Server
    replica: Server
    sentinels: list[Server]
    name: str = "main"

    @property
    def url(self) -> str:
        """Its address for the sidecar."""
        hosts = ",".join(f"{HOST}:{each.port}" for each in self.sentinels)
        return f"redis+sentinel://{hosts}/{self.name}"

    async def until_ready(self) -> None:
        """Until the Sentinels know of one another and of the replica, which follows."""
        async with asyncio.timeout(WITHIN_SECONDS):
            while not await self._is_ready():  # noqa: ASYNC110
                await asyncio.sleep(0.05)

    async def until_primary_is(self, server: Server) -> None:
        """Until all Sentinels say so, and it says so itself."""
        async with asyncio.timeout(WITHIN_SECONDS):
            while await server.role() != "master" or any(  # noqa: ASYNC110
                [await self._named(each) != server.port for each in self.sentinels]
            ):
                await asyncio.sleep(0.02)

    async def _named(self, sentinel: Server) -> int:
        return int((await self._master(sentinel)).get("port", 0))

    async def _master(self, sentinel: Server) -> dict[str, str]:
        found = await sentinel.told("SENTINEL", "MASTER", self.name)
        if isinstance(found, dict):
            return {_text(key): _text(value) for key, value in found.items()}
        words = [_text(word) for word in found]
        return dict(zip(words[::2], words[1::2], strict=True))

    async def _is_ready(self) -> bool:
        for sentinel in self.sentinels:
            said = await self._master(sentinel)
            if (said["num-other-sentinels"], said["num-slaves"]) != ("2", "1"):
                return False
        async with self.primary.client() as redis:
            return int((await redis.info("replication"))["connected_slaves"]) == 1


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


@asynccontextmanager
async def watched(program: str, **options: str) -> AsyncIterator[Watched]:
    """A primary and a replica with three Sentinels."""
    async with AsyncExitStack() as owned:
        made = await owned.enter_async_context(servers())
        primary = await made.new(program, repl_diskless_sync_delay="0", **options)
        replica = await made.new(
            program,
            repl_diskless_sync_delay="0",
            replicaof=f"{HOST} {primary.port}",
            **options,
        )
        lines = {
            "sentinel monitor": f"main {HOST} {primary.port} 2",
            "sentinel down-after-milliseconds": f"main {DOWN_AFTER_MS}",
            "sentinel failover-timeout": "main 5000",
        }
        sentinels = [await made.new(program, "sentinel", **lines) for _ in range(3)]
        here = Watched(primary, replica, sentinels)
        await here.until_ready()
        yield here
