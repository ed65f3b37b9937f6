"""An OpenID provider that answers with whatever ID token a test has made."""

import json
from dataclasses import dataclass
from typing import Any

import jwt
from aiohttp import ClientResponse
from cryptography.hazmat.primitives.asymmetric import rsa
from yarl import URL

from sidecar.demo.misbehaviour import Answer
from tests.world import Browser, World

PAGE = {"Accept": "text/html"}


@dataclass(frozen=True)
class Login:
    """A login up to its callback: what the relying party asked for, and where it is to go on."""

    browser: Browser
    asked: URL
    callback: str


async def begun(here: World) -> Login:
    """A person who has signed in at the provider."""
    browser = await here.browser()
    start = await browser.get("/auth/login")
    asked = URL(start.headers["Location"])
    form = {"user": "ada", "password": "ada"}
    done = await browser.request("POST", str(asked), data=form)
    return Login(browser, asked, done.headers["Location"])


def id_token(
    here: World,
    login: Login,
    key: rsa.RSAPrivateKey | str,
    *,
    alg: str = "RS256",
    kid: str = "",
    **changes: Any,
) -> str:
    """A token that fits the login but for `changes`; None takes a claim out."""
    now = int(here.clock.now())
    claims = {
        "iss": here.provider.issuer,
        "aud": "argo-cd",
        "sub": "ada",
        "iat": now,
        "exp": now + 300,
        "nonce": login.asked.query["nonce"],
        **changes,
    }
    held = {name: value for name, value in claims.items() if value is not None}
    return jwt.encode(held, key, alg, headers={"kid": kid} if kid else {})


async def finished(here: World, login: Login, token: str) -> ClientResponse:
    """The answer to the callback, once the token endpoint has answered with this ID token."""
    members = {
        "access_token": "an-access-token",
        "refresh_token": "a-refresh-token",
        "token_type": "Bearer",
        "expires_in": 300,
        "id_token": token,
    }
    here.provider.script.append(Answer(body=json.dumps(members)))
    return await login.browser.get(login.callback, headers=PAGE)


async def keys(here: World) -> list[dict[str, Any]]:
    """What the provider publishes."""
    http = (await here.browser()).http
    async with http.get(f"{here.provider.issuer}/.well-known/openid-configuration") as found:
        uri = (await found.json())["jwks_uri"]
    async with http.get(uri) as document:
        published: list[dict[str, Any]] = (await document.json())["keys"]
        return published
