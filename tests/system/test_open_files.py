"""A container may begin with few open files: the process takes as many as its connections need."""

import asyncio
import resource
from pathlib import Path

import pytest
import structlog
from structlog.testing import LogCapture

from bench.place import Replica, connections, replica
from bench.serving import HOST, double
from sidecar.open_files import allow_open_files

FILES = 128


def allowed(running: Replica) -> int:
    """How many open files a process may have."""
    lines = Path(f"/proc/{running.pid}/limits").read_text().splitlines()
    return next(int(line.split()[3]) for line in lines if line.startswith("Max open files"))


async def test_more_connections_are_served_than_the_process_began_with_open_files() -> None:
    async with double("bench.upstream", {}) as upstream:
        environment = {
            "FILES": str(FILES),
            "SIDECAR_UPSTREAM": upstream,
            "SIDECAR_ISSUER": f"http://{HOST}:1",
            "SIDECAR_STORE_URL": "memory://",
            "SIDECAR_MAX_CONNECTIONS": "400",
        }
        async with (
            replica(environment, module="tests.system.few_files") as running,
            connections([running.port] * 2 * FILES) as made,
        ):
            answers = [await asyncio.wait_for(each.ask("a=b"), 10) for each in made]

            assert {status for status, _ in answers} == {200}
            assert allowed(running) == 2 * 400 + 512


def test_where_the_system_allows_fewer_it_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    limits = [(1024, 4096)]

    def set_limits(_: int, given: tuple[int, int]) -> None:
        limits.append(given)

    monkeypatch.setattr(resource, "getrlimit", lambda _: limits[-1])
    monkeypatch.setattr(resource, "setrlimit", set_limits)

    said = LogCapture()
    allow_open_files(10_000, structlog.wrap_logger(None, processors=[said]))

    assert limits[-1] == (4096, 4096)
    assert [(line["event"], line["allowed"], line["needed"]) for line in said.entries] == [
        ("open_files_limited", 4096, 20_512)
    ]


@pytest.mark.parametrize("soft", [resource.RLIM_INFINITY, 20_512, 100_000])
def test_a_limit_that_is_enough_stays(soft: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _: (soft, resource.RLIM_INFINITY))
    monkeypatch.setattr(resource, "setrlimit", lambda *_: pytest.fail("it was changed"))

    said = LogCapture()
    allow_open_files(10_000, structlog.wrap_logger(None, processors=[said]))

    assert said.entries == []
