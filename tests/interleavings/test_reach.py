"""Every await of a port in these flows is reached by a schedule in which another replica waits.

What the flows await is read from their source; what was interleaved is noted at the ports.
"""

import ast
import inspect
from types import ModuleType

from sidecar.flows import (
    confirmations,
    joining,
    knowledge,
    lease,
    login,
    logout,
    refresh,
    renewal,
    saving,
    schedule,
    sessions,
    verification,
)
from tests.interleavings.explorer import Bounds, Step
from tests.interleavings.stories import Story, tell

_PORTS = (
    "_store", "_provider", "_clock", "_upstream", "_sessions", "_schedule", "_knowledge", "store",
)  # fmt: skip
_MODULES = (
    refresh, renewal, lease, saving, sessions, joining, knowledge, confirmations, login, logout,
    schedule, verification,
)  # fmt: skip
_NOT_REACHED = {
    # What runs without a request is the background renewal's own; it ends in `_join` as all do.
    ("Sessions.touch_held_open", "_write_touch"),
    # The stories run the rounds themselves: these would never end.
    ("Confirmations.run", "sleep"),
    ("Confirmations.beats", "sleep"),
    # A shared grant that is over for us and not for the store: tests/web/test_changes.py.
    ("Joining._end_unusable", "load_grant"),
    ("Joining._end_unusable", "end_grant"),
    # A token's life after the logins, when all come back one after the other: test_sharing.py.
    ("Renewal._try_next", "save"),
    ("Renewal._try_next", "note"),
    # A lease that is given back late, when all others are served: tests/flows/test_refresh.py.
    ("Leases._release_behind", "release_lease"),
    # A login that the store takes after seconds only: tests/flows/test_sharing.py.
    ("Joining.keep_for_others", "_shared"),
    ("Joining.keep_for_others", "save"),
    ("Joining.keep_for_others", "sleep"),
    # The provider's own logout, which changes nothing here: tests/web/test_logout.py.
    ("Logout._provider_logout", "endpoints"),
    # The keys for a logout token, before anything is done: tests/web/test_login_limits.py.
    ("verified_logout_token.read_again", "read_keys"),
    ("verified_logout_token.read_again", "signing_keys"),
    # Two replicas that put back different states at one instant: tests/flows/test_knowledge.py.
    ("Knowledge.settle_grant", "load_grant"),
}
_LOST = frozenset({"lost_answer", "ended_by_provider"})
_TWO = {"one": ("use", "A"), "two": ("use", "B")}
_JOINS = {"one": ("use", "A"), "joins": ("join", "B"), "waits": ("join", "C")}
_BYE = {"one": ("use", "A"), "bye": ("log out", "B")}
_LOGIN_TWICE = {"one": ("log in", "A"), "again": ("log in", "B")}
_LATE = {"one": ("use", "A"), "two": ("use when the lease has ended", "B")}
_ENDS_ALL = {"anew": ("log in anew", "A"), "bye": ("log out", "B")}
_HEALS = {
    "one": ("use", "A"), "a looks": ("look after", "A"),
    "stranger": ("use", "C"), "c looks": ("look after", "C"),
}  # fmt: skip
_SHARE = {"phone": ("log in", "A"), "tablet": ("log in", "B"), "one": ("use", "C")}
_STAYS_ENDED = {
    "bye": ("log out", "A"), "a looks": ("look after", "A"), "b looks": ("look after", "B"),
}  # fmt: skip
_IN_THE_WINDOW = 200.0
_ONE_FAULT = Bounds(preemptions=0, faults=1)
_STORIES = (
    (Story(_TWO, idle=True), Bounds(preemptions=0, late=True)),
    (Story(_TWO, slow=True), Bounds(preemptions=1, early=1)),
    (Story(_TWO, wrong=("store",)), _ONE_FAULT),
    (Story(_LATE, wrong=("pause asking",), ends=_LOST, slow=True), _ONE_FAULT),
    (Story(_JOINS), Bounds(preemptions=1)),
    (Story(_JOINS, wrong=("refused",), ends=_LOST), Bounds(preemptions=1, faults=1)),
    (Story(_JOINS, wrong=("turned away",)), Bounds(preemptions=1, faults=1)),
    (Story({**_BYE, "waits": ("use", "C")}), Bounds(preemptions=1)),
    (Story(_BYE), Bounds(preemptions=1, late=True)),
    # With a token that has ended a logout waits for the renewal, and does not meet it.
    (Story(_BYE, age=_IN_THE_WINDOW), Bounds(preemptions=2)),
    (Story(_BYE, wrong=("provider",), ends=_LOST), _ONE_FAULT),
    (Story(_ENDS_ALL, wrong=("store",)), _ONE_FAULT),
    (Story(_HEALS, wrong=("flushed",), known=("A",)), _ONE_FAULT),
    (Story(_SHARE, shared=True), Bounds(preemptions=1)),
    (Story(_STAYS_ENDED, wrong=("goes back",), known=("A", "B")), _ONE_FAULT),
    (Story(_LOGIN_TWICE, age=None), Bounds(preemptions=1, late=True)),
    (Story(_LOGIN_TWICE, age=None, wrong=("cut off",)), _ONE_FAULT),
)


def _awaited(module: ModuleType) -> set[tuple[str, str]]:
    """(function, method) of each `await` of a call on a port, or on what leads to one."""
    found: set[tuple[str, str]] = set()

    def visit(node: ast.AST, name: str) -> None:
        for child in ast.iter_child_nodes(node):
            inner = name
            if isinstance(child, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
                inner = f"{name}.{child.name}" if name else child.name
            if isinstance(child, ast.Await) and isinstance(child.value, ast.Call):
                called = child.value.func
                if isinstance(called, ast.Attribute) and _is_port(called.value):
                    found.add((name, called.attr))
            visit(child, inner)

    visit(ast.parse(inspect.getsource(module)), "")
    return found


def _is_port(base: ast.expr) -> bool:
    if isinstance(base, ast.Attribute):
        return base.attr in _PORTS
    return isinstance(base, ast.Name) and base.id == "provider"


def test_every_await_of_a_port_is_interleaved_with_another_replica() -> None:
    awaited = set().union(*(_awaited(module) for module in _MODULES))
    interleaved: set[tuple[str, str]] = set()

    def note(waiting: list[Step]) -> None:
        if len({step.replica for step in waiting}) > 1:
            interleaved.update(*(step.calls for step in waiting))

    for story, bounds in _STORIES:
        story.watched = True
        tell(story, bounds, on_choice=note)

    assert len(awaited) > 30, "the scan finds what it is there to find"
    missed = sorted(awaited - interleaved - _NOT_REACHED)
    assert not missed, f"awaits that no schedule interleaves: {missed}"
