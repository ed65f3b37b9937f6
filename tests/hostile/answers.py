"""Answers by name: every row of every provider's profile, and what stands between them and us."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from email.utils import formatdate
from typing import Any

from sidecar.core.failures import _COMMON
from sidecar.core.provider_profiles import (
    PROFILES,
    ErrorRow,
    FailureClass,
    Provider,
    ProviderProfile,
    matches,
)
from sidecar.demo.misbehaviour import Answer

DEX_CLAIMED = "Refresh token is invalid or has already been claimed by another client."
DEX_EXPIRED = "Refresh token expired."
# What providers say where a row wants a sentence.
SENTENCES = (
    DEX_CLAIMED,
    DEX_EXPIRED,
    "Invalid token issuer. Expected 'http://keycloak.sso.svc:8080/realms/main'",
)
# Where a provider does not say it with the usual status, or rows leave the status open.
STATUSES = {
    (Provider.AUTH0, "invalid_grant"): 403,
    (Provider.AUTH0, "mfa_required"): 403,
    (Provider.AUTHENTIK, "invalid_client"): 400,
    (Provider.KEYCLOAK, "unauthorized_client"): 401,
    (Provider.GOOGLE, "deleted_client"): 401,
    (Provider.GOOGLE, "disabled_client"): 401,
}
HUGE_BYTES = 3 * 1024 * 1024
HTML = "<html><body>Bad Gateway</body></html>"


@dataclass(frozen=True)
class Named:
    """An answer with a name, and what it means to who understands it."""

    name: str
    provider: Provider
    failure_class: FailureClass
    answer: Answer

    @property
    def is_own(self) -> bool:
        """Whether only this provider's answers are understood so."""
        return self.name not in (f"{self.provider}/{row.error}" for row in _COMMON)


def answers_of(profile: ProviderProfile) -> list[Named]:
    """A provider's error answers: `dex/invalid_client`, and its own rows.

    A row whose word has another meaning elsewhere has its class in its name, as in
    `keycloak/invalid_grant/operator`; each further sentence of a row has a number.
    """
    return [*_own(profile), *_common(profile)]


def _own(profile: ProviderProfile) -> Iterable[Named]:
    common = {row.error for row in _COMMON}
    for row in profile.errors:
        name = f"{profile.provider}/{row.error}"
        if row.error in common:
            name += f"/{row.failure_class.name.lower()}"
        for number, sentence in enumerate(_sentences(row), start=1):
            yield Named(
                name if number == 1 else f"{name}/{number}",
                profile.provider,
                row.failure_class,
                _error(_status(profile.provider, row), row.error, sentence),
            )


def _common(profile: ProviderProfile) -> Iterable[Named]:
    for row in _COMMON:
        answer = _error(_status(profile.provider, row), row.error, "")
        name = f"{profile.provider}/{row.error}"
        yield Named(name, profile.provider, row.failure_class, answer)


def _sentences(row: ErrorRow) -> list[str]:
    if not row.description:
        return [""]
    found = [sentence for sentence in SENTENCES if matches(row.description, sentence)]
    if not found:
        raise LookupError(f"SENTENCES has none for the row {row}")
    return found


def _status(provider: Provider, row: ErrorRow) -> int:
    if row.statuses:
        return row.statuses[0]
    return STATUSES.get((provider, row.error), 401 if row.error == "invalid_client" else 400)


def _error(status: int, error: str, description: str) -> Answer:
    body = {"error": error} | ({"error_description": description} if description else {})
    return Answer(status=status, body=json.dumps(body), content_type="application/json")


ROWS: Mapping[str, Named] = {
    named.name: named for profile in PROFILES for named in answers_of(profile)
}

# What is no OAuth answer: it comes from something in between, and passes.
PASSING: Mapping[str, Answer] = {
    "200/html": Answer(status=200, body=HTML, content_type="text/html"),
    "200/no-json": Answer(status=200, body="ok"),
    "200/list": Answer(status=200, body="[]"),
    "200/no-token": Answer(status=200, body="{}"),
    "200/token-is-a-number": Answer(status=200, body='{"access_token": 1, "id_token": 2}'),
    "200/huge": Answer(status=200, body=b'"' + b"a" * HUGE_BYTES + b'"'),
    "302/elsewhere": Answer(status=302, headers={"Location": "/elsewhere"}),
    "307/elsewhere": Answer(status=307, headers={"Location": "/elsewhere"}),
    "400/html": Answer(status=400, body=HTML, content_type="text/html"),
    "429/seconds": Answer(status=429, body="slow down", headers={"Retry-After": "2"}),
    "429/date": Answer(status=429, body="slow down", headers={"Retry-After": "{in 2 seconds}"}),
    "500/html": Answer(status=500, body=HTML, content_type="text/html"),
    "502/html": Answer(status=502, body=HTML, content_type="text/html"),
    "503/seconds": Answer(status=503, body=HTML, headers={"Retry-After": "1"}),
}


def answer(wanted: str | Mapping[str, Any], *, now: float) -> Answer:
    """The answer of that name, or made of status, body, content_type and headers.

    Raises:
        LookupError: there is none of that name.
        TypeError: there is no such part of an answer.
    """
    if not isinstance(wanted, str):
        return Answer(**wanted)
    found = PASSING.get(wanted) or ROWS[wanted].answer
    headers = {
        name: value.replace("{in 2 seconds}", formatdate(now + 2, usegmt=True))
        for name, value in found.headers.items()
    }
    return Answer(
        status=found.status, body=found.body, content_type=found.content_type, headers=headers
    )
