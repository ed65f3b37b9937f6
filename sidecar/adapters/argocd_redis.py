"""Access tokens in Argo CD's own Redis, in Argo CD's own form."""

from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import TypeVar, cast

from redis.exceptions import RedisError

from sidecar.adapters.redis_client import Access, redis_client
from sidecar.adapters.redis_node import is_read_only
from sidecar.adapters.sentinel import sentinels_of, way_to
from sidecar.core.argocd_access_token import (
    NONCE_BYTES,
    access_token_key,
    encryption_key,
    group_keys,
    open_entry,
    seal_entry,
)
from sidecar.core.store_address import StoreAddress
from sidecar.errors import SeedUnavailable
from sidecar.ports import AccessToken

_MAX_CONNECTIONS = 8
_MOST_AT_ONCE = 500
_CONNECT_SECONDS = 0.5  # a login waits for it once

_T = TypeVar("_T")


class ArgoCdRedis:
    """Writes what Argo CD will read; `server_secret` is its `server.secretkey`."""

    def __init__(
        self,
        url: str,
        server_secret: bytes,
        *,
        key_prefix: str,
        random: Callable[[int], bytes],
        command_seconds: float,
    ) -> None:
        address = StoreAddress.parse(url)
        access = Access.of(address)
        self._sentinels = sentinels_of(address, access, seconds=_CONNECT_SECONDS / 2)
        self._redis = redis_client(
            way_to(address, self._sentinels),
            access,
            database=address.database,
            max_connections=_MAX_CONNECTIONS,
            command_seconds=command_seconds,
            connect_seconds=_CONNECT_SECONDS,
        )
        self._key = encryption_key(server_secret)
        self._prefix = key_prefix
        self._random = random

    async def aclose(self) -> None:
        """Close all connections."""
        if self._sentinels is not None:
            await self._sentinels.aclose()
        await self._redis.aclose(close_connection_pool=True)

    async def put(self, token: AccessToken) -> None:
        """Write a token over the one before; Argo CD asks for the user's groups anew."""

        async def write() -> None:
            async with self._redis.pipeline(transaction=True) as pipe:
                pipe.set(self._place(token), self._sealed(token), px=_ms(token.seconds))
                pipe.delete(*group_keys(token.subject, prefix=self._prefix))
                await pipe.execute()

        await self._asked(write)

    async def put_back(self, tokens: Sequence[AccessToken]) -> int:
        """Write those of which Argo CD has none; how many that were."""
        written = 0
        for first in range(0, len(tokens), _MOST_AT_ONCE):
            some = tokens[first : first + _MOST_AT_ONCE]
            there = await self._asked(partial(self._there, some))
            for token, found in zip(some, there, strict=True):
                if not found:
                    written += await self._asked(partial(self._write_new, token))
        return written

    async def take_back(self, token: AccessToken) -> None:
        """Take a token out, if it is the one that is there: it will soon be worth nothing."""

        async def take() -> None:
            found = cast(bytes | None, await self._redis.get(self._place(token)))
            if found is not None and open_entry(found, self._key) == token.value:
                await self._redis.delete(self._place(token))

        await self._asked(take)

    async def _there(self, tokens: Sequence[AccessToken]) -> list[int]:
        async with self._redis.pipeline(transaction=False) as pipe:
            for token in tokens:
                pipe.exists(self._place(token))
            answers: list[int] = await pipe.execute()
            return answers

    async def _write_new(self, token: AccessToken) -> int:
        place, sealed = self._place(token), self._sealed(token)
        answer = await self._redis.set(place, sealed, px=_ms(token.seconds), nx=True)
        return int(answer is not None)

    async def _asked(self, command: Callable[[], Awaitable[_T]]) -> _T:
        try:
            return await command()
        except (RedisError, OSError, TimeoutError) as error:
            if is_read_only(error):
                # A replica now: the next connection is made to where the address leads then.
                await self._redis.connection_pool.disconnect()
            # Not chained: the library's error may hold the command, and so the entry.
            # A refused password comes as the cause of a broken connection.
            raise SeedUnavailable(type(error.__cause__ or error).__name__) from None

    def _place(self, token: AccessToken) -> str:
        return access_token_key(token.subject, prefix=self._prefix)

    def _sealed(self, token: AccessToken) -> bytes:
        return seal_entry(token.value, self._key, nonce=self._random(NONCE_BYTES))


def _ms(seconds: float) -> int:
    return max(1, round(seconds * 1000))
