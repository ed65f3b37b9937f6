"""Groups from the userinfo endpoint, as argocd-server gets them (its util/oidc, `GetUserInfo`).

Written from Argo CD's own source and not from the sidecar's code, which it judges.
"""

import base64
import hashlib
import json
import secrets
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from aiohttp import ClientError, ClientSession, ClientTimeout
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from redis.asyncio import Redis

FETCH_SECONDS = 5
_NONCE_BYTES = 12


class UserinfoRefused(Exception):
    """The session is invalid; the message is Argo CD's."""


@dataclass(frozen=True)
class UserinfoSettings:
    """What `enableUserInfoGroups` needs: Argo CD's Redis, its `server.secretkey`, the path."""

    redis_url: str = field(repr=False)
    server_secret: bytes = field(repr=False)
    key_prefix: str = ""
    path: str = "/userinfo"


class UserinfoGroups:
    """Asks the provider, with the access token that it finds in Redis, and remembers the answer."""

    def __init__(
        self, settings: UserinfoSettings, issuer: str, *, now: Callable[[], float]
    ) -> None:
        self._with, self._issuer, self._now = settings, issuer, now
        secret = settings.server_secret
        salt = hashlib.sha256(secret).digest()
        key = hashlib.scrypt(secret, salt=salt, n=16384, r=8, p=1, dklen=32, maxmem=2**26)
        self._cipher = AESGCM(key)
        self.asked = 0

    async def groups(self, claims: dict[str, Any]) -> list[str]:
        """The groups of a verified token's user.

        Raises:
            UserinfoRefused: Argo CD answers 401.
        """
        subject = str(claims.get("sub", ""))
        async with Redis.from_url(self._with.redis_url) as redis:
            known = await self._read(redis, f"userinfo_response_{subject}")
            if known is None:
                known = await self._ask(redis, subject)
                await self._keep(redis, f"userinfo_response_{subject}", known, claims)
        found = json.loads(known)
        if found.get("sub") != subject:
            raise UserinfoRefused("subject of claims from user info endpoint didn't match")
        return list(found.get("groups", []))

    async def _ask(self, redis: Redis, subject: str) -> bytes:
        access_token = await self._read(redis, f"access_token_{subject}")
        if access_token is None:
            raise UserinfoRefused(
                f"error while querying userinfo endpoint: no accessToken for {subject}: %!w(<nil>)"
            )
        self.asked += 1
        headers = {"Authorization": f"Bearer {access_token.decode()}"}
        try:
            async with (
                ClientSession(timeout=ClientTimeout(total=FETCH_SECONDS)) as http,
                http.get(self._issuer + self._with.path, headers=headers) as response,
            ):
                if response.status != 200:
                    raise UserinfoRefused("error while querying userinfo endpoint: %!w(<nil>)")
                return await response.read()
        except (ClientError, TimeoutError) as error:
            raise UserinfoRefused("failed to query userinfo endpoint of IDP") from error

    async def _read(self, redis: Redis, name: str) -> bytes | None:
        """An entry, decrypted; None where there is none."""
        value = await redis.get(self._with.key_prefix + name)
        if value is None:
            return None
        sealed = base64.b64decode(json.loads(value), validate=True)
        try:
            return self._cipher.decrypt(sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], None)
        except InvalidTag as error:
            raise UserinfoRefused("could not decrypt: cipher: message authentication failed") from (
                error
            )

    async def _keep(self, redis: Redis, name: str, plain: bytes, claims: dict[str, Any]) -> None:
        """For as long as the ID token lives: an answer without `exp` has no end of its own."""
        nonce = secrets.token_bytes(_NONCE_BYTES)
        sealed = nonce + self._cipher.encrypt(nonce, plain, None)
        value = json.dumps(base64.b64encode(sealed).decode()) + "\n"
        milliseconds = max(1, int((float(claims["exp"]) - self._now()) * 1000))
        await redis.set(self._with.key_prefix + name, value, px=milliseconds)
