"""Tokens of a given length: what a provider with many groups, or JWT access tokens, gives."""

import base64
import json
import secrets
import time
from collections.abc import Callable

LIFE_SECONDS = 3600
CLIENT_ID = "argo-cd"
KEY_ID = "bench"
_SIGNATURE_BYTES = 256  # of RS256 with 2048 bits

Sign = Callable[[bytes], bytes]


def id_token(
    issuer: str,
    user: str,
    *,
    length: int,
    ends_at: float | None = None,
    nonce: str = "",
    sign: Sign | None = None,
    life_seconds: int = LIFE_SECONDS,
) -> str:
    """An ID token of about this many characters; what signs nothing fills its place at random."""
    now = int(time.time())
    exp = int(ends_at) if ends_at is not None else now + life_seconds
    claims = {"iss": issuer, "sub": user, "aud": CLIENT_ID, "iat": exp - life_seconds, "exp": exp}
    claims |= {"nonce": nonce} if nonce else {}
    head = _part(json.dumps({"alg": "RS256", "kid": KEY_ID}).encode())
    bare = len(head) + len(_part(json.dumps({**claims, "groups": [""]}).encode()))
    missing = length - bare - 2 - len(_part(b"0" * _SIGNATURE_BYTES))
    groups = ["g" * max(missing * 3 // 4, 1)]
    signed = f"{head}.{_part(json.dumps({**claims, 'groups': groups}).encode())}"
    signature = sign(signed.encode()) if sign else secrets.token_bytes(_SIGNATURE_BYTES)
    return f"{signed}.{_part(signature)}"


def refresh_token(user: str, generation: int, *, length: int) -> str:
    """A user's n-th refresh token."""
    named = f"{user}.{generation}."
    return named + opaque(length - len(named))


def opaque(length: int) -> str:
    """So many characters that cannot be compressed."""
    return secrets.token_urlsafe(max(length, 1))[: max(length, 1)]


def _part(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
