import json

import pytest

from sidecar.core.argocd_settings import without_pkce


def settings(*, pkce: bool) -> bytes:
    oidc = {"name": "SSO", "enablePKCEAuthentication": pkce}
    return json.dumps({"url": "https://argocd.example.org", "oidcConfig": oidc}).encode()


def test_the_uis_own_login_is_switched_off_and_nothing_else_changes() -> None:
    assert json.loads(without_pkce(settings(pkce=True))) == json.loads(settings(pkce=False))


def test_what_is_written_anew_is_as_short_as_argo_cd_writes_it() -> None:
    body = b'{"oidcConfig":{"enablePKCEAuthentication":true},"plugins":[1,2]}'

    assert without_pkce(body) == body.replace(b"true", b"false")


@pytest.mark.parametrize(
    "body",
    [
        settings(pkce=False),
        b'{"oidcConfig": {"name": "SSO"}}',
        b'{"oidcConfig": null}',
        b"{}",
        b"[]",
        b"not JSON",
        b"\xff",
        b"[" * 100_000,
    ],
    ids=lambda body: body[:20].decode(errors="replace"),
)
def test_settings_without_that_login_pass_as_they_came(body: bytes) -> None:
    assert without_pkce(body) == body
