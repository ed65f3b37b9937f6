"""How a hostile provider looks at its client, as strictly as the strictest of the real ones."""

import base64
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import jwt

from sidecar.demo.grants import OAuthError
from sidecar.demo.oauth import client_credentials

ASSERTION_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
AZURE_AUDIENCE = "api://AzureADTokenExchange"
# Auth0 takes five minutes at most, Okta an hour.
_LONGEST_ASSERTION_SECONDS = 300


@dataclass(kw_only=True)
class ClientRules:
    """What the client is asked for.

    `client_auth` are the methods that are taken, none named: a secret in header or body;
    `basic-raw` wants the header without form encoding. `client_keys` are the public keys of
    `private_key_jwt`, `audiences` its `aud`, as templates of `{issuer}` and `{endpoint}`.
    `pod_keys` are those of the cluster whose pods' tokens are taken for the client's
    (`workload-identity`), each with `subject` as theirs.
    """

    client_auth: tuple[str, ...] = ()
    client_keys: tuple[Mapping[str, Any], ...] = ()
    audiences: tuple[str, ...] = ("{issuer}",)
    pod_keys: tuple[Mapping[str, Any], ...] = ()
    subject: str = "system:serviceaccount:argocd:argocd-server"


@dataclass
class ClientCheck:
    """Looks at a request's client, and remembers which assertions came."""

    rules: ClientRules
    seen: set[str] = field(default_factory=set)

    def method(self, form: Mapping[str, str], header: str | None) -> str:
        """By which of the methods a request authenticates."""
        if header is not None:
            return "basic"
        if "client_secret" in form:
            return "post"
        return "assertion" if "client_assertion" in form else "none"

    def secret(self, form: Mapping[str, str], header: str | None) -> tuple[str, str]:
        """The client and its secret, as this provider reads a header."""
        if header is None or "basic-raw" not in self.rules.client_auth:
            return client_credentials(form, header)
        pair = base64.b64decode(header.removeprefix("Basic ")).decode()
        client_id, _, secret = pair.partition(":")
        return client_id, secret

    def check_assertion(
        self, form: Mapping[str, str], client_id: str, places: Mapping[str, str], now: float
    ) -> None:
        """Let a request pass that shows an assertion that is taken, for the first time.

        Raises:
            OAuthError: `invalid_client`.
        """
        if form.get("client_assertion_type") != ASSERTION_TYPE:
            raise _refused("client_assertion_type")
        assertion = form["client_assertion"]
        if "workload-identity" in self.rules.client_auth:
            claims = _verified(assertion, self.rules.pod_keys, [AZURE_AUDIENCE], now)
            expected = {"sub": self.rules.subject}
        else:
            audiences = [each.format_map(places) for each in self.rules.audiences]
            claims = _verified(assertion, self.rules.client_keys, audiences, now)
            expected = {"iss": client_id, "sub": client_id}
            self._check_once(claims, now)
        if form.get("client_id") != client_id or not expected.items() <= claims.items():
            raise _refused("another client's")

    def _check_once(self, claims: Mapping[str, Any], now: float) -> None:
        if not claims.get("jti") or claims["jti"] in self.seen:
            raise _refused("jti")
        if claims["exp"] > now + _LONGEST_ASSERTION_SECONDS or isinstance(claims["aud"], list):
            raise _refused("exp or aud")
        self.seen.add(claims["jti"])


def _verified(
    assertion: str, keys: Iterable[Mapping[str, Any]], audiences: list[str], now: float
) -> dict[str, Any]:
    try:
        header = jwt.get_unverified_header(assertion)
        [key] = [k for k in keys if k.get("kid") == header.get("kid")]
        claims: dict[str, Any] = jwt.decode(
            assertion,
            jwt.PyJWK(json.loads(json.dumps(dict(key)))).key,
            algorithms=[key["alg"]],
            audience=audiences,
            options={"verify_exp": False, "verify_iat": False, "require": ["exp", "aud", "sub"]},
        )
    except (jwt.PyJWTError, ValueError) as error:
        raise _refused(type(error).__name__) from error
    if not claims["exp"] > now:
        raise _refused("expired")
    return claims


def _refused(why: str) -> OAuthError:
    return OAuthError("invalid_client", f"The assertion is refused: {why}.", status=401)
