"""Tasks that belong to the process."""

import asyncio

import structlog

from sidecar.flows.tasks import Tasks
from tests.fakes.clock import FakeClock


async def test_what_is_to_run_for_ever_goes_on_after_an_unexpected_error() -> None:
    clock, tasks, runs = FakeClock(), Tasks(structlog.get_logger()), 0
    reached = asyncio.Event()

    async def work() -> None:
        nonlocal runs
        runs += 1
        if runs < 3:
            raise ZeroDivisionError
        reached.set()
        await asyncio.Event().wait()

    began_at = clock.monotonic()
    tasks.start_endless(work, "work", clock)
    async with asyncio.timeout(5):
        await reached.wait()
    await tasks.aclose(seconds=1)

    assert runs == 3
    assert clock.monotonic() - began_at >= 10  # no storm of errors either
