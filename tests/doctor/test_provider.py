"""Ways to break the provider, or the settings that lead to it."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from sidecar.app import SystemClock
from sidecar.demo.misbehaviour import Answer
from sidecar.doctor.findings import Level
from tests.doctor.patient import SECRET, Patient
from tests.fakes.clock import FakeClock
from tests.fakes.discovery import tls_issuer
from tests.proxy.certificates import Pair
from tests.system.client_keys import ec_key, pem
from tests.world import free_port

DISCOVERY = "/.well-known/openid-configuration"


async def test_doctor_finds_nothing_wrong_with_a_healthy_provider(here: Patient) -> None:
    assert await here.complaints() == {}


async def test_doctor_finds_a_wrong_client_secret(here: Patient) -> None:
    found = await here.complaints(SIDECAR_CLIENT_SECRET="another-secret")

    assert set(found) == {"provider.secret"}
    assert found["provider.secret"].level is Level.FAULT
    assert "invalid_client" in found["provider.secret"].what
    assert "another-secret" not in repr(found)


async def test_doctor_finds_a_refused_client_though_the_provider_has_no_word_for_it(
    here: Patient,
) -> None:
    here.provider.script.append(Answer(status=401, body="no", content_type="text/plain"))

    found = await here.complaints()

    assert found["provider.secret"].level is Level.FAULT


async def test_doctor_says_that_a_secret_is_not_proved_where_the_provider_has_a_problem(
    here: Patient,
) -> None:
    here.provider.script.append(Answer(status=500, body="oh"))

    found = await here.complaints()

    assert found["provider.secret"].level is Level.WARNING
    assert "500" in found["provider.secret"].what


async def test_doctor_finds_a_client_without_the_code_grant(here: Patient) -> None:
    refusal = json.dumps({"error": "unsupported_grant_type"})
    here.provider.script.append(Answer(status=400, body=refusal))

    found = await here.complaints()

    assert "authorization_code" in found["provider.secret"].mend


async def test_doctor_says_by_which_method_a_refused_client_authenticated(
    here: Patient, tmp_path: Path
) -> None:
    key, token = tmp_path / "key", tmp_path / "token"
    key.write_text(pem(ec_key()))
    token.write_text("a.pods.token")
    ways: dict[str, Any] = {
        "secret in the header (client_secret_basic)": {"SIDECAR_CLIENT_SECRET": "another"},
        "basic-raw": {"SIDECAR_CLIENT_SECRET": "another", "SIDECAR_CLIENT_AUTH": "basic-raw"},
        "client_secret_post": {"SIDECAR_CLIENT_SECRET": "another", "SIDECAR_CLIENT_AUTH": "post"},
        "private_key_jwt": {"SIDECAR_CLIENT_SECRET": "", "SIDECAR_CLIENT_KEY_FILE": str(key)},
        "workload identity": {
            "SIDECAR_CLIENT_SECRET": "",
            "SIDECAR_CLIENT_AUTH": "workload-identity",
            "SIDECAR_CLIENT_ASSERTION_FILE": str(token),
        },
    }
    mends = ["basic-raw", "", "", "public half", "Federated credentials"]

    for (method, variables), mend in zip(ways.items(), mends, strict=True):
        found = (await here.complaints(**variables))["provider.secret"]

        assert method in found.what
        assert "invalid_client" in found.what
        assert mend in found.mend


async def test_doctor_says_how_the_client_is_taken(here: Patient) -> None:
    found = await here.findings(SIDECAR_CLIENT_AUTH="post")

    [secret] = [each for each in found if each.id == "provider.secret"]
    assert secret.level is Level.OK
    assert "client_secret_post" in secret.what


async def test_doctor_warns_of_a_method_that_the_provider_does_not_list(here: Patient) -> None:
    here.front.document["token_endpoint_auth_methods_supported"] = ["client_secret_basic"]

    found = await here.complaints(SIDECAR_CLIENT_AUTH="post")

    assert found["provider.client_auth"].level is Level.WARNING
    assert "lists client_secret_basic" in found["provider.client_auth"].what


async def test_doctor_finds_a_missing_client_secret(here: Patient) -> None:
    found = await here.complaints(SIDECAR_CLIENT_SECRET="")

    assert set(found) == {"provider.secret"}
    assert "without a secret" in found["provider.secret"].what


async def test_doctor_finds_a_wrong_client_id(here: Patient) -> None:
    here.argocd.settings.client_id = "argocd-typo"

    found = await here.complaints(SIDECAR_CLIENT_ID="argocd-typo")

    assert set(found) == {"provider.client", "provider.secret"}
    assert "argocd-typo" in found["provider.client"].what
    assert "SIDECAR_CLIENT_ID" in found["provider.client"].mend


async def test_doctor_finds_a_redirect_uri_that_is_not_registered(here: Patient) -> None:
    here.provider.settings.redirect_uris = ()

    found = await here.complaints()

    assert set(found) == {"provider.client"}
    assert "refuses the redirect URI" in found["provider.client"].what
    assert "http://127.0.0.1:9/auth/callback" in found["provider.client"].mend


@pytest.mark.parametrize("field", ["Location", "location"])
async def test_doctor_finds_a_scope_that_the_provider_refuses(here: Patient, field: str) -> None:
    def refused() -> web.Response:
        uri = "http://127.0.0.1:9/auth/callback"
        return web.Response(status=302, headers={field: f"{uri}?error=invalid_scope"})

    here.front.answers["/authorize"] = refused
    here.front.document["authorization_endpoint"] = f"{here.front.issuer}/authorize"

    found = await here.complaints()

    assert set(found) == {"provider.client"}
    assert "invalid_scope" in found["provider.client"].what


async def test_doctor_takes_no_busy_provider_for_one_that_refuses(here: Patient) -> None:
    here.front.answers["/authorize"] = lambda: web.Response(status=429)
    here.front.document["authorization_endpoint"] = f"{here.front.issuer}/authorize"

    found = await here.complaints()

    assert {name: each.level for name, each in found.items()} == {"provider.client": Level.WARNING}


async def test_doctor_proves_no_redirect_uri_by_a_page_for_people(here: Patient) -> None:
    page = "<!doctype html><title>Sign in</title>"
    here.front.answers["/authorize"] = lambda: web.Response(text=page, content_type="text/html")
    here.front.document["authorization_endpoint"] = f"{here.front.issuer}/authorize"

    (client,) = [each for each in await here.findings() if each.id == "provider.client"]

    assert client.level is Level.OK
    assert "--login" in client.mend


async def test_doctor_finds_a_provider_that_is_down(here: Patient) -> None:
    issuer = f"http://127.0.0.1:{free_port()}"
    here.argocd.settings.issuer = issuer

    found = await here.complaints(SIDECAR_ISSUER=issuer)

    assert set(found) == {"provider.discovery"}
    assert "cannot be reached" in found["provider.discovery"].what


async def test_doctor_waits_no_longer_for_a_provider_than_the_sidecar(here: Patient) -> None:
    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    async with await asyncio.start_server(silent, "127.0.0.1", 0) as server:
        issuer = "http://{}:{}".format(*server.sockets[0].getsockname())
        here.argocd.settings.issuer = issuer
        found = await here.complaints(SIDECAR_ISSUER=issuer, SIDECAR_PROVIDER_TIMEOUT="200ms")

    assert set(found) == {"provider.discovery"}
    assert "did not answer in time" in found["provider.discovery"].what


async def test_doctor_finds_an_issuer_whose_name_does_not_resolve(here: Patient) -> None:
    here.argocd.settings.issuer = "http://idp.invalid"

    found = await here.complaints(SIDECAR_ISSUER="http://idp.invalid")

    assert set(found) == {"provider.discovery"}
    assert "cannot be re" in found["provider.discovery"].what  # resolved, or by a proxy reached


async def test_doctor_finds_a_provider_that_answers_with_an_error(here: Patient) -> None:
    here.front.answers[DISCOVERY] = lambda: web.Response(status=503)

    found = await here.complaints()

    assert set(found) == {"provider.discovery"}
    assert "503" in found["provider.discovery"].what


async def test_doctor_finds_an_issuer_that_answers_with_a_web_page(here: Patient) -> None:
    page = "<!doctype html><title>Sign in</title>"
    here.front.answers[DISCOVERY] = lambda: web.Response(text=page, content_type="text/html")

    found = await here.complaints()

    assert set(found) == {"provider.discovery"}
    assert "a web page" in found["provider.discovery"].what


async def test_doctor_finds_half_a_discovery_document(here: Patient) -> None:
    here.front.answers[DISCOVERY] = lambda: web.Response(text='{"issuer": "http')

    assert set(await here.complaints()) == {"provider.discovery"}


async def test_doctor_finds_an_endless_discovery_document(here: Patient) -> None:
    here.front.answers[DISCOVERY] = lambda: web.Response(body=b" " * (1024 * 1024 + 1))

    found = await here.complaints()

    assert set(found) == {"provider.discovery"}
    assert "more than anybody can use" in found["provider.discovery"].what


async def test_doctor_finds_a_redirect_loop(here: Patient) -> None:
    here.front.answers[DISCOVERY] = lambda: web.Response(
        status=302, headers={"Location": DISCOVERY}
    )

    found = await here.complaints()

    assert set(found) == {"provider.discovery"}
    assert "in a circle" in found["provider.discovery"].what


async def test_doctor_finds_an_issuer_that_differs_by_a_slash(here: Patient) -> None:
    here.front.document["issuer"] += "/"

    found = await here.complaints()

    assert set(found) == {"provider.issuer"}
    assert f"{here.front.issuer}/" in found["provider.issuer"].what
    assert "to the letter" in found["provider.issuer"].mend


async def test_doctor_finds_a_certificate_that_nobody_trusts(here: Patient, pair: Pair) -> None:
    async with tls_issuer(pair) as issuer:
        here.argocd.settings.issuer = issuer
        found = await here.complaints(SIDECAR_ISSUER=issuer)

    assert set(found) == {"provider.discovery"}
    assert "not trusted" in found["provider.discovery"].what
    assert "rootCA" in found["provider.discovery"].mend


async def test_doctor_finds_a_missing_endpoint(here: Patient) -> None:
    here.front.document["jwks_uri"] = ""

    assert "provider.endpoints" in await here.complaints()


async def test_doctor_finds_a_jwks_without_a_usable_key(here: Patient) -> None:
    here.front.document["jwks_uri"] = f"{here.front.issuer}/keys"
    here.front.answers["/keys"] = lambda: web.json_response({"keys": [{"kty": "oct", "k": "AA"}]})

    found = await here.complaints()

    assert set(found) == {"provider.jwks"}
    assert "no usable key" in found["provider.jwks"].what


async def test_doctor_finds_a_jwks_that_is_not_there(here: Patient) -> None:
    here.front.document["jwks_uri"] = f"{here.front.issuer}/keys"

    found = await here.complaints()

    assert set(found) == {"provider.jwks"}
    assert "404" in found["provider.jwks"].what


async def test_doctor_finds_signatures_that_nobody_can_verify(here: Patient) -> None:
    here.front.document["id_token_signing_alg_values_supported"] = ["HS256"]

    assert set(await here.complaints()) == {"provider.algorithm"}


async def test_doctor_finds_that_offline_access_is_not_listed(here: Patient) -> None:
    here.front.document["scopes_supported"] = ["openid", "profile", "email", "groups"]

    found = await here.complaints()

    assert set(found) == {"provider.refresh_token"}
    assert "SIDECAR_OFFLINE_ACCESS=always" in found["provider.refresh_token"].mend


@pytest.mark.parametrize(
    ("provider", "mend"),
    [
        ("okta", "Grant type: tick Refresh Token"),
        ("auth0", "Allow Offline Access"),
        ("entra", "API permissions"),
        ("dex", "oauth2.grantTypes"),
        ("authentik", "select offline_access"),
    ],
)
async def test_doctor_names_the_mend_for_this_provider(
    here: Patient, provider: str, mend: str
) -> None:
    here.front.document["scopes_supported"] = ["openid", "profile", "email", "groups"]

    found = await here.complaints(SIDECAR_PROVIDER=provider)

    assert mend in found["provider.refresh_token"].mend


async def test_doctor_knows_that_keycloak_gives_refresh_tokens_unasked(here: Patient) -> None:
    here.front.document["scopes_supported"] = ["openid", "profile", "email", "groups"]

    assert await here.complaints(SIDECAR_PROVIDER="keycloak") == {}


async def test_doctor_finds_that_no_refresh_token_is_asked_for(here: Patient) -> None:
    found = await here.complaints(SIDECAR_OFFLINE_ACCESS="never")

    assert set(found) == {"provider.refresh_token"}
    assert "SIDECAR_OFFLINE_ACCESS" in found["provider.refresh_token"].mend


async def test_doctor_finds_a_provider_without_the_refresh_grant(here: Patient) -> None:
    here.front.document["grant_types_supported"] = ["authorization_code"]

    found = await here.complaints()

    assert found["provider.refresh_token"].level is Level.FAULT


async def test_doctor_finds_a_scope_that_is_not_listed(here: Patient) -> None:
    here.front.document["scopes_supported"] = ["openid", "profile", "email", "offline_access"]

    found = await here.complaints()

    assert set(found) == {"provider.scopes"}
    assert "groups" in found["provider.scopes"].what


async def test_doctor_misses_no_scope_that_dex_takes_and_does_not_list(here: Patient) -> None:
    scopes = "openid profile email groups federated:id"

    found = await here.complaints(SIDECAR_PROVIDER="dex", SIDECAR_SCOPES=scopes)

    assert "provider.scopes" not in found
    assert "provider.scopes" in await here.complaints(SIDECAR_SCOPES=scopes)


async def test_doctor_finds_a_provider_without_pkce(here: Patient) -> None:
    del here.front.document["code_challenge_methods_supported"]

    assert set(await here.complaints()) == {"provider.pkce"}


async def test_doctor_finds_a_login_page_that_only_the_cluster_knows(here: Patient) -> None:
    here.front.document["authorization_endpoint"] = "http://keycloak.sso.svc:8080/auth"

    found = await here.complaints()

    assert found["provider.browser"].level is Level.FAULT
    assert "keycloak.sso.svc" in found["provider.browser"].what


async def test_doctor_finds_a_provider_that_is_taken_for_another(here: Patient) -> None:
    here.front.document["mfa_challenge_endpoint"] = f"{here.front.issuer}/mfa"

    found = await here.complaints(SIDECAR_PROVIDER="okta")

    assert set(found) == {"provider.profile"}
    assert "looks like Auth0" in found["provider.profile"].what


async def test_doctor_finds_a_clock_that_is_six_minutes_off(here: Patient) -> None:
    found = await here.complaints(clock=FakeClock(SystemClock().now() + 360))

    assert set(found) == {"provider.clock", "upstream.clock"}
    assert found["provider.clock"].level is Level.FAULT


async def test_doctor_finds_a_clock_that_is_a_minute_off(here: Patient) -> None:
    found = await here.complaints(clock=FakeClock(SystemClock().now() - 60))

    assert found["provider.clock"].level is Level.WARNING
    assert "behind the provider's" in found["provider.clock"].what


async def test_doctor_finds_a_secret_whose_file_is_gone(here: Patient, tmp_path: Path) -> None:
    found = await here.complaints(
        SIDECAR_CLIENT_SECRET="", SIDECAR_CLIENT_SECRET_FILE=str(tmp_path / "secret")
    )

    assert set(found) == {"settings.variables"}
    assert "SIDECAR_CLIENT_SECRET_FILE" in found["settings.variables"].what


async def test_doctor_shows_no_secret_in_anything_it_says(here: Patient) -> None:
    found = await here.findings(SIDECAR_STORE_URL="redis://ada:hush-hush@127.0.0.1:1/0")

    assert SECRET not in repr(found)
    assert "hush" not in repr(found)
    assert here.environment["SIDECAR_SESSION_KEYS"].partition(":")[2] not in repr(found)
