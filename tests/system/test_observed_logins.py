"""Real sidecar processes as Devtron's Dex and in front of it, over Valkey, with a hostile Dex."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

from yarl import URL

from sidecar.demo.valkey import valkey
from tests.fakes.devtron import Devtron, DevtronSettings
from tests.hostile.client import Browsers, Hostile, browsers, hostile_provider, log_in
from tests.observed.place import dex_settings
from tests.system.process import Process, sidecar_process, until_ready
from tests.world import Browser, free_port, system_now

TOKEN_SECONDS = 3.0
LIVES = 3
API = "/app/list"


@dataclass
class Pods:
    """Two replicas of the sidecar; the first is at the public address, and is Devtron's Dex."""

    dex: Hostile
    devtron: Devtron
    bases: list[str]
    processes: list[Process]
    browsers: Browsers


@asynccontextmanager
async def pods() -> AsyncIterator[Pods]:
    public, other, dex_port, real = (free_port() for _ in range(4))
    base = f"http://127.0.0.1:{public}/orchestrator"
    settings = vars(dex_settings(base, id_token_seconds=TOKEN_SECONDS)) | {
        "access_token_seconds": TOKEN_SECONDS
    }
    settings.pop("users")
    async with AsyncExitStack() as owned:
        dex = await owned.enter_async_context(hostile_provider(port=real, **settings))
        devtron = Devtron(
            DevtronSettings(url=base, dex=f"http://127.0.0.1:{dex_port}"), now=system_now
        )
        upstream = await owned.enter_async_context(devtron.running())
        store = await owned.enter_async_context(valkey())
        processes = []
        for port, listen_as_dex in ((public, dex_port), (other, free_port())):
            admin = free_port()
            environment = {
                "SIDECAR_LISTEN": f"127.0.0.1:{port}",
                "SIDECAR_ADMIN_LISTEN": f"127.0.0.1:{admin}",
                "SIDECAR_UPSTREAM_KIND": "devtron",
                "SIDECAR_LOGIN": "observed",
                "SIDECAR_UPSTREAM": upstream,
                "SIDECAR_DEX_LISTEN": f"127.0.0.1:{listen_as_dex}",
                "SIDECAR_DEX_UPSTREAM": f"http://127.0.0.1:{real}",
                "SIDECAR_PUBLIC_URL": base,
                "SIDECAR_ISSUER": devtron.settings.issuer,
                "SIDECAR_CLIENT_ID": "argo-cd",
                "SIDECAR_CLIENT_SECRET": devtron.settings.client_secret,
                "SIDECAR_STORE_URL": store,
                "SIDECAR_SESSION_KEYS": f"k:{'QUJD' * 10}QUI=",
            }
            processes.append(await owned.enter_async_context(sidecar_process(environment)))
            await until_ready(f"http://127.0.0.1:{admin}")
        made = await owned.enter_async_context(browsers())
        bases = [base, base.replace(str(public), str(other))]
        yield Pods(dex, devtron, bases, processes, made)


async def test_devtron_behind_two_replicas_logs_in_once_renews_and_logs_out() -> None:
    async with pods() as place:
        browser = await place.browsers.new(place.bases[1])
        await log_in(browser, "grace")
        through = [Browser(browser.http, base) for base in place.bases]

        until = asyncio.get_running_loop().time() + LIVES * TOKEN_SECONDS
        seen = []
        while asyncio.get_running_loop().time() < until:
            seen += [(await each.get(API)).status for each in through]
            await asyncio.sleep(0.1)
        token = browser.cookies()["argocd.token"]
        browser.http.cookie_jar.clear(lambda cookie: cookie.key == "argocd.token")
        logged_out = [(await each.get(API)).status for each in through]
        log = await place.dex.log()
        written = [(await process.stop())[1] for process in place.processes]

    assert place.devtron.users == {"grace@example.org": True}
    assert set(seen) == {200}
    assert len(place.devtron.tokens_at(f"{URL(place.bases[0]).path}{API}")) == len(seen)
    assert logged_out == [401, 401]
    kinds = {entry.kind for entry in log}
    assert sum(entry.kind == "refresh" for entry in log) >= LIVES - 1
    assert not kinds & {"reuse", "refused", "lost_answer"}
    (answer,) = place.devtron.login.token_answers
    assert "refresh_token" not in answer
    for text in written:
        assert token.rpartition(".")[2] not in text
        assert answer["id_token"].rpartition(".")[2] not in text
        assert "Traceback" not in text
