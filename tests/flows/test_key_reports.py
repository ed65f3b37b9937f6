import asyncio
import os

import structlog

from sidecar.adapters.memory_store import MemoryStore
from sidecar.core.key_rotation import marks, read_reports
from sidecar.core.sealing import Key, KeyRing
from sidecar.errors import StoreUnavailable
from sidecar.flows.key_reports import KeyReporter
from sidecar.flows.records import Client, Records
from sidecar.flows.tasks import Runtime, Tasks
from sidecar.metrics import Metrics
from tests.fakes.clock import FakeClock

OLD, NEW = Key("old", b"o" * 32), Key("new", b"n" * 32)


class Flaky(MemoryStore):
    """A store that does not take its first report."""

    failed = False

    async def report_keys(self, replica: str, report: str, *, in_use: str) -> None:
        """Fail once."""
        if not self.failed:
            self.failed = True
            raise StoreUnavailable("told to fail")
        await super().report_keys(replica, report, in_use=in_use)


def reporter(
    store: MemoryStore, clock: FakeClock, host: str = "pod"
) -> tuple[KeyReporter, Records]:
    """Who reports for a process with the old key."""
    log = structlog.get_logger()
    runtime = Runtime(clock, os.urandom, Tasks(log), Metrics(), log)
    records = Records(KeyRing([OLD]), Client("", ""), runtime, prefix="p:")
    return KeyReporter(store, records, runtime, host=host), records


async def test_a_changed_ring_is_in_the_next_report(fake_clock: FakeClock) -> None:
    store = MemoryStore(fake_clock)
    made, records = reporter(store, fake_clock)

    await made.report()
    records.ring = KeyRing([NEW, OLD])
    await made.report()

    said = await store.key_reports()
    (replica,) = read_reports(said.replicas)
    assert replica.keys == marks([NEW, OLD])
    assert set(said.used_at) == {"old", "new"}


async def test_two_processes_of_one_host_are_two_replicas(fake_clock: FakeClock) -> None:
    store = MemoryStore(fake_clock)
    for _ in range(2):
        await reporter(store, fake_clock)[0].report()

    assert len((await store.key_reports()).replicas) == 2


async def test_a_report_that_the_store_did_not_take_is_said_again(fake_clock: FakeClock) -> None:
    store = Flaky(fake_clock)
    made, _ = reporter(store, fake_clock)

    run = asyncio.ensure_future(made.run())
    async with asyncio.timeout(10):
        while not (await store.key_reports()).replicas:  # noqa: ASYNC110
            await asyncio.sleep(0)
    run.cancel()

    assert store.failed
