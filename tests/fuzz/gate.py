"""The real gate, over a store in which nobody has a session."""

import os

import structlog

from sidecar.adapters.memory_store import MemoryStore
from sidecar.app import SystemClock
from sidecar.core.authorization import Sites
from sidecar.core.cookies import CookieJar
from sidecar.core.heads import Paths
from sidecar.core.refresh_policy import Background, RefreshWindow
from sidecar.core.sealing import Key, KeyRing
from sidecar.core.session import SessionKey
from sidecar.flows.assembly import session_parts
from sidecar.flows.records import Client, Live
from sidecar.flows.schedule import Schedule
from sidecar.flows.sessions import Lifetimes
from sidecar.flows.tasks import Runtime, Tasks
from sidecar.metrics import Metrics
from sidecar.proxy.gate import Gate
from sidecar.proxy.passes import Rules

_URL = "http://argocd.example.org"


class _Nobody:
    """No session can be asked for: none of the cookies that come has been sealed by us."""

    async def current(self, key: SessionKey, *, min_life: float = 0.0) -> Live | None:
        raise AssertionError("a made-up cookie named a session")

    def current_now(self, key: SessionKey, *, min_life: float = 0.0) -> Live | None:
        raise AssertionError("a made-up cookie named a session")

    def may_go_up(self, live: Live) -> bool:
        raise AssertionError("a made-up cookie named a session")

    def refused(self, live: Live) -> None:
        raise AssertionError("a made-up cookie named a session")

    def doubts_page(self, live: Live) -> bool:
        raise AssertionError("a made-up cookie named a session")


def gate() -> Gate:
    """A gate for requests without a session."""
    clock, metrics, log = SystemClock(), Metrics(), structlog.get_logger()
    runtime = Runtime(clock, os.urandom, Tasks(log), metrics, log)
    store = MemoryStore(clock)
    schedule = Schedule(store, RefreshWindow(), Background.OFF)
    ring = KeyRing([Key("test", b"0" * 32)])
    lifetimes = Lifetimes(3600, 3600)
    parts = session_parts(store, ring, Client("i", "c"), schedule, lifetimes, runtime, prefix="p")
    rules = Rules(
        CookieJar(_URL), Paths(), Sites(_URL), frozenset({_URL}), mirror=False, min_token_life=30.0
    )
    return Gate(parts.sessions, _Nobody(), rules, metrics=metrics)
