"""Tasks that belong to the process."""

import asyncio

import structlog
from structlog.testing import capture_logs

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


async def test_what_swallows_its_cancellation_is_told_again_so_that_a_process_ends() -> None:
    """As Python 3.11's `asyncio.wait_for` does, below the Redis library."""
    tasks, swallowed = Tasks(structlog.get_logger()), 0

    async def work() -> None:
        nonlocal swallowed
        while True:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                swallowed += 1
                if swallowed > 1:
                    raise

    tasks.start_endless(work, "work", FakeClock())
    await asyncio.sleep(0)
    async with asyncio.timeout(5):
        await tasks.aclose(seconds=1)

    assert swallowed == 2


async def test_work_that_does_not_end_in_time_is_cut_off_and_named() -> None:
    tasks, forever = Tasks(structlog.get_logger()), asyncio.Event()
    cut_off = [tasks.start(forever.wait(), name) for name in ("save", "revoke")]

    with capture_logs() as logs:
        await tasks.aclose(seconds=0.01)

    assert all(task.cancelled() for task in cut_off)
    assert [line["tasks"] for line in logs if line["event"] == "work_cut_off"] == [
        ["revoke", "save"]
    ]


async def test_work_that_ends_in_the_last_moment_was_not_cut_off() -> None:
    tasks = Tasks(structlog.get_logger())
    work = tasks.start(asyncio.sleep(0), "save")

    with capture_logs() as logs:
        await tasks.aclose(seconds=0)

    assert work.done()
    assert not work.cancelled()
    assert logs == []
