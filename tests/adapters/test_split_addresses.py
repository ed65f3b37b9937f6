"""One provider at two addresses, on sockets: who is asked where, and by which name."""

import ssl
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from aiohttp import ClientSession, web
from cryptography.hazmat.primitives.asymmetric import rsa

from sidecar.adapters.openid_provider import OpenIdProvider
from sidecar.adapters.provider_http import Way, provider_session
from sidecar.config.tls import provider_tls
from sidecar.core.client_authentication import Credentials
from sidecar.core.provider_addresses import ProviderAddresses
from sidecar.demo.oauth import ProviderSettings, discovery_document
from sidecar.errors import ProviderUnavailable
from sidecar.metrics import Metrics
from tests.adapters.front import Front
from tests.demo.client import REDIRECT_URI, Client
from tests.fakes.clock import FakeClock
from tests.fakes.doors import Door, EgressProxy
from tests.fakes.split_provider import Names, SplitProvider
from tests.proxy.certificates import Pair, self_signed

PATH = "/orchestrator/api/dex"
NAME = "sso.example.org"
NAME_URL = f"https://{NAME}"
TOKEN = "eyJhbGciOiJSUzI1NiJ9.e30.e30"
DISCOVERY = f"{PATH}/.well-known/openid-configuration"


def trusting(pair: Pair) -> ssl.SSLContext:
    """TLS by this authority."""
    return provider_tls(Path(pair[0]).read_text(), verify=True)


@dataclass
class At:
    """A provider, where a test reaches it."""

    issuer: str


class Split:
    """A provider, the door that browsers go through, and what makes a client of its."""

    def __init__(self, provider: SplitProvider, clock: FakeClock, owned: AsyncExitStack) -> None:
        self.provider = provider
        self.door = Door()
        self.inside = 0
        self._clock = clock
        self._owned = owned

    @property
    def issuer(self) -> str:
        return self.provider.issuer

    @property
    def internal_url(self) -> str:
        return f"http://127.0.0.1:{self.inside}{PATH}"

    def openid(self, addresses: ProviderAddresses, http: ClientSession) -> OpenIdProvider:
        """The sidecar's own client of the provider."""
        return OpenIdProvider(
            http, addresses, "argo-cd", lambda: Credentials(secret="demo-secret"),
            clock=self._clock, metrics=Metrics(), keys_seconds=5,
        )  # fmt: skip

    async def http(self, way: Way | None = None) -> ClientSession:
        """An HTTP client, closed at the end."""
        return await self._owned.enter_async_context(provider_session(total_seconds=5, way=way))

    async def refresh_token(self) -> str:
        """One that the provider has given."""
        client = Client(await self.http(), At(self.internal_url))
        return str((await client.log_in())["refresh_token"])


@pytest.fixture
async def split(clock: FakeClock, signing_key: rsa.RSAPrivateKey) -> AsyncIterator[Split]:
    """Browsers reach it at `localhost` and the door's port, the pod at the provider's own."""
    settings = ProviderSettings(redirect_uris=(REDIRECT_URI,), path=PATH)
    provider = SplitProvider(settings, now=clock.now, key=signing_key)
    async with AsyncExitStack() as owned:
        here = Split(provider, clock, owned)
        inside = await owned.enter_async_context(provider.running())
        here.inside = here.door.leads_to = urlsplit(inside).port or 0
        outside = await owned.enter_async_context(here.door.running())
        settings.issuer = f"http://localhost:{outside}{PATH}"
        yield here


@pytest.fixture
async def front(split: Split) -> AsyncIterator[Front]:
    front = Front(split.provider)
    async with front.running():
        yield front


# What was measured: three ways in which metadata name endpoints


@pytest.mark.parametrize("names", Names)
async def test_browsers_go_outside_and_the_sidecar_asks_inside_whatever_the_metadata_name(
    split: Split, names: Names
) -> None:
    split.provider.names = names
    openid = split.openid(ProviderAddresses(split.issuer, split.internal_url), await split.http())
    refresh_token = await split.refresh_token()

    endpoints = await openid.endpoints()
    tokens = await openid.refresh(refresh_token, send_before=float("inf"))
    keys = await openid.signing_keys(tokens.id_token or "")
    told = await openid.revoke(tokens.refresh_token or "")

    assert endpoints.issuer == split.issuer
    assert endpoints.authorization_endpoint == f"{split.issuer}/authorize"
    assert endpoints.end_session_endpoint == f"{split.issuer}/logout"
    assert endpoints.userinfo_endpoint == f"{split.internal_url}/userinfo"
    assert len(keys) == 1
    assert told
    assert split.door.paths == []


async def test_without_an_internal_url_the_sidecar_goes_where_browsers_go(split: Split) -> None:
    openid = split.openid(ProviderAddresses(split.issuer), await split.http())

    await openid.refresh(await split.refresh_token(), send_before=float("inf"))

    assert split.door.paths == [DISCOVERY, f"{PATH}/token"]


@pytest.mark.parametrize("names", [Names.PUBLIC, Names.BY_HOST])
async def test_metadata_at_an_address_of_their_own_send_no_browser_there(
    split: Split, names: Names
) -> None:
    split.provider.names = names
    document = f"{split.internal_url}/.well-known/openid-configuration"
    addresses = ProviderAddresses(split.issuer, discovery_url=document)

    endpoints = await split.openid(addresses, await split.http()).endpoints()

    assert endpoints.authorization_endpoint == f"{split.issuer}/authorize"
    base = split.issuer if names is Names.PUBLIC else split.internal_url
    assert endpoints.token_endpoint == f"{base}/token"
    assert split.door.paths == []


async def test_a_moved_provider_is_asked_at_its_new_address_at_once(split: Split) -> None:
    openid = split.openid(ProviderAddresses(split.issuer), await split.http())
    before = await openid.endpoints()

    openid.move(ProviderAddresses(split.issuer, split.internal_url))

    assert before.token_endpoint == f"{split.issuer}/token"
    assert (await openid.endpoints()).token_endpoint == f"{split.internal_url}/token"


# Names that stay


async def test_a_provider_that_calls_itself_by_the_internal_address_is_not_believed(
    split: Split,
) -> None:
    issuer, split.provider.settings.issuer = split.issuer, split.internal_url
    addresses = ProviderAddresses(issuer, split.internal_url)

    with pytest.raises(ProviderUnavailable, match="names another issuer"):
        await split.openid(addresses, await split.http()).endpoints()


async def test_a_provider_may_call_itself_by_an_alias_that_is_set(split: Split) -> None:
    issuer, split.provider.settings.issuer = split.issuer, split.internal_url
    addresses = ProviderAddresses(issuer, split.internal_url, aliases=(split.internal_url,))

    endpoints = await split.openid(addresses, await split.http()).endpoints()

    assert endpoints.issuer == issuer
    assert endpoints.token_endpoint == f"{split.internal_url}/token"


# Where the secret does not go


@pytest.mark.parametrize("internal", [True, False], ids=["beside an internal url", "alone"])
async def test_no_metadata_lead_the_secret_to_another_host_without_tls(
    split: Split, front: Front, internal: bool
) -> None:
    elsewhere = front.issuer.replace("127.0.0.1", "localhost")
    front.document |= {
        "issuer": "https://sso.example.org",
        "token_endpoint": f"{elsewhere}/token",
        "revocation_endpoint": f"{elsewhere}/revoke",
    }
    addresses = ProviderAddresses(
        "https://sso.example.org",
        front.issuer if internal else "",
        f"{front.issuer}/.well-known/openid-configuration",
    )
    openid = split.openid(addresses, await split.http())

    with pytest.raises(ProviderUnavailable, match="SIDECAR_TOKEN_ENDPOINT") as failed:
        await openid.refresh("a-refresh-token", send_before=float("inf"))

    assert failed.value.token_untouched
    assert {seen.path for seen in front.seen} == {"/.well-known/openid-configuration"}
    assert "demo-secret" not in repr(front.seen)


async def test_no_metadata_lead_the_secret_from_an_internal_url_to_a_third_place_behind_tls(
    split: Split, front: Front, tmp_path: Path
) -> None:
    pair = self_signed(tmp_path, "localhost")
    third = Door(split.inside, pair=pair)
    way = Way(trusting(pair))
    async with third.running() as port:
        front.document |= {"issuer": NAME_URL, "token_endpoint": f"https://localhost:{port}/token"}
        openid = split.openid(ProviderAddresses(NAME_URL, front.issuer), await split.http(way))

        with pytest.raises(ProviderUnavailable, match="SIDECAR_ISSUER_INTERNAL_URL"):
            await openid.refresh("a-refresh-token", send_before=float("inf"))

    assert third.names == set()


@pytest.mark.parametrize("document", ["discovery", "jwks"])
async def test_documents_are_not_taken_from_where_https_is_redirected_to_http(
    split: Split, front: Front, tmp_path: Path, document: str
) -> None:
    pair = self_signed(tmp_path, "localhost")
    behind = Door(urlsplit(front.issuer).port or 0, pair=pair)
    way = Way(trusting(pair))
    async with behind.running() as port:
        issuer = f"https://localhost:{port}"
        front.document = discovery_document(issuer, revocation_endpoint=False)
        front.answers["/elsewhere"] = lambda: web.json_response(front.document)
        path = {"discovery": "/.well-known/openid-configuration", "jwks": "/jwks"}[document]
        front.answers[path] = lambda: web.Response(
            status=302, headers={"Location": f"{front.issuer}/elsewhere"}
        )
        openid = split.openid(ProviderAddresses(issuer), await split.http(way))

        with pytest.raises(ProviderUnavailable, match=f"{document} is redirected from https"):
            await openid.signing_keys(TOKEN)


async def test_documents_may_be_redirected_otherwise(split: Split, front: Front) -> None:
    front.document = discovery_document(front.issuer, revocation_endpoint=False)
    front.answers["/moved"] = front.answers["/.well-known/openid-configuration"]
    front.answers["/.well-known/openid-configuration"] = lambda: web.Response(
        status=301, headers={"Location": "/moved"}
    )

    endpoints = await split.openid(ProviderAddresses(front.issuer), await split.http()).endpoints()

    assert endpoints.issuer == front.issuer


# `SIDECAR_RESOLVE`: another machine, the same names


@pytest.fixture
async def tls_door(split: Split, pair: Pair) -> AsyncIterator[Door]:
    """The provider behind TLS, whose certificate is for `sso.example.org`; its issuer is that."""
    split.provider.settings.issuer = f"{NAME_URL}{PATH}"
    door = Door(split.inside, pair=pair)
    async with door.running():
        yield door


@pytest.fixture
def pair(tmp_path: Path) -> Pair:
    return self_signed(tmp_path, NAME)


@pytest.fixture
def trust(pair: Pair) -> ssl.SSLContext:
    return trusting(pair)


@pytest.mark.parametrize("proxied", [False, True], ids=["plain", "though a proxy is set"])
async def test_a_resolved_host_keeps_its_name_in_host_and_certificate(
    split: Split,
    tls_door: Door,
    trust: ssl.SSLContext,
    monkeypatch: pytest.MonkeyPatch,
    proxied: bool,
) -> None:
    if proxied:
        monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")
    way = Way(trust, resolve={(NAME, 443): ("127.0.0.1", tls_door.port)})
    openid = split.openid(ProviderAddresses(split.issuer), await split.http(way))

    await openid.refresh(await split.refresh_token(), send_before=float("inf"))

    assert tls_door.paths == [DISCOVERY, f"{PATH}/token"]
    assert (tls_door.names, tls_door.hosts) == ({NAME}, {NAME})


async def test_a_host_may_be_resolved_to_another_hosts_name(
    split: Split, tls_door: Door, trust: ssl.SSLContext
) -> None:
    way = Way(trust, resolve={(NAME, 443): ("localhost", tls_door.port)})

    endpoints = await split.openid(
        ProviderAddresses(split.issuer), await split.http(way)
    ).endpoints()

    assert endpoints.issuer == split.issuer


async def test_what_is_resolved_counts_for_its_own_port_alone(
    split: Split, tls_door: Door, trust: ssl.SSLContext
) -> None:
    way = Way(trust, resolve={("localhost", 443): ("127.0.0.1", 9)})
    addresses = ProviderAddresses(split.issuer, f"http://localhost:{split.inside}{PATH}")

    assert (await split.openid(addresses, await split.http(way)).endpoints()).issuer == split.issuer


# Certificates


async def test_a_certificate_for_another_name_is_said_and_that_name_can_be_given(
    split: Split, tls_door: Door, trust: ssl.SSLContext
) -> None:
    addresses = ProviderAddresses(split.issuer, f"https://localhost:{tls_door.port}{PATH}")
    unnamed = split.openid(addresses, await split.http(Way(trust)))
    named = split.openid(addresses, await split.http(Way(trust, server_name=NAME)))

    with pytest.raises(ProviderUnavailable, match="SIDECAR_PROVIDER_TLS_SERVER_NAME"):
        await unnamed.endpoints()
    await named.refresh(await split.refresh_token(), send_before=float("inf"))

    assert tls_door.names == {"localhost", NAME}
    assert tls_door.hosts == {f"localhost:{tls_door.port}"}


async def test_an_authority_that_nobody_trusts_is_said(split: Split, tls_door: Door) -> None:
    way = Way(resolve={(NAME, 443): ("127.0.0.1", tls_door.port)})

    with pytest.raises(ProviderUnavailable, match="SIDECAR_PROVIDER_CA_FILE"):
        await split.openid(ProviderAddresses(split.issuer), await split.http(way)).endpoints()


async def test_without_a_check_any_certificate_will_do(split: Split, tls_door: Door) -> None:
    addresses = ProviderAddresses(split.issuer, f"https://127.0.0.1:{tls_door.port}{PATH}")
    way = Way(provider_tls("", verify=False))

    assert (await split.openid(addresses, await split.http(way)).endpoints()).issuer == split.issuer


# The egress proxy


@pytest.fixture
async def proxy(tls_door: Door, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[EgressProxy]:
    proxy = EgressProxy(tls_door.port)
    async with proxy.running() as port:
        for name in ("HTTPS_PROXY", "HTTP_PROXY"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{port}")
        yield proxy


@pytest.mark.parametrize(
    ("host", "server_name"), [(NAME, ""), ("dex.sso.svc", NAME)], ids=["its own name", "given"]
)
async def test_a_proxy_is_asked_for_the_host_and_tls_inside_names_what_it_should(
    split: Split,
    tls_door: Door,
    trust: ssl.SSLContext,
    proxy: EgressProxy,
    host: str,
    server_name: str,
) -> None:
    refresh_token = await split.refresh_token()
    addresses = ProviderAddresses(split.issuer, "" if host == NAME else f"https://{host}{PATH}")
    openid = split.openid(addresses, await split.http(Way(trust, server_name=server_name)))

    await openid.refresh(refresh_token, send_before=float("inf"))

    assert proxy.asked_for == [f"{host}:443"] * 2
    assert (tls_door.names, tls_door.hosts) == ({NAME}, {host})


async def test_an_internal_url_that_needs_no_proxy_is_reached_without_it(
    split: Split, proxy: EgressProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    refresh_token = await split.refresh_token()
    monkeypatch.setenv("NO_PROXY", ".svc,127.0.0.1")
    openid = split.openid(ProviderAddresses(split.issuer, split.internal_url), await split.http())

    await openid.refresh(refresh_token, send_before=float("inf"))

    assert proxy.asked_for == []


async def test_an_internal_url_that_no_proxy_leaves_out_goes_to_the_proxy(
    split: Split, proxy: EgressProxy
) -> None:
    openid = split.openid(ProviderAddresses(split.issuer, split.internal_url), await split.http())

    with pytest.raises(ProviderUnavailable, match="answered 502"):
        await openid.endpoints()

    assert proxy.asked_for == [f"{split.internal_url}/.well-known/openid-configuration"]
