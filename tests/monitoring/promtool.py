"""Prometheus' own tool, which runs and checks what we ask of Prometheus."""

import os
import shutil

import pytest


def required() -> str:
    """Where promtool is; skip where it is not, and fail in CI, which installs it."""
    found = shutil.which("promtool")
    if found is None:
        if os.environ.get("REQUIRE_PROMTOOL"):
            pytest.fail("promtool is not here: apt-get install prometheus")
        pytest.skip("promtool is not here: apt-get install prometheus")
    return found
