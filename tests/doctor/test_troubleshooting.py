"""docs/troubleshooting.md, whose commands are run as they are printed."""

import asyncio
import os
import re
import shutil
from pathlib import Path

import pytest

from sidecar.app import running as running_sidecar
from sidecar.config.settings import Config
from tests.doctor.patient import Patient
from tests.world import free_port

PAGE = Path(__file__).parents[2] / "docs" / "troubleshooting.md"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    if shutil.which("curl") is None and "REQUIRE_CURL" not in os.environ:
        pytest.skip("curl is not installed")
    return tmp_path


async def ran(steps: list[str], environment: dict[str, str], folder: Path) -> list[str]:
    """What each step printed; a shell runs all, and stops at one that fails."""
    script = "\necho ---\n".join(steps)
    process = await asyncio.create_subprocess_exec(
        "sh", "-eu", "-c", script,
        env={"PATH": os.environ["PATH"], **environment},
        cwd=folder,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    async with asyncio.timeout(60):
        out, error = await process.communicate()
    assert process.returncode == 0, error.decode()
    return [part.strip() for part in out.decode().split("---")]


async def test_doctor_is_followed_by_a_login_with_curl_that_works_as_printed(
    here: Patient, folder: Path
) -> None:
    yours, *steps = re.findall(r"```sh\n(.*?)```", PAGE.read_text(), re.DOTALL)
    port = free_port()
    url = f"http://argocd.example.org:{port}"
    issuer = here.environment["SIDECAR_ISSUER"]
    here.argocd.settings.url = url
    here.provider.settings.redirect_uris = (f"{url}/auth/callback",)
    changes = {
        "SIDECAR_PUBLIC_URL": url,
        "SIDECAR_LISTEN": f"127.0.0.1:{port}",
        "SIDECAR_ADMIN_LISTEN": "127.0.0.1:0",
    }
    mine = {
        "ARGOCD": url,
        "RESOLVE": f"argocd.example.org:{port}:127.0.0.1",
        "ISSUER": issuer,
    }

    async with running_sidecar(Config.load({**here.environment, **changes})):
        printed = await ran(steps, mine, folder)

    assert re.findall(r"^(\w+)=", yours, re.MULTILINE) == list(mine)
    names, version, began, back, finished, known, ended = printed
    assert names == f'"issuer": "{issuer}"'
    assert version == '{"Version":"v3.5.1"}'
    assert re.fullmatch(r"303 http://.*/authorize\?.*code_challenge=.*\n[1-9]", began)
    assert back == f"{url}/auth/callback"
    assert finished == f"303 {url}/"
    assert '"loggedIn":true' in known
    assert '"groups":["developers"]' in known
    assert ended == "303\n{}"
    assert not (folder / "jar").exists()
