"""A place where blocks of the documentation run as they are printed: the demo, and for `kubectl`
a stand-in whose pod is this machine."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from aiohttp import ClientSession, CookieJar

from sidecar.demo import run as demo
from tests.docs.pages import PAGES
from tests.system.process import until_ready
from tests.world import Browser, free_port

KUBECTL = f"""#!{sys.executable}
import os, shutil, sys
given = sys.argv[1:]
verb = given[2] if given[0] == "-n" else given[0]
if verb == "exec":
    command = given[given.index("--") + 1 :]
    os.execvp(command[0], command)
elif verb == "logs":
    sys.stdout.write(open(os.environ["POD_LOG"]).read())
elif verb == "get":
    sys.stdout.write(os.environ["SECRET"])
elif verb == "patch":
    with open(os.environ["PATCH"], "w") as patch:
        shutil.copyfileobj(open(given[given.index("--patch-file") + 1]), patch)
elif verb not in ("port-forward", "rollout"):
    sys.exit("not here: " + " ".join(given))
"""


def block(path: str, inside: str) -> str:
    """The one block of a page in which that stands."""
    (page,) = (page for page in PAGES if page.path == path)
    found = [block for _, block in page.blocks if inside in block]
    assert len(found) == 1
    return found[0]


@dataclass
class Place:
    """A sidecar as a process of its own, the demo's parts around it, and a shell."""

    folder: Path
    environment: dict[str, str] = field(default_factory=dict)
    parts: demo.Demo | None = None

    @property
    def address(self) -> str:
        """Where browsers see it."""
        return self.environment["SIDECAR_PUBLIC_URL"]

    @property
    def log(self) -> Path:
        """What the process has said."""
        return self.folder / "log"

    async def ran(self, script: str, **environment: str) -> str:
        """What a block prints, its errors among it; the pod's ports are where they are here."""
        admin = self.environment["SIDECAR_ADMIN_LISTEN"]
        process = await asyncio.create_subprocess_exec(
            "sh", "-u", "-c", script.replace("localhost:9090", admin),
            env={
                **self.environment,
                "PATH": f"{self.folder}/bin:{Path(sys.executable).parent}:{os.environ['PATH']}",
                "POD_LOG": str(self.log),
                **environment,
            },
            cwd=self.folder,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )  # fmt: skip
        async with asyncio.timeout(90):
            printed, _ = await process.communicate()
        return printed.decode()

    @asynccontextmanager
    async def browser(self) -> AsyncIterator[Browser]:
        """Ada's, logged in."""
        async with ClientSession(cookie_jar=CookieJar(unsafe=True)) as http:
            browser = Browser(http, self.address)
            assert (await browser.log_in()).status == 303
            yield browser


@asynccontextmanager
async def place(folder: Path) -> AsyncIterator[Place]:
    """All of it, in a folder of its own."""
    made = Place(folder)
    (folder / "bin").mkdir()
    (folder / "bin/kubectl").write_text(KUBECTL)
    (folder / "bin/kubectl").chmod(0o755)

    @asynccontextmanager
    async def sidecar(environment: Mapping[str, str]) -> AsyncIterator[None]:
        made.environment = {
            **environment,
            "SIDECAR_ADMIN_LISTEN": f"127.0.0.1:{free_port()}",
            "SIDECAR_LOG_LEVEL": "info",
        }
        with made.log.open("wb") as log:
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "sidecar", "run",
                env={"PATH": os.environ["PATH"], **made.environment}, stdout=log, stderr=log,
            )  # fmt: skip
            try:
                await until_ready(f"http://{made.environment['SIDECAR_ADMIN_LISTEN']}")
                yield
            finally:
                process.terminate()
                async with asyncio.timeout(30):
                    await process.wait()

    async with demo.running(sidecar, token_seconds=60) as parts:
        made.parts = parts
        yield made
