"""What a hostile provider is told to do, to whom, and how often; the same on both sides."""

import random
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Literal

Endpoint = Literal["code", "refresh", "revocation", "userinfo", "authorize", "discovery", "jwks"]
Drop = Literal["", "before", "after", "half"]
"""The connection ends before the commit, after it, or in the middle of the answer to it."""


@dataclass(frozen=True, kw_only=True)
class Rule:
    """What happens to requests `on` an endpoint that fit; what is left out fits all.

    `grant` is the number that the log and the list of grants show; `replica` the name of the
    client's secret with which the request came. A rule is used up after `times` requests; with a
    `probability` it applies to that share of them, drawn from a `seed` of its own.

    All rules that fit apply together; of two that say the same thing the later one counts. An
    `answer` and a drop before the commit leave the rest undone.
    `delay_before` and `delay_after` are seconds, before and after the commit: a length, or the
    two ends of a range. `answer` is a name of `tests.hostile.answers`, or status, body and
    headers: it takes the place of the provider's own, and nothing is committed. `claims` and
    `members` are put into the ID token and the answer (None takes one out). `rotation` are
    settings of the provider that hold for this request alone, as `{"rotates": False}`.
    """

    on: Endpoint = "refresh"
    user: str = ""
    grant: int = 0
    replica: str = ""
    times: int | None = None
    probability: float = 1.0
    seed: int = 0

    delay_before: float | Sequence[float] = 0.0
    delay_after: float | Sequence[float] = 0.0
    answer: str | Mapping[str, Any] = ""
    drop: Drop = ""
    claims: Mapping[str, Any] = field(default_factory=dict)
    members: Mapping[str, Any] = field(default_factory=dict)
    forged: bool = False
    rotation: Mapping[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """The rule as the control endpoint takes it: what differs from a rule without arguments."""
        nothing = asdict(Rule())
        return {name: value for name, value in asdict(self).items() if value != nothing[name]}


@dataclass(frozen=True, kw_only=True)
class Occasion:
    """A request that rules may fit."""

    on: Endpoint
    user: str = ""
    grant: int = 0
    replica: str = ""


@dataclass(frozen=True, kw_only=True)
class Treatment:
    """What one request meets: all rules that fit, put together."""

    delay_before: float = 0.0
    delay_after: float = 0.0
    answer: str | Mapping[str, Any] = ""
    drop: Drop = ""
    claims: Mapping[str, Any] = field(default_factory=dict)
    members: Mapping[str, Any] = field(default_factory=dict)
    forged: bool = False
    rotation: Mapping[str, Any] = field(default_factory=dict)


HONEST = Treatment()


class Script:
    """The rules in force, in their order."""

    def __init__(self) -> None:
        self._rules: dict[int, _Running] = {}
        self._last = 0

    def add(self, rule: Rule) -> int:
        """Put a rule in force; its number."""
        self._last += 1
        self._rules[self._last] = _Running(rule)
        return self._last

    def remove(self, number: int) -> None:
        """Take a rule out, if it is still there."""
        self._rules.pop(number, None)

    def clear(self) -> None:
        """Take all rules out."""
        self._rules.clear()

    def state(self) -> dict[int, dict[str, Any]]:
        """The rules by their numbers, with how often each has applied."""
        return {
            number: {**running.rule.to_json(), "applied": running.applied}
            for number, running in self._rules.items()
        }

    def treatment(self, occasion: Occasion) -> Treatment:
        """What this request meets; it counts as one of the rules' `times`."""
        found: dict[str, Any] = {}
        for running in self._rules.values():
            if running.applies_to(occasion):
                found |= running.says()
        return Treatment(**found)


class _Running:
    """A rule in force: how often it has applied, and its dice."""

    def __init__(self, rule: Rule) -> None:
        self.rule, self.applied = rule, 0
        self._dice = random.Random(rule.seed)

    def applies_to(self, occasion: Occasion) -> bool:
        """Whether the request fits, and the rule is neither used up nor left out by its dice."""
        rule = self.rule
        if rule.on != occasion.on or self.applied == rule.times:
            return False
        if rule.user not in ("", occasion.user) or rule.grant not in (0, occasion.grant):
            return False
        if rule.replica not in ("", occasion.replica):
            return False
        if rule.probability < 1 and self._dice.random() >= rule.probability:
            return False
        self.applied += 1
        return True

    def says(self) -> dict[str, Any]:
        """What the rule does to one request, with lengths for its ranges."""
        wanted = {each.name for each in fields(Treatment)}
        said = {name: value for name, value in self.rule.to_json().items() if name in wanted}
        for name in ("delay_before", "delay_after"):
            if isinstance(said.get(name), list | tuple):
                said[name] = self._dice.uniform(*said[name])
        return said
