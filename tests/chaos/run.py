"""One chaos run: everything is started, used, broken, and its logs are put together."""

import asyncio
import json
import random
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from yarl import URL

from sidecar.core.provider_profiles import Provider
from tests.chaos.evidence import Evidence
from tests.chaos.faults import Faults, Plan
from tests.chaos.people import Crowd
from tests.chaos.replicas import Fleet, addresses, fleet
from tests.chaos.store import StoreView, store
from tests.chaos.upstream import UpstreamHandle, upstream
from tests.chaos.verdict import LEASE_HOLDER_KILLS, RENEWALS
from tests.hostile.client import ROOT, Hostile, browsers, hostile_provider
from tests.world import KEYS

NAMES = ("ann", "ben", "cat")
# Forty people with three browsers each, of which the provider thinks as of three people: a grant
# each, and a name in the log that says which.
USERS, BROWSERS = 40, 3
TOKEN_SECONDS = 3
SECONDS, MOST_SECONDS = 60.0, 120.0
DELAY_BEFORE, DELAY_AFTER = (0.0, 0.1), (0.0, 0.1)
SCRIPTED = 2
RESULTS = ROOT / "build"


@dataclass(frozen=True, kw_only=True)
class Mode:
    """How the provider takes a spent refresh token, and how the sidecar thinks of it."""

    name: str
    provider: Provider
    reuse_window_seconds: float
    excuses: bool


STRICT = Mode(name="strict", provider=Provider.GENERIC, reuse_window_seconds=0, excuses=True)
REUSE_WINDOW = Mode(
    name="reuse_window", provider=Provider.OKTA, reuse_window_seconds=30, excuses=False
)


@dataclass(frozen=True)
class Place:
    """Everything that runs, and everybody who has logged in."""

    store: StoreView
    argocd: UpstreamHandle
    hostile: Hostile
    fleet: Fleet
    crowd: Crowd
    faults: Faults

    def was_enough(self) -> bool:
        """Whether there is enough to judge by."""
        logins = len(self.crowd.people) + len(self.crowd.forced_logins)
        holders = sum(kill.held_a_lease for kill in self.faults.kills)
        return len(self.store.stored) - logins >= RENEWALS and holders >= LEASE_HOLDER_KILLS

    async def end_some(self) -> None:
        """The script's own doing: some people's grants are over, as the provider says."""
        await asyncio.sleep(self.faults.plan.end_at)
        for person in self.crowd.people[:SCRIPTED]:
            await self.hostile.end(user=person.name)

    async def evidence(self) -> Evidence:
        """All logs."""
        await self.store.look()
        return Evidence(
            log=await self.hostile.log(),
            stored=self.store.stored,
            kills=self.faults.kills,
            stops=self.faults.stops,
            forced_logins=self.crowd.forced_logins,
            answers=self.crowd.answers,
            expired_tokens=(await self.argocd.seen()).expired,
            faults=self.faults.others,
            issuer=self.hostile.issuer,
            client_id=self.hostile.client_id,
        )


async def chaos(
    mode: Mode, seed: int, *, logs: Path, seconds: float = SECONDS, most: float = MOST_SECONDS
) -> Evidence:
    """What a run with this seed leaves behind."""
    async with place(mode, seed, logs=logs) as here:
        async with asyncio.TaskGroup() as beside:
            tasks = [
                beside.create_task(work)
                for work in (here.store.watch(), here.crowd.work(), here.end_some())
            ]
            await here.faults.run(here.was_enough, seconds=seconds, most=most)
            here.crowd.over = here.store.over = True
            for task in tasks:
                task.cancel()
        return await here.evidence()


@asynccontextmanager
async def place(
    mode: Mode,
    seed: int,
    *,
    logs: Path,
    users: int = USERS,
    token_seconds: float = TOKEN_SECONDS,
    more: Mapping[str, str] | None = None,
) -> AsyncIterator[Place]:
    """Store, provider, Argo CD and replicas with `more` variables, and everybody logged in."""
    addressed = addresses(NAMES)
    public_url = "http://" + addressed[NAMES[0]]["SIDECAR_LISTEN"]
    async with AsyncExitStack() as owned:
        view = await owned.enter_async_context(store())
        argocd = await owned.enter_async_context(upstream())
        hostile = await owned.enter_async_context(
            hostile_provider(
                redirect_uris=[f"{public_url}/auth/callback"],
                id_token_seconds=token_seconds,
                reuse_window_seconds=mode.reuse_window_seconds,
                replicas=NAMES,
            )
        )
        await hostile.add(delay_before=DELAY_BEFORE, delay_after=DELAY_AFTER, seed=seed)
        common = {
            "SIDECAR_UPSTREAM": argocd.address,
            "SIDECAR_PUBLIC_URL": public_url,
            "SIDECAR_ISSUER": hostile.issuer,
            "SIDECAR_PROVIDER": mode.provider,
            "SIDECAR_CLIENT_ID": hostile.client_id,
            "SIDECAR_STORE_URL": view.url,
            "SIDECAR_SESSION_KEYS": KEYS,
            **(more or {}),
        }
        environments = {
            name: {**common, **own, "SIDECAR_CLIENT_SECRET": hostile.client_secret(name)}
            for name, own in addressed.items()
        }
        replicas = await owned.enter_async_context(fleet(environments, logs))
        many = await owned.enter_async_context(browsers())
        crowd = Crowd(replicas, random.Random(seed + 2))
        names = [f"user-{user}-{browser}" for user in range(users) for browser in range(BROWSERS)]
        await crowd.arrive(many, names)
        faults = Faults(
            Plan.from_seed(seed),
            replicas,
            view,
            provider_port=URL(hostile.issuer).port or 80,
            look_everywhere=crowd.look_everywhere,
        )
        yield Place(view, argocd, hostile, replicas, crowd, faults)


def write_result(name: str, result: dict[str, Any]) -> str:
    """Put a run's result beside those of the others in `build/chaos.json`; its line."""
    file = RESULTS / "chaos.json"
    file.parent.mkdir(exist_ok=True)
    found: dict[str, Any] = {}
    with suppress(OSError, ValueError):
        found = json.loads(file.read_text())
    found[name] = result
    file.write_text(json.dumps(found) + "\n")
    return json.dumps({"run": name, **result})
