"""What the figures were measured on, and how much of a core a process has used."""

import hashlib
import json
import os
import platform
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import cryptography
import redis


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
        "redis_py": redis.__version__,
        "cryptography": cryptography.__version__,
    }


def yardstick_ms() -> float:
    """The CPU time of a fixed piece of work: by it, figures of two machines are compared.

    The best of five, in milliseconds.
    """
    return min(_work() for _ in range(5)) * 1000


def _work() -> float:
    began = time.process_time()
    for number in range(5000):
        text = json.dumps({"number": number, "text": "x" * 200}).encode()
        hashlib.sha256(text).hexdigest()
    return time.process_time() - began


def cpu_seconds(pid: int) -> float:
    """The CPU time that a process has used so far, of user and system; Linux only."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()
