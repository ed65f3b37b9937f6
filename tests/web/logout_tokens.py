"""Logout tokens as a provider sends them."""

from itertools import count
from typing import Any

import jwt
from aiohttp import ClientResponse
from cryptography.hazmat.primitives.asymmetric import rsa

from sidecar.core.logout_token import EVENT
from tests.world import Browser, World

_numbers = count(1)


def logout_token(here: World, key: rsa.RSAPrivateKey, **changes: Any) -> str:
    """One that names nobody yet, with these claims."""
    now = int(here.clock.now())
    claims = {
        "iss": here.provider.issuer,
        "aud": "argo-cd",
        "iat": now,
        "exp": now + 120,
        "jti": f"logout-{next(_numbers)}",
        "events": {EVENT: {}},
        **changes,
    }
    return jwt.encode(claims, key, "RS256", headers={"typ": "logout+jwt"})


async def tell(browser: Browser, token: str, **options: Any) -> ClientResponse:
    """Ask as the provider would; the browser's cookies come along and mean nothing."""
    return await browser.request(
        "POST", "/auth/backchannel-logout", data={"logout_token": token}, **options
    )


def sids(here: World) -> list[str]:
    """The provider's own sessions, the oldest first."""
    return [event.detail for event in here.provider.log if event.kind == "code"]
