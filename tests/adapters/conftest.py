import socket
import traceback
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import TypedDict
from uuid import uuid4

import pytest
import pytest_asyncio

from sidecar.demo.valkey import valkey
from tests.failover.cluster import cluster
from tests.failover.servers import valkey_program
from tests.fakes.clock import FakeClock


class Patience(TypedDict):
    command_seconds: float
    connect_seconds: float


# Longer than a noisy machine takes, for tests that are not about speed.
PATIENT: Patience = {"command_seconds": 10.0, "connect_seconds": 10.0}


@dataclass(frozen=True)
class ValkeyServer:
    unix: str
    tcp: str


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def valkey_server() -> AsyncIterator[ValkeyServer]:
    """One server for all tests; each of them has a prefix of its own there."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    async with valkey("--port", str(port), "--bind", "127.0.0.1") as unix:
        yield ValkeyServer(unix, f"redis://127.0.0.1:{port}/0")


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def valkey_cluster() -> AsyncIterator[str]:
    """The address of a Cluster for all tests; each of them has a prefix of its own there."""
    async with cluster(valkey_program(), replicas=0) as made:
        yield made.url


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def prefix() -> str:
    return f"{uuid4().hex}:"


def said(error: BaseException) -> str:
    """All that an error and those behind it could tell a log."""
    chain: list[BaseException] = []
    step: BaseException | None = error
    while step is not None and step not in chain:
        chain.append(step)
        step = step.__cause__ or (None if step.__suppress_context__ else step.__context__)
    texts = [f"{step} {step!r} {step.args!r}" for step in chain]
    return "\n".join([*texts, *traceback.format_exception(error)])
