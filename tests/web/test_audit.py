"""Who logged in, until when, and what was refused: the audit events of a running sidecar."""

import json
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from sidecar.demo.misbehaviour import Answer, Change
from tests.fakes.clock import FakeClock
from tests.world import PAGE, World, world

Worlds = Callable[..., AbstractAsyncContextManager[World]]


@pytest.fixture
def world_with(signing_key: rsa.RSAPrivateKey, fake_clock: FakeClock) -> Worlds:
    """A world whose sidecar has these variables too."""

    def made(**environment: str) -> AbstractAsyncContextManager[World]:
        return world(signing_key, fake_clock, environment=environment)

    return made


def events(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


async def test_a_whole_session_is_on_record_at_any_level(
    world_with: Worlds, tmp_path: Path
) -> None:
    path = tmp_path / "audit.log"
    async with world_with(SIDECAR_AUDIT_LOG=str(path), SIDECAR_LOG_LEVEL="error") as here:
        browser = await here.logged_in()
        tag = browser.session().split(".")[0]
        here.clock.advance(301)
        here.provider.script.append(Change(claims={"groups": ["admins"]}))
        await browser.get("/api/v1/applications")
        await here.settled()
        await browser.get("/auth/logout")
        await here.settled()

        written = events(path.read_text())
        assert [one["event"] for one in written] == [
            "login", "groups_changed", "renewed", "session_ended", "revoked"
        ]  # fmt: skip
        assert {one["user"] for one in written} == {tag}
        login, groups, _, end, _ = written
        assert (login["subject"], login["session"]) == ("ada", end["session"])
        assert (groups["gained"], groups["lost"]) == (["admins"], ["developers"])
        assert (end["reason"], end["last"]) == ("logout", True)


async def test_refusals_are_on_record(world_with: Worlds, tmp_path: Path) -> None:
    path = tmp_path / "audit.log"
    async with world_with(SIDECAR_AUDIT_LOG=str(path)) as here:
        here.provider.script.append(Change(claims={"nonce": "another"}))
        await (await here.browser()).log_in()
        browser = await here.logged_in()
        here.clock.advance(301)
        here.provider.script.append(Answer(status=400, body='{"error":"invalid_grant"}'))
        await browser.get("/api/v1/applications")
        logout = await browser.request(
            "POST", "/auth/backchannel-logout", data={"logout_token": "x.y.z"}
        )

        assert logout.status == 400
        failed, _, ended, refused = events(path.read_text())
        assert (failed["event"], failed["level"]) == ("login_failed", "warning")
        assert failed["reason"] == "id_token_nonce"
        assert (ended["event"], ended["reason"]) == ("grant_ended", "ended_by_provider")
        assert refused["event"] == "backchannel_logout_refused"


async def test_an_audit_log_that_cannot_be_written_stops_no_login(
    world_with: Worlds, capfd: pytest.CaptureFixture[str]
) -> None:
    async with world_with(SIDECAR_AUDIT_LOG="/dev/full") as here:
        browser = await here.logged_in()

        assert (await browser.get("/api/v1/applications")).status == 200
        assert here.sidecars[0].metric("alarms_total", kind="audit_log_not_written") == 1
        assert '"event": "login"' in capfd.readouterr().err


@pytest.mark.parametrize(("where", "seen"), [("stdout", True), ("off", False)])
async def test_audit_events_are_on_standard_output_or_nowhere(
    world_with: Worlds, where: str, seen: bool, capfd: pytest.CaptureFixture[str]
) -> None:
    async with world_with(SIDECAR_AUDIT_LOG=where) as here:
        await here.logged_in()

        assert ('"event": "login"' in capfd.readouterr().out) is seen


async def test_the_id_of_a_request_is_in_the_audit_events_that_it_causes(
    world_with: Worlds, tmp_path: Path
) -> None:
    path = tmp_path / "audit.log"
    async with world_with(SIDECAR_AUDIT_LOG=str(path)) as here:
        browser = await here.logged_in()
        here.clock.advance(301)
        await browser.get("/api/v1/applications", headers={"X-Request-Id": "the-renewing-one"})
        await browser.get("/auth/logout", headers={"X-Request-Id": "the-last-one"})
        await here.settled()

        ids = {one["event"]: one["request_id"] for one in events(path.read_text())}
        assert ids["renewed"] == "the-renewing-one"
        assert ids["session_ended"] == ids["revoked"] == "the-last-one"


async def test_the_id_of_a_sign_in_that_failed_is_on_its_page(here: World) -> None:
    browser = await here.browser()
    answer = await browser.get(
        "/auth/callback?code=x&state=y", headers={**PAGE, "X-Request-Id": "the-failed-one"}
    )

    assert answer.status == 400
    assert "the-failed-one" in await answer.text()
