"""The hostile provider itself does what it is told: each behaviour over plain HTTP."""

import asyncio
import itertools
import json
import sys
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from typing import Any

import jwt
import pytest
import pytest_asyncio
from aiohttp import ClientConnectionError, ClientError, ClientPayloadError, ClientSession

from sidecar.adapters.provider_http import MAX_ANSWER_BYTES
from sidecar.core import failures
from sidecar.core.provider_profiles import PROFILES, FailureClass, ProviderProfile
from sidecar.core.tokens import read_token_response
from sidecar.errors import ProviderRefused, ProviderUnavailable
from tests.demo.client import REDIRECT_URI, Client, location_parameters
from tests.hostile.answers import DEX_CLAIMED, PASSING, answers_of
from tests.hostile.client import ROOT, ControlRefused, Hostile, hostile_provider
from tests.hostile.grants import KEPT_GENERATIONS
from tests.hostile.log import sha256
from tests.hostile.rules import Rule

pytestmark = pytest.mark.asyncio(loop_scope="module")

names = (f"user-{number}" for number in itertools.count())


@dataclass(frozen=True)
class Reply:
    """An answer of the token endpoint, whatever it is."""

    status: int
    headers: dict[str, str]
    body: bytes = field(repr=False)

    @property
    def json(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.body)
        return found

    @property
    def claims(self) -> dict[str, Any]:
        return jwt.decode(self.json["id_token"], options={"verify_signature": False})


@dataclass
class Person:
    """Somebody with an account at the provider, and a client that acts for them."""

    name: str
    http: ClientSession
    hostile: Hostile

    async def log_in(self, *, replica: str = "") -> str:
        """A new grant's refresh token."""
        client = Client(self.http, self.hostile)
        signed_in = await client.answer_form({"user": self.name, "password": self.name})
        code = location_parameters(signed_in)["code"]
        secret = self.hostile.client_secret(replica)
        _, tokens = await client.exchange(code, client_secret=secret)
        return str(tokens["refresh_token"])

    async def refresh(self, refresh_token: str, *, replica: str = "") -> Reply:
        form = {"grant_type": "refresh_token", "refresh_token": refresh_token}
        return await self.post("token", form, replica=replica)

    async def post(self, path: str, form: dict[str, str], *, replica: str = "") -> Reply:
        client = {"client_id": "argo-cd", "client_secret": self.hostile.client_secret(replica)}
        async with self.http.post(
            f"{self.hostile.issuer}/{path}", data={**form, **client}, allow_redirects=False
        ) as answer:
            return Reply(answer.status, dict(answer.headers), await answer.read())

    async def keys(self) -> set[str]:
        """The ids of the published keys."""
        async with self.http.get(f"{self.hostile.issuer}/jwks") as answer:
            return {key["kid"] for key in (await answer.json())["keys"]}

    async def kinds(self) -> list[str]:
        """What the log says of this person."""
        return [entry.kind for entry in await self.hostile.log(user=self.name)]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def process() -> AsyncIterator[Hostile]:
    async with hostile_provider(
        redirect_uris=[REDIRECT_URI], id_token_seconds=3, replicas=["red", "blue"]
    ) as hostile:
        yield hostile


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def http() -> AsyncIterator[ClientSession]:
    async with ClientSession() as session:
        yield session


@pytest_asyncio.fixture(loop_scope="module")
async def hostile(process: Hostile) -> Hostile:
    await process.reset()
    return process


@pytest.fixture
def ada(hostile: Hostile, http: ClientSession) -> Person:
    return Person(next(names), http, hostile)


@pytest.fixture
def bob(hostile: Hostile, http: ClientSession) -> Person:
    return Person(next(names), http, hostile)


def class_of(reply: Reply, profile: ProviderProfile) -> FailureClass:
    """How the sidecar understands an answer."""
    answer = failures.Answer(reply.status, reply.body, reply.headers["Content-Type"])
    found = failures.failure(answer, profile)
    if isinstance(found, ProviderRefused):
        return FailureClass.OVER if found.over else FailureClass.OPERATOR
    return FailureClass.PASSING_ONLY_HERE if found.only_this_grant else FailureClass.PASSING


@pytest.mark.parametrize("profile", PROFILES, ids=[each.provider for each in PROFILES])
async def test_every_row_of_a_profile_can_be_answered_by_its_name(
    ada: Person, hostile: Hostile, profile: ProviderProfile
) -> None:
    token = await ada.log_in()

    understood = {}
    for named in answers_of(profile):
        await hostile.add(user=ada.name, answer=named.name, times=1)
        understood[named.name] = class_of(await ada.refresh(token), profile)

    assert understood == {named.name: named.failure_class for named in answers_of(profile)}
    assert (await ada.refresh(token)).status == 200
    assert set(await ada.kinds()) == {"login", "scripted", "refresh"}


@pytest.mark.parametrize("name", PASSING)
async def test_what_is_no_oauth_answer_comes_as_it_is_and_commits_nothing(
    ada: Person, hostile: Hostile, name: str
) -> None:
    token = await ada.log_in()
    await hostile.add(user=ada.name, answer=name, times=1)

    reply = await ada.refresh(token)

    assert reply.status == int(name[:3])
    assert (await ada.refresh(token)).status == 200
    if reply.status == 200 and len(reply.body) <= MAX_ANSWER_BYTES:
        with pytest.raises(ProviderUnavailable):
            read_token_response(reply.body)
    if reply.status == 429:
        assert "Retry-After" in reply.headers


async def test_an_answer_may_be_written_out(ada: Person, hostile: Hostile) -> None:
    token = await ada.log_in()
    await hostile.add(user=ada.name, answer={"status": 418, "body": "?", "headers": {"X-A": "b"}})

    reply = await ada.refresh(token)

    assert (reply.status, reply.body, reply.headers["X-A"]) == (418, b"?", "b")


async def test_a_date_to_come_back_is_in_the_future_by_the_providers_own_date(
    ada: Person, hostile: Hostile
) -> None:
    token = await ada.log_in()
    await hostile.skew_clock(-5000)
    await hostile.add(user=ada.name, answer="429/date")

    reply = await ada.refresh(token)

    until, sent_at = (parsedate_to_datetime(reply.headers[h]) for h in ("Retry-After", "Date"))
    assert (until - sent_at).total_seconds() == 2


async def test_strict_rotation_ends_the_family_when_a_spent_token_comes(ada: Person) -> None:
    first = await ada.log_in()
    second = (await ada.refresh(first)).json["refresh_token"]

    again = await ada.refresh(first)
    newest = await ada.refresh(second)

    assert (again.status, again.json["error"]) == (400, "invalid_grant")
    assert (newest.status, newest.json["error"]) == (400, "invalid_grant")
    assert await ada.kinds() == ["login", "refresh", "reuse", "revoked", "refused"]


async def test_inside_a_reuse_window_a_spent_token_gives_the_same_next_one(
    ada: Person, hostile: Hostile
) -> None:
    await hostile.set(reuse_window_seconds=0.3)
    first = await ada.log_in()
    second = (await ada.refresh(first)).json["refresh_token"]

    inside = await ada.refresh(first)
    await asyncio.sleep(0.3)
    outside = await ada.refresh(first)

    assert inside.json["refresh_token"] == second
    assert outside.status == 400
    entries = await hostile.log(user=ada.name)
    assert [(e.kind, e.presented, e.given, e.repeated) for e in entries[:4]] == [
        ("login", 0, 1, False),
        ("refresh", 1, 2, False),
        ("refresh", 1, 2, True),
        ("reuse", 1, 0, False),
    ]


async def test_without_rotation_the_token_stays(ada: Person, hostile: Hostile) -> None:
    await hostile.set(rotates=False)
    token = await ada.log_in()

    replies = [await ada.refresh(token) for _ in range(3)]

    assert {reply.json["refresh_token"] for reply in replies} == {token}
    assert {entry.given for entry in await hostile.log(user=ada.name)} == {1}


async def test_a_refresh_token_can_be_asked_for_as_at_google(ada: Person, hostile: Hostile) -> None:
    client = Client(ada.http, hostile)
    google = {"scope": "openid", "access_type": "offline"}
    form = {"user": ada.name, "password": ada.name}

    signed_in = await client.answer_form(form, **google)
    _, tokens = await client.exchange(location_parameters(signed_in)["code"])

    assert (await ada.refresh(tokens["refresh_token"])).status == 200


async def test_rotation_can_differ_for_one_user(ada: Person, bob: Person, hostile: Hostile) -> None:
    await hostile.add(user=bob.name, rotation={"rotates": False})
    tokens = [await person.log_in() for person in (ada, bob)]

    given = [
        (await person.refresh(token)).json["refresh_token"]
        for person, token in zip((ada, bob), tokens, strict=True)
    ]

    assert given[0] != tokens[0]
    assert given[1] == tokens[1]


async def test_with_one_token_per_user_a_second_login_ends_the_first(
    ada: Person, bob: Person, hostile: Hostile
) -> None:
    await hostile.set(one_token_per_user=True)
    others = await bob.log_in()
    first = await ada.log_in()
    second = await ada.log_in()

    replies = [await ada.refresh(first), await ada.refresh(second), await bob.refresh(others)]

    assert [reply.status for reply in replies] == [400, 200, 200]


async def test_dex_has_its_own_words_and_a_spent_token_ends_nothing(
    ada: Person, hostile: Hostile
) -> None:
    await hostile.set(speaks_as_dex=True, one_token_per_user=True)
    first = await ada.log_in()
    second = await ada.log_in()
    third = (await ada.refresh(second)).json["refresh_token"]
    claimed = {"error": "invalid_request", "error_description": DEX_CLAIMED}

    replies = [await ada.refresh(token) for token in (first, second, "unknown")]

    assert [(reply.status, reply.json) for reply in replies] == [(400, claimed)] * 3
    assert (await ada.refresh(third)).status == 200


async def test_inside_its_reuse_interval_dex_does_not_rotate(ada: Person, hostile: Hostile) -> None:
    await hostile.set(speaks_as_dex=True, reuse_window_seconds=0.3)
    first = await ada.log_in()

    at_once = (await ada.refresh(first)).json["refresh_token"]
    await asyncio.sleep(0.3)
    second = (await ada.refresh(first)).json["refresh_token"]
    both = [(await ada.refresh(token)).json["refresh_token"] for token in (first, second)]

    assert at_once == first
    assert second != first
    assert both == [second, second]


async def test_a_dismissed_user_of_dex_gets_a_bare_500(
    ada: Person, bob: Person, hostile: Hostile
) -> None:
    await hostile.set(speaks_as_dex=True)
    token, others = await ada.log_in(), await bob.log_in()
    await hostile.dismiss(ada.name)

    reply = await ada.refresh(token)

    assert (reply.status, reply.json) == (500, {"error": "invalid_request"})
    assert (await bob.refresh(others)).status == 200


async def test_a_dismissed_user_elsewhere_gets_invalid_grant(ada: Person, hostile: Hostile) -> None:
    token = await ada.log_in()
    await hostile.dismiss(ada.name)

    reply = await ada.refresh(token)

    assert (reply.status, reply.json["error"]) == (400, "invalid_grant")


@pytest.mark.parametrize("delay", [0.25, (0.2, 0.3)], ids=["fixed", "ranged"])
@pytest.mark.parametrize("side", ["before", "after"])
async def test_a_delay_comes_before_or_after_the_commit(
    ada: Person, hostile: Hostile, side: str, delay: float | tuple[float, float]
) -> None:
    token = await ada.log_in()
    delays: dict[str, Any] = {f"delay_{side}": delay}
    await hostile.add(user=ada.name, **delays)
    began = time.monotonic()

    reply = await ada.refresh(token)

    [commit] = await hostile.log(user=ada.name, kind="refresh")
    before, after = commit.monotonic - began, time.monotonic() - commit.monotonic
    assert reply.status == 200
    assert (before if side == "before" else after) >= 0.2


@pytest.mark.parametrize(
    ("drop", "raises", "kinds"),
    [
        ("before", ClientConnectionError, ["login", "scripted"]),
        ("after", ClientConnectionError, ["login", "refresh", "lost_answer"]),
        ("half", ClientPayloadError, ["login", "refresh", "lost_answer"]),
    ],
)
async def test_the_connection_drops_where_the_script_says(
    ada: Person,
    hostile: Hostile,
    drop: Any,
    raises: type[ClientError],
    kinds: list[str],
) -> None:
    token = await ada.log_in()
    await hostile.add(user=ada.name, drop=drop, times=1)

    with pytest.raises(raises):
        await ada.refresh(token)

    assert await ada.kinds() == kinds
    assert (await ada.refresh(token)).status == (200 if drop == "before" else 400)


async def test_a_client_that_left_has_not_heard_the_answer(ada: Person, hostile: Hostile) -> None:
    token = await ada.log_in()
    await hostile.add(user=ada.name, delay_before=0.2)

    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.1):
            await ada.refresh(token)

    [lost] = await hostile.logged("lost_answer", user=ada.name)
    [commit] = await hostile.log(user=ada.name, kind="refresh")
    assert (lost.of, lost.given, lost.detail) == (commit.sequence, 2, "the client has left")


@pytest.mark.parametrize("member", ["refresh_token", "id_token", "expires_in"])
async def test_an_answer_may_miss_a_part(ada: Person, hostile: Hostile, member: str) -> None:
    token = await ada.log_in()
    await hostile.add(user=ada.name, members={member: None})

    reply = await ada.refresh(token)

    assert reply.status == 200
    assert member not in reply.json
    assert reply.json["access_token"]


@pytest.mark.parametrize("claim", ["sub", "iss", "aud", "nonce"])
async def test_an_id_token_may_say_another_thing(ada: Person, hostile: Hostile, claim: str) -> None:
    token = await ada.log_in()
    await hostile.add(user=ada.name, claims={claim: "another"})

    assert (await ada.refresh(token)).claims[claim] == "another"


@pytest.mark.parametrize("forged", [False, True])
async def test_an_id_token_may_be_forged(ada: Person, hostile: Hostile, forged: bool) -> None:
    token = await ada.log_in()
    await hostile.add(user=ada.name, forged=forged)

    id_token = (await ada.refresh(token)).json["id_token"]

    async with ada.http.get(f"{hostile.issuer}/jwks") as answer:
        keys = jwt.PyJWKSet.from_dict(await answer.json())
    key = keys[jwt.get_unverified_header(id_token)["kid"]]
    try:
        jwt.PyJWS().decode(id_token, key, algorithms=["RS256"])
    except jwt.InvalidSignatureError:
        assert forged
    else:
        assert not forged


@pytest.mark.parametrize("overlap", [True, False])
async def test_keys_flip_with_and_without_overlap(
    ada: Person, hostile: Hostile, overlap: bool
) -> None:
    old = await ada.keys()

    await hostile.rotate_keys(keep_old=overlap)

    new = await ada.keys()
    id_token = (await ada.refresh(await ada.log_in())).json["id_token"]
    assert jwt.get_unverified_header(id_token)["kid"] in new - old
    assert (old <= new) is overlap


async def test_a_restart_takes_the_keys_and_every_refresh_token(
    ada: Person, hostile: Hostile
) -> None:
    await hostile.set(speaks_as_dex=True)
    token, old = await ada.log_in(), await ada.keys()

    await hostile.restart()

    refused = await ada.refresh(token)
    assert (refused.status, refused.json["error_description"]) == (400, DEX_CLAIMED)
    assert not old & await ada.keys()
    assert (await ada.refresh(await ada.log_in())).status == 200


async def test_who_is_known_at_the_connector_sees_no_form(ada: Person, hostile: Hostile) -> None:
    await hostile.set(knows=ada.name)

    url = Client(ada.http, hostile).authorize_url()
    async with ada.http.get(url, allow_redirects=False) as back:
        assert location_parameters(back)["code"]


@pytest.mark.parametrize("skew", [-400, 400])
async def test_a_skewed_clock_is_in_tokens_and_dates(
    ada: Person, hostile: Hostile, skew: float
) -> None:
    token = await ada.log_in()
    await hostile.skew_clock(skew)

    reply = await ada.refresh(token)

    expected = time.time() + skew
    date = parsedate_to_datetime(reply.headers["Date"]).timestamp()
    assert reply.claims["iat"] == pytest.approx(expected, abs=3)
    assert reply.claims["exp"] == pytest.approx(expected + 3, abs=3)
    assert date == pytest.approx(expected, abs=3)


async def test_lifetimes_are_those_of_the_start_until_they_are_changed(
    ada: Person, hostile: Hostile
) -> None:
    reply = await ada.refresh(await ada.log_in())
    await hostile.set(id_token_seconds=7)
    later = await ada.refresh(reply.json["refresh_token"])

    assert reply.claims["exp"] - reply.claims["iat"] == 3
    assert later.claims["exp"] - later.claims["iat"] == 7


@pytest.mark.parametrize("whom", ["user", "grant", "all"])
async def test_grants_end_on_command(ada: Person, bob: Person, hostile: Hostile, whom: str) -> None:
    await hostile.end()
    tokens = [await ada.log_in(), await ada.log_in(), await bob.log_in()]
    [first, _] = await hostile.grants(user=ada.name)

    match whom:
        case "user":
            ended, expected = await hostile.end(user=ada.name), [400, 400, 200]
        case "grant":
            ended, expected = await hostile.end(grant=first.number), [400, 200, 200]
        case _:
            ended, expected = await hostile.end(), [400, 400, 400]

    people = (ada, ada, bob)
    replies = [await who.refresh(token) for who, token in zip(people, tokens, strict=True)]
    assert [reply.status for reply in replies] == expected
    assert ended == expected.count(400)
    endings = await hostile.log(kind="ended_by_script")
    assert {e.grant for e in endings} >= {first.number}


@pytest.mark.parametrize("abort", [False, True])
async def test_a_provider_that_went_away_refuses_connections_and_comes_back(
    ada: Person, hostile: Hostile, abort: bool
) -> None:
    token = await ada.log_in()
    await hostile.add(user=ada.name, delay_after=2, times=1)
    asking = asyncio.ensure_future(ada.refresh(token))
    await hostile.logged("refresh", user=ada.name)

    await hostile.go_away(abort=abort)

    with pytest.raises(ClientConnectionError):
        await ada.keys()
    assert (await hostile.state())["away"]
    found = (await asyncio.gather(asking, return_exceptions=True))[0]
    assert isinstance(found, ClientError) is abort
    await hostile.come_back()
    assert await ada.keys()
    if abort:
        assert await hostile.logged("lost_answer", user=ada.name)
    else:
        assert "lost_answer" not in await ada.kinds()


async def test_a_rule_applies_to_so_many_requests(ada: Person, hostile: Hostile) -> None:
    token = await ada.log_in()
    await hostile.add(user=ada.name, answer="503/seconds", times=2)

    statuses = [(await ada.refresh(token)).status for _ in range(3)]

    assert statuses == [503, 503, 200]


async def test_a_rule_for_one_grant_leaves_the_users_other_grant_alone(
    ada: Person, hostile: Hostile
) -> None:
    tokens = [await ada.log_in(), await ada.log_in()]
    [first, _] = await hostile.grants(user=ada.name)
    await hostile.add(grant=first.number, answer="503/seconds")

    assert [(await ada.refresh(token)).status for token in tokens] == [503, 200]


async def test_a_probability_is_drawn_from_its_seed(ada: Person, hostile: Hostile) -> None:
    await hostile.set(rotates=False)
    token = await ada.log_in()
    runs = []

    for seed in (1, 1, 2):
        [number] = await hostile.add(
            user=ada.name, answer="503/seconds", probability=0.5, seed=seed
        )
        runs.append([(await ada.refresh(token)).status for _ in range(20)])
        await hostile.remove(number)

    assert runs[0] == runs[1] != runs[2]
    assert 3 < runs[0].count(503) < 17


async def test_all_rules_that_fit_apply_and_the_later_one_counts(
    ada: Person, hostile: Hostile
) -> None:
    token = await ada.log_in()
    await hostile.add(
        Rule(user=ada.name, delay_before=0.1, answer="502/html"),
        Rule(user=ada.name, answer="503/seconds"),
    )
    began = time.monotonic()

    reply = await ada.refresh(token)

    assert reply.status == 503
    assert time.monotonic() - began >= 0.1


@pytest.mark.parametrize(
    ("on", "path"),
    [
        ("discovery", "/.well-known/openid-configuration"),
        ("jwks", "/jwks"),
        ("authorize", "/authorize"),
        ("userinfo", "/userinfo"),
    ],
)
async def test_other_endpoints_have_rules_too(
    hostile: Hostile, http: ClientSession, on: Any, path: str
) -> None:
    await hostile.add(on=on, answer="502/html", times=1)

    async with http.get(hostile.issuer + path) as answer:
        assert answer.status == 502


async def test_a_revocation_is_logged_with_its_reason(ada: Person, hostile: Hostile) -> None:
    token = await ada.log_in()

    await ada.post("revoke", {"token": token}, replica="blue")

    [entry] = await hostile.log(user=ada.name, kind="revoked")
    assert (entry.replica, entry.detail) == ("blue", "revoked by the client")


async def test_the_log_knows_the_replica_by_its_secret(ada: Person, hostile: Hostile) -> None:
    token = await ada.log_in(replica="red")
    second = (await ada.refresh(token, replica="blue")).json["refresh_token"]
    await ada.refresh(second)

    refused = await ada.refresh(second, replica="nobody")

    entries = await hostile.log(user=ada.name)
    assert [entry.replica for entry in entries] == ["red", "blue", ""]
    assert all(entry.peer_port for entry in entries)
    assert (refused.status, refused.json["error"]) == (401, "invalid_client")


async def test_the_log_tells_tokens_apart_and_shows_none(ada: Person, hostile: Hostile) -> None:
    began = time.time()
    first = await ada.log_in()
    second = (await ada.refresh(first)).json["refresh_token"]
    await ada.refresh("a-token-that-nobody-gave")

    login, refresh = await hostile.log(user=ada.name)
    [grant] = await hostile.grants(user=ada.name)
    written = str([await hostile.log(), await hostile.grants(), await hostile.state()])

    assert (login.given, login.given_sha256) == (1, sha256(first))
    assert (refresh.presented, refresh.presented_sha256) == (1, sha256(first))
    assert (refresh.given, refresh.given_sha256) == (2, sha256(second))
    assert (grant.generation, grant.sha256, grant.number) == (2, sha256(second), login.grant)
    assert began <= login.wall <= refresh.wall
    assert login.monotonic < refresh.monotonic
    assert first not in written
    assert second not in written
    assert "a-token-that-nobody-gave" not in written


@pytest.mark.parametrize(
    "rule", [{"answer": "dex/nonsense"}, {"anser": "503"}, {"rotation": {"rotate": False}}], ids=str
)
async def test_a_rule_that_cannot_be_meant_is_refused(
    hostile: Hostile, http: ClientSession, rule: dict[str, Any]
) -> None:
    async with http.post(f"{hostile.control}/add", json=rule) as answer:
        assert answer.status == 400


async def test_a_setting_that_is_not_there_is_refused(hostile: Hostile) -> None:
    with pytest.raises(ControlRefused, match="reuse_window_second"):
        await hostile.set(reuse_window_second=3)


async def test_a_token_spent_long_ago_is_forgotten_and_still_counted(
    ada: Person, hostile: Hostile
) -> None:
    first = token = await ada.log_in()
    for _ in range(KEPT_GENERATIONS + 5):
        token = (await ada.refresh(token)).json["refresh_token"]

    await ada.refresh(first)

    assert (await ada.refresh(token)).status == 200
    [grant] = await hostile.grants(user=ada.name)
    assert grant.generation == KEPT_GENERATIONS + 7
    assert (await hostile.log())[-2].detail == "unknown"


async def test_tidying_twice_forgets_what_has_ended_and_nothing_else(
    ada: Person, bob: Person, hostile: Hostile
) -> None:
    ended, living = await ada.log_in(), await bob.log_in()
    await hostile.end(user=ada.name)

    await hostile.tidy()
    assert [grant.ended for grant in await hostile.grants(user=ada.name)] == [True]
    await hostile.tidy()

    assert await hostile.grants(user=ada.name) == []
    assert (await ada.refresh(ended)).status == 400
    assert (await hostile.log())[-1].detail == "unknown"
    assert (await bob.refresh(living)).status == 200


async def test_a_hundred_users_log_in_quickly(hostile: Hostile, http: ClientSession) -> None:
    began = time.monotonic()

    await asyncio.gather(*(Person(next(names), http, hostile).log_in() for _ in range(100)))

    assert time.monotonic() - began < 5


async def test_the_process_ends_with_its_input() -> None:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.hostile"),
        cwd=ROOT,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdin
    assert process.stdout
    async with asyncio.timeout(20):
        addresses = json.loads(await process.stdout.readline())
        process.stdin.close()
        assert await process.wait() == 0
    assert addresses.keys() == {"issuer", "control"}
