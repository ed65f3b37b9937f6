"""The command line, as an operator meets it."""

import asyncio
import base64
import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest
from aiohttp import ClientSession

from sidecar.demo.provider import DemoProvider
from tests.config.mounted import Installation
from tests.system.process import sidecar_process, until_ready
from tests.world import KEYS, World, free_port


async def command(
    *arguments: str, environment: Mapping[str, str] | None = None
) -> tuple[int, str, str]:
    """A command's exit code, standard output and standard error."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "sidecar", *arguments,
        env={"PATH": os.environ["PATH"], **(environment or {})},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    async with asyncio.timeout(90):
        out, error = await process.communicate()
    return process.returncode or 0, out.decode(), error.decode()


@pytest.mark.timeout(120)
async def test_the_demo_checks_itself_and_prints_what_the_others_counted() -> None:
    code, out, error = await command("demo", "--check", "--token-seconds", "3")

    counted = json.loads(out.splitlines()[-1])
    assert code == 0, error
    assert counted["logins"] == 1
    assert counted["renewals"] >= 3
    assert counted["unauthorized"] == 0


async def test_a_wrong_configuration_says_every_fault_and_opens_no_port() -> None:
    port = free_port()
    environment = {
        "SIDECAR_LISTEN": f"127.0.0.1:{port}",
        "SIDECAR_ISUER": "https://idp.example.org",
        "SIDECAR_REFRESH_WINDOW": "soon",
        "SIDECAR_CLIENT_SECRET": "hush-hush",
        "SIDECAR_SESSION_KEYS": "k:aHVzaC1odXNo",
    }

    code, out, error = await command("run", environment=environment)

    assert code == 2
    faults = error.splitlines()
    assert any("SIDECAR_ISUER" in line and "SIDECAR_ISSUER" in line for line in faults)
    assert any("SIDECAR_REFRESH_WINDOW" in line and "'soon'" in line for line in faults)
    assert any(line.startswith("SIDECAR_SESSION_KEYS key 'k' has 9 bytes") for line in faults)
    assert any(line.startswith("SIDECAR_PUBLIC_URL is missing") for line in faults)
    assert "hush" not in out + error
    assert "aHVzaC1" not in out + error


async def test_the_effective_configuration_is_shown_with_its_sources_and_without_its_secrets(
    tmp_path: Path,
) -> None:
    environment = {**Installation(tmp_path).environment, "SIDECAR_LOG_LEVEL": "error"}

    code, out, error = await command("config", environment=environment)
    _, machine, _ = await command("config", "--json", environment=environment)

    assert (code, error) == (0, "")
    rows = [line.split(maxsplit=2) for line in out.splitlines()]
    assert ["SIDECAR_CLIENT_ID", "argocd", "argocd-cm: oidc.config: clientID"] in rows
    assert ["SIDECAR_LOG_LEVEL", "error", "SIDECAR_LOG_LEVEL"] in rows
    assert json.loads(machine)["values"]["client_id"]["value"] == "argocd"
    assert "hunter" not in out + machine


async def test_a_port_that_is_taken_is_said_in_one_line(here: World) -> None:
    taken = {**here.environment, "SIDECAR_LISTEN": f"127.0.0.1:{here.sidecars[0].port}"}

    code, _, error = await command("run", environment=taken)

    assert code == 1
    assert "cannot listen" in error
    assert "Traceback" not in error


async def test_a_new_key_is_one_that_the_configuration_takes() -> None:
    code, out, _ = await command("keys", "new", "2026a")

    name, _, key = out.strip().partition(":")
    assert code == 0
    assert name == "2026a"
    assert len(base64.b64decode(key, validate=True)) == 32


async def test_a_process_that_is_told_to_end_does_so_and_says_goodbye_cleanly(
    here: World,
) -> None:
    port, admin = free_port(), free_port()
    environment = {
        **here.environment,
        "SIDECAR_LISTEN": f"127.0.0.1:{port}",
        "SIDECAR_ADMIN_LISTEN": f"127.0.0.1:{admin}",
    }
    async with sidecar_process(environment) as process:
        await until_ready(f"http://127.0.0.1:{admin}")

        code, log = await process.stop()

    assert code == 0
    for line in log.splitlines():
        json.loads(line)


async def test_both_ip_families_are_listened_on_without_a_host(here: World) -> None:
    port, admin = free_port(), free_port()
    environment = {
        **here.environment,
        "SIDECAR_LISTEN": f":{port}",
        "SIDECAR_ADMIN_LISTEN": f":{admin}",
    }
    async with sidecar_process(environment), ClientSession() as http:
        await until_ready(f"http://127.0.0.1:{admin}")

        for host in ("127.0.0.1", "[::1]"):
            async with http.get(f"http://{host}:{port}/api/version") as answer:
                assert answer.status == 200


async def test_it_starts_while_the_provider_and_the_store_are_away(
    provider_away: DemoProvider, here: World
) -> None:
    port, admin = free_port(), free_port()
    environment = {
        **here.environment,
        "SIDECAR_LISTEN": f"127.0.0.1:{port}",
        "SIDECAR_ADMIN_LISTEN": f"127.0.0.1:{admin}",
        "SIDECAR_STORE_URL": f"redis://127.0.0.1:{free_port()}/0",
        "SIDECAR_SESSION_KEYS": KEYS,
    }
    async with sidecar_process(environment), ClientSession() as http:
        await until_ready(f"http://127.0.0.1:{admin}")

        async with http.get(f"http://127.0.0.1:{port}/api/version") as passed:
            assert passed.status == 200
        async with http.get(f"http://127.0.0.1:{admin}/readyz") as ready:
            detail = await ready.json()
        assert ready.status == 200
        assert detail["store"] != "ok"
        assert detail["provider"] != "ok"
        assert detail["upstream"] == "ok"


@pytest.fixture
def provider_away(here: World) -> DemoProvider:
    here.provider.available = False
    return here.provider


async def test_a_file_of_rules_is_checked_and_tried_from_the_command_line(tmp_path: Path) -> None:
    file, claims = tmp_path / "rules.yaml", tmp_path / "claims.json"
    file.write_text(
        "issuers: [{name: ci, issuer: 'https://ci.example.org', audiences: argocd}]\n"
        "rules: [{name: ours, if: sub == 'job', token_file: /run/token}]\n"
    )
    claims.write_text('{"iss": "https://ci.example.org", "sub": "job"}')

    checked = await command("rules", "check", str(file))
    tried = await command("rules", "try", str(file), "--claims-file", str(claims))
    claims.write_text('{"iss": "https://ci.example.org", "sub": "other"}')
    refused = await command("rules", "try", str(file), "--claims-file", str(claims))

    assert checked[0] == tried[0] == 0
    assert tried[1].endswith("ours (0): matches\n\nours: token file /run/token\n")
    assert refused[0] == 1
    assert refused[1].endswith("no rule matches: 403\n")
