"""Which sessions an operator means, found in the store."""

from collections import Counter
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass

from sidecar.commands.opening import Opened
from sidecar.core.person import person_of
from sidecar.core.session import SessionKey, user_tag
from sidecar.flows.walk import Found
from sidecar.ports import RecordKind

FEWEST_DIGITS = 8


@dataclass(frozen=True, slots=True)
class Wanted:
    """What an operator says of the sessions that are meant; nothing means all."""

    user: str = ""
    group: str = ""
    session: str = ""
    key: str = ""

    @property
    def everything(self) -> bool:
        """Whether all sessions are meant."""
        return not (self.user or self.group or self.session or self.key)


class Selecting:
    """Finds the sessions that are meant, a batch at a time.

    `unreadable` counts those that might be meant and could not be opened, by why.
    """

    def __init__(self, opened: Opened, wanted: Wanted, passed: Callable[[int], None]) -> None:
        self._opened = opened
        self._wanted = wanted
        self._passed = passed
        self._tag = ""
        self.unreadable: Counter[str] = Counter()

    @property
    def is_sure(self) -> bool:
        """Whether it needs no opening to know which sessions are meant.

        Not where all are: what does not open may be another installation's in the same store.
        """
        wanted = self._wanted
        named = bool(self._tag) or bool(wanted.session and not wanted.user)
        return named and not (wanted.group or wanted.key)

    async def batches(self) -> AsyncIterator[list[Found]]:
        """The sessions that are meant. What cannot be opened is among them where that is sure.

        Raises:
            StoreUnavailable: the rest is not known.
        """
        self._tag = await self._tag_of_subject() if self._wanted.user else ""
        async for keys in self._keys():
            found = [one for one in await self._opened.walk.look(keys) if self._is_meant(one)]
            if found:
                yield found

    async def _tag_of_subject(self) -> str:
        """The tag of the user whose subject was given, "" if nobody with sessions has that one.

        The subject is the provider's own; a name may be what somebody else has called themselves.
        """
        client = self._opened.client
        tag = user_tag(client.issuer, client.client_id, self._wanted.user)
        return tag if (await self._opened.store.user_sessions(tag, limit=1)).found else ""

    async def _keys(self) -> AsyncIterator[list[SessionKey]]:
        """Of whom there is a choice; by the keys' own names, since an index may be lost."""
        async for names in self._opened.walk.names(RecordKind.SESSION):
            self._passed(len(names))
            meant = [
                SessionKey(name.user_tag, name.id)
                for name in names
                if name.id.startswith(self._wanted.session) and self._tag in ("", name.user_tag)
            ]
            if meant:
                yield meant

    def _is_meant(self, found: Found) -> bool:
        wanted = self._wanted
        if found.session is None or found.grant is None:
            self.unreadable[found.unreadable or "without its grant"] += 1
            return self.is_sure
        if wanted.key and found.session.signed_by not in (wanted.key, ""):
            return False
        if self.is_sure:
            return True
        person = person_of(found.grant)
        if wanted.user and not self._tag and not person.is_called(wanted.user):
            return False
        return not wanted.group or wanted.group in person.groups
