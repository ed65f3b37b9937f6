"""What passes between an upstream and its Dex, and what is taken out of it.

The upstream's own login goes on as it was: only its authorization request asks for a refresh
token (OpenID Connect Core section 11), and that one token stays here.
"""

import base64
import hashlib
import json
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any
from urllib.parse import parse_qsl, unquote_plus

from sidecar.core.id_token import IdTokenClaims
from sidecar.core.tokens import TokenSet

_MAX_PARAMETERS = 100
_KEPT_BACK = ("refresh_token", "refresh_expires_in")


def with_offline_access(target: str, client_id: str) -> str:
    """An authorization request of our client that asks for `offline_access`; others as they came.

    Nothing else of the target changes, not even how it is spelled.
    """
    path, _, query = target.partition("?")
    parts = query.split("&")
    if len(parts) > _MAX_PARAMETERS:
        return target
    named = [(unquote_plus(name), value) for name, _, value in (p.partition("=") for p in parts)]
    asked = defaultdict(str, {name: unquote_plus(value) for name, value in named})
    at = [i for i, (name, _) in enumerate(named) if name == "scope"]
    ours = asked["client_id"] == client_id and "code" in asked["response_type"].split()
    if not ours or len(at) != 1:
        return target
    scopes = asked["scope"].split()
    if "openid" not in scopes or "offline_access" in scopes:
        return target
    parts[at[0]] += "+offline_access"
    return f"{path}?{'&'.join(parts)}"


def redeems_code(form: bytes, authorization: str, client_id: str) -> bool:
    """Whether a token request redeems a code for our client (RFC 6749 sections 2.3.1, 4.1.3)."""
    try:
        pairs = parse_qsl(form.decode(), keep_blank_values=True, max_num_fields=_MAX_PARAMETERS)
    except ValueError:
        return False
    fields = dict(pairs)
    if len(fields) != len(pairs) or fields.get("grant_type") != "authorization_code":
        return False
    return (_basic_user(authorization) or fields.get("client_id")) == client_id


def _basic_user(authorization: str) -> str:
    scheme, _, encoded = authorization.partition(" ")
    if scheme.lower() != "basic":
        return ""
    try:
        return unquote_plus(base64.b64decode(encoded.strip()).decode().partition(":")[0])
    except ValueError:
        return ""


def without_refresh_token(body: bytes) -> bytes:
    """A token answer without its refresh token and its end; as it came where it has none."""
    try:
        answer = json.loads(body)
    except (ValueError, RecursionError):
        return body
    if not isinstance(answer, dict):
        return body
    # Go, in which upstreams are written, reads a member's name whatever its case.
    kept = {name: value for name, value in answer.items() if name.lower() not in _KEPT_BACK}
    return body if len(kept) == len(answer) else json.dumps(kept, separators=(",", ":")).encode()


def id_token_hash(id_token: str) -> str:
    """The SHA-256 of an ID token: names what belongs to it without showing it."""
    return hashlib.sha256(id_token.encode(errors="replace")).hexdigest()


@dataclass(frozen=True, slots=True)
class Kept:
    """The tokens of a login that was observed, and what its verified ID token says."""

    tokens: TokenSet
    claims: IdTokenClaims

    def to_bytes(self) -> bytes:
        """What is sealed of it."""
        return json.dumps([asdict(self.tokens), asdict(self.claims)]).encode()

    @classmethod
    def from_bytes(cls, plain: bytes) -> "Kept":
        """What was kept."""
        tokens, claims = json.loads(plain)
        return cls(
            TokenSet(**_known(TokenSet, tokens)), IdTokenClaims(**_known(IdTokenClaims, claims))
        )


def _known(kind: Any, fields: dict[str, Any]) -> dict[str, Any]:
    """What this release knows of it: a newer one beside it may have added some."""
    names: Sequence[str] = kind.__slots__
    return {name: value for name, value in fields.items() if name in names}
