"""`sidecar sessions list` and `end`: who is logged in, and the end of it."""

import asyncio
import signal
import sys
from argparse import Namespace
from collections import Counter
from collections.abc import AsyncIterator, Mapping

from sidecar.commands import session_text as text
from sidecar.commands.audit import Audit
from sidecar.commands.opening import Opened, opened, trouble_of
from sidecar.commands.progress import Progress
from sidecar.commands.selecting import FEWEST_DIGITS, Selecting, Wanted
from sidecar.config.values import CookieMode
from sidecar.core.person import person_of
from sidecar.errors import StoreUnavailable
from sidecar.flows.ending import Done, Ending, Revoked
from sidecar.flows.walk import Found
from sidecar.ports import Clock, RecordKind

DONE, NOT_ALL, NOT_AT_ALL = 0, 1, 2
_AT_ONCE = 16


def wanted_by(given: Namespace) -> Wanted:
    """Which sessions the arguments mean."""
    return Wanted(given.user or "", given.group or "", given.session or "", given.key or "")


async def list_sessions(given: Namespace, environ: Mapping[str, str], clock: Clock) -> int:
    """Print the sessions that are meant; what went wrong is said on standard error."""
    try:
        async with opened(environ, clock) as store:
            return await _list(store, given)
    except StoreUnavailable as error:
        return _fail(trouble_of(error))


async def _list(store: Opened, given: Namespace) -> int:
    progress = _progress("looking at sessions", store)
    selecting = Selecting(store, wanted_by(given), progress.passed)
    table, more = text.Table(), False
    async for found in _limited(selecting, given.limit):
        if found is None:
            more = True
        elif given.json:
            print(text.as_json(found))
        else:
            table.add(found)
    progress.close()
    if not given.json:
        print(table.text())
    return _say_rest(more, selecting.unreadable)


async def _limited(selecting: Selecting, limit: int) -> AsyncIterator[Found | None]:
    """So many sessions at most, 0 for all; then None if there are more."""
    count = 0
    async for batch in selecting.batches():
        for found in batch:
            if limit and count == limit:
                yield None
                return
            count += 1
            yield found


def _say_rest(more: bool, unreadable: Counter[str]) -> int:
    """What the list does not show."""
    if more:
        _say("There are more. Name --user or --group, or raise --limit (0: no limit)")
    for line in text.of_unreadable(unreadable):
        _say(line)
    return NOT_ALL if unreadable else DONE


async def end_sessions(given: Namespace, environ: Mapping[str, str], clock: Clock) -> int:
    """End the sessions that are meant; how many, and what is left to do, is printed."""
    wanted = wanted_by(given)
    if wanted.everything != given.all:
        return _fail("Say which: --user, --group, --session, --key or --all, and one of them")
    if wanted.session and len(wanted.session) < FEWEST_DIGITS:
        return _fail(f"--session takes {FEWEST_DIGITS} digits at least, as `sessions list` shows")
    try:
        async with opened(environ, clock) as store:
            if given.all and not given.yes and not await _is_sure(store):
                return NOT_AT_ALL
            audit = Audit(environ, store.config.audit_log)
            return await Ends(store, wanted, audit, await _ending(store, given)).run()
    except StoreUnavailable as error:
        return _fail(trouble_of(error))


class Ends:
    """One `sidecar sessions end`."""

    def __init__(self, store: Opened, wanted: Wanted, audit: Audit, ending: Ending) -> None:
        self._store = store
        self._wanted = wanted
        self._audit = audit
        self._ending = ending
        self._progress = _progress("looking at sessions", store)
        self._selecting = Selecting(store, wanted, self._progress.passed)
        self._ended = 0
        self._revoked: Counter[Revoked] = Counter()
        self._untold = 0
        self._left = text.Named()

    async def run(self) -> int:
        """End them, and say what came of it; the exit code.

        Raises:
            StoreUnavailable: it went away meanwhile; how far it came has been said.
        """
        try:
            found = await self._end_wanted()
        except StoreUnavailable:
            _say(text.of_ended(self._ended, self._revoked[Revoked.DONE]))
            raise
        finally:
            self._progress.close()
        return self._say() if found else NOT_AT_ALL

    async def _end_wanted(self) -> bool:
        """Whether it was clear who is meant."""
        if self._wanted.user or self._wanted.session:
            sessions = await self._of_one()
            if sessions is None:
                return False
            await self._end_all(sessions)
        else:
            async for batch in self._selecting.batches():
                await self._end_all(batch)
        if self._wanted.everything:
            await self._end_grants()
        return True

    async def _of_one(self) -> list[Found] | None:
        """The sessions of the one user, or the one session, that is meant; None if two are."""
        sessions = [found async for batch in self._selecting.batches() for found in batch]
        sessions = list({found.key: found for found in sessions}.values())
        self._progress.close()
        if self._wanted.session and len(sessions) > 1:
            _fail(f"{len(sessions)} sessions begin so. Give more digits")
            return None
        if len({found.key.user_tag for found in sessions}) > 1:
            _fail(text.of_namesakes(self._wanted.user, sessions))
            return None
        return sessions

    async def _end_all(self, sessions: list[Found]) -> None:
        for first in range(0, len(sessions), _AT_ONCE):
            some = (self._end(found) for found in sessions[first : first + _AT_ONCE])
            # All of them are waited for: what has happened is to be told of.
            results = await asyncio.gather(*some, return_exceptions=True)
            for error in filter(None, results):
                raise error

    async def _end(self, found: Found) -> None:
        about = {"user": found.key.user_tag, "session": found.key.shown}
        try:
            done = await self._ending.end(found)
        except StoreUnavailable:
            self._audit.note("session_end_not_known", **about)
            raise
        self._ended += 1
        name = person_of(found.grant).known_as if found.grant else found.key.user_tag
        self._note(done, name, **about)

    async def _end_grants(self) -> None:
        """Grants without sessions: nobody can use them here, but their tokens may be good."""
        async for names in self._store.walk.names(RecordKind.GRANT):
            for name in names:
                if done := await self._ending.end_grant(name):
                    self._note(done, name.user_tag, user=name.user_tag, session="")

    def _note(self, done: Done, who: str, *, user: str, session: str) -> None:
        self._revoked[done.revoked] += 1
        self._untold += done.told is False
        if done.revoked.failed:
            self._left.add(done.revoked, who)
        self._audit.note(
            "session_ended_by_operator",
            user=user,
            session=session,
            last=done.last,
            revoked=done.revoked.name.lower(),
        )

    def _say(self) -> int:
        print(text.of_ended(self._ended, self._revoked[Revoked.DONE]))
        for line in [
            *self._left.lines(),
            *text.of_untold(self._untold),
            *text.of_unreadable(self._selecting.unreadable, ended=self._selecting.is_sure),
        ]:
            _say(line)
        unseen = self._selecting.unreadable and not self._selecting.is_sure
        return NOT_ALL if self._left or self._untold or unseen or not self._ended else DONE


async def _ending(store: Opened, given: Namespace) -> Ending:
    mirrors = store.config.cookie_mode is CookieMode.MIRROR
    provider = await store.provider() if given.revoke else None
    return Ending(
        store.store,
        store.records,
        store.clock,
        provider=provider,
        revocations=store.revocations(provider) if provider else None,
        # Browsers hold ID tokens then, which Argo CD takes until their end unless it is told.
        upstream=await store.upstream() if mirrors else None,
    )


async def _is_sure(store: Opened) -> bool:
    """Whether the operator says so, having been told how many sessions there are."""
    if not sys.stdin.isatty():
        _fail("Say --yes to end all sessions: there is nobody here to be asked")
        return False
    count = 0
    async for names in store.walk.names(RecordKind.SESSION):
        count += len(names)
    _say(f"This ends all sessions, {count:,} at most: everybody logs in again. Write yes:")
    if _answer().strip() == "yes":
        return True
    _say("Nothing was done.")
    return False


def _answer() -> str:
    """What the operator types. Ctrl-C ends the command at once: a thread would go on reading."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        return sys.stdin.readline()
    finally:
        signal.signal(signal.SIGINT, before)


def _progress(what: str, store: Opened) -> Progress:
    return Progress(what, sys.stderr, store.clock.monotonic)


def _say(line: str) -> None:
    print(line, file=sys.stderr)


def _fail(line: str) -> int:
    _say(line)
    return NOT_AT_ALL
