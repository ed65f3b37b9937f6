"""Access tokens in Argo CD's own Redis, in Argo CD's own form."""

from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import TypeVar

from sidecar.adapters.redis_connection import packed, taken
from sidecar.adapters.redis_node import FAILURES, Node, error_name
from sidecar.adapters.redis_way import Access, RedisWay
from sidecar.adapters.sentinel import sentinels_of, where_is
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
from sidecar.ports import AccessToken, Clock

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
        clock: Clock,
        command_seconds: float,
    ) -> None:
        address = StoreAddress.parse(url)
        access = Access.of(address)
        self._sentinels = sentinels_of(address, access, seconds=_CONNECT_SECONDS / 2)
        way = RedisWay(
            where_is(address, self._sentinels),
            access,
            command_seconds=command_seconds,
            connect_seconds=_CONNECT_SECONDS,
            database=address.database,
        )
        self._node = Node(way, clock)
        self._key = encryption_key(server_secret)
        self._prefix = key_prefix
        self._random = random

    async def aclose(self) -> None:
        """Close the connection."""
        if self._sentinels is not None:
            await self._sentinels.aclose()
        await self._node.aclose()

    async def put(self, token: AccessToken) -> None:
        """Write a token over the one before; Argo CD asks for the user's groups anew."""

        async def write() -> None:
            await self._send(
                packed("MULTI"),
                packed("SET", self._place(token), self._sealed(token), "PX", _ms(token.seconds)),
                packed("DEL", *group_keys(token.subject, prefix=self._prefix)),
                packed("EXEC"),
            )

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
            found: bytes | None = await self._node.ask("GET", self._place(token))
            if found is not None and open_entry(found, self._key) == token.value:
                await self._node.ask("DEL", self._place(token))

        await self._asked(take)

    async def _there(self, tokens: Sequence[AccessToken]) -> list[int]:
        return await self._send(*(packed("EXISTS", self._place(token)) for token in tokens))

    async def _write_new(self, token: AccessToken) -> int:
        place, sealed = self._place(token), self._sealed(token)
        answer = await self._node.ask("SET", place, sealed, "PX", _ms(token.seconds), "NX")
        return int(answer is not None)

    async def _send(self, *commands: bytes) -> list[int]:
        """The answers to commands that go together."""
        return taken(await self._node.send(b"".join(commands), len(commands)))

    async def _asked(self, command: Callable[[], Awaitable[_T]]) -> _T:
        try:
            return await command()
        except FAILURES as error:
            # Not chained: the server's text may hold the command, and so the entry.
            raise SeedUnavailable(error_name(error)) from None

    def _place(self, token: AccessToken) -> str:
        return access_token_key(token.subject, prefix=self._prefix)

    def _sealed(self, token: AccessToken) -> bytes:
        return seal_entry(token.value, self._key, nonce=self._random(NONCE_BYTES))


def _ms(seconds: float) -> int:
    return max(1, round(seconds * 1000))
