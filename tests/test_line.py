"""A line follows a configuration of the same issuer and client."""

import os
from pathlib import Path

import structlog

from sidecar.adapters.memory_store import MemoryStore
from sidecar.config.settings import Config
from sidecar.core.sealing import KeyRing
from sidecar.flows.tasks import Runtime, Tasks
from sidecar.line import Line
from sidecar.metrics import Metrics
from tests.config.mounted import Installation
from tests.fakes.clock import FakeClock

DEX = "connectors: [{type: github, id: github}]\nexpiry: {refreshTokens: {reuseInterval: %s}}\n"


async def test_a_reuse_interval_of_dexs_that_changes_counts_from_then_on(
    tmp_path: Path, fake_clock: FakeClock
) -> None:
    argocd = Installation(tmp_path)

    def load(interval: str) -> Config:
        dex = {"oidc.config": None, "dex.config": (DEX % interval).encode()}
        argocd.change("argocd-cm", dex)
        return Config.load(argocd.environment)

    log = structlog.get_logger()
    runtime = Runtime(fake_clock, os.urandom, Tasks(log), Metrics(), log)
    config = load("3s")
    ring = KeyRing(config.session_keys or ())
    line = Line(config, MemoryStore(fake_clock), ring, runtime)
    assert line.provider.profile.reuse_window_seconds == 3

    replaced = line.follow(load("45s"), ring)

    assert replaced is None
    assert line.provider.profile.reuse_window_seconds == 45
    await line.http.close()
