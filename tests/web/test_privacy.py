"""What is written of a user: pseudonyms."""

import json
import re

import pytest
from aiohttp import ClientSession

from sidecar.core.session import user_tag
from sidecar.demo.misbehaviour import Answer, Change
from tests.world import PAGE, World

USER_AGENT = "Telltale/1.0 (made by nobody else)"


async def test_a_users_name_address_and_browser_are_in_no_log_line_and_no_metric(
    here: World, capsys: pytest.CaptureFixture[str]
) -> None:
    browser = await here.browser()
    browser.http.headers["User-Agent"] = USER_AGENT
    callback = await browser.sign_in(f"{here.base}/applications/secret-project")
    here.provider.script.append(Change(claims={"nonce": "another"}))
    await browser.get(callback, headers=PAGE)
    await browser.log_in()
    for behaviour in (Answer(status=401, body='{"error":"invalid_client"}'), Change()):
        here.provider.script.append(behaviour)
        here.clock.advance(400)
        await browser.get("/api/v1/applications")
    await browser.get("/auth/logout")
    await here.settled()

    async with ClientSession() as http, http.get(f"{here.sidecars[0].admin}/metrics") as answer:
        written = capsys.readouterr().out + await answer.text()

    told = user_tag(here.provider.issuer, "argo-cd", "ada")
    assert f"user={told}" in written
    assert 'credential="session"' in written
    for personal in ("ada@example.org", "Ada", "'ada'", "developers", "secret-project", USER_AGENT):
        assert personal not in written
    # Whose the tag is stands in one place: the audit log's line of a login.
    lines = [line for line in written.splitlines() if "ada" in re.split(r"[\s='\",;]+", line)]
    on_record = [json.loads(line) for line in lines]
    assert [(one["event"], one["subject"], one["user"]) for one in on_record] == [
        ("login", "ada", told)
    ]
