"""Real sidecar processes and Valkey against a provider that refuses, fails and loses answers."""

import asyncio
import itertools
import time
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import Any

import pytest
import pytest_asyncio
from aiohttp import ClientSession
from prometheus_client.parser import text_string_to_metric_families

from sidecar.core.provider_profiles import GENERIC, PROFILES, FailureClass, Provider
from sidecar.demo.argocd import Argocd
from sidecar.demo.argocd_answers import ArgocdSettings
from sidecar.demo.valkey import valkey
from tests.hostile.answers import PASSING, answers_of
from tests.hostile.client import Browsers, Hostile, browsers, hostile_provider, log_in
from tests.hostile.rules import Rule
from tests.system.process import sidecar_process, until_ready
from tests.world import KEYS, Browser, free_port, system_now

pytestmark = pytest.mark.asyncio(loop_scope="module")

API = "/api/v1/applications"
TOKEN_SECONDS = 2
LOOK_EVERY_SECONDS = 0.2
# Every other provider's errors are understood as the generic one's. Okta has a reuse window.
PROVIDERS = (*(each.provider for each in PROFILES if each.errors), Provider.OKTA)


CHANGED: tuple[tuple[str, FailureClass, Mapping[str, Any]], ...] = (
    ("dropped before the commit", FailureClass.PASSING, {"drop": "before"}),
    ("another issuer", FailureClass.OPERATOR, {"claims": {"iss": "http://another.example"}}),
    ("another audience", FailureClass.OPERATOR, {"claims": {"aud": "another"}}),
    ("a bad signature", FailureClass.OPERATOR, {"forged": True}),
    ("another subject", FailureClass.OVER, {"claims": {"sub": "mallory"}}),
)


@dataclass(frozen=True)
class Case:
    """What somebody's refreshes meet, at a sidecar that knows the provider by that name."""

    name: str
    provider: Provider
    failure_class: FailureClass
    does: Mapping[str, Any]
    reason: str = "ended_by_provider"

    @property
    def user(self) -> str:
        return self.name.replace("/", "-").replace(" ", "-")


@dataclass
class Outcome:
    """What a browser saw: while the rule was in force, and after it was lifted."""

    during: list[int] = field(default_factory=list)
    retry_after: list[int] = field(default_factory=list)
    afterwards: list[int] = field(default_factory=list)
    logins: int = 0


@dataclass
class Outcomes:
    """What all saw, and what the sidecars counted."""

    cases: dict[str, Outcome]
    bystanders: list[Outcome]
    forced_logins: dict[Provider, dict[str, float]]


@dataclass(frozen=True)
class Sidecar:
    """A running sidecar process."""

    base: str
    admin: str

    async def forced_logins(self) -> dict[str, float]:
        """How many sessions ended though nobody logged out, by reason."""
        async with ClientSession() as http, http.get(f"{self.admin}/metrics") as answer:
            text = await answer.text()
        return {
            sample.labels["reason"]: sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
            if sample.name == "argocd_token_refresh_forced_logins_total"
        }


@dataclass
class Place:
    """The provider, and a sidecar for each way to understand one."""

    hostile: Hostile
    browsers: Browsers
    sidecars: dict[Provider, Sidecar]

    async def forced_logins(
        self, provider: Provider, *, since: Mapping[str, float] | None = None
    ) -> dict[str, float]:
        """The forced logins at a sidecar, or those since then, by reason."""
        before = since or {}
        counted = await self.sidecars[provider].forced_logins()
        new = {reason: number - before.get(reason, 0) for reason, number in counted.items()}
        return {reason: number for reason, number in new.items() if number}

    async def logged_in(self, provider: Provider, user: str) -> Browser:
        """A browser that is logged in at the sidecar with that profile."""
        return await self.browsers.logged_in(self.sidecars[provider].base, user)


def cases() -> list[Case]:
    """Each row where it is understood; what means the same everywhere takes turns."""
    own = [named for profile in PROFILES for named in answers_of(profile) if named.is_own]
    found = [Case(n.name, n.provider, n.failure_class, {"answer": n.name}) for n in own]
    turns = itertools.cycle(PROVIDERS)
    for named in answers_of(GENERIC):
        if not named.is_own:
            answer = {"answer": named.name}
            found.append(Case(named.name, next(turns), named.failure_class, answer))
    for name in PASSING:
        found.append(Case(name, next(turns), FailureClass.PASSING, {"answer": name}))
    for name, failure_class, does in CHANGED:
        found.append(Case(name, next(turns), failure_class, does, reason="wrong_answer"))
    return found


CASES = cases()
OVER = [case for case in CASES if case.failure_class is FailureClass.OVER]
LIVING = [case for case in CASES if case.failure_class is not FailureClass.OVER]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def place() -> AsyncIterator[Place]:
    sidecars = {
        provider: Sidecar(f"http://127.0.0.1:{free_port()}", f"http://127.0.0.1:{free_port()}")
        for provider in PROVIDERS
    }
    async with AsyncExitStack() as owned:
        store_url = await owned.enter_async_context(valkey())
        hostile = await owned.enter_async_context(
            hostile_provider(
                redirect_uris=[f"{each.base}/auth/callback" for each in sidecars.values()],
                id_token_seconds=TOKEN_SECONDS,
                replicas=PROVIDERS,
            )
        )
        argocd = Argocd(
            ArgocdSettings(issuer=hostile.issuer, url=hostile.issuer, event_seconds=None),
            # A little behind: it is no fault of the sidecar's if this machine is slow.
            now=lambda: system_now() - 1,
        )
        upstream = await owned.enter_async_context(argocd.running())
        for number, (provider, sidecar) in enumerate(sidecars.items()):
            environment = {
                "SIDECAR_LISTEN": sidecar.base.removeprefix("http://"),
                "SIDECAR_ADMIN_LISTEN": sidecar.admin.removeprefix("http://"),
                "SIDECAR_UPSTREAM": upstream,
                "SIDECAR_PUBLIC_URL": sidecar.base,
                "SIDECAR_ISSUER": hostile.issuer,
                "SIDECAR_PROVIDER": provider,
                "SIDECAR_CLIENT_ID": hostile.client_id,
                "SIDECAR_CLIENT_SECRET": hostile.client_secret(provider),
                "SIDECAR_STORE_URL": f"{store_url}?db={number}",
                "SIDECAR_SESSION_KEYS": KEYS,
            }
            await owned.enter_async_context(sidecar_process(environment))
        await asyncio.gather(*(until_ready(each.admin) for each in sidecars.values()))
        many = await owned.enter_async_context(browsers())
        yield Place(hostile, many, sidecars)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def outcomes(place: Place) -> Outcomes:
    """All cases at once, and somebody else at each sidecar, whose refreshes are well."""
    before = {each: await place.forced_logins(each) for each in PROVIDERS}
    done = asyncio.Event()
    bystanders = [asyncio.ensure_future(bystander(place, provider, done)) for provider in PROVIDERS]
    try:
        found = await asyncio.gather(*(story(place, case) for case in CASES))
    finally:
        done.set()
        seen = await asyncio.gather(*bystanders)
    return Outcomes(
        {case.name: outcome for case, outcome in zip(CASES, found, strict=True)},
        seen,
        {each: await place.forced_logins(each, since=before[each]) for each in PROVIDERS},
    )


async def story(place: Place, case: Case) -> Outcome:
    """Somebody who goes on working while their refreshes are refused, and afterwards."""
    seen = Outcome()
    [rule] = await place.hostile.add(user=case.user, **case.does)
    browser = await place.logged_in(case.provider, case.user)
    async with asyncio.timeout(20):
        while True:
            answer = await browser.get(API)
            seen.during.append(answer.status)
            if answer.status == 503:
                seen.retry_after.append(int(answer.headers["Retry-After"]))
            if answer.status != 200:
                break
            await asyncio.sleep(LOOK_EVERY_SECONDS)
    await place.hostile.remove(rule)
    if case.failure_class is FailureClass.OVER:
        await log_in(browser, case.user)
    until = time.monotonic() + 20
    while not seen.afterwards or (seen.afterwards[-1] == 503 and time.monotonic() < until):
        seen.afterwards.append((await browser.get(API)).status)
        await asyncio.sleep(LOOK_EVERY_SECONDS)
    seen.logins = len(await place.hostile.log(user=case.user, kind="login"))
    return seen


async def bystander(place: Place, provider: Provider, done: asyncio.Event) -> Outcome:
    """Somebody else at a sidecar, to whom the provider is kind."""
    user, seen = f"bystander-{provider}", Outcome()
    browser = await place.logged_in(provider, user)
    while not done.is_set():
        seen.during.append((await browser.get(API)).status)
        await asyncio.sleep(LOOK_EVERY_SECONDS)
    seen.logins = len(await place.hostile.log(user=user, kind="login"))
    return seen


@pytest.mark.parametrize("case", LIVING, ids=[case.name for case in LIVING])
async def test_a_session_outlives_an_answer_that_does_not_end_its_grant(
    outcomes: Outcomes, case: Case
) -> None:
    seen = outcomes.cases[case.name]

    assert seen.during == [200] * (len(seen.during) - 1) + [503]
    assert min(seen.retry_after) >= 1
    assert set(seen.afterwards) <= {200, 503}
    assert seen.afterwards[-1] == 200
    assert seen.logins == 1


@pytest.mark.parametrize("case", OVER, ids=[case.name for case in OVER])
async def test_an_answer_that_ends_a_grant_leads_to_the_login(
    outcomes: Outcomes, case: Case
) -> None:
    seen = outcomes.cases[case.name]

    assert seen.during == [200] * (len(seen.during) - 1) + [401]
    assert seen.afterwards == [200]
    assert seen.logins == 2


async def test_no_answer_of_any_class_touches_other_peoples_sessions(
    outcomes: Outcomes,
) -> None:
    assert [set(each.during) for each in outcomes.bystanders] == [{200}] * len(PROVIDERS)
    assert {each.logins for each in outcomes.bystanders} == {1}


async def test_only_answers_that_end_a_grant_are_counted_as_forced_logins(
    outcomes: Outcomes,
) -> None:
    expected = {
        each: Counter(case.reason for case in OVER if case.provider is each) for each in PROVIDERS
    }

    assert outcomes.forced_logins == expected


@pytest.mark.usefixtures("outcomes")
@pytest.mark.parametrize(("name", "seconds"), [("429/seconds", 2), ("429/date", 2)])
async def test_a_provider_that_names_a_time_is_not_asked_before_it(
    place: Place, name: str, seconds: float
) -> None:
    case = next(case for case in CASES if case.name == name)

    asked = [e for e in await place.hostile.log(user=case.user) if e.kind != "login"]

    assert len(asked) >= 2
    turned_away = [(e, after) for e, after in itertools.pairwise(asked) if e.kind == "scripted"]
    assert all(after.monotonic - e.monotonic >= seconds for e, after in turned_away)


@pytest.mark.usefixtures("outcomes")
async def test_a_redirection_of_the_token_endpoint_is_not_followed(place: Place) -> None:
    assert "/elsewhere" not in (await place.hostile.state())["requests"]


async def test_a_grant_that_the_provider_ends_takes_no_other_session_with_it(
    place: Place,
) -> None:
    ada, tablet, bob = [
        await place.logged_in(Provider.GENERIC, user) for user in ("ada", "ada", "bob")
    ]
    [laptop, _] = await place.hostile.grants(user="ada")
    before = await place.forced_logins(Provider.GENERIC)

    await place.hostile.end(grant=laptop.number)

    assert set(await statuses_until(ada, 401)) == {200, 401}
    for browser, user in ((tablet, "ada"), (bob, "bob")):
        assert await statuses_until_refreshed(place, browser, user, times=2) == {200}
    assert await place.forced_logins(Provider.GENERIC, since=before) == {"ended_by_provider": 1}


async def test_an_answer_lost_under_strict_rotation_costs_one_login_and_nothing_else(
    place: Place,
) -> None:
    before = await place.forced_logins(Provider.GENERIC)
    await place.hostile.add(user="carol", drop="after", times=1)
    carol, dan = [await place.logged_in(Provider.GENERIC, user) for user in ("carol", "dan")]

    seen = await statuses_until(carol, 401)

    assert set(seen) <= {200, 503, 401}
    assert (await dan.get(API)).status == 200
    assert await place.forced_logins(Provider.GENERIC, since=before) == {"lost_answer": 1}
    kinds = [entry.kind for entry in await place.hostile.log(user="carol")]
    assert kinds == ["login", "refresh", "lost_answer", "reuse", "revoked"]
    assert not await place.hostile.log(user="dan", kind="revoked")


async def test_an_answer_lost_inside_a_reuse_window_costs_nothing(place: Place) -> None:
    before = await place.forced_logins(Provider.OKTA)
    await place.hostile.add(
        Rule(user="erin", rotation={"reuse_window_seconds": 30}),
        Rule(user="erin", drop="after", times=1),
    )
    erin = await place.logged_in(Provider.OKTA, "erin")

    seen = await statuses_until_refreshed(place, erin, "erin", times=3)

    assert seen <= {200, 503}
    entries = await place.hostile.log(user="erin")
    assert [(e.kind, e.presented, e.given) for e in entries[:5]] == [
        ("login", 0, 1),
        ("refresh", 1, 2),
        ("lost_answer", 1, 2),
        ("refresh", 1, 2),
        ("refresh", 2, 3),
    ]
    assert await place.forced_logins(Provider.OKTA, since=before) == {}


async def test_sessions_outlive_a_provider_that_is_gone_for_longer_than_their_tokens(
    place: Place,
) -> None:
    people = [await place.logged_in(Provider.OKTA, user) for user in ("fay", "gus", "hal")]
    before = await place.forced_logins(Provider.OKTA)
    await place.hostile.go_away(abort=True)

    gone = await asyncio.gather(*(statuses_until(person, 503) for person in people))
    await place.hostile.come_back()
    back = await asyncio.gather(*(statuses_until(person, 200) for person in people))

    assert {status for seen in (*gone, *back) for status in seen} == {200, 503}
    assert await place.forced_logins(Provider.OKTA, since=before) == {}


async def statuses_until(browser: Browser, last: int) -> list[int]:
    """What a browser sees until it sees a status for the first time."""
    seen: list[int] = []
    async with asyncio.timeout(20):
        while last not in seen:
            seen.append((await browser.get(API)).status)
            await asyncio.sleep(LOOK_EVERY_SECONDS)
    return seen


async def statuses_until_refreshed(
    place: Place, browser: Browser, user: str, *, times: int
) -> set[int]:
    """What a browser sees until the provider has given so many refreshes to its user."""
    seen: set[int] = set()
    async with asyncio.timeout(20):
        while len(await place.hostile.log(user=user, kind="refresh")) < times or not seen:
            seen.add((await browser.get(API)).status)
            await asyncio.sleep(LOOK_EVERY_SECONDS)
    return seen


async def test_at_dex_a_second_login_leaves_the_first_browser_logged_in(place: Place) -> None:
    await place.hostile.set(one_token_per_user=True, speaks_as_dex=True)
    before = await place.forced_logins(Provider.DEX)
    laptop, phone = [await place.logged_in(Provider.DEX, "iris") for _ in range(2)]

    for browser in (laptop, phone):
        assert await statuses_until_refreshed(place, browser, "iris", times=2) == {200}
    await phone.get("/auth/logout")
    refreshed = len(await place.hostile.log(user="iris", kind="refresh"))
    assert await statuses_until_refreshed(place, laptop, "iris", times=refreshed + 2) == {200}

    assert await place.forced_logins(Provider.DEX, since=before) == {}
    assert not await place.hostile.log(user="iris", kind="reuse")
    await place.hostile.reset()
