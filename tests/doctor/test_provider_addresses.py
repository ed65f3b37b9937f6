"""What the doctor says of a provider that browsers and pod reach by different addresses."""

from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from aiohttp import web

from sidecar.demo.oauth import discovery_document
from sidecar.doctor.findings import Finding, Level
from sidecar.doctor.run import TrialLogin
from sidecar.doctor.signing_in import User
from tests.doctor.patient import Patient, nobody
from tests.fakes.doors import Door, EgressProxy
from tests.proxy.certificates import Pair, self_signed
from tests.world import free_port

PUBLIC = "https://sso.example.org"


@pytest.fixture
def split(here: Patient) -> Patient:
    """A provider whose issuer nobody can reach from here."""
    document = discovery_document(PUBLIC, revocation_endpoint=True)
    here.front.document = document
    here.argocd.settings.issuer = here.provider.settings.issuer = PUBLIC
    here.environment |= {
        "SIDECAR_ISSUER": PUBLIC,
        "SIDECAR_ISSUER_INTERNAL_URL": here.provider.address,
        "SIDECAR_DISCOVERY_URL": f"{here.front.issuer}/.well-known/openid-configuration",
    }
    return here


def found(findings: list[Finding], name: str) -> Finding:
    (one,) = [each for each in findings if each.id == name]
    return one


async def test_doctor_asks_inside_and_says_where_it_asked_and_where_browsers_go(
    split: Patient,
) -> None:
    findings = await split.findings()

    assert await split.complaints() == {}
    assert f"{PUBLIC} answers at {split.front.issuer}" in found(findings, "provider.discovery").what
    told = found(findings, "provider.addresses").what
    assert f"asked at {split.provider.address}/token (SIDECAR_ISSUER_INTERNAL_URL)" in told
    assert f"Browsers are sent to {PUBLIC}/authorize" in told
    assert found(findings, "provider.client").level is Level.OK


async def test_doctor_says_nothing_of_addresses_where_there_is_one(here: Patient) -> None:
    assert [each for each in await here.findings() if each.id == "provider.addresses"] == []


async def test_doctor_names_the_variable_whose_address_does_not_answer(split: Patient) -> None:
    address = f"http://127.0.0.1:{free_port()}/dex"

    complaints = await split.complaints(
        SIDECAR_ISSUER_INTERNAL_URL=address, SIDECAR_DISCOVERY_URL=""
    )

    assert set(complaints) == {"provider.discovery"}
    what = complaints["provider.discovery"].what
    assert f"{address}/.well-known/openid-configuration (SIDECAR_ISSUER_INTERNAL_URL)" in what
    assert "cannot be reached" in what


async def test_doctor_names_an_override_that_does_not_answer(split: Patient) -> None:
    keys = f"http://127.0.0.1:{free_port()}/keys"

    complaints = await split.complaints(SIDECAR_JWKS_URI=keys)

    assert f"{keys} (SIDECAR_JWKS_URI) cannot be reached" in complaints["provider.jwks"].what


async def test_doctor_finds_a_server_endpoint_at_a_third_address(split: Patient) -> None:
    split.front.document["token_endpoint"] = "https://evil.example/token"
    split.front.document["revocation_endpoint"] = "https://evil.example/revoke"

    complaints = [each for each in await split.findings() if each.id == "provider.endpoints"]

    assert [each.level for each in complaints] == [Level.FAULT, Level.WARNING]
    assert "https://evil.example" in complaints[0].what
    assert "SIDECAR_TOKEN_ENDPOINT" in complaints[0].mend
    assert "SIDECAR_REVOCATION_ENDPOINT" in complaints[1].mend


async def test_doctor_finds_an_http_endpoint_of_an_https_issuer(split: Patient) -> None:
    split.front.document["token_endpoint"] = "http://sso.example.org/token"

    complaints = await split.complaints(
        SIDECAR_ISSUER_INTERNAL_URL="",
        SIDECAR_RESOLVE=f"sso.example.org:443=127.0.0.1:{free_port()}",
    )

    assert complaints["provider.token_endpoint"].level is Level.WARNING
    assert "X-Forwarded-Proto" in complaints["provider.token_endpoint"].mend


async def test_doctor_finds_a_provider_that_takes_its_name_from_the_address(
    split: Patient,
) -> None:
    split.front.document["issuer"] = split.front.issuer

    complaints = await split.complaints()

    assert set(complaints) == {"provider.issuer"}
    assert "SIDECAR_RESOLVE" in complaints["provider.issuer"].mend


async def test_doctor_says_that_the_provider_has_the_name_of_an_alias(split: Patient) -> None:
    split.front.document["issuer"] = "https://sts.example.org"
    split.environment["SIDECAR_ISSUER_ALIASES"] = "https://sts.example.org"

    assert await split.complaints() == {}
    told = found(await split.findings(), "provider.discovery").what
    assert "'https://sts.example.org', which is an alias" in told


async def test_doctor_takes_an_argo_cd_that_trusts_an_alias(here: Patient) -> None:
    alias = "https://sts.example.org"
    here.argocd.settings.issuer = alias

    assert "upstream.client" not in await here.complaints(SIDECAR_ISSUER_ALIASES=alias)


@pytest.fixture
def pair(tmp_path: Path) -> Pair:
    return self_signed(tmp_path, "sso.example.org")


@pytest.fixture
async def tls(split: Patient, pair: Pair) -> AsyncIterator[Door]:
    """The same provider behind TLS, with a certificate for its public name."""
    door = Door(urlsplit(split.provider.address).port or 0, pair=pair)
    async with door.running() as port:
        split.environment |= {
            "SIDECAR_ISSUER_INTERNAL_URL": "",
            "SIDECAR_DISCOVERY_URL": "",
            "SIDECAR_RESOLVE": f"sso.example.org:443=127.0.0.1:{port}",
            "SIDECAR_PROVIDER_CA_FILE": pair[0],
        }
        yield door


async def test_doctor_goes_where_a_host_is_resolved_to_and_says_so(
    split: Patient, tls: Door
) -> None:
    findings = await split.findings()

    assert await split.complaints() == {}
    told = found(findings, "provider.addresses").what
    assert f"{PUBLIC}/token, which is 127.0.0.1:{tls.port} by SIDECAR_RESOLVE" in told
    assert tls.names == {"sso.example.org"}


async def test_doctor_logs_in_where_a_host_is_resolved_to(split: Patient, tls: Door) -> None:
    split.trial = TrialLogin(User("ada", "ada"), nobody)

    findings = await split.findings()

    assert found(findings, "login.flow").level is Level.OK
    assert (split.provider.logins, split.provider.refreshes) == (1, 2)
    assert tls.names == {"sso.example.org"}


async def test_doctor_has_a_person_open_what_is_closed_to_the_pod_and_not_to_browsers(
    split: Patient,
) -> None:
    opened = []

    async def person(url: str) -> str:
        opened.append(url.partition("?")[0])
        return ""

    split.trial = TrialLogin(User("ada", "ada"), person)

    complaints = await split.complaints(
        SIDECAR_RESOLVE=f"sso.example.org:443=127.0.0.1:{free_port()}"
    )

    assert opened == [f"{PUBLIC}/authorize"]
    assert set(complaints) == {"login.flow"}


async def test_doctor_says_where_a_resolved_host_does_not_answer(split: Patient, tls: Door) -> None:
    port = free_port()

    complaints = await split.complaints(SIDECAR_RESOLVE=f"sso.example.org:443=127.0.0.1:{port}")

    what = complaints["provider.discovery"].what
    assert f"which is 127.0.0.1:{port} by SIDECAR_RESOLVE, cannot be reached" in what


async def test_doctor_finds_a_certificate_for_another_name(split: Patient, tls: Door) -> None:
    internal = f"https://localhost:{tls.port}"

    complaints = await split.complaints(SIDECAR_ISSUER_INTERNAL_URL=internal)
    named = await split.complaints(
        SIDECAR_ISSUER_INTERNAL_URL=internal, SIDECAR_PROVIDER_TLS_SERVER_NAME="sso.example.org"
    )

    assert set(complaints) == {"provider.discovery"}
    assert "a certificate for another name" in complaints["provider.discovery"].what
    assert "SIDECAR_PROVIDER_TLS_SERVER_NAME" in complaints["provider.discovery"].mend
    assert named == {}


async def test_doctor_finds_that_no_certificate_is_checked(split: Patient, tls: Door) -> None:
    complaints = await split.complaints(SIDECAR_PROVIDER_TLS_VERIFY="off")

    assert set(complaints) == {"provider.tls"}
    assert "SIDECAR_PROVIDER_CA_FILE" in complaints["provider.tls"].mend


async def test_doctor_says_that_a_proxy_stands_between(
    split: Patient, monkeypatch: pytest.MonkeyPatch
) -> None:
    proxy = EgressProxy()
    async with proxy.running() as port:
        monkeypatch.setenv("HTTP_PROXY", f"http://ada:hush@127.0.0.1:{port}")
        complaints = await split.complaints()

    told = complaints["provider.discovery"].what
    assert "by the proxy 127.0.0.1 answers discovery with 502" in told
    assert "hush" not in repr(complaints)


async def test_doctor_finds_that_metadata_are_redirected_from_https_to_http(
    here: Patient, pair: Pair
) -> None:
    here.front.answers["/.well-known/openid-configuration"] = lambda: web.Response(
        status=302, headers={"Location": f"{here.front.issuer}/moved"}
    )
    here.front.answers["/moved"] = lambda: web.json_response(here.front.document)
    door = Door(urlsplit(here.front.issuer).port or 0, pair=pair)
    async with door.running() as port:
        complaints = await here.complaints(
            SIDECAR_ISSUER=PUBLIC,
            SIDECAR_RESOLVE=f"sso.example.org:443=127.0.0.1:{port}",
            SIDECAR_PROVIDER_CA_FILE=pair[0],
        )

    assert "redirects from https to http" in complaints["provider.discovery"].what
