"""An operator at the command line beside two real sidecars over a real Valkey."""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import pytest
from aiohttp import ClientSession, CookieJar
from cryptography.hazmat.primitives.asymmetric import rsa

from sidecar.app import SystemClock
from sidecar.demo.valkey import valkey
from tests.fakes.clock import FakeClock
from tests.system.process import sidecar_process, until_ready
from tests.system.test_command_line import command
from tests.world import Browser, World, eventually, free_port, world

API = "/api/v1/applications"
STREAM = "/api/v1/stream/applications"
OLD, NEW = "old:" + "A" * 43 + "=", "new:" + "B" * 42 + "A="


@dataclass
class Installed:
    """Two replicas as processes, whose keys are in a file, and where they listen."""

    world: World
    ports: list[int]
    keys: Path
    environment: dict[str, str]

    async def command(self, *arguments: str) -> tuple[int, str, str]:
        """What `kubectl exec` of a command in one of their pods does."""
        return await command(*arguments, environment=self.environment)

    def through(self, browser: Browser) -> list[Browser]:
        """The same browser, reaching Argo CD through each of them."""
        return [Browser(browser.http, f"http://127.0.0.1:{port}") for port in self.ports]

    async def status_until(self, step: str) -> dict[str, Any]:
        """The status of the rotation once it has come to a step."""
        async with asyncio.timeout(60):
            while True:
                _, out, error = await self.command("keys", "status", "--json")
                found: dict[str, Any] = json.loads(out or "{}")
                if found.get("step") == step:
                    return found
                assert str(found.get("step")).startswith("wait"), out + error


@pytest.fixture
async def installed(signing_key: rsa.RSAPrivateKey, tmp_path: Path) -> AsyncIterator[Installed]:
    keys = tmp_path / "keys"
    keys.write_text(OLD)
    clock = cast(FakeClock, SystemClock())  # no test here moves it
    async with AsyncExitStack() as owned:
        store_url = await owned.enter_async_context(valkey())
        here = await owned.enter_async_context(
            world(signing_key, clock, environment={"SIDECAR_STORE_URL": store_url})
        )
        environment = {**here.environment, "SIDECAR_SESSION_KEYS_FILE": str(keys)}
        del environment["SIDECAR_SESSION_KEYS"]
        await here.sidecars.pop().stop()
        port = int(environment["SIDECAR_LISTEN"].rpartition(":")[2])
        ports = [port, free_port()]
        for port in ports:
            admin = f"127.0.0.1:{free_port()}"
            own = {"SIDECAR_LISTEN": f"127.0.0.1:{port}", "SIDECAR_ADMIN_LISTEN": admin}
            await owned.enter_async_context(sidecar_process({**environment, **own}))
            await until_ready(f"http://{admin}")
        yield Installed(here, ports, keys, environment)


async def logged_in(here: Installed) -> Browser:
    """A browser that has logged in through the first of them."""
    http = await here.world.owned.enter_async_context(
        ClientSession(cookie_jar=CookieJar(unsafe=True))
    )
    browser = Browser(http, f"http://127.0.0.1:{here.ports[0]}")
    assert (await browser.log_in()).status == 303
    return browser


async def test_a_session_that_is_listed_and_ended_is_refused_everywhere_within_a_second(
    installed: Installed,
) -> None:
    browser = await logged_in(installed)
    replicas = installed.through(browser)
    for replica in replicas:
        assert (await replica.get(API)).status == 200
    events = {"Accept": "text/event-stream"}
    stream = await browser.http.get(replicas[1].base + STREAM, headers=events)
    await eventually(lambda: installed.world.argocd.open_streams == 1)

    _, listed, _ = await installed.command("sessions", "list", "--json")
    (session,) = [json.loads(line) for line in listed.splitlines()]
    code, out, error = await installed.command("sessions", "end", "--session", session["session"])
    ended_at = time.monotonic()

    assert session["email"] == "ada@example.org"
    assert (code, out) == (0, "1 session ended.\n"), error
    assert json.loads(error)["event"] == "session_ended_by_operator"
    while time.monotonic() - ended_at <= 1.0:  # asked again and again it is in use, and confirmed
        for replica in replicas:
            await replica.get(API)
    for replica in replicas:
        assert (await replica.get(API)).status == 401
        told = await (await replica.get("/api/v1/session/userinfo")).json()
        assert told == {"iss": "sso"}  # which sends Argo CD's UI to the login
    async with asyncio.timeout(5):
        await stream.content.read()


async def test_the_keys_of_two_replicas_rotate_by_what_they_report_and_nobody_logs_in_again(
    installed: Installed,
) -> None:
    browser = await logged_in(installed)
    replicas = installed.through(browser)

    before = await installed.status_until("begin")
    assert len(before["replicas"]) == 2
    installed.keys.write_text(f"{OLD}\n{NEW}\n")
    await installed.status_until("write_first")
    installed.keys.write_text(f"{NEW}\n{OLD}\n")
    due = await installed.status_until("reseal")
    code, out, error = await installed.command("keys", "rotate")

    assert [replica["keys"] for replica in due["replicas"]] == [["new", "old"]] * 2
    assert code == 1
    assert "Sealed 2 records anew by key new." in out
    assert "Next: keep key old: 1 session with a cookie that it signed" in out
    (event,) = [json.loads(line) for line in error.splitlines() if line.startswith("{")]
    assert (event["event"], event["count"]) == ("records_sealed_anew", 2)
    for replica in replicas:
        assert (await replica.get(API)).status == 200
