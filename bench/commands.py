"""What an operator's commands take: `python -m bench.commands`. docs/operate.md goes by it.

Real processes over a Valkey full of sessions, each with three tokens of 2 KiB. The CPU time is
the command's own, and so is the most memory that it ever had.
"""

import argparse
import asyncio
import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from resource import struct_rusage
from typing import Any

from bench.machine import resident_kib
from bench.place import PUBLIC_URL, Maker, maker, replica
from bench.tokens import CLIENT_ID, LIFE_SECONDS
from sidecar.app import SystemClock
from sidecar.demo.valkey import valkey
from tests.world import KEYS

ISSUER = "https://login.example.org/realms/main"
_NEW = "new:" + "B" * 42 + "A="
_REPORTED_WITHIN_SECONDS = 90  # a report counts for a minute, one without the new key too
_LOOK_EVERY_SECONDS = 0.02
Used = dict[str, float]


async def commands(*, counts: Sequence[int] = (10, 10_000, 30_000)) -> dict[str, Used]:
    """CPU seconds and peak MiB of each command; what is not a list, among the last number."""
    found: dict[str, Used] = {}
    async with valkey() as store_url, maker(store_url, ISSUER) as making:
        environment = _environment(store_url)
        made = 0
        for count in counts:
            await _grow(making, made, count)
            made = count
            found[f"list --json, {count}"] = await _ran(environment, "sessions", "list", "--json")
        one = ("sessions", "list", "--user", "user-7", "--json")
        found[f"list --user, {made}"] = await _ran(environment, *one)
        found[f"keys rotate, {made}"] = await _rotated(environment)
        ended = {**environment, "SIDECAR_SESSION_KEYS": f"{_NEW}\n{KEYS}"}
        found[f"end --all, {made}"] = await _ran(ended, "sessions", "end", "--all", "--yes")
    return found


def _environment(store_url: str) -> dict[str, str]:
    return {
        "SIDECAR_PUBLIC_URL": PUBLIC_URL,
        "SIDECAR_UPSTREAM": "http://127.0.0.1:9",
        "SIDECAR_ISSUER": ISSUER,
        "SIDECAR_CLIENT_ID": CLIENT_ID,
        "SIDECAR_CLIENT_SECRET": "demo-secret",
        "SIDECAR_STORE_URL": store_url,
        "SIDECAR_SESSION_KEYS": KEYS,
        "SIDECAR_BACKGROUND_RENEWAL": "off",
    }


async def _grow(making: Maker, made: int, count: int) -> None:
    ends_at = SystemClock().now() + LIFE_SECONDS
    await making.sessions((f"user-{n}" for n in range(made, count)), ends_at=ends_at)


async def _rotated(environment: Mapping[str, str]) -> Used:
    """`keys rotate` as it seals all anew, which waits for a replica that reports the new key."""
    rotating = {**environment, "SIDECAR_SESSION_KEYS": f"{_NEW}\n{KEYS}"}
    async with replica(rotating):
        async with asyncio.timeout(_REPORTED_WITHIN_SECONDS):
            while await _step(rotating) != "reseal":
                pass  # asking takes most of a second
        return await _ran(rotating, "keys", "rotate", code=1)  # the old key signed the cookies


async def _step(environment: Mapping[str, str]) -> str:
    process = await asyncio.create_subprocess_exec(
        *_command("keys", "status", "--json"),
        env={"PATH": os.environ["PATH"], **environment},
        stdout=asyncio.subprocess.PIPE,
    )
    out, _ = await process.communicate()
    found: dict[str, Any] = json.loads(out)
    return str(found["step"])


async def _ran(environment: Mapping[str, str], *arguments: str, code: int = 0) -> Used:
    return await asyncio.to_thread(_used, _command(*arguments), environment, code)


def _used(command: Sequence[str], environment: Mapping[str, str], code: int) -> Used:
    process = subprocess.Popen(  # noqa: S603
        command,
        env={"PATH": os.environ["PATH"], **environment},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    status, used, peak_kib = _watched(process.pid)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != code:
        raise RuntimeError(f"{command} ended with {process.returncode}")
    return {
        "cpu_seconds": round(used.ru_utime + used.ru_stime, 2),
        "peak_mib": round(peak_kib / 1024, 1),
    }


def _watched(pid: int) -> tuple[int, struct_rusage, int]:
    """How a process ended, what it used, and the most memory that it had, in KiB.

    What the kernel says of the latter at the end begins with what this process had.
    """
    peak_kib = 0
    while True:
        with suppress(IndexError):  # it has no memory any more
            peak_kib = max(peak_kib, resident_kib(pid, "VmHWM"))
        gone, status, used = os.wait4(pid, os.WNOHANG)
        if gone:
            return status, used, peak_kib
        time.sleep(_LOOK_EVERY_SECONDS)


def _command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "sidecar", *arguments]


def main() -> None:
    """Measure, and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sessions", type=int, default=30_000)
    most = parser.parse_args().sessions
    print(json.dumps(asyncio.run(commands(counts=(10, most // 3, most))), indent=2))


if __name__ == "__main__":
    main()
