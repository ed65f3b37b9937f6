"""What the replicas are made to do at once, what may go wrong, and what must hold afterwards."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from sidecar.core.session import SessionKey
from sidecar.errors import ProviderUnavailable, StoreUnavailable
from sidecar.flows.cache import HOLDS_SECONDS
from tests.interleavings.explorer import Bounds, Explored, Scenario, Step, Turns, explore
from tests.interleavings.world import LEASE, PATIENCE_SECONDS, TOKEN_SECONDS, Replica, World

_CUT_SECONDS = 5.0
_PAUSES = (LEASE / 2 + 1, LEASE + 5)  # too long to ask; so long that another has asked meanwhile


@dataclass
class Story(Scenario):
    """Callers, each `name: (verb, replica)`: join, log in, look after, and those of `_DEEDS`.

    `age` is how old the ID token is when they begin; None: nobody has logged in yet.
    `wrong` names the kinds of faults, `ends` the reasons for which a session may then end
    although nobody logged out.
    """

    callers: dict[str, tuple[str, str]]
    age: float | None = TOKEN_SECONDS + 1
    wrong: tuple[str, ...] = ()
    ends: frozenset[str] = frozenset()
    watched: bool = False
    idle: bool = False
    """The session was not used lately, so that its use is written behind the request."""
    shared: bool = False
    """The provider has one refresh token per user, and so all sessions share a grant."""
    known: tuple[str, ...] = ()
    """Which replicas know the session when the story begins."""
    asks: int | None = None
    """How often the provider is asked, if that is certain."""
    slow: bool = False
    """Replies may take so long that a request's wait ends."""
    world: World = field(init=False)
    key: SessionKey | None = None

    def begin(self, turns: Turns) -> None:
        """Start all callers."""
        self.world = World(turns, self.watched, self.shared)
        for name in sorted({replica for _, replica in self.callers.values()}):
            self.world.add(name)
        if self.age is not None:
            self.key = self.world.logged_in(age=self.age, idle=self.idle)
        if self.known:
            self._let_all_know(turns)
        for name, (verb, replica) in self.callers.items():
            self._start(name, verb, self.world.replicas[replica])

    def _let_all_know(self, turns: Turns) -> None:
        assert self.key
        turns.exploring = False
        for name in self.known:
            load = self.world.replicas[name].sessions.load(self.key)
            self.world.start(f"{name} knows", name, load)
        turns.run()
        turns.exploring = True

    def _start(self, name: str, verb: str, replica: Replica) -> None:
        world = self.world
        if verb == "look after":
            work = world.look_after(replica, name)
        elif verb == "log in":
            work = world.finish_login(replica, name)
        elif verb == "join":
            work = world.join(replica, name)
        else:
            assert self.key
            work = _DEEDS[verb](world, replica, self.key, name)
        world.start(name, replica.name, work)

    @property
    def logs_out(self) -> bool:
        """Whether somebody ends the first session."""
        return any(verb in _LAST_DEEDS for verb, _ in self.callers.values())

    # What may go wrong.

    def faults(self, turns: Turns) -> Sequence[tuple[str, Callable[[], None]]]:
        """Every fault of the story's kinds that can happen now."""
        return [fault for kind in self.wrong for fault in _KINDS[kind](self.world, turns)]

    # What must hold.

    def check(self, turns: Turns) -> None:
        """After every schedule."""
        world = self.world
        assert not world.violations, world.violations
        self._check_outcomes()
        if any(verb == "look after" for verb, _ in self.callers.values()):
            self._let_look_after(turns)
        self._check_provider()
        self._check_left(turns)
        ended_before = world.stored() is None and world.grant_id != ""
        if world.grant_id and not ended_before and not self.shared:
            self._check_no_token_lost()
        logged_out = "logged out" in world.outcomes.values()
        if ended_before and logged_out and not self.wrong and not self.shared:
            assert world.family.revoked, "logged out, and the provider honours the refresh token"
        if self.asks is not None:
            assert world.provider.count("refresh") == self.asks, world.provider.log
        self._check_lease()
        world.store_down_until.clear()
        turns.paused.clear()
        world.add("Z")
        turns.loop.instant += HOLDS_SECONDS  # what has ended elsewhere is known by now
        for _ in range(2):
            self._everybody_comes_back()
            turns.loop.instant += TOKEN_SECONDS + 1
        assert not world.violations, world.violations
        self._check_provider()
        self._check_left(turns)

    def _let_look_after(self, turns: Turns) -> None:
        for replica in self.world.survivors:
            self.world.start("looks on", replica.name, self.world.look_after(replica, "looks on"))
        turns.run()

    def _check_outcomes(self) -> None:
        for name, (verb, replica) in self.callers.items():
            if replica in self.world.turns.dead or self.world.callers[name].cancelled():
                continue
            outcome = self.world.outcomes.get(name)
            assert outcome is not None, f"{name} got nothing: {self.world.callers[name]}"
            if verb.startswith("use"):
                good = {"served"} | ({"later"} if self.wrong or self.slow else set())
                good |= {"over: logout", "over: replaced"} if self.logs_out else set()
                good |= {f"over: {reason}" for reason in self._ends_now()}
                assert outcome in good, f"{name}: {outcome}"
            if verb in ("join", "log in") and not self.wrong and not self.slow:
                refused = verb == "join" and self.logs_out and outcome == "none"
                assert outcome.count(".") == 2 or refused, f"{name}: {outcome}"
            if verb == "log out":
                assert outcome in ("logged out", "no session"), f"{name}: {outcome}"

    def _ends_now(self) -> frozenset[str]:
        """Why a session may have ended: only if a token's answer really was lost."""
        world = self.world
        lost = world.excused or world.provider.count("one_try")
        return self.ends if lost else frozenset()

    def _check_provider(self) -> None:
        provider = self.world.provider
        assert provider.count("reuse") == 0, provider.log
        assert provider.count("code_reuse") == 0, provider.log
        assert provider.count("one_try") <= (1 if self.ends else 0), provider.log

    def _check_no_token_lost(self) -> None:
        grant, family = self.world.stored(), self.world.family
        assert grant is not None
        if family.current in self.world.excused:
            return
        assert grant.tokens.refresh_token == family.current, (
            f"the store has {grant.tokens.refresh_token}, the provider gave {family.current}"
        )
        if self._ends_now():
            return  # the one try of design 4.7 has come before the answer, and ended the family
        assert not family.revoked, "the provider has ended the family of a live grant"

    def _check_lease(self) -> None:
        """Nobody holds a lease for nothing, unless it could not be given back."""
        if self.world.lease_left_behind or _LEAVES_LEASE & set(self.wrong):
            return
        now = self.world.wall()
        leases = self.world.memory._slots[self.world.user_tag].leases if self.world.grant_id else {}
        assert all(ends_at <= now for _, ends_at in leases.values()), "a lease is left behind"

    def _check_left(self, turns: Turns) -> None:
        left = [task.get_name() for task in turns.alive()]
        assert not left, f"left behind: {left}"
        strays = [task.get_name() for task, owner in turns.tasks.items() if not owner]
        assert not strays, f"nobody's tasks: {strays}"

    def _everybody_comes_back(self) -> None:
        """Each living session is used in each living replica, and in a new one."""
        world, turns = self.world, self.world.turns
        keys = self._keys()
        for replica in world.survivors:
            for name, key in keys.items():
                start = turns.loop.instant
                caller = f"{name} at {replica.name}"
                world.start(caller, replica.name, world.insist(replica, key, caller))
                turns.run()
                took = turns.loop.instant - start
                self._check_came_back(name, caller, took)

    def _keys(self) -> dict[str, SessionKey]:
        world = self.world
        keys = {"first": self.key} if self.key else {}
        for name, (verb, _) in self.callers.items():
            cookie = world.outcomes.get(name, "")
            if verb in ("join", "log in") and cookie.count(".") == 2:
                keys[name] = world.key_of(cookie)
        return keys

    def _check_came_back(self, name: str, caller: str, took: float) -> None:
        outcome = self.world.outcomes[caller]
        dead_logout = any(
            replica in self.world.turns.dead or self.world.callers[who].cancelled()
            for who, (verb, replica) in self.callers.items()
            if verb in _LAST_DEEDS
        )
        over = {f"over: {reason}" for reason in self._ends_now()}
        if name == "first" and self.logs_out:
            good = {"over: logout", "over: replaced", "missing"} | over
            good |= {"served"} if dead_logout else set()
        else:
            good = {"served"} | over
        assert outcome in good, f"{caller}: {outcome} after {took} s"
        waits_for_lease = self.world.lease_left_behind or _LEAVES_LEASE & set(self.wrong)
        assert took <= (PATIENCE_SECONDS if waits_for_lease else SOON_SECONDS), (
            f"{caller}: {outcome} only after {took} s"
        )


_LAST_DEEDS = ("log out", "log in anew")
_LEAVES_LEASE = {
    "kill", "pause", "pause asking", "cut off", "jump", "failover", "goes back",
    "emptied", "flushed",
}  # fmt: skip
SOON_SECONDS = 12.0  # a back-off or two, and the wait for an answer that may still come
_DEEDS = {
    "use": World.use,
    "use when the lease has ended": World.use_late,
    "log out": World.log_out,
    "log in anew": World.replace_login,
}
_Faults = list[tuple[str, Callable[[], None]]]


def _store_fails(world: World, turns: Turns) -> _Faults:
    """A call that never reaches the store, or whose reply does not come back."""

    def fail(step: Step) -> None:
        if step.method == "store.release_lease" and not step.after:
            world.lease_left_behind = True
        turns.fail(step, StoreUnavailable("lost"))

    return [
        (
            f"{step.label} {'reply lost' if step.after else 'fails'}",
            lambda step=step: fail(step),  # type: ignore[misc]
        )
        for step in turns.ready()
        if step.method.startswith("store.")
    ]


def _provider_fails(world: World, turns: Turns) -> _Faults:
    """A request that never gets to the provider, or whose answer is lost."""

    def lose(step: Step) -> None:
        if step.after and step.method == "provider.refresh":
            world.excused.add(world.family.current)
        turns.fail(step, ProviderUnavailable("lost"))

    return [
        (
            f"{step.label} {'answer lost' if step.after else 'fails'}",
            lambda step=step: lose(step),  # type: ignore[misc]
        )
        for step in turns.ready()
        if step.method.startswith("provider.")
    ]


def _turned_away(world: World, turns: Turns) -> _Faults:
    """The provider says no at the door, and the token is not spent."""
    error = ProviderUnavailable("turned away", token_untouched=True)
    return [
        (f"{step.label} turned away", lambda step=step: turns.fail(step, error))  # type: ignore[misc]
        for step in turns.ready()
        if step.method == "provider.refresh" and not step.after
    ]


def _ended_there(world: World, turns: Turns) -> _Faults:
    """An administrator ends the user's session at the provider."""

    def end() -> None:
        world.family.revoked = True
        world.excused.add(world.family.current)

    return [] if world.family.revoked else [("ended at the provider", end)]


def _refused(world: World, turns: Turns) -> _Faults:
    """The same, right before a request gets there."""
    asking = [s for s in turns.ready() if s.method == "provider.refresh" and not s.after]
    return _ended_there(world, turns) if asking else []


def _cut_off(world: World, turns: Turns) -> _Faults:
    """One replica reaches the store no more, for longer than a few tries."""

    def cut(who: str) -> None:
        world.store_down_until[who] = turns.loop.instant + _CUT_SECONDS

    return [(f"cut off {who}", lambda who=who: cut(who)) for who in _busy(turns)]  # type: ignore[misc]


def _kill(world: World, turns: Turns) -> _Faults:
    return [(f"kill {who}", lambda who=who: world.kill(who)) for who in _busy(turns)]  # type: ignore[misc]


def _pause(world: World, turns: Turns) -> _Faults:
    return [
        (f"pause {who} for {seconds} s", lambda who=who, s=seconds: world.pause(who, s))  # type: ignore[misc]
        for who in _busy(turns)
        for seconds in _PAUSES
    ]


def _pause_asking(world: World, turns: Turns) -> _Faults:
    """It stands still between its intent and its request, or before it hears the answer."""
    return [
        (f"pause {step.label}", lambda who=step.replica: world.pause(who, _PAUSES[-1]))  # type: ignore[misc]
        for step in turns.ready()
        if step.method == "provider.refresh"
    ]


def _jump(world: World, turns: Turns) -> _Faults:
    """Everybody stands still past the lease."""

    def jump() -> None:
        turns.loop.instant += LEASE + 1

    return [("the lease's time passes", jump)]


def _cancel(world: World, turns: Turns) -> _Faults:
    return [
        (f"{name} leaves", lambda task=task: task.cancel())  # type: ignore[misc]
        for name, task in world.callers.items()
        if not task.done() and turns.tasks[task] not in turns.dead
    ]


def _failover(world: World, turns: Turns) -> _Faults:
    grant = world.stored()
    if grant is None:
        return []
    present = world.memory._slots[world.user_tag].grants[world.grant_id].record.write_id
    older = {write_id: entry for write_id, entry in world.older if write_id != present}
    return [
        (f"version {entry.record.version} comes back", lambda e=entry: world.put_back(e))  # type: ignore[misc]
        for entry in older.values()
    ]


def _failover_before_save(world: World, turns: Turns) -> _Faults:
    grant = world.stored()
    unsaved = grant is not None and grant.tokens.refresh_token != world.family.current
    return _failover(world, turns) if unsaved else []


def _goes_back(world: World, turns: Turns) -> _Faults:
    """Everything is as it was when the session was new, ends included."""
    return [("all goes back", world.go_back)] if world.grant_id else []


def _emptied(world: World, turns: Turns) -> _Faults:
    """The store restarts without its data."""
    return [("all is lost", lambda: world.empty(noticed=True))] if world.grant_id else []


def _flushed(world: World, turns: Turns) -> _Faults:
    """Somebody empties the store, and no connection breaks."""
    return [("flushed", lambda: world.empty(noticed=False))] if world.grant_id else []


def _busy(turns: Turns) -> list[str]:
    return sorted({step.replica for step in turns.ready()})


_KINDS: dict[str, Callable[[World, Turns], _Faults]] = {
    "store": _store_fails,
    "provider": _provider_fails,
    "turned away": _turned_away,
    "ended there": _ended_there,
    "refused": _refused,
    "cut off": _cut_off,
    "kill": _kill,
    "pause": _pause,
    "pause asking": _pause_asking,
    "jump": _jump,
    "cancel": _cancel,
    "failover": _failover,
    "failover before the save": _failover_before_save,
    "goes back": _goes_back,
    "emptied": _emptied,
    "flushed": _flushed,
}


def again(story: Story) -> Callable[[], Story]:
    """The same story, told from its beginning for each schedule."""
    return lambda: replace(story)


def tell(
    story: Story, bounds: Bounds, *, on_choice: Callable[[list[Step]], None] = lambda _: None
) -> Explored:
    """Explore a story, and print how many schedules it had and how long they took."""
    start = time.perf_counter()
    seen = explore(again(story), bounds, on_choice=on_choice)
    took = time.perf_counter() - start
    what = ", ".join(f"{verb} at {where}" for verb, where in story.callers.values())
    wrong = f"; wrong: {', '.join(story.wrong)}" if story.wrong else ""
    print(f"{seen.schedules} schedules ({seen.redundant} cut short), {took:.2f} s: {what}{wrong}")
    return seen
