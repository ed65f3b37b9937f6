"""An OAuth client of the demo's provider, as plain as a test can have it."""

import hashlib
from collections.abc import Mapping
from typing import Any, Protocol
from urllib.parse import parse_qsl, urlencode, urlsplit

from aiohttp import ClientResponse, ClientSession

from sidecar.demo.jwks import base64url

REDIRECT_URI = "http://127.0.0.1:1/auth/callback"
VERIFIER = "a-verifier-of-at-least-forty-three-characters-length"
CHALLENGE = base64url(hashlib.sha256(VERIFIER.encode()).digest())
SECRET = {"client_id": "argo-cd", "client_secret": "demo-secret"}
ADA = {"user": "ada", "password": "ada"}

ASKED = {
    "client_id": "argo-cd",
    "redirect_uri": REDIRECT_URI,
    "response_type": "code",
    "scope": "openid profile email groups offline_access",
    "code_challenge": CHALLENGE,
    "code_challenge_method": "S256",
    "state": "a-state",
    "nonce": "a-nonce",
}


class Clock:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.time = 1_800_000_000.0

    def now(self) -> float:
        return self.time

    def advance(self, seconds: float) -> None:
        self.time += seconds


class HasIssuer(Protocol):
    """A provider, here or in another process."""

    @property
    def issuer(self) -> str: ...


class Client:
    """Logs in, refreshes and revokes."""

    def __init__(self, http: ClientSession, provider: HasIssuer) -> None:
        self.http, self.provider = http, provider

    def authorize_url(self, **changes: str) -> str:
        return f"{self.provider.issuer}/authorize?{urlencode({**ASKED, **changes})}"

    async def answer_form(self, form: Mapping[str, str], **changes: str) -> ClientResponse:
        url = self.authorize_url(**changes)
        return await self.http.post(url, data=form, allow_redirects=False)

    async def code(self, **changes: str) -> str:
        response = await self.answer_form(ADA, **changes)
        return location_parameters(response)["code"]

    async def exchange(self, code: str, **changes: str) -> tuple[int, dict[str, Any]]:
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": REDIRECT_URI,
            "code_verifier": VERIFIER,
        }
        return await self.token({**form, **SECRET, **changes})

    async def log_in(self, **changes: str) -> dict[str, Any]:
        status, tokens = await self.exchange(await self.code(**changes))
        assert status == 200
        return tokens

    async def refresh(self, refresh_token: str) -> tuple[int, dict[str, Any]]:
        form = {"grant_type": "refresh_token", "refresh_token": refresh_token}
        return await self.token({**form, **SECRET})

    async def token(self, form: Mapping[str, str]) -> tuple[int, dict[str, Any]]:
        async with self.http.post(f"{self.provider.issuer}/token", data=form) as response:
            assert response.headers["Cache-Control"] == "no-store"
            return response.status, await response.json()


def location_parameters(response: ClientResponse) -> dict[str, str]:
    return dict(parse_qsl(urlsplit(response.headers["Location"]).query))
