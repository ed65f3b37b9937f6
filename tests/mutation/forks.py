"""Work in processes of their own: one whose answer is wanted, or many that each say yes or no."""

import gc
import os
import pickle
import resource
import signal
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from typing import Generic, NoReturn, TypeVar

_MOST_MEMORY_BYTES = 4 * 1024**3
_BROKEN = 2
_Answer = TypeVar("_Answer")
_About = TypeVar("_About")


class Verdict(StrEnum):
    """What became of a mutant."""

    SURVIVED = "survived"
    KILLED = "killed"
    ENDLESS = "endless"
    """Stopped after many times of what its tests take: killed as well."""

    REFUSED = "refused"
    """No test notices it, but the type check does."""


@dataclass(frozen=True)
class Task(Generic[_About]):
    """Something to try, and the processor's time that it may take."""

    about: _About
    passes: Callable[[], bool]
    cpu_seconds: float


def answer(work: Callable[[], _Answer]) -> _Answer:
    """What `work` returned in a process of its own, with which everything it imported is gone.

    Raises:
        EOFError: it returned nothing.
    """
    reading, writing = os.pipe()
    sys.stdout.flush()
    if (pid := os.fork()) == 0:
        os.close(reading)
        with suppress(BaseException), os.fdopen(writing, "wb") as pipe:
            pickle.dump(work(), pipe)
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        try:
            found: _Answer = pickle.load(pipe)
        finally:
            os.waitpid(pid, 0)
    return found


def verdicts(tasks: Iterable[Task[_About]], at_once: int) -> Iterator[tuple[_About, Verdict]]:
    """What became of each, in the order in which they end: what passes has survived.

    Raises:
        RuntimeError: one could not be tried, which says nothing of it.
    """
    gc.collect()
    gc.freeze()  # or each child would copy what its collector looks at
    waiting, running = iter(tasks), dict[int, _About]()
    while True:
        for task in waiting:
            if (pid := os.fork()) == 0:
                _try(task)
            running[pid] = task.about
            if len(running) == at_once:
                break
        if not running:
            return
        pid, status = os.wait()
        about = running.pop(pid)
        if os.WIFEXITED(status) and os.WEXITSTATUS(status) == _BROKEN:
            raise RuntimeError(f"could not be tried: {about}")
        yield about, _verdict(status)


def _try(task: Task[_About]) -> NoReturn:
    """End this process as the task ends."""
    status = _BROKEN
    with suppress(BaseException):
        seconds = int(task.cpu_seconds) + 1
        resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds + 1))
        resource.setrlimit(resource.RLIMIT_AS, (_MOST_MEMORY_BYTES, _MOST_MEMORY_BYTES))
        silence()
        status = 0 if task.passes() else 1
    os._exit(status)


def silence() -> None:
    """Let this process write nothing more to where others write."""
    nowhere = os.open(os.devnull, os.O_RDWR)
    for descriptor in range(3):
        os.dup2(nowhere, descriptor)


def _verdict(status: int) -> Verdict:
    if os.WIFSIGNALED(status):
        stopped = os.WTERMSIG(status) in (signal.SIGXCPU, signal.SIGKILL)
        return Verdict.ENDLESS if stopped else Verdict.KILLED
    return Verdict.KILLED if os.WEXITSTATUS(status) else Verdict.SURVIVED
