"""The OpenID provider over real HTTP; the clock that ages documents is the test's."""

import asyncio
import base64
import json
import sys
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, quote_plus, urlsplit

import jwt
import pytest
from aiohttp import ClientSession, TraceConfig, web
from cryptography.hazmat.primitives.asymmetric import rsa

from sidecar.adapters.openid_provider import ASK_AGAIN_SECONDS, OpenIdProvider
from sidecar.adapters.provider_http import Way, provider_session
from sidecar.adapters.remembered import DOCUMENT_AGE_SECONDS, RETRY_SECONDS
from sidecar.config.tls import provider_tls
from sidecar.core.client_assertion import read_assertion_key
from sidecar.core.client_authentication import ClientAuth, Credentials
from sidecar.core.id_token import Expected, verify
from sidecar.core.provider_addresses import ProviderAddresses
from sidecar.core.provider_profiles import (
    GENERIC,
    AssertionAudience,
    Provider,
    ProviderProfile,
    SecretPlace,
    profile_of,
)
from sidecar.core.published_keys import PublishedKeys
from sidecar.demo.jwks import SigningKeys
from sidecar.demo.misbehaviour import Answer, Behaviour, Drop
from sidecar.demo.oauth import ProviderSettings, discovery_document
from sidecar.demo.provider import DemoProvider
from sidecar.errors import ProviderRefused, ProviderUnavailable, SidecarError, TokenInvalid
from sidecar.metrics import Metrics
from sidecar.ports import ProviderEndpoints
from tests.adapters.conftest import said
from tests.adapters.front import Front
from tests.demo.client import REDIRECT_URI, VERIFIER, Client
from tests.fakes.clock import FakeClock
from tests.fakes.discovery import tls_issuer
from tests.proxy.certificates import self_signed
from tests.system.client_keys import ec_key, pem

DISCOVERY = "/.well-known/openid-configuration"
SECRET = "demo-secret"
NASTY_CLIENT = "https://argo-cd:443/?50%+é"
NASTY_SECRET = '50%+1: a&b=c/d?e#f \\"é'
PADDING = "x" * (2 * 1024 * 1024)
LONG = json.dumps({"access_token": "a", "padding": PADDING}).encode()

MakeOpenId = Callable[..., OpenIdProvider]


@pytest.fixture
async def provider(clock: FakeClock, signing_key: rsa.RSAPrivateKey) -> AsyncIterator[DemoProvider]:
    settings = ProviderSettings(redirect_uris=(REDIRECT_URI,))
    provider = DemoProvider(settings, now=clock.now, key=signing_key)
    async with provider.running():
        yield provider


@pytest.fixture
async def front(provider: DemoProvider) -> AsyncIterator[Front]:
    front = Front(provider)
    async with front.running():
        yield front


@pytest.fixture
async def http() -> AsyncIterator[ClientSession]:
    async with provider_session(total_seconds=10) as session:
        yield session


@pytest.fixture
def make_openid(http: ClientSession, clock: FakeClock) -> MakeOpenId:
    def make(
        issuer: str,
        *,
        client_id: str = "argo-cd",
        secret: str = SECRET,
        session: ClientSession = http,
        profile: ProviderProfile | None = None,
    ) -> OpenIdProvider:
        return OpenIdProvider(
            session,
            ProviderAddresses(issuer),
            client_id,
            lambda: Credentials(secret=secret),
            clock=clock,
            metrics=Metrics(),
            keys_seconds=5,
            profile=profile,
        )

    return make


@pytest.fixture
def openid(make_openid: MakeOpenId, provider: DemoProvider) -> OpenIdProvider:
    return make_openid(provider.issuer)


@pytest.fixture
def client(http: ClientSession, provider: DemoProvider) -> Client:
    return Client(http, provider)


# The way there


@pytest.mark.parametrize("written", ["{}", "{}/"], ids=["plain", "slash"])
async def test_a_provider_behind_an_egress_proxy_is_reached_through_it(
    make_openid: MakeOpenId, front: Front, monkeypatch: pytest.MonkeyPatch, written: str
) -> None:
    outside = "http://idp.example"
    front.document = discovery_document(outside, revocation_endpoint=False)
    front.answers["/token"] = lambda: web.json_response({"access_token": "a"})
    monkeypatch.setenv("HTTP_PROXY", written.format(front.issuer))

    await make_openid(outside).refresh("a", send_before=float("inf"))

    assert [seen.headers["Host"] for seen in front.seen] == ["idp.example"] * 2


async def test_a_proxy_may_be_written_without_its_scheme(
    make_openid: MakeOpenId, front: Front, monkeypatch: pytest.MonkeyPatch
) -> None:
    front.document = discovery_document("http://idp.example", revocation_endpoint=False)
    monkeypatch.setenv("HTTP_PROXY", front.issuer.removeprefix("http://"))

    assert (await make_openid("http://idp.example").endpoints()).issuer == "http://idp.example"


async def test_a_provider_that_needs_no_proxy_is_reached_without_it(
    openid: OpenIdProvider, front: Front, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", front.issuer)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")

    await openid.endpoints()

    assert front.seen == []


async def test_what_a_netrc_file_says_goes_to_no_provider(
    make_openid: MakeOpenId, front: Front, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login somebody password else\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    front.document["token_endpoint_auth_methods_supported"] = ["client_secret_post"]
    front.document["token_endpoint"] = f"{front.issuer}/token"
    front.answers["/token"] = lambda: web.json_response({"access_token": "a"})

    await make_openid(front.issuer).refresh("a", send_before=float("inf"))

    assert front.asked("/token") == 1
    assert all("Authorization" not in seen.headers for seen in front.seen)


# Discovery


async def test_the_provider_is_asked_for_its_metadata_when_first_needed_and_then_hourly(
    openid: OpenIdProvider, provider: DemoProvider, clock: FakeClock
) -> None:
    before = provider.discovery_requests

    first = await openid.endpoints()
    clock.advance(DOCUMENT_AGE_SECONDS - 1)
    second = await openid.endpoints()
    within_the_hour = provider.discovery_requests
    clock.advance(2)
    await openid.endpoints()

    assert (before, within_the_hour, provider.discovery_requests) == (0, 1, 2)
    assert first == second
    assert first == ProviderEndpoints(
        issuer=provider.issuer,
        authorization_endpoint=f"{provider.issuer}/authorize",
        token_endpoint=f"{provider.issuer}/token",
        jwks_uri=f"{provider.issuer}/jwks",
        revocation_endpoint=f"{provider.issuer}/revoke",
        userinfo_endpoint=f"{provider.issuer}/userinfo",
        token_endpoint_auth_methods=("client_secret_basic", "client_secret_post"),
        scopes_supported=("openid", "profile", "email", "groups", "offline_access"),
        iss_parameter_supported=True,
    )


async def test_a_provider_that_starts_after_the_sidecar_is_found(
    make_openid: MakeOpenId, clock: FakeClock, signing_key: rsa.RSAPrivateKey
) -> None:
    late = DemoProvider(ProviderSettings(), now=clock.now, key=signing_key)
    async with late.running() as issuer:
        port = urlsplit(issuer).port
    openid = make_openid(issuer)
    with pytest.raises(ProviderUnavailable):
        await openid.endpoints()

    async with late.running(port=port or 0):
        clock.advance(RETRY_SECONDS)
        endpoints = await openid.endpoints()

    assert endpoints.issuer == issuer


async def test_a_provider_that_is_away_is_asked_by_one_for_all_and_not_more_than_once_a_second(
    make_openid: MakeOpenId, front: Front, clock: FakeClock
) -> None:
    openid = make_openid(front.issuer)

    def hang_and_fail() -> web.Response:
        clock.advance(5)
        return web.Response(status=502)

    front.answers[DISCOVERY] = hang_and_fail

    answers = await asyncio.gather(*(openid.endpoints() for _ in range(50)), return_exceptions=True)
    at_once = front.asked(DISCOVERY)
    clock.advance(RETRY_SECONDS)
    with suppress(ProviderUnavailable):
        await openid.endpoints()

    assert {type(answer) for answer in answers} == {ProviderUnavailable}
    assert (at_once, front.asked(DISCOVERY)) == (1, 2)


async def test_metadata_that_is_due_again_is_kept_while_the_provider_is_away(
    openid: OpenIdProvider, provider: DemoProvider, clock: FakeClock
) -> None:
    known = await openid.endpoints()
    clock.advance(DOCUMENT_AGE_SECONDS + 1)
    provider.available = False

    assert await openid.endpoints() == known


async def test_somebody_who_leaves_during_discovery_costs_nobody_else_the_answer(
    make_openid: MakeOpenId, front: Front
) -> None:
    openid = make_openid(front.issuer)
    leaving = asyncio.create_task(openid.endpoints())
    await front.reached.wait()
    staying = asyncio.create_task(openid.endpoints())
    await asyncio.sleep(0)

    leaving.cancel()

    assert (await staying).issuer == front.issuer


@pytest.mark.parametrize("named", ["https://sso.example.org", "{issuer}/", "", None])
async def test_metadata_of_another_issuer_is_not_used(
    make_openid: MakeOpenId, front: Front, named: str | None
) -> None:
    front.document["issuer"] = named and named.format(issuer=front.issuer)

    with pytest.raises(ProviderUnavailable, match="SIDECAR_ISSUER"):
        await make_openid(front.issuer).endpoints()


async def test_an_issuer_with_a_slash_at_its_end_keeps_it(
    make_openid: MakeOpenId, front: Front
) -> None:
    front.document["issuer"] = f"{front.issuer}/"

    endpoints = await make_openid(f"{front.issuer}/").endpoints()

    assert endpoints.issuer == f"{front.issuer}/"
    assert front.asked(DISCOVERY) == 1


@pytest.mark.parametrize("name", ["authorization_endpoint", "token_endpoint", "jwks_uri"])
@pytest.mark.parametrize("value", [None, "", 7, "javascript:alert(1)", "https://" + "x" * 2048])
async def test_metadata_without_a_usable_endpoint_is_not_used(
    make_openid: MakeOpenId, front: Front, name: str, value: object
) -> None:
    front.document[name] = value

    with pytest.raises(ProviderUnavailable, match=name):
        await make_openid(front.issuer).endpoints()


@pytest.mark.parametrize(
    "answer",
    [
        lambda: web.Response(text="<html>a captive portal</html>"),
        lambda: web.Response(text="[]"),
        lambda: web.Response(text="[" * 100_000),
        lambda: web.Response(body=LONG),
        lambda: web.Response(status=404, text="{}"),
        lambda: web.Response(status=503),
    ],
)
async def test_an_answer_that_is_no_metadata_is_an_outage(
    make_openid: MakeOpenId, front: Front, answer: Callable[[], web.Response]
) -> None:
    front.answers[DISCOVERY] = answer

    with pytest.raises(ProviderUnavailable):
        await make_openid(front.issuer).endpoints()


async def test_metadata_with_an_error_status_is_an_outage(
    make_openid: MakeOpenId, front: Front
) -> None:
    front.answers[DISCOVERY] = lambda: web.json_response(front.document, status=500)

    with pytest.raises(ProviderUnavailable):
        await make_openid(front.issuer).endpoints()


async def test_metadata_that_is_far_too_long_is_an_outage(
    make_openid: MakeOpenId, front: Front
) -> None:
    front.document["padding"] = PADDING

    with pytest.raises(ProviderUnavailable):
        await make_openid(front.issuer).endpoints()


async def test_metadata_that_does_not_come_is_waited_for_no_longer_than_configured(
    http: ClientSession, clock: FakeClock
) -> None:
    async def say_nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    async with (
        await asyncio.start_server(say_nothing, "127.0.0.1", 0) as server,
        asyncio.timeout(5),
    ):
        issuer = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        openid = OpenIdProvider(
            http, ProviderAddresses(issuer), "argo-cd", Credentials,
            clock=clock, metrics=Metrics(), keys_seconds=0.1,
        )  # fmt: skip

        with pytest.raises(ProviderUnavailable):
            await openid.endpoints()


async def test_metadata_that_leaves_out_what_it_may_means_basic_and_nothing_else(
    make_openid: MakeOpenId, front: Front
) -> None:
    needed = ("issuer", "authorization_endpoint", "token_endpoint", "jwks_uri")
    front.document = {name: front.document[name] for name in needed}

    endpoints = await make_openid(front.issuer).endpoints()

    assert endpoints == ProviderEndpoints(**front.document)
    assert endpoints.token_endpoint_auth_methods == ("client_secret_basic",)


# Profiles


def like_dex(front: Front) -> None:
    """Metadata of Dex' form, in which only the token endpoint works."""
    for name, path in (("authorization", "auth"), ("token", "token")):
        front.document[f"{name}_endpoint"] = f"{front.issuer}/{path}"
    front.document["jwks_uri"] = f"{front.issuer}/keys"


async def test_a_provider_is_recognised_once_its_metadata_is_read(
    make_openid: MakeOpenId, front: Front
) -> None:
    like_dex(front)
    openid = make_openid(front.issuer)
    before = openid.profile

    await openid.endpoints()

    assert (before.provider, openid.profile.provider) == (Provider.GENERIC, Provider.DEX)


async def test_a_provider_that_its_issuer_tells_is_recognised_though_it_is_away(
    make_openid: MakeOpenId,
) -> None:
    assert make_openid("https://accounts.google.com").profile.provider is Provider.GOOGLE


async def test_a_profile_that_was_chosen_stays_whatever_the_metadata_look_like(
    make_openid: MakeOpenId, front: Front
) -> None:
    like_dex(front)
    openid = make_openid(front.issuer, profile=profile_of(Provider.KEYCLOAK))
    before = openid.profile

    await openid.endpoints()

    assert before is openid.profile is profile_of(Provider.KEYCLOAK)


async def test_a_provider_that_was_replaced_is_recognised_at_the_next_discovery(
    make_openid: MakeOpenId, front: Front, clock: FakeClock
) -> None:
    openid = make_openid(front.issuer)
    await openid.endpoints()
    before = openid.profile

    like_dex(front)
    clock.advance(DOCUMENT_AGE_SECONDS)
    await openid.endpoints()

    assert (before, openid.profile.provider) == (GENERIC, Provider.DEX)


async def test_metadata_that_cannot_be_used_tell_nothing(
    make_openid: MakeOpenId, front: Front, clock: FakeClock
) -> None:
    like_dex(front)
    openid = make_openid(front.issuer)
    await openid.endpoints()

    front.document = {"issuer": "https://sso.example.org"}
    clock.advance(DOCUMENT_AGE_SECONDS)
    await openid.endpoints()

    assert openid.profile.provider is Provider.DEX


@pytest.mark.parametrize("kind", ["refresh", "exchange", "revoke"])
async def test_an_answer_is_understood_as_this_provider_means_it(
    make_openid: MakeOpenId, front: Front, clock: FakeClock, kind: str
) -> None:
    """Dex' 500 is about one grant; so it is for the very first request after a start."""
    like_dex(front)
    front.document["revocation_endpoint"] = f"{front.issuer}/token"
    front.answers["/token"] = lambda: web.json_response({"error": "invalid_request"}, status=500)
    dex, other = make_openid(front.issuer), make_openid(front.issuer, profile=GENERIC)

    found = []
    for openid in (dex, other):
        with pytest.raises(ProviderUnavailable) as failed:
            await CALLS[kind](openid, clock)
        found.append(failed.value.only_this_grant)

    assert found == [True, False]


async def test_a_profile_can_say_which_scope_a_refresh_asks_for_and_no_other_request(
    make_openid: MakeOpenId, front: Front, clock: FakeClock
) -> None:
    front.document["token_endpoint"] = f"{front.issuer}/token"
    front.answers["/token"] = lambda: web.json_response({"access_token": "a"})
    openid = make_openid(front.issuer, profile=replace(GENERIC, refresh_scope="openid groups"))

    await CALLS["refresh"](openid, clock)
    await CALLS["exchange"](openid, clock)

    refreshed, exchanged = (parse_qs(seen.body) for seen in front.seen[-2:])
    assert refreshed["scope"] == ["openid groups"]
    assert "scope" not in exchanged


@pytest.mark.parametrize(
    ("place", "in_header"), [(SecretPlace.LISTED, True), (SecretPlace.BODY, False)]
)
async def test_a_profile_says_where_the_secret_goes_and_it_never_goes_into_two_places(
    make_openid: MakeOpenId, front: Front, clock: FakeClock, place: SecretPlace, in_header: bool
) -> None:
    front.document["token_endpoint"] = f"{front.issuer}/token"
    front.answers["/token"] = lambda: web.json_response({"access_token": "a"})
    openid = make_openid(front.issuer, profile=replace(GENERIC, secret_place=place))

    await CALLS["refresh"](openid, clock)

    seen = front.seen[-1]
    assert ("Authorization" in seen.headers) == in_header
    assert ("client_secret" in parse_qs(seen.body)) == (not in_header)


@pytest.mark.parametrize(
    ("audience", "expected"),
    [
        (AssertionAudience.ISSUER, "http://outside.example"),
        (AssertionAudience.TOKEN_ENDPOINT, "http://outside.example/token"),
        (AssertionAudience.ENDPOINT, "http://outside.example/token"),
    ],
)
async def test_an_assertion_names_the_provider_as_it_calls_itself_wherever_it_is_asked(
    http: ClientSession,
    front: Front,
    clock: FakeClock,
    audience: AssertionAudience,
    expected: str,
) -> None:
    behind = discovery_document(front.issuer, revocation_endpoint=False)
    front.document = {**behind, "issuer": "http://outside.example"}
    front.answers["/token"] = lambda: web.json_response({"access_token": "a"})
    key = read_assertion_key(pem(ec_key()))
    openid = OpenIdProvider(
        http, ProviderAddresses("http://outside.example", front.issuer), "argo-cd",
        lambda: Credentials(ClientAuth.PRIVATE_KEY_JWT, key=key),
        clock=clock, metrics=Metrics(), keys_seconds=5,
        profile=replace(GENERIC, assertion_audience=audience),
    )  # fmt: skip

    for _ in range(2):
        await openid.refresh("a", send_before=float("inf"))

    seen = [parse_qs(each.body) for each in front.seen if each.path == "/token"]
    claims = [
        jwt.decode(each["client_assertion"][0], options={"verify_signature": False})
        for each in seen
    ]
    assert [each["aud"] for each in claims] == [expected] * 2
    assert claims[0]["jti"] != claims[1]["jti"]


# Keys


async def test_keys_are_fetched_once_and_verify_the_providers_tokens(
    openid: OpenIdProvider, provider: DemoProvider, client: Client, clock: FakeClock
) -> None:
    id_tokens = [(await client.log_in())["id_token"] for _ in range(3)]

    keys = [await openid.signing_keys(id_token) for id_token in id_tokens]

    expected = Expected(provider.issuer, "argo-cd", nonce="a-nonce")
    for id_token, fitting in zip(id_tokens, keys, strict=True):
        assert verify(id_token, fitting, expected, now=clock.now()).subject == "ada"
    assert provider.jwks_requests == 1


async def test_a_key_that_the_provider_has_begun_to_use_is_found_at_once(
    openid: OpenIdProvider,
    provider: DemoProvider,
    client: Client,
    clock: FakeClock,
    signing_key: rsa.RSAPrivateKey,
) -> None:
    old = (await client.log_in())["id_token"]
    await openid.signing_keys(old)
    clock.advance(ASK_AGAIN_SECONDS)

    provider.rotate_keys(key=signing_key)
    new = (await client.log_in())["id_token"]
    for_new, for_old = await openid.signing_keys(new), await openid.signing_keys(old)

    assert [len(for_new), len(for_old)] == [1, 1]
    assert for_new[0].kid != for_old[0].kid
    assert provider.jwks_requests == 2


@pytest.mark.parametrize("again", [False, True], ids=["unknown", "does-not-fit"])
async def test_where_the_keys_cannot_be_read_again_nothing_is_said_of_a_token(
    make_openid: MakeOpenId, front: Front, client: Client, clock: FakeClock, again: bool
) -> None:
    openid, id_token = make_openid(front.issuer), (await client.log_in())["id_token"]
    await openid.signing_keys(id_token)
    unknown = id_token if again else SigningKeys().sign({"sub": "ada"})
    front.document["jwks_uri"] = f"{front.issuer}/jwks"
    clock.advance(DOCUMENT_AGE_SECONDS)

    for _ in range(2):  # the second is too soon to ask again
        with pytest.raises(ProviderUnavailable, match="jwks"):
            await openid.signing_keys(unknown, again=again)
    assert await openid.signing_keys(id_token)


async def test_a_flood_of_unknown_keys_asks_the_provider_once_per_interval(
    openid: OpenIdProvider,
    provider: DemoProvider,
    client: Client,
    clock: FakeClock,
    signing_key: rsa.RSAPrivateKey,
) -> None:
    await openid.signing_keys((await client.log_in())["id_token"])
    forged = [SigningKeys(signing_key).sign({"sub": "mallory"}) for _ in range(200)]

    requests = []
    for _ in range(5):
        found = await asyncio.gather(*(openid.signing_keys(id_token) for id_token in forged))
        assert found == [[]] * 200
        requests.append(provider.jwks_requests)
        clock.advance(ASK_AGAIN_SECONDS / 2)

    assert requests == [1, 1, 2, 2, 3]


async def test_a_flood_of_unknown_keys_during_an_outage_asks_the_provider_once_per_second(
    make_openid: MakeOpenId,
    front: Front,
    client: Client,
    clock: FakeClock,
    signing_key: rsa.RSAPrivateKey,
) -> None:
    openid = make_openid(front.issuer)
    await openid.signing_keys((await client.log_in())["id_token"])
    forged = [SigningKeys(signing_key).sign({"sub": "mallory"}) for _ in range(50)]
    front.document["jwks_uri"] = f"{front.issuer}/jwks"
    clock.advance(DOCUMENT_AGE_SECONDS)

    requests = []
    for _ in range(4):
        asked = (openid.signing_keys(id_token) for id_token in forged)
        for outcome in await asyncio.gather(*asked, return_exceptions=True):
            assert isinstance(outcome, ProviderUnavailable)
        requests.append(front.asked("/jwks"))
        clock.advance(RETRY_SECONDS / 2)

    assert requests == [1, 1, 2, 2]


async def test_keys_asked_for_again_are_fetched_again_but_not_within_the_interval(
    openid: OpenIdProvider, provider: DemoProvider, client: Client, clock: FakeClock
) -> None:
    id_token = (await client.log_in())["id_token"]
    await openid.signing_keys(id_token)

    await openid.signing_keys(id_token, again=True)
    within = provider.jwks_requests
    clock.advance(ASK_AGAIN_SECONDS)
    await openid.signing_keys(id_token, again=True)

    assert (within, provider.jwks_requests) == (1, 2)


async def test_what_is_published_is_told_with_the_time_at_which_it_was_asked_for(
    openid: OpenIdProvider, client: Client, clock: FakeClock
) -> None:
    assert openid.published is None
    id_token = (await client.log_in())["id_token"]
    [key] = await openid.signing_keys(id_token)
    first = openid.published
    clock.advance(5)

    await openid.read_keys(max_age_seconds=6)
    same = openid.published
    await openid.read_keys(max_age_seconds=5)

    assert same is first == PublishedKeys(frozenset([key.kid or ""]), clock.now() - 5)
    assert openid.published == PublishedKeys(frozenset([key.kid or ""]), clock.now())


async def test_where_one_key_has_no_id_no_token_can_be_said_to_have_lost_its_own(
    make_openid: MakeOpenId, front: Front, signing_key: rsa.RSAPrivateKey
) -> None:
    published: Any = SigningKeys(signing_key).published()
    [key] = published["keys"]
    nameless = {name: value for name, value in key.items() if name != "kid"}
    front.document["jwks_uri"] = f"{front.issuer}/jwks"
    front.answers["/jwks"] = lambda: web.json_response({"keys": [key, nameless]})
    openid = make_openid(front.issuer)

    await openid.read_keys(max_age_seconds=1)

    assert openid.published
    assert openid.published.ids == frozenset()


async def test_an_outage_leaves_the_keys_that_are_known(
    openid: OpenIdProvider, provider: DemoProvider, client: Client, clock: FakeClock
) -> None:
    id_token = (await client.log_in())["id_token"]
    known = await openid.signing_keys(id_token)
    provider.available = False

    clock.advance(DOCUMENT_AGE_SECONDS + 1)

    assert await openid.signing_keys(id_token) == known


async def test_an_empty_key_set_does_not_replace_the_keys_that_are_known(
    make_openid: MakeOpenId, front: Front, client: Client, clock: FakeClock
) -> None:
    openid = make_openid(front.issuer)
    id_token = (await client.log_in())["id_token"]
    known = await openid.signing_keys(id_token)
    front.document["jwks_uri"] = f"{front.issuer}/jwks"
    front.answers["/jwks"] = lambda: web.json_response({"keys": []})

    clock.advance(DOCUMENT_AGE_SECONDS + 1)

    assert await openid.signing_keys(id_token) == known
    assert front.asked("/jwks") == 1


async def test_without_any_keys_an_outage_is_an_error(
    openid: OpenIdProvider, provider: DemoProvider, client: Client
) -> None:
    id_token = (await client.log_in())["id_token"]
    provider.available = False

    with pytest.raises(ProviderUnavailable):
        await openid.signing_keys(id_token)


async def test_a_token_that_cannot_be_read_asks_the_provider_for_nothing(
    openid: OpenIdProvider, provider: DemoProvider
) -> None:
    for id_token in ("", "a.b.c", "eyJhbGciOiJub25lIn0.e30.", "x" * 10_000):
        with pytest.raises(TokenInvalid):
            await openid.signing_keys(id_token)

    assert (provider.discovery_requests, provider.jwks_requests) == (0, 0)


# Token endpoint


async def test_a_code_is_exchanged_for_the_users_tokens(
    openid: OpenIdProvider, client: Client, provider: DemoProvider
) -> None:
    code = await client.code()

    tokens = await openid.exchange(code, code_verifier=VERIFIER, redirect_uri=REDIRECT_URI)

    assert tokens.access_token
    assert tokens.id_token
    assert tokens.refresh_token
    assert tokens.expires_in_seconds == 20
    assert provider.logins == 1


async def test_a_refresh_gives_the_next_tokens(
    openid: OpenIdProvider, client: Client, provider: DemoProvider, clock: FakeClock
) -> None:
    first = await client.log_in()

    second = await openid.refresh(first["refresh_token"], send_before=clock.monotonic() + 1)
    third = await openid.refresh(str(second.refresh_token), send_before=clock.monotonic() + 1)

    assert len({first["refresh_token"], second.refresh_token, third.refresh_token}) == 3
    assert len({first["id_token"], second.id_token, third.id_token}) == 3
    assert (provider.refreshes, provider.reuses) == (2, 0)


async def test_a_refresh_asks_for_no_scope(
    make_openid: MakeOpenId, front: Front, clock: FakeClock
) -> None:
    """Authentik refuses some scopes there; left out, it is the scope of before (RFC 6749 6)."""
    front.document["token_endpoint"] = f"{front.issuer}/token"
    front.answers["/token"] = lambda: web.json_response({"access_token": "a"})

    await make_openid(front.issuer).refresh("r", send_before=clock.monotonic() + 1)

    assert parse_qs(front.seen[-1].body, keep_blank_values=True) == {
        "grant_type": ["refresh_token"],
        "refresh_token": ["r"],
    }


async def test_a_revoked_refresh_token_is_good_for_nothing(
    openid: OpenIdProvider, client: Client, clock: FakeClock
) -> None:
    refresh_token = (await client.log_in())["refresh_token"]

    told = await openid.revoke(refresh_token)

    assert told
    with pytest.raises(ProviderRefused, match="invalid_grant") as refused:
        await openid.refresh(refresh_token, send_before=clock.monotonic() + 1)
    assert refused.value.over


async def test_a_provider_without_a_revocation_endpoint_is_told_nothing(
    openid: OpenIdProvider, client: Client, provider: DemoProvider, clock: FakeClock
) -> None:
    provider.settings.revocation_endpoint = False
    refresh_token = (await client.log_in())["refresh_token"]

    assert not await openid.revoke(refresh_token)
    renewed = await openid.refresh(refresh_token, send_before=clock.monotonic() + 1)
    assert renewed.id_token


async def test_a_revocation_that_the_provider_refuses_is_no_success(
    make_openid: MakeOpenId, provider: DemoProvider, client: Client
) -> None:
    refresh_token = (await client.log_in())["refresh_token"]

    with pytest.raises(ProviderRefused, match="invalid_client") as refused:
        await make_openid(provider.issuer, secret="another").revoke(refresh_token)

    assert not refused.value.over


# Client authentication


@pytest.mark.parametrize("methods", [None, ["client_secret_post"], ["client_secret_basic"]])
async def test_a_client_and_a_secret_of_difficult_characters_are_understood(
    make_openid: MakeOpenId,
    front: Front,
    provider: DemoProvider,
    client: Client,
    clock: FakeClock,
    methods: list[str] | None,
) -> None:
    refresh_token = (await client.log_in())["refresh_token"]
    provider.settings.client_id = NASTY_CLIENT
    provider.settings.client_secret = NASTY_SECRET
    front.document["token_endpoint_auth_methods_supported"] = methods
    openid = make_openid(front.issuer, client_id=NASTY_CLIENT, secret=NASTY_SECRET)

    tokens = await openid.refresh(refresh_token, send_before=clock.monotonic() + 1)

    assert tokens.refresh_token


@pytest.mark.parametrize(
    ("methods", "secret", "in_header", "in_body"),
    [
        (["client_secret_basic", "client_secret_post"], SECRET, True, False),
        (["client_secret_post", "client_secret_basic"], SECRET, True, False),
        (["client_secret_post", "private_key_jwt"], SECRET, False, True),
        (None, SECRET, True, False),
        (["client_secret_basic", "client_secret_post"], "", False, False),
        (["none"], "", False, False),
    ],
)
async def test_the_client_authenticates_in_one_way_and_always_says_who_it_is(
    make_openid: MakeOpenId,
    front: Front,
    clock: FakeClock,
    methods: list[str] | None,
    secret: str,
    in_header: bool,
    in_body: bool,
) -> None:
    front.document["token_endpoint_auth_methods_supported"] = methods
    front.document["token_endpoint"] = f"{front.issuer}/token"
    front.answers["/token"] = lambda: web.json_response({"access_token": "a"})

    await make_openid(front.issuer, secret=secret).refresh("r", send_before=clock.monotonic() + 1)

    form = parse_qs(front.seen[-1].body)
    assert ("Authorization" in front.seen[-1].headers) == in_header
    assert form.get("client_secret") == ([SECRET] if in_body else None)
    assert form.get("client_id") == (None if in_header else ["argo-cd"])
    assert form["refresh_token"] == ["r"]


async def test_a_client_without_a_secret_is_served(
    make_openid: MakeOpenId, provider: DemoProvider, client: Client, clock: FakeClock
) -> None:
    refresh_token = (await client.log_in())["refresh_token"]
    provider.settings.client_secret = ""
    openid = make_openid(provider.issuer, secret="")

    renewed = await openid.refresh(refresh_token, send_before=clock.monotonic() + 1)

    assert await openid.revoke(str(renewed.refresh_token))


async def test_a_secret_that_has_changed_is_used_at_once(
    http: ClientSession, provider: DemoProvider, client: Client, clock: FakeClock
) -> None:
    secrets = [SECRET]
    openid = OpenIdProvider(
        http,
        ProviderAddresses(provider.issuer),
        "argo-cd",
        lambda: Credentials(secret=secrets[-1]),
        clock=clock, metrics=Metrics(), keys_seconds=5,
    )  # fmt: skip
    renewed = await openid.refresh(
        (await client.log_in())["refresh_token"], send_before=clock.monotonic() + 1
    )

    secrets.append("a new one")
    provider.settings.client_secret = "a new one"

    again = await openid.refresh(str(renewed.refresh_token), send_before=clock.monotonic() + 1)
    assert again.id_token


async def test_a_secret_that_cannot_be_read_now_is_an_outage_that_has_spent_nothing(
    http: ClientSession, provider: DemoProvider, clock: FakeClock, tmp_path: Path
) -> None:
    """As when Kubernetes has taken the file away: the sessions must not suffer."""
    file = tmp_path / "gone"
    openid = OpenIdProvider(
        http,
        ProviderAddresses(provider.issuer),
        "argo-cd",
        lambda: Credentials(secret=file.read_text()),
        clock=clock, metrics=Metrics(), keys_seconds=5,
    )  # fmt: skip

    with pytest.raises(ProviderUnavailable, match="secret") as failed:
        await openid.refresh("r", send_before=clock.monotonic() + 1)

    assert failed.value.token_untouched
    assert provider.token_requests == 0


def at_once(pause: Callable[[], None]) -> None:
    pause()


def before_the_loop_goes_on(pause: Callable[[], None]) -> None:
    asyncio.get_running_loop().call_soon(pause)


@pytest.mark.parametrize(
    "when",
    [
        at_once,
        pytest.param(
            before_the_loop_goes_on,
            marks=pytest.mark.skipif(
                sys.version_info >= (3, 12),
                reason="the first byte goes out before the loop goes on",
            ),
        ),
    ],
)
async def test_a_process_that_is_paused_before_its_first_byte_presents_nothing(
    make_openid: MakeOpenId,
    provider: DemoProvider,
    client: Client,
    clock: FakeClock,
    when: Callable[[Callable[[], None]], None],
) -> None:
    async def connected(*_: Any) -> None:
        for pause in pauses:
            when(pause)

    pauses: list[Callable[[], None]] = []
    pausing = TraceConfig()
    pausing.on_connection_create_end.append(connected)
    token = (await client.log_in())["refresh_token"]
    async with provider_session(total_seconds=10, trace_configs=[pausing]) as session:
        openid = make_openid(provider.issuer, session=session)
        renewed = await openid.refresh(token, send_before=clock.monotonic() + 18)
        before = provider.token_requests
        pauses.append(lambda: clock.advance(40))

        with pytest.raises(ProviderUnavailable) as failed:
            await openid.refresh(str(renewed.refresh_token), send_before=clock.monotonic() + 18)

    assert failed.value.token_untouched
    assert provider.token_requests == before


# What failed


def oauth_error(error: str, *, status: int = 400, **more: str) -> Answer:
    return Answer(status=status, body=json.dumps({"error": error, **more}))


@pytest.mark.parametrize(
    ("answer", "over"),
    [
        (oauth_error("invalid_grant"), True),
        (oauth_error("invalid_grant", status=403), True),
        (oauth_error("interaction_required"), True),
        (oauth_error("invalid_client", status=401), False),
        (oauth_error("unauthorized_client"), False),
        (oauth_error("invalid_scope"), False),
    ],
)
async def test_an_oauth_error_is_a_refusal(
    openid: OpenIdProvider, provider: DemoProvider, clock: FakeClock, answer: Answer, over: bool
) -> None:
    provider.script.append(answer)

    with pytest.raises(ProviderRefused) as refused:
        await openid.refresh("r", send_before=clock.monotonic() + 1)

    assert refused.value.over == over


@pytest.mark.parametrize(
    ("answer", "untouched"),
    [
        (Answer(status=429, headers={"Retry-After": "7"}), True),
        (Answer(status=503, headers={"Retry-After": "7"}), True),
        (Answer(status=500, headers={"Retry-After": "7"}), False),
        (
            Answer(
                status=429,
                headers={
                    "Retry-After": "Wed, 21 Oct 2015 07:28:07 GMT",
                    "Date": "Wed, 21 Oct 2015 07:28:00 GMT",
                },
            ),
            True,
        ),
        (Answer(status=400, body='{"error": "invalid_grant"}', content_type="text/html"), False),
        (oauth_error("invalid_grant", status=502), False),
        (Answer(status=504, body="<html>gateway timeout</html>"), False),
        (Answer(status=400, body="<html>a firewall</html>"), False),
        (Answer(status=307, headers={"Location": "/elsewhere"}), False),
        (Answer(status=200, body="<html>a captive portal</html>"), False),
        (Answer(status=200, body="{}"), False),
        (Answer(status=200, body="[]"), False),
        (Answer(status=200, body=b"\xff\xfe"), False),
        (Answer(status=200, body=b"[" * 100_000), False),
        (Answer(status=200, body=LONG), False),
        (Answer(status=500, body=LONG), False),
        (
            Answer(body=zlib.compress(LONG), headers={"Content-Encoding": "deflate"}),
            False,
        ),
        (Answer(body=b"not zipped", headers={"Content-Encoding": "gzip"}), False),
        (Drop(after_commit=False), False),
        (Drop(after_commit=True), False),
    ],
)
async def test_an_answer_that_is_none_is_an_outage_after_which_the_token_may_be_spent(
    openid: OpenIdProvider,
    provider: DemoProvider,
    client: Client,
    clock: FakeClock,
    answer: Behaviour,
    untouched: bool,
) -> None:
    refresh_token = (await client.log_in())["refresh_token"]
    provider.script.append(answer)

    with pytest.raises(ProviderUnavailable) as failed:
        await openid.refresh(refresh_token, send_before=clock.monotonic() + 1)

    waits = isinstance(answer, Answer) and "Retry-After" in answer.headers
    assert failed.value.token_untouched == untouched
    assert failed.value.retry_after_seconds == (7 if waits else 1)


async def test_an_answer_lost_after_the_provider_acted_means_a_spent_token(
    openid: OpenIdProvider, provider: DemoProvider, client: Client, clock: FakeClock
) -> None:
    """What `token_untouched` is about: the same token again is reuse, and ends the grant."""
    refresh_token = (await client.log_in())["refresh_token"]
    provider.script.append(Drop(after_commit=True))
    with pytest.raises(ProviderUnavailable):
        await openid.refresh(refresh_token, send_before=clock.monotonic() + 1)

    with pytest.raises(ProviderRefused):
        await openid.refresh(refresh_token, send_before=clock.monotonic() + 1)

    assert (provider.refreshes, provider.reuses) == (1, 1)


async def test_one_refresh_is_one_request_whatever_becomes_of_it(
    openid: OpenIdProvider, provider: DemoProvider, client: Client, clock: FakeClock
) -> None:
    refresh_token = (await client.log_in())["refresh_token"]
    before = provider.token_requests
    provider.script.append(Drop(after_commit=False))

    with pytest.raises(ProviderUnavailable):
        await openid.refresh(refresh_token, send_before=clock.monotonic() + 1)

    assert provider.token_requests == before + 1


async def test_a_provider_that_does_not_answer_in_time_may_have_spent_the_token(
    make_openid: MakeOpenId, provider: DemoProvider, clock: FakeClock
) -> None:
    provider.hold()
    async with provider_session(total_seconds=0.2) as hasty:
        openid = make_openid(provider.issuer, session=hasty)

        with pytest.raises(ProviderUnavailable) as failed:
            await openid.refresh("r", send_before=clock.monotonic() + 1)

    assert provider.token_requests == 1
    assert not failed.value.token_untouched


async def test_a_refused_connection_has_spent_nothing(
    make_openid: MakeOpenId, front: Front, clock: FakeClock, unused_tcp_port: int
) -> None:
    front.document["token_endpoint"] = f"http://127.0.0.1:{unused_tcp_port}/token"

    with pytest.raises(ProviderUnavailable) as failed:
        await make_openid(front.issuer).refresh("r", send_before=clock.monotonic() + 1)

    assert failed.value.token_untouched


async def test_a_name_that_nobody_knows_has_spent_nothing(
    make_openid: MakeOpenId, front: Front, clock: FakeClock
) -> None:
    front.document["token_endpoint"] = "http://provider.invalid/token"

    with pytest.raises(ProviderUnavailable) as failed:
        await make_openid(front.issuer).refresh("r", send_before=clock.monotonic() + 1)

    assert failed.value.token_untouched


async def test_a_server_that_speaks_no_tls_has_spent_nothing(
    make_openid: MakeOpenId, front: Front, provider: DemoProvider, clock: FakeClock
) -> None:
    front.document["token_endpoint"] = f"{provider.issuer}/token".replace("http:", "https:")

    with pytest.raises(ProviderUnavailable) as failed:
        await make_openid(front.issuer).refresh("r", send_before=clock.monotonic() + 1)

    assert failed.value.token_untouched


async def test_a_connection_that_does_not_come_about_in_time_has_spent_nothing(
    make_openid: MakeOpenId, provider: DemoProvider, clock: FakeClock
) -> None:
    """As behind a firewall that drops packets: the most common kind of outage."""
    async with provider_session(total_seconds=0.2) as hasty:
        openid = make_openid(provider.issuer, session=hasty)
        await openid.endpoints()
        at_connecting(hasty, lambda: asyncio.Event().wait())

        with pytest.raises(ProviderUnavailable) as failed:
            await openid.refresh("r", send_before=clock.monotonic() + 1)

    assert provider.token_requests == 0
    assert failed.value.token_untouched


async def test_a_provider_whose_metadata_cannot_be_read_has_spent_nothing(
    openid: OpenIdProvider, provider: DemoProvider, clock: FakeClock
) -> None:
    provider.available = False

    for _ in range(2):  # asked, and not asked again so soon
        with pytest.raises(ProviderUnavailable) as failed:
            await openid.refresh("r", send_before=clock.monotonic() + 1)
        assert failed.value.token_untouched


# Too late to send


async def test_nothing_is_sent_when_its_time_has_passed(
    openid: OpenIdProvider, provider: DemoProvider, client: Client, clock: FakeClock
) -> None:
    refresh_token = (await client.log_in())["refresh_token"]
    before = provider.token_requests

    with pytest.raises(ProviderUnavailable) as failed:
        await openid.refresh(refresh_token, send_before=clock.monotonic() - 0.001)

    assert provider.token_requests == before
    assert failed.value.token_untouched
    renewed = await openid.refresh(refresh_token, send_before=clock.monotonic() + 1)
    assert renewed.id_token


async def test_nothing_is_sent_when_its_time_has_passed_while_connecting(
    openid: OpenIdProvider,
    provider: DemoProvider,
    client: Client,
    clock: FakeClock,
    http: ClientSession,
) -> None:
    refresh_token = (await client.log_in())["refresh_token"]
    await openid.endpoints()
    before = provider.token_requests

    async def pause() -> None:
        clock.advance(100)

    at_connecting(http, pause)
    with pytest.raises(ProviderUnavailable) as failed:
        await openid.refresh(refresh_token, send_before=clock.monotonic() + 10)

    assert provider.token_requests == before
    assert failed.value.token_untouched


async def test_the_time_to_send_does_not_count_for_metadata(
    openid: OpenIdProvider, provider: DemoProvider, client: Client, clock: FakeClock
) -> None:
    await openid.endpoints()
    refresh_token = (await client.log_in())["refresh_token"]
    clock.advance(DOCUMENT_AGE_SECONDS + 1)

    with pytest.raises(ProviderUnavailable):
        await openid.refresh(refresh_token, send_before=clock.monotonic() - 1)

    assert provider.discovery_requests == 2


async def test_a_late_refresh_leaves_no_deadline_for_others(
    openid: OpenIdProvider, client: Client, clock: FakeClock
) -> None:
    refresh_token = (await client.log_in())["refresh_token"]
    with pytest.raises(ProviderUnavailable):
        await openid.refresh(refresh_token, send_before=clock.monotonic() - 1)

    told = await openid.revoke(refresh_token)

    assert told


# Secrets


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_no_token_or_secret_follows_a_redirection(
    make_openid: MakeOpenId, front: Front, provider: DemoProvider, clock: FakeClock, status: int
) -> None:
    front.document["token_endpoint_auth_methods_supported"] = ["client_secret_post"]
    front.document["revocation_endpoint"] = front.document["token_endpoint"]
    elsewhere = Answer(status=status, headers={"Location": f"{front.issuer}/elsewhere"})
    front.answers["/elsewhere"] = lambda: web.json_response({"access_token": "a"})
    openid = make_openid(front.issuer)

    for call in CALLS.values():
        provider.script.append(elsewhere)
        with pytest.raises(ProviderUnavailable) as failed:
            await call(openid, clock)
        assert not failed.value.token_untouched

    assert provider.token_requests == 3
    assert front.asked("/elsewhere") == 0


REFRESH_TOKEN, CODE = "the+refresh/token=%", "the+code/%"
TOKENS = json.dumps({"error": REFRESH_TOKEN, "error_description": f"{CODE} {NASTY_SECRET}"})

CALLS: dict[str, Callable[[OpenIdProvider, FakeClock], Awaitable[object]]] = {
    "refresh": lambda openid, clock: openid.refresh(
        REFRESH_TOKEN, send_before=clock.monotonic() + 1
    ),
    "exchange": lambda openid, _: openid.exchange(
        CODE, code_verifier=VERIFIER, redirect_uri=REDIRECT_URI
    ),
    "revoke": lambda openid, _: openid.revoke(REFRESH_TOKEN),
}

FAILURES: dict[str, bytes] = {
    "no HTTP": b"it is not HTTP that speaks here\r\n\r\n",
    "a broken header": b"HTTP/1.1 200 OK\r\n: nothing\r\n\r\n",
    "a header too long": b"HTTP/1.1 200 OK\r\nX: " + b"x" * 100_000 + b"\r\n\r\n",
    "nothing": b"",
    "half a body": b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{}",
    "a broken chunk": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n",
    "an echo": b"HTTP/1.1 400 Bad Request\r\n\r\n" + TOKENS.encode(),
    "an echo as success": b"HTTP/1.1 200 OK\r\n\r\n" + TOKENS.encode(),
    "an echo that is not JSON": b"HTTP/1.1 200 OK\r\n\r\n<" + TOKENS.encode(),
    "an echo with a known error": b"HTTP/1.1 400 Bad Request\r\n\r\n"
    + json.dumps({"error": "invalid_grant", "error_description": REFRESH_TOKEN}).encode(),
    "a token that is none": b"HTTP/1.1 200 OK\r\n\r\n"
    + json.dumps({"access_token": f"é{REFRESH_TOKEN}"}).encode(),
    "a redirection without end": b"HTTP/1.1 307 Again\r\nLocation: /token\r\n\r\n",
    "a redirection to no address": b"HTTP/1.1 307 Again\r\nLocation: http://[/\r\n\r\n",
}


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
@pytest.mark.parametrize("answer", FAILURES.values(), ids=FAILURES)
@pytest.mark.parametrize("method", ["client_secret_basic", "client_secret_post"])
async def test_no_error_shows_a_token_a_code_or_a_secret(
    make_openid: MakeOpenId,
    front: Front,
    clock: FakeClock,
    call: Callable[[OpenIdProvider, FakeClock], Awaitable[object]],
    answer: bytes,
    method: str,
) -> None:
    async def speak(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        writer.close()

    async with await asyncio.start_server(speak, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        front.document["token_endpoint"] = f"http://127.0.0.1:{port}/token"
        front.document["revocation_endpoint"] = f"http://127.0.0.1:{port}/revoke"
        front.document["token_endpoint_auth_methods_supported"] = [method]
        openid = make_openid(front.issuer, secret=NASTY_SECRET)

        try:
            await call(openid, clock)
        except SidecarError as error:
            told = said(error)
        else:
            told = "the provider acknowledged a revocation with rubbish"

    for secret in (REFRESH_TOKEN, CODE, VERIFIER, NASTY_SECRET):
        assert secret not in told
        assert quote_plus(secret) not in told
        assert base64.b64encode(f"argo-cd:{quote_plus(secret)}".encode()).decode() not in told


def at_connecting(http: ClientSession, happens: Callable[[], Awaitable[object]]) -> None:
    """From now on, something happens while the client connects."""

    async def connecting(*_: object) -> None:
        await happens()

    trace = TraceConfig()
    trace.on_connection_create_start.append(connecting)
    trace.freeze()
    http.trace_configs.append(trace)


# What an operator is told


BAD_DISCOVERY: dict[str, tuple[Callable[[], web.Response], str]] = {
    "a page": (
        lambda: web.Response(text="<!doctype html><title>Sign in", content_type="text/html"),
        "is a web page, not JSON",
    ),
    "a circle": (
        lambda: web.Response(status=302, headers={"Location": "/.well-known/openid-configuration"}),
        "redirects in a circle",
    ),
    "another issuer": (
        lambda: web.json_response({"issuer": "https://other.example"}),
        "names another issuer, 'https://other.example'",
    ),
    "a wrong issuer": (lambda: web.json_response({"issuer": 1}), "which is no text"),
    "words": (lambda: web.Response(text="gone"), "is not JSON"),
}


@pytest.mark.parametrize("how", BAD_DISCOVERY)
async def test_each_wrong_discovery_has_a_sentence_of_its_own(
    make_openid: MakeOpenId, front: Front, how: str
) -> None:
    answer, sentence = BAD_DISCOVERY[how]
    front.answers["/.well-known/openid-configuration"] = answer

    with pytest.raises(ProviderUnavailable, match=sentence):
        await make_openid(front.issuer).endpoints()


def text_of(file: str) -> str:
    return Path(file).read_text()


async def test_a_provider_with_its_own_authority_is_reached_with_that_and_named_without(
    make_openid: MakeOpenId, tmp_path: Path
) -> None:
    pair = self_signed(tmp_path, "localhost")
    ways = provider_tls(text_of(pair[0]), verify=True), provider_tls("", verify=False)
    async with tls_issuer(pair) as issuer:
        with pytest.raises(ProviderUnavailable, match="certificate is not trusted"):
            await make_openid(issuer).endpoints()
        for way in ways:
            async with provider_session(total_seconds=5, way=Way(way)) as session:
                openid = make_openid(issuer)
                openid.use(session)
                assert (await openid.endpoints()).issuer == issuer
