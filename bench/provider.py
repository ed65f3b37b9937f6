"""`python -m bench.provider`: a provider that asks nobody for a password, and counts.

Every refresh token is good once; a code is the nonce of its login. `GET /-/seen` gives what it
counted.
"""

import asyncio
import base64
import json
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

from aiohttp import ClientSession
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.hashes import SHA256

from bench.serving import Handler, Reply, Request, double, serve
from bench.tokens import KEY_ID, LIFE_SECONDS, id_token, opaque, refresh_token


@dataclass
class Asked:
    """One refresh: whose, when it came, and when it was answered, in Unix seconds."""

    user: str
    at: float
    answered_at: float = 0.0


@dataclass
class Seen:
    """All refreshes, how many were in flight at most, and how many tokens came twice."""

    asked: list[Asked] = field(default_factory=list)
    most_at_once: int = 0
    reused: int = 0

    def count(self) -> dict[str, int]:
        """How often each user was refreshed."""
        found: dict[str, int] = {}
        for each in self.asked:
            found[each.user] = found.get(each.user, 0) + 1
        return found


class Provider:
    """Answers after `delay` seconds, with tokens of `length` characters."""

    def __init__(
        self, issuer: str, *, delay: float, length: int, life_seconds: int = LIFE_SECONDS
    ) -> None:
        self._issuer, self._delay, self._length = issuer, delay, length
        self._life_seconds = life_seconds
        self._key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        self._generations: dict[str, int] = {}
        self._at_once = 0
        self.seen = Seen()

    def answer(self, request: Request) -> Reply:
        """The reply to a request."""
        match request.path:
            case "/token":
                form = parse_qs(request.body.decode())
                return self._redeem(form["code"][0]) if "code" in form else self._refresh(form)
            case "/.well-known/openid-configuration":
                return _json(
                    {
                        "issuer": self._issuer,
                        "authorization_endpoint": f"{self._issuer}/authorize",
                        "token_endpoint": f"{self._issuer}/token",
                        "jwks_uri": f"{self._issuer}/jwks",
                    }
                )
            case "/jwks":
                return _json({"keys": [self._public_key()]})
            case "/-/count":
                return _json({"refreshes": len(self.seen.asked)})
            case "/-/seen":
                asked = [vars(each) for each in self.seen.asked]
                return _json({**vars(self.seen), "asked": asked})
            case path if path.startswith("/authorize?"):
                return _sent_back(parse_qs(urlsplit(path).query))
            case _:
                return Reply(b"{}", status="404 Not Found")

    def _redeem(self, nonce: str) -> Reply:
        return _json(self._tokens("bench", 0, nonce=nonce))

    def _refresh(self, form: dict[str, list[str]]) -> Reply:
        user, generation, _ = form["refresh_token"][0].split(".", 2)
        asked = Asked(user, time.time())
        self.seen.asked.append(asked)
        if int(generation) != self._generations.get(user, 0):
            self.seen.reused += 1
            return Reply(b'{"error": "invalid_grant"}', status="400 Bad Request")
        self._at_once += 1
        self.seen.most_at_once = max(self.seen.most_at_once, self._at_once)
        self._generations[user] = int(generation) + 1

        def sent() -> None:
            self._at_once -= 1
            asked.answered_at = time.time()

        tokens = self._tokens(user, int(generation) + 1)
        return Reply(json.dumps(tokens).encode(), delay=self._delay, sent=sent)

    def _tokens(self, user: str, generation: int, *, nonce: str = "") -> dict[str, Any]:
        issuer, length, life = self._issuer, self._length, self._life_seconds
        made = id_token(
            issuer, user, length=length, nonce=nonce, sign=self._sign, life_seconds=life
        )
        return {
            "token_type": "Bearer",
            "expires_in": life,
            "access_token": opaque(length),
            "id_token": made,
            "refresh_token": refresh_token(user, generation, length=length),
        }

    def _sign(self, data: bytes) -> bytes:
        return self._key.sign(data, padding.PKCS1v15(), SHA256())

    def _public_key(self) -> dict[str, str]:
        numbers = self._key.public_key().public_numbers()
        return {
            "kty": "RSA",
            "use": "sig",
            "alg": "RS256",
            "kid": KEY_ID,
            "n": _number(numbers.n),
            "e": _number(numbers.e),
        }


def _sent_back(asked: dict[str, list[str]]) -> Reply:
    answer = urlencode({"code": asked["nonce"][0], "state": asked["state"][0]})
    return Reply(b"{}", status="302 Found", location=f"{asked['redirect_uri'][0]}?{answer}")


def _json(value: object) -> Reply:
    return Reply(json.dumps(value).encode())


def _number(value: int) -> str:
    data = value.to_bytes((value.bit_length() + 7) // 8)
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


@dataclass(frozen=True)
class ProviderHandle:
    """A provider that runs."""

    issuer: str
    _http: ClientSession

    async def refreshes(self) -> int:
        """How many refreshes came."""
        return int((await self._get("count"))["refreshes"])

    async def machine_token(self) -> str:
        """A token of an hour, which it has signed."""
        async with self._http.post(f"{self.issuer}/token", data={"code": "machine"}) as answer:
            return str(json.loads(await answer.read())["id_token"])

    async def seen(self) -> Seen:
        """All that came."""
        found = await self._get("seen")
        return Seen(**{**found, "asked": [Asked(**each) for each in found["asked"]]})

    async def _get(self, name: str) -> dict[str, Any]:
        async with self._http.get(f"{self.issuer}/-/{name}") as answer:
            found: dict[str, Any] = json.loads(await answer.read())
            return found


@asynccontextmanager
async def provider(
    *, delay: float, length: int, life_seconds: int = LIFE_SECONDS
) -> AsyncIterator[ProviderHandle]:
    """A provider that lives as long as the block."""
    settings = {"delay": delay, "length": length, "life_seconds": life_seconds}
    async with (
        double("bench.provider", settings) as issuer,
        ClientSession() as http,
    ):
        yield ProviderHandle(issuer, http)


def _make(issuer: str) -> Handler:
    return Provider(issuer, **json.loads(sys.argv[1])).answer


if __name__ == "__main__":
    asyncio.run(serve(_make))
