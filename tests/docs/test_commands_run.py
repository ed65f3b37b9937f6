"""Blocks of the documentation, run as they are printed."""

import json
import os
import re
import shutil
import subprocess
import sys
from base64 import b64encode
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import yaml

from sidecar.config.documentation import configuration_table
from tests.attacks.document import attack_tables
from tests.docs.pages import ROOT
from tests.docs.place import Place, block, place

OLD = "2026a:" + "A" * 43 + "="
WELL = re.compile(r"^All \d+ checks are fine\.$", re.MULTILINE)
pytestmark = pytest.mark.timeout(120)


@pytest.fixture
async def here(tmp_path: Path) -> AsyncIterator[Place]:
    if shutil.which("curl") is None and "REQUIRE_CURL" not in os.environ:
        pytest.skip("curl is not installed")
    async with place(tmp_path) as made:
        yield made


async def test_after_the_installation_four_looks_say_that_it_is_well(here: Place) -> None:
    printed = await here.ran(block("docs/install.md", "doctor --outside"))

    assert re.search(r"^SIDECAR_ISSUER +http://\S+ +SIDECAR_ISSUER$", printed, re.MULTILINE)
    assert WELL.search(printed)
    assert "logins_pass" not in printed


async def test_the_look_for_logins_that_pass_finds_what_is_said_of_them(here: Place) -> None:
    said = '{"event": "logins_pass", "why": "…"}\n'
    here.log.write_text(f'{{"event": "started"}}\n{said}')
    (look,) = re.findall(r".*logins_pass.*", block("docs/install.md", "doctor --outside"))

    assert await here.ran(look) == said


async def test_the_runbooks_three_looks_show_log_parts_and_readiness(here: Place) -> None:
    with here.log.open("a") as log:
        log.write('{"event": "argocd_is_away", "level": "warning"}\n')

    printed = await here.ran(block("docs/runbook.md", "--since=15m"))

    assert '"level": "info"' in here.log.read_text()
    assert '"level": "info"' not in printed
    assert "argocd_is_away" in printed
    assert WELL.search(printed)
    assert re.search(r'"store": ?"', printed)


async def test_the_doctor_is_asked_as_pages_ask_it(here: Place) -> None:
    printed = await here.ran(block("docs/troubleshooting.md", "sidecar doctor"))

    assert WELL.search(printed)


async def test_a_persons_session_is_listed_and_ended_as_printed(here: Place) -> None:
    async with here.browser() as browser:
        assert (await browser.get("/api/v1/applications")).status == 200

        printed = await here.ran(block("docs/operate.md", "sessions list"))

        assert re.search(r"^[0-9a-f]{12} +ada@example.org ", printed, re.MULTILINE)
        assert "1 session ended" in printed
        assert '"revoked": "done"' in printed
        assert "ada@example.org" not in await here.ran("sidecar sessions list")


async def test_the_rotation_is_asked_for_its_next_step_as_printed(here: Place) -> None:
    printed = await here.ran(block("docs/key-rotation.md", "keys rotate\n"))

    assert "Keys here, from SIDECAR_SESSION_KEYS; the first one seals:\n  demo: " in printed
    assert "\nNext: " in printed


async def test_a_new_key_is_written_behind_the_old_one_as_printed(here: Place) -> None:
    secret, patch = b64encode(OLD.encode()).decode(), here.folder / "patch"

    printed = await here.ran(
        block("docs/key-rotation.md", "umask 077"), SECRET=secret, PATCH=str(patch)
    )

    written = yaml.safe_load(patch.read_text())["stringData"]["SIDECAR_SESSION_KEYS"]
    old, new = written.split()
    assert printed == ""
    assert old == OLD
    assert re.fullmatch(r"2027a:[A-Za-z0-9+/]{43}=", new)
    assert (here.folder / "keys").stat().st_mode & 0o077 == 0


@pytest.mark.parametrize(
    ("path", "inside"),
    [("docs/getting-started.md", "curl -s"), ("deploy/kustomize/README.md", "curl -s")],
)
async def test_renewals_are_counted_where_a_page_looks_for_them(
    here: Place, path: str, inside: str
) -> None:
    printed = await here.ran(block(path, inside))

    assert re.search(r"^argocd_token_refresh_renewals_total\{.*\} 0\.0$", printed, re.MULTILINE)


async def test_the_configuration_is_shown_where_getting_started_looks(here: Place) -> None:
    printed = await here.ran(block("docs/getting-started.md", "sidecar config"))

    assert "SIDECAR_CLIENT_ID" in printed


async def test_a_person_ends_their_sessions_by_curl_as_printed(here: Place) -> None:
    printed_for = "https://argocd.example.org"
    listed, end, end_others = (
        block("docs/sessions.md", 'curl -b "$COOKIES"')
        .replace("\\\n", "")
        .replace(printed_for, here.address)
        .splitlines()
    )
    async with here.browser() as browser, here.browser(), here.browser():
        cookies = "; ".join(f"{name}={value}" for name, value in browser.cookies().items())

        before = json.loads(await here.ran(f"{listed} 2>&-", COOKIES=cookies))
        ids = [each["id"] for each in before["sessions"] if not each["current"]]
        with_token = {"COOKIES": cookies, "TOKEN": before["token"]}
        await here.ran(end.replace("0123456789abcdef", ids[0]), **with_token)
        after_one = json.loads(await here.ran(f"{listed} 2>&-", COOKIES=cookies))
        rest = end.partition("-d token")[0] + end_others.partition("… ")[2]
        await here.ran(rest, **with_token)
        after_all = json.loads(await here.ran(f"{listed} 2>&-", COOKIES=cookies))

    counts = [len(each["sessions"]) for each in (before, after_one, after_all)]
    assert counts == [3, 2, 1]


def test_what_reading_from_the_kubernetes_api_takes_is_what_the_page_says() -> None:
    page, command = "docs/configuration.md", block("docs/configuration.md", "kubernetes_api")

    done = subprocess.run(
        ["sh", "-c", command.replace(".venv/bin/python", sys.executable)],
        cwd=ROOT, capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip

    (said,) = re.findall(r"takes (\d+) MiB of memory", (ROOT / page).read_text())
    assert int(said) / 2 < int(done.stdout) < int(said) * 2


@pytest.mark.parametrize(
    ("path", "table"),
    [("CONTRIBUTING.md", configuration_table()), ("docs/attacks.md", attack_tables())],
)
def test_a_tables_command_prints_the_table(path: str, table: str) -> None:
    command = block(path, "print(t()").replace(".venv/bin/python", sys.executable)

    done = subprocess.run(
        ["sh", "-c", command], cwd=ROOT, capture_output=True, text=True, timeout=60, check=True
    )

    assert done.stdout == table
