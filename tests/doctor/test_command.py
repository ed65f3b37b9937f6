"""The command as an operator runs it, at the demo that runs."""

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from sidecar.app import running as running_sidecar
from sidecar.config.settings import Config
from sidecar.demo import run as demo
from sidecar.doctor.findings import fault, ok, warning
from sidecar.doctor.report import as_text

STARTED: dict[str, str] = {}


@asynccontextmanager
async def sidecar(environment: Mapping[str, str]) -> AsyncIterator[None]:
    STARTED.clear()
    STARTED.update(environment)
    async with running_sidecar(Config.load(environment)):
        yield


@pytest.fixture
async def demo_environment() -> AsyncIterator[dict[str, str]]:
    async with demo.running(sidecar, token_seconds=20):
        yield dict(STARTED)


async def doctor(environment: Mapping[str, str], *arguments: str) -> tuple[int, str, str]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "sidecar", "doctor", *arguments,
        env={"PATH": os.environ["PATH"], **environment},
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    async with asyncio.timeout(60):
        out, error = await process.communicate()
    return process.returncode or 0, out.decode(), error.decode()


async def test_doctor_reports_no_fault_on_the_demo(demo_environment: dict[str, str]) -> None:
    code, out, error = await doctor(demo_environment, "--json", "--outside")

    report = json.loads(out)
    assert (code, error) == (0, "")
    assert report["counts"] == {"ok": len(report["findings"]), "warning": 0, "fault": 0}
    parts = {finding["part"] for finding in report["findings"]}
    assert parts == {"settings", "provider", "store", "upstream", "outside"}


async def test_doctor_ends_with_1_for_warnings(demo_environment: dict[str, str]) -> None:
    code, out, _ = await doctor({**demo_environment, "SIDECAR_STORE_URL": "memory://"})

    assert code == 1
    assert "WARN kind: sessions are kept in the memory of one process" in out
    assert max(map(len, out.splitlines())) <= 80


async def test_doctor_ends_with_2_for_faults_and_prints_no_secret(
    demo_environment: dict[str, str],
) -> None:
    changed = {**demo_environment, "SIDECAR_CLIENT_SECRET": "hush-hush"}

    code, out, error = await doctor(changed)

    assert (code, error) == (2, "")
    assert "FAIL secret: the provider refuses the client, which" in out
    assert "hush" not in out


async def test_doctor_logs_a_test_user_in_and_prints_no_password(
    demo_environment: dict[str, str], tmp_path: Path
) -> None:
    password = tmp_path / "password"
    password.write_text("ada-and-more\n")
    login = ["--login", "--user", "ada", "--password-file", str(password)]

    code, out, error = await doctor(demo_environment, *login)
    good = await doctor({**demo_environment, "DOCTOR_PASSWORD": "ada"}, "--login", "--user", "ada")

    assert code == 2
    assert "does not take this user" in out
    assert "ada-and-more" not in out + error
    assert good[0] == 0, good


async def test_doctor_asks_a_person_to_open_an_address(demo_environment: dict[str, str]) -> None:
    code, out, error = await doctor(demo_environment, "--login", "--json")

    assert code == 2
    assert f"{demo_environment['SIDECAR_ISSUER']}/authorize?" in error
    assert "no address of the redirect URI" in json.loads(out)["findings"][-1]["what"]


async def test_doctor_answers_programs_though_no_variable_is_right() -> None:
    code, out, error = await doctor({"SIDECAR_ISUER": "https://idp.example.org"}, "--json")

    report = json.loads(out)
    assert (code, error) == (2, "")
    assert report["exit_code"] == 2
    assert "SIDECAR_ISUER" in report["findings"][0]["what"]


def test_doctor_writes_no_control_characters_of_others() -> None:
    text = as_text([ok("upstream.version", "Argo CD \x1b[2J\x07v3")])

    assert "  ok   version: Argo CD ?[2J?v3" in text


def test_doctor_writes_short_lines_with_the_mend_below_what_is_wrong() -> None:
    findings = [
        ok("provider.jwks", "1 key for signatures"),
        fault("provider.secret", "the secret is wrong", "Nobody logs in.", "Copy it " * 20),
        warning("store.eviction", "it forgets", "People are logged out.", "Set noeviction"),
    ]

    text = as_text(findings)

    lines = text.splitlines()
    assert lines[:4] == [
        "provider",
        "  ok   jwks: 1 key for signatures",
        "  FAIL secret: the secret is wrong",
        "       Nobody logs in.",
    ]
    assert lines[4].startswith("       -> Copy it Copy it")
    assert lines[-1] == "1 fault, 1 warning, 3 checks."
    assert max(map(len, lines)) <= 80
