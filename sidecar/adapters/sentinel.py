"""Where the primary is, as Sentinels say it."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

from sidecar.adapters.redis_connection import AuthenticationError, ResponseError, packed, taken
from sidecar.adapters.redis_way import Access, RedisWay, Whereabouts, always
from sidecar.core.store_address import Place, StoreAddress, StoreKind


class PrimaryUnknown(ConnectionError):
    """No Sentinel that can be asked knows a primary that is alive."""


class PrimaryNotNamed(PrimaryUnknown):
    """Those that answered watch no primary of this name."""


class SentinelsRefuse(PrimaryUnknown):
    """Those that answered do not take the password."""


class _Answer(NamedTuple):
    epoch: int
    place: Place


class Sentinels:
    """Asks all of them at once. More than half are waited for, and the newest answer counts.

    One that was cut off from the others still names the primary of before.
    """

    def __init__(
        self, hosts: Sequence[Place], primary: str, access: Access, *, seconds: float
    ) -> None:
        self._hosts = hosts
        self._primary = primary
        self._access = replace(access, username="", password=access.sentinel_password)
        self._seconds = seconds
        self._looking: asyncio.Task[Place] | None = None

    async def aclose(self) -> None:
        """Break off what is under way."""
        if self._looking is not None:
            self._looking.cancel()
            await asyncio.gather(self._looking, return_exceptions=True)

    async def where(self) -> Place:
        """Where the primary is; who asks while others do has their answer.

        Raises:
            PrimaryUnknown: nobody knows.
        """
        if self._looking is None or self._looking.done():
            self._looking = asyncio.get_running_loop().create_task(self._look(), name="sentinels")
        return await asyncio.shield(self._looking)

    async def _look(self) -> Place:
        loop = asyncio.get_running_loop()
        asked = [loop.create_task(self._ask(host), name="sentinel") for host in self._hosts]
        answers: list[_Answer] = []
        failed: type[PrimaryUnknown] = PrimaryUnknown
        try:
            for heard in asyncio.as_completed(asked, timeout=self._seconds):
                try:
                    answers.append(await heard)
                except AuthenticationError:
                    failed = SentinelsRefuse
                except ResponseError as refusal:
                    let_in = refusal.code not in ("NOAUTH", "NOPERM")
                    failed = PrimaryNotNamed if let_in else SentinelsRefuse
                except OSError:
                    continue
                if len(answers) > len(asked) // 2:
                    break
        except TimeoutError:
            pass
        finally:
            for one in asked:
                one.cancel()
            await asyncio.gather(*asked, return_exceptions=True)
        if not answers:
            raise failed
        return max(answers).place

    async def _ask(self, host: Place) -> _Answer:
        way = RedisWay(
            always(host), self._access, command_seconds=self._seconds, connect_seconds=self._seconds
        )
        connection, _ = await way.connected()
        try:
            asked = packed("SENTINEL", "MASTER", self._primary)
            [answer] = taken(await connection.send(asked))
        finally:
            connection.abort()
        words = [word.decode() for word in answer]
        said = dict(zip(words[::2], words[1::2], strict=True))
        if "o_down" in said["flags"].split(","):
            raise PrimaryUnknown  # the next one is being chosen
        return _Answer(int(said["config-epoch"]), (said["ip"], int(said["port"])))


def sentinels_of(address: StoreAddress, access: Access, *, seconds: float) -> Sentinels | None:
    """Those that an address names; None where it names the server itself."""
    if address.kind is not StoreKind.SENTINEL:
        return None
    return Sentinels(address.hosts, address.primary, access, seconds=seconds)


def where_is(address: StoreAddress, sentinels: Sentinels | None) -> Whereabouts:
    """Where the one server is that an address leads to, or its Unix socket."""
    if sentinels is not None:
        return sentinels.where
    return address.socket or always(address.hosts[0])
