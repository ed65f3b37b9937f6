"""A hostile provider looks at its client as strictly as the strictest of the real ones."""

import base64
from typing import Any

import jwt
import pytest

from sidecar.demo.grants import OAuthError
from tests.hostile.clients import ASSERTION_TYPE, AZURE_AUDIENCE, ClientCheck, ClientRules
from tests.system.client_keys import POD, public_jwk, rsa_key

NOW = 1_800_000_000.0
KEY, OTHER = rsa_key(), rsa_key()
PLACES = {"issuer": "https://idp", "endpoint": "https://idp/token"}
GOOD: dict[str, Any] = {
    "iss": "argo-cd", "sub": "argo-cd", "aud": "https://idp", "exp": NOW + 60, "jti": "1",
}  # fmt: skip


def check(auth: str = "private-key-jwt") -> ClientCheck:
    keys = (public_jwk(KEY, "RS256"),)
    return ClientCheck(ClientRules(client_auth=(auth,), client_keys=keys, pod_keys=keys))


def form(key: Any = KEY, **claims: Any) -> dict[str, str]:
    assertion = jwt.encode({**GOOD, **claims}, key, "RS256")
    return {
        "client_id": "argo-cd",
        "client_assertion": assertion,
        "client_assertion_type": ASSERTION_TYPE,
    }


def test_an_assertion_is_taken_once() -> None:
    looking = check()

    looking.check_assertion(form(), "argo-cd", PLACES, NOW)

    with pytest.raises(OAuthError, match="jti"):
        looking.check_assertion(form(), "argo-cd", PLACES, NOW)


@pytest.mark.parametrize(
    "sent",
    [
        form(OTHER),
        form(iss="another"),
        form(sub="another"),
        form(aud="https://another"),
        form(aud="https://idp/token"),
        form(aud=["https://idp"]),
        form(exp=NOW - 1),
        form(exp=NOW + 3600),
        form(jti=""),
        {**form(), "client_id": "another"},
        {**form(), "client_assertion_type": "another"},
        {**form(), "client_assertion": "a.b.c"},
    ],
)
def test_an_assertion_that_is_not_this_clients_for_this_provider_and_now_is_refused(
    sent: dict[str, str],
) -> None:
    with pytest.raises(OAuthError, match="invalid_client"):
        check().check_assertion(sent, "argo-cd", PLACES, NOW)


def test_a_pods_token_is_taken_for_azure_and_this_service_account_alone() -> None:
    looking = check("workload-identity")
    pod = {"iss": "https://cluster", "sub": POD, "aud": AZURE_AUDIENCE}

    looking.check_assertion(form(**pod), "argo-cd", PLACES, NOW)

    for wrong in ({"sub": "another"}, {"aud": "another"}, {"exp": NOW - 1}):
        with pytest.raises(OAuthError, match="invalid_client"):
            looking.check_assertion(form(**{**pod, **wrong}), "argo-cd", PLACES, NOW)


@pytest.mark.parametrize(("auth", "expected"), [("basic", "a b"), ("basic-raw", "a+b")])
def test_a_header_is_read_form_encoded_or_as_it_is(auth: str, expected: str) -> None:
    header = f"Basic {base64.b64encode(b'argo-cd:a+b').decode()}"

    assert check(auth).secret({}, header) == ("argo-cd", expected)
