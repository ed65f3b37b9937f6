"""Work that outlives a request: every task has an owner, and is awaited at shutdown."""

import asyncio
from collections.abc import Callable, Collection, Coroutine
from dataclasses import dataclass, field
from typing import Any, TypeVar

import structlog
from structlog.typing import FilteringBoundLogger

from sidecar.metrics import Metrics
from sidecar.ports import Clock
from sidecar.tracing import NO_TRACING, Tracer

_T = TypeVar("_T")

_START_AGAIN_SECONDS = 5.0
_CANCEL_AGAIN_SECONDS = 0.1


async def cancel(tasks: Collection[asyncio.Task[Any]]) -> None:
    """End these tasks, however often they have to be told.

    In Python 3.11 `asyncio.wait_for`, which the Redis library waits by, swallows a cancellation
    that comes in the moment in which its work is done.
    """
    while running := [task for task in tasks if not task.done()]:
        for task in running:
            task.cancel()
        await asyncio.wait(running, timeout=_CANCEL_AGAIN_SECONDS)


class Tasks:
    """The application's own tasks. A browser that leaves cannot stop them."""

    def __init__(self, log: FilteringBoundLogger) -> None:
        self._log = log
        self._running: set[asyncio.Task[Any]] = set()
        self._endless: set[asyncio.Task[None]] = set()
        self._awaited: set[asyncio.Task[Any]] = set()

    def start(
        self, work: Coroutine[Any, Any, _T], name: str, *, awaited: bool = False
    ) -> asyncio.Task[_T]:
        """Run `work` to its end, whoever waits for it; errors of what is `awaited` are theirs."""
        task = asyncio.get_running_loop().create_task(work, name=name)
        self._running.add(task)
        if awaited:
            self._awaited.add(task)
        task.add_done_callback(self._ended)
        return task

    def start_endless(
        self, run: Callable[[], Coroutine[Any, Any, None]], name: str, clock: Clock
    ) -> asyncio.Task[None]:
        """Run until the process ends, which cancels it; after an unexpected error, once more."""
        work = self._run_endless(run, name, clock)
        task = asyncio.get_running_loop().create_task(work, name=name)
        self._endless.add(task)
        task.add_done_callback(self._ended)
        return task

    async def idle(self) -> None:
        """Wait until nothing runs."""
        while self._running:
            await asyncio.wait(set(self._running))

    async def aclose(self, *, seconds: float) -> None:
        """Wait for all of them, for `seconds` at most; then cancel what is left, and say so."""
        await cancel(self._endless)
        try:
            async with asyncio.timeout(seconds):
                await self.idle()
        except TimeoutError:
            late = [task for task in self._running if not task.done()]
            if late:  # the last may have ended in this moment
                self._log.error("work_cut_off", tasks=sorted(task.get_name() for task in late))
                for task in late:
                    task.cancel()
                await asyncio.wait(late, timeout=1)

    async def _run_endless(
        self, run: Callable[[], Coroutine[Any, Any, None]], name: str, clock: Clock
    ) -> None:
        while True:
            try:
                return await run()
            except Exception as error:
                # A mistake of ours about one thing must not end the looking after all others.
                self._log.error("task_failed", task=name, error=type(error).__name__)
            await clock.sleep(_START_AGAIN_SECONDS)

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._running.discard(task)
        self._endless.discard(task)
        awaited = task in self._awaited
        self._awaited.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None and not awaited:
            # Whoever waits for the task gets the error too; nobody has to be waiting.
            self._log.warning("task_failed", task=task.get_name(), error=type(error).__name__)


@dataclass(frozen=True, slots=True)
class Runtime:
    """What every flow has of its process: time, randomness, tasks, metrics, logs, tracer.

    `random` gives as many random bytes as it is asked for. `audit` is the log for what a security
    officer asks about; it knows no level. Without one its events go where the others do.
    """

    clock: Clock
    random: Callable[[int], bytes]
    tasks: Tasks
    metrics: Metrics
    log: FilteringBoundLogger
    audit: FilteringBoundLogger = field(default_factory=structlog.get_logger)
    tracer: Tracer = NO_TRACING
