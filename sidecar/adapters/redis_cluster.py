"""The servers of a Cluster: who has which slot, and what they send on."""

import asyncio
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from sidecar.adapters.redis_connection import ResponseError
from sidecar.adapters.redis_node import FAILURES, Node
from sidecar.adapters.redis_way import Access, RedisWay, always
from sidecar.core.store_address import Place, StoreAddress, slot_of
from sidecar.ports import Clock

_MOST_STEPS = 8
_TRY_AGAIN_SECONDS = 0.02
_LOOK_AGAIN_SECONDS = 0.2

Ranges = tuple[tuple[int, int, Place], ...]
"""First and last slot, and who has them."""


class SlotUnserved(ConnectionError):
    """No server of the Cluster is known to have this key."""


class Cluster:
    """Each key is asked for where it is. What a server sends on it has not run.

    Whatever else fails is not repeated; the next question finds out first who has what now.
    """

    def __init__(
        self,
        address: StoreAddress,
        access: Access,
        clock: Clock,
        *,
        command_seconds: float,
        connect_seconds: float,
    ) -> None:
        self._seeds = address.hosts
        self._access = access
        self._clock = clock
        self._command_seconds = command_seconds
        self._connect_seconds = connect_seconds
        self._nodes: dict[Place, Node] = {}
        self._ranges: Ranges = ()
        self._moved: dict[int, Place] = {}
        self._stale = True
        self._looked_at = float("-inf")
        self._looking: asyncio.Task[None] | None = None
        self._interrupted_at = float("-inf")

    @property
    def interrupted_at(self) -> float:
        """When a connection was last made that took another's place, to whichever server."""
        return max([self._interrupted_at, *(node.interrupted_at for node in self._nodes.values())])

    async def node_of(self, key: str) -> Node:
        """The server that has this key, as far as that is known."""
        return self._node(await self._place_of(key))

    async def ask(self, key: str, *command: Any, source: str = "") -> Any:
        """A command's answer by the server that has this key."""
        place, importing = await self._place_of(key), False
        steps, patient_until = 0, self._clock.monotonic() + self._command_seconds
        while steps < _MOST_STEPS:
            steps += 1
            node = self._node(place)
            try:
                if importing:
                    return await node.ask_importing(*command, source=source)
                return await node.ask(*command, source=source)
            except ResponseError as refusal:
                match refusal.code:
                    case "MOVED":
                        slot, place = _sent_on(refusal, place)
                        self._moved[slot], self._stale, importing = place, True, False
                    case "ASK":
                        (_, place), importing = _sent_on(refusal, place), True
                    case "TRYAGAIN" if self._clock.monotonic() <= patient_until:
                        # Some of the keys are here and some there; that lasts milliseconds.
                        await self._clock.sleep(_TRY_AGAIN_SECONDS)
                        place, importing, steps = await self._place_of(key), False, 0
                    case code:
                        self._stale |= code == "CLUSTERDOWN"
                        raise
        raise SlotUnserved

    async def nodes(self) -> Sequence[Node]:
        """All that have slots, by their addresses."""
        await self._look_if_stale()
        places = sorted({place for _, _, place in self._ranges})
        if not places:
            raise SlotUnserved
        return [self._node(place) for place in places]

    def parted(self, keys: Sequence[str]) -> list[list[int]]:
        """Those of one slot together: a script of several is refused."""
        by_slot: dict[int, list[int]] = {}
        for number, key in enumerate(keys):
            by_slot.setdefault(_slot(key), []).append(number)
        return list(by_slot.values()) or [[]]

    def look(self) -> None:
        """Nothing: servers say themselves what is no longer theirs."""

    async def aclose(self) -> None:
        """Close all connections."""
        if self._looking is not None:
            self._looking.cancel()
            await asyncio.gather(self._looking, return_exceptions=True)
        await asyncio.gather(*(node.aclose() for node in self._nodes.values()))

    async def _place_of(self, key: str) -> Place:
        await self._look_if_stale()
        slot = _slot(key)
        place = self._moved.get(slot) or self._place_at(slot)
        if self._node(place).failed:
            self._stale = True
            await self._look_if_stale()
            place = self._moved.get(slot) or self._place_at(slot)
        return place

    def _place_at(self, slot: int) -> Place:
        for first, last, place in self._ranges:
            if first <= slot <= last:
                return place
        self._stale = True
        raise SlotUnserved

    def _node(self, place: Place) -> Node:
        if place not in self._nodes:
            way = RedisWay(
                always(place),
                self._access,
                command_seconds=self._command_seconds,
                connect_seconds=self._connect_seconds,
            )
            self._nodes[place] = Node(way, self._clock, name=f"{place[0]}:{place[1]}")
        return self._nodes[place]

    # Who has what

    async def _look_if_stale(self) -> None:
        """Find out who has what; who asks while others do waits for the same answer."""
        if not self._stale:
            return
        if self._looking is None or self._looking.done():
            now = self._clock.monotonic()
            if self._ranges and now - self._looked_at < _LOOK_AGAIN_SECONDS:
                return
            self._looked_at = now
            looking = self._look()
            self._looking = asyncio.get_running_loop().create_task(looking, name="cluster")
        await asyncio.shield(self._looking)

    async def _look(self) -> None:
        """What most of those say that answer, of whom more than half are waited for.

        One that was cut off from the others still has the slots as they were.
        """
        loop = asyncio.get_running_loop()
        places = {*self._seeds, *(place for _, _, place in self._ranges)}
        asked = [loop.create_task(self._ask_slots(place), name="slots") for place in places]
        heard: Counter[Ranges] = Counter()
        try:
            for answer in asyncio.as_completed(asked, timeout=self._connect_seconds / 2):
                with suppress(*FAILURES):
                    heard[await answer] += 1
                if heard.total() > len(asked) // 2:
                    break
        except TimeoutError:
            pass
        finally:
            for one in asked:
                one.cancel()
            await asyncio.gather(*asked, return_exceptions=True)
        if heard:
            self._ranges = heard.most_common(1)[0][0]
            self._moved, self._stale = {}, False
            await self._forget_others()

    async def _ask_slots(self, place: Place) -> Ranges:
        said = await self._node(place).ask("CLUSTER", "SLOTS")
        found = []
        for first, last, server, *_ in said:
            host = (server[0] or b"").decode() or place[0]
            found.append((int(first), int(last), (host, int(server[1]))))
        return tuple(sorted(found))

    async def _forget_others(self) -> None:
        """Close the connections to servers that have no slots any more."""
        kept = {*self._seeds, *(place for _, _, place in self._ranges)}
        for place in [place for place in self._nodes if place not in kept]:
            node = self._nodes.pop(place)
            self._interrupted_at = max(self._interrupted_at, node.interrupted_at)
            await node.aclose()


def _slot(key: str) -> int:
    return slot_of(key.encode())


def _sent_on(refusal: ResponseError, by: Place) -> tuple[int, Place]:
    """The slot, and where a server sends us for it; one that names no host means its own."""
    _, slot, address = str(refusal).split(" ")[:3]
    host, _, port = address.rpartition(":")
    return int(slot), (host or by[0], int(port))
