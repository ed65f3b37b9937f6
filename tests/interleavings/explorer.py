"""All schedules of a few tasks: whoever calls a port waits for a turn, and every order is tried.

A run is replayed from its start, so that the code under test needs no snapshots. A schedule is
the list of its choices; what a list does not say is decided by `_usual`: go on with the replica
that ran last, let time pass only when nothing else can. `Bounds` says how far from that the
explorer goes. Two reductions keep the number down, and neither hides a schedule that differs:

- *sleep sets* (Godefroid): of two orders of steps that touch nothing in common, one is tried.
  Used without a bound on preemptions.
- with a bound on *preemptions* (Musuvathi and Qadeer: nearly all known races need two), a
  replica is interrupted only before a step that others can see, unless `late` is asked for.
"""

import asyncio
import heapq
import itertools
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field

from tests.interleavings.loop import NothingLeft, TurnLoop

REPLICA: ContextVar[str] = ContextVar("replica", default="")
_MOST_STEPS = 3000
TIME = "time"


class NoProgress(AssertionError):
    """It goes on and on."""


class _Redundant(Exception):
    """What this run would do has been seen in another order."""


@dataclass(frozen=True, slots=True)
class Access:
    """What a step touches: names that it reads, names that it writes."""

    reads: frozenset[str] = frozenset()
    writes: frozenset[str] = frozenset()

    def meets(self, other: "Access") -> bool:
        """Whether the order of the two can matter."""
        return bool(
            self.writes & (other.reads | other.writes) or other.writes & (self.reads | self.writes)
        )


LOCAL = Access()


@dataclass(slots=True, eq=False)
class Step:
    """A port call that waits for its turn."""

    label: str
    replica: str
    task: str
    method: str
    after: bool
    access: Access
    future: "asyncio.Future[None]"
    calls: frozenset[tuple[str, str]] = frozenset()
    fail: BaseException | None = None
    wakes_at: float | None = None


@dataclass(frozen=True, slots=True)
class Bounds:
    """How far from the usual schedule the explorer goes; None: no bound."""

    preemptions: int | None = 2
    faults: int = 0
    early: int = 0
    """How often time may pass although somebody could go on (a slow reply)."""
    late: bool = False
    """Interrupt also where a reply has come and nobody but its caller can see a difference."""
    most: int = 200_000


@dataclass(frozen=True, slots=True)
class Choice:
    """One way to go on, and what it costs of the bounds."""

    label: str
    preemptions: int = 0
    faults: int = 0
    early: int = 0


@dataclass(slots=True)
class _Node:
    chosen: Choice
    others: list[Choice]
    asleep: dict[str, "Step"]
    steps: dict[str, Step]


@dataclass(frozen=True, slots=True)
class _Item:
    prefix: tuple[str, ...]
    asleep: dict[str, Step]
    preemptions: int = 0
    faults: int = 0
    early: int = 0

    @property
    def cost(self) -> int:
        return self.preemptions + self.faults + self.early


Faults = Callable[["Turns"], Sequence[tuple[str, Callable[[], None]]]]


@dataclass
class Turns:
    """Who waits, and whose turn it is."""

    loop: TurnLoop
    item: _Item
    bounds: Bounds
    faults: Faults = lambda _: ()
    on_choice: Callable[[list[Step]], None] = lambda _: None
    waiting: dict[str, Step] = field(default_factory=dict)
    trail: list[_Node] = field(default_factory=list)
    spoken: list[str] = field(default_factory=list)
    dead: set[str] = field(default_factory=set)
    paused: dict[str, float] = field(default_factory=dict)
    tasks: dict["asyncio.Task[object]", str] = field(default_factory=dict)
    exploring: bool = True
    closing: bool = False
    last: Step | None = None
    _asleep: dict[str, Step] = field(default_factory=dict)
    _names: Counter[str] = field(default_factory=Counter)
    _count: int = 0

    async def step(
        self,
        replica: str,
        method: str,
        access: Access = LOCAL,
        *,
        after: bool = False,
        wakes_at: float | None = None,
        calls: frozenset[tuple[str, str]] = frozenset(),
    ) -> None:
        """Wait for a turn; raises what the schedule says this call shall fail with."""
        if self.closing:
            raise asyncio.CancelledError
        if wakes_at is None and self._of_no_interest(access):
            return
        task = asyncio.current_task()
        assert task
        name = f"{replica}.{task.get_name()}.{method}{'<' if after else '>'}"
        self._names[name] += 1
        label = f"{name}{self._names[name]}"
        step = Step(
            label, replica, task.get_name(), method, after, access,
            self.loop.create_future(), calls, wakes_at=wakes_at,
        )  # fmt: skip
        self.waiting[label] = step
        try:
            await step.future
        finally:
            self.waiting.pop(label, None)
        if step.fail is not None:
            raise step.fail

    def _of_no_interest(self, access: Access) -> bool:
        """Whether no choice can be made here: to stop would only take time."""
        bounds = self.bounds
        freely = bounds.late or bounds.faults or bounds.early
        return not self.exploring or (access == LOCAL and not freely)

    def ready(self) -> list[Step]:
        """Who can go on now, the one that ran last first."""
        now = self.loop.instant
        able = [
            step
            for step in self.waiting.values()
            if step.replica not in self.dead
            and self.paused.get(step.replica, 0.0) <= now
            and (step.wakes_at is None or step.wakes_at <= now)
            and not step.future.done()
        ]
        last = self.last
        if last is None:
            return able
        return sorted(able, key=lambda s: (s.replica != last.replica, s.task != last.task))

    def alive(self) -> list["asyncio.Task[object]"]:
        """The tasks that are not done, of replicas that live."""
        return [t for t, who in self.tasks.items() if not t.done() and who not in self.dead]

    def run(self) -> None:
        """Go on until all tasks of living replicas are done."""
        self.loop.run_dry(self._turn)

    def fail(self, step: Step, error: BaseException) -> None:
        """Let a call go on, into an error."""
        step.fail = error
        self._release(step)

    def _turn(self, timer_at: float | None) -> bool:
        if not self.alive():
            return True
        self._count += 1
        if self._count > _MOST_STEPS:
            raise NoProgress(f"not done after {_MOST_STEPS} steps")
        ready, next_at = self.ready(), self._next_instant(timer_at)
        acts: dict[str, Callable[[], None]] = {}
        choices: list[Choice] = []
        for step in ready:
            acts[step.label] = lambda step=step: self._go(step)  # type: ignore[misc]
            choices.append(Choice(step.label, preemptions=self._is_preemption(step, ready)))
        if next_at is not None:
            acts[TIME] = lambda: self._pass_to(next_at)
            choices.append(Choice(TIME, early=1 if ready else 0))
        if not choices:
            raise NothingLeft(f"deadlock: {[t.get_name() for t in self.alive()]}")
        if self.exploring:
            self.on_choice([s for s in self.waiting.values() if s.replica not in self.dead])
            if self.bounds.faults:
                for label, act in self.faults(self):
                    acts[label] = act
                    choices.append(Choice(label, faults=1))
        acts[self._choose(choices, ready)]()
        return False

    def _choose(self, choices: list[Choice], ready: list[Step]) -> str:
        if not self.exploring:
            self.spoken.append(choices[0].label)
            return choices[0].label
        position, prefix = len(self.trail), self.item.prefix
        by_label = {choice.label: choice for choice in choices}
        steps = {step.label: step for step in ready}
        if position < len(prefix):
            chosen = by_label.get(prefix[position])
            if chosen is None:
                raise RuntimeError(f"not deterministic: {prefix[position]} is not in {by_label}")
        else:
            awake = [c for c in choices if c.label not in self._asleep]
            if not awake or awake[0].faults or (awake[0].early and self.bounds.preemptions is None):
                raise _Redundant
            chosen = awake[0]
        if position == len(prefix) - 1:
            self._asleep = dict(self.item.asleep)
        asleep_here = dict(self._asleep)
        if position >= len(prefix):
            self._asleep = _still_asleep(asleep_here, steps.get(chosen.label))
        others = [c for c in choices if c.label not in (chosen.label, *asleep_here)]
        self.trail.append(_Node(chosen, others, asleep_here, steps))
        self.spoken.append(chosen.label)
        return chosen.label

    def _is_preemption(self, step: Step, ready: list[Step]) -> int:
        """Whether the replica, or within it the task, that ran last could go on instead."""
        last = self.last
        if last is None:
            return 0
        if step.replica != last.replica:
            return int(any(s.replica == last.replica for s in ready))
        goes_on = any((s.replica, s.task) == (last.replica, last.task) for s in ready)
        return int(step.task != last.task and goes_on)

    def _next_instant(self, timer_at: float | None) -> float | None:
        now = self.loop.instant
        sleeps = [
            step.wakes_at
            for step in self.waiting.values()
            if step.wakes_at is not None and step.replica not in self.dead
        ]
        ends = [until for who, until in self.paused.items() if who not in self.dead]
        later = [at for at in (*sleeps, *ends) if at > now]
        return min((*later, *([timer_at] if timer_at is not None else [])), default=None)

    def _pass_to(self, instant: float) -> None:
        self.loop.instant = max(self.loop.instant, instant)

    def _go(self, step: Step) -> None:
        self.last = step
        self._release(step)

    def _release(self, step: Step) -> None:
        self.waiting.pop(step.label, None)
        step.future.set_result(None)

    def own(self, loop: asyncio.AbstractEventLoop, coro: object, **kwargs: object) -> object:
        """The loop's task factory: notes which replica a task belongs to."""
        task = asyncio.Task(coro, loop=loop, **kwargs)  # type: ignore[arg-type,var-annotated]
        self.tasks[task] = REPLICA.get()
        return task


def _still_asleep(asleep: dict[str, Step], step: Step | None) -> dict[str, Step]:
    """Those whose order with `step` does not matter; time and faults matter to all."""
    if step is None:
        return {}
    return {
        label: other
        for label, other in asleep.items()
        if other.replica != step.replica and not other.access.meets(step.access)
    }


class Scenario:
    """What is explored: `begin` builds a world and starts its tasks, `check` looks at the end."""

    def begin(self, turns: Turns) -> None:
        """Start the tasks."""
        raise NotImplementedError

    def faults(self, turns: Turns) -> Sequence[tuple[str, Callable[[], None]]]:
        """What may go wrong now: a name, and the deed."""
        return ()

    def check(self, turns: Turns) -> None:
        """Assert what must hold after every schedule."""
        raise NotImplementedError


@dataclass
class Explored:
    """How many schedules there were, and how many were cut short as seen before."""

    schedules: int = 0
    redundant: int = 0


def explore(
    make: Callable[[], Scenario],
    bounds: Bounds,
    *,
    on_choice: Callable[[list[Step]], None] = lambda _: None,
) -> Explored:
    """Run every schedule within the bounds, those nearest to the usual one first.

    `on_choice` is told, before each choice, which port calls of living replicas wait.
    """
    seen = Explored()
    order = itertools.count()
    todo: list[tuple[int, int, _Item]] = [(0, next(order), _Item((), {}))]
    while todo:
        _, _, item = heapq.heappop(todo)
        turns, ended = _run(make(), item, bounds, on_choice)
        if not ended:
            seen.redundant += 1
        else:
            seen.schedules += 1
        if seen.schedules + seen.redundant > bounds.most:
            raise AssertionError(f"more than {bounds.most} schedules")
        for branch in _branches(turns, item, bounds):
            heapq.heappush(todo, (branch.cost, next(order), branch))
    return seen


def _run(
    scenario: Scenario, item: _Item, bounds: Bounds, on_choice: Callable[[list[Step]], None]
) -> tuple[Turns, bool]:
    loop = TurnLoop()
    turns = Turns(loop, item, bounds, scenario.faults, on_choice)
    loop.set_task_factory(turns.own)  # type: ignore[arg-type]
    try:
        scenario.begin(turns)
        turns.run()
        turns.exploring = False
        scenario.check(turns)
    except _Redundant:
        return turns, False
    except AssertionError as error:
        schedule = "\n  ".join(turns.spoken)
        raise AssertionError(f"{error}\nafter the schedule\n  {schedule}") from error
    finally:
        _close(turns)
    return turns, True


def _branches(turns: Turns, item: _Item, bounds: Bounds) -> Iterator[_Item]:
    spent = Choice("")
    labels = [node.chosen.label for node in turns.trail]
    for i, node in enumerate(turns.trail):
        if i >= len(item.prefix):
            asleep = {**node.asleep}
            before = node.steps.get(node.chosen.label)
            if before is not None:
                asleep[before.label] = before
            for other in node.others:
                total = Choice(
                    "",
                    spent.preemptions + other.preemptions,
                    spent.faults + other.faults,
                    spent.early + other.early,
                )
                if not _within(total, bounds) or not _worth_it(node, other, turns, bounds):
                    continue
                step = node.steps.get(other.label)
                yield _Item(
                    (*labels[:i], other.label),
                    _still_asleep(asleep, step) if bounds.preemptions is None else {},
                    total.preemptions,
                    total.faults,
                    total.early,
                )
                if step is not None:
                    asleep[step.label] = step
        spent = Choice(
            "",
            spent.preemptions + node.chosen.preemptions,
            spent.faults + node.chosen.faults,
            spent.early + node.chosen.early,
        )


def _within(total: Choice, bounds: Bounds) -> bool:
    return (
        (bounds.preemptions is None or total.preemptions <= bounds.preemptions)
        and total.faults <= bounds.faults
        and total.early <= bounds.early
    )


def _worth_it(node: _Node, other: Choice, turns: Turns, bounds: Bounds) -> bool:
    """Interrupting a step that others cannot see is the same as interrupting the next one."""
    if bounds.preemptions is None or bounds.late or other.faults:
        return True
    usual = node.steps.get(node.chosen.label)
    return usual is None or usual.access != LOCAL or not (other.preemptions or other.early)


def _close(turns: Turns) -> None:
    """Drop what is left; nothing of it reaches a port any more."""
    turns.closing = True
    loop = turns.loop

    def cancel_all(_: float | None) -> bool:
        left = [t for t in turns.tasks if not t.done()]
        for task in left:
            task.cancel()
        return not left

    try:
        loop.run_dry(cancel_all)
        for task in turns.tasks:
            if not task.cancelled():
                task.exception()
    finally:
        loop.close()
