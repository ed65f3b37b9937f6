"""Verify a machine's bearer token against given keys: RFC 7519, RFC 8725 and RFC 9068 section 4.

A token is looked at twice. Whose it says to be decides, unbelieved, who is to judge it: what is of
no trusted issuer is the upstream's affair. What is of one is verified here, or goes nowhere.
"""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from sidecar.core.base64url import from_base64url
from sidecar.core.id_token import ALGORITHMS, SigningKey, instant, signed_payload
from sidecar.core.machine_rules import Claims, TrustedIssuer
from sidecar.core.strict_json import read_object
from sidecar.errors import TokenInvalid

MOST_LENGTH = 16 * 1024
# RFC 7515 section 7.1, with the padding that some issuers leave.
_COMPACT = re.compile(r"[A-Za-z0-9_-]*={0,2}\.[A-Za-z0-9_-]*={0,2}\.[A-Za-z0-9_-]*={0,2}")
_LONGEST_SUBJECT = 1024  # GitHub's can be made of several claims
_LONGEST_KEY_ID = 255


@dataclass(frozen=True, slots=True)
class Claimed:
    """Whose a token says to be, and for whom. Nobody has checked it.

    Of a name that comes twice each value counts, whichever of them others would read.
    """

    issuers: tuple[str, ...]
    audiences: frozenset[str]


@dataclass(frozen=True, slots=True, eq=False, weakref_slot=True)
class Machine:
    """Whose token was verified: the same object for as long as that is remembered.

    `issuer` is the operator's name for its issuer.
    """

    issuer: str
    subject: str
    claims: Claims = field(repr=False)


@dataclass(frozen=True, slots=True)
class Header:
    """The algorithm of a token, one that its issuer may use, and its key; None: it names none."""

    alg: str
    kid: str | None


def claimed(token: str) -> Claimed | None:
    """Whose `token` says to be; None for what is no JWT, and for one that names nobody.

    Raises:
        TokenInvalid: it is nested so deep that this cannot be told.
    """
    if not _COMPACT.fullmatch(token):
        return None
    try:
        text = from_base64url(token.split(".")[1]).decode("utf-8", "replace")
        found, _ = _LENIENT.raw_decode(text.lstrip())
    except RecursionError as error:
        raise TokenInvalid("nested") from error
    except ValueError:
        return None
    # Go takes a name in any case for the one that it looks for.
    pairs = found if isinstance(found, _Members) else ()
    members = [(name.casefold(), value) for name, value in pairs]
    issuers = tuple(value for name, value in members if name == "iss" and isinstance(value, str))
    if not issuers:
        return None
    return Claimed(issuers, _texts([value for name, value in members if name == "aud"]))


def read_header(token: str, issuer: TrustedIssuer) -> Header:
    """How a token says to be signed, once that is as its issuer's must be.

    What it says of where a key is, or of the key itself (`jku`, `x5u`, `jwk`, `x5c`), counts for
    nothing: the keys are those that the issuer publishes.

    Raises:
        TokenInvalid: naming the first check that failed.
    """
    header = _header(token)
    alg, kid, typ = header.get("alg"), header.get("kid"), header.get("typ", "")
    if not isinstance(alg, str) or alg not in ALGORITHMS or alg not in issuer.algorithms:
        raise TokenInvalid("alg")
    if "crit" in header:  # there is no extension that is understood here (RFC 7515 4.1.11)
        raise TokenInvalid("crit")
    if not isinstance(typ, str):
        raise TokenInvalid("typ")
    if typ.lower().removeprefix("application/") not in issuer.types:
        raise TokenInvalid("typ")
    if kid is not None and (not isinstance(kid, str) or len(kid) > _LONGEST_KEY_ID):
        raise TokenInvalid("kid")
    return Header(alg, kid)


def verify(
    token: str, header: Header, keys: Sequence[SigningKey], issuer: TrustedIssuer, *, now: float
) -> tuple[Machine, float]:
    """Whose `token` is, once signed by one of `keys` and as its issuer's must be; and until when.

    That is in Unix seconds, leeway included.

    Raises:
        TokenInvalid: naming the first check that failed.
    """
    if not keys:
        raise TokenInvalid("kid")
    payload = signed_payload(token, header.alg, keys)
    claims = read_object(payload, named="claims")
    if claims.get("iss") != issuer.issuer:
        raise TokenInvalid("iss")
    if _texts([claims.get("aud")]).isdisjoint(issuer.audiences):
        raise TokenInvalid("aud")
    good_until = _check_times(claims, issuer, now)
    _check_required(claims, issuer)
    return Machine(issuer.name, _subject(claims), claims), good_until


def _header(token: str) -> dict[str, Any]:
    if len(token) > MOST_LENGTH:
        raise TokenInvalid("length")
    if not _COMPACT.fullmatch(token):
        raise TokenInvalid("header")
    try:
        text = from_base64url(token.partition(".")[0])
    except ValueError as error:
        raise TokenInvalid("header") from error
    return read_object(text, named="header")


def _check_times(claims: dict[str, Any], issuer: TrustedIssuer, now: float) -> float:
    """The last instant at which all of them hold."""
    leeway = issuer.leeway_seconds
    expires_at, issued_at = instant(claims, "exp"), instant(claims, "iat")
    if expires_at + leeway <= now:
        raise TokenInvalid("exp")
    if issued_at - leeway > now:
        raise TokenInvalid("iat")
    if "nbf" in claims and instant(claims, "nbf") - leeway > now:
        raise TokenInvalid("nbf")
    if issuer.max_age_seconds is None:
        return expires_at + leeway
    too_old_at = issued_at + issuer.max_age_seconds + leeway
    if too_old_at <= now:
        raise TokenInvalid("age")
    return min(expires_at + leeway, too_old_at)


def _check_required(claims: dict[str, Any], issuer: TrustedIssuer) -> None:
    for required in issuer.required_claims:
        found = claims.get(required.name)
        values = found if isinstance(found, list) else [found]
        if found is None or not values:
            raise TokenInvalid(f"claim {required.name}")
        if required.values and not any(_is_one_of(value, required.values) for value in values):
            raise TokenInvalid(f"claim {required.name}")


def _is_one_of(value: Any, wanted: Sequence[str | bool | int | float]) -> bool:
    """Whether it is one of these in JSON's eyes, to which `true` is not 1."""
    return any(
        value == each and isinstance(value, bool) is isinstance(each, bool) for each in wanted
    )


def _subject(claims: dict[str, Any]) -> str:
    subject = claims.get("sub")
    if not isinstance(subject, str) or not 0 < len(subject) <= _LONGEST_SUBJECT:
        raise TokenInvalid("sub")
    return subject


def _texts(values: Sequence[Any]) -> frozenset[str]:
    """The texts in values of `aud`, each of which is one or a list of them (RFC 7519 4.1.3)."""
    lists = [value if type(value) is list else [value] for value in values]
    return frozenset(text for each in lists for text in each if isinstance(text, str))


class _Members(list[tuple[str, Any]]):
    """A JSON object as it is written, with each name as often as it comes."""


def _number(_: str) -> int:
    return 0  # whose value nobody asks for here


# Whatever any reader behind us could take for claims must not hide their issuer from this one:
# bytes that are no text, control characters, numbers without an end, something behind the object.
_LENIENT = json.JSONDecoder(object_pairs_hook=_Members, parse_int=_number, strict=False)
