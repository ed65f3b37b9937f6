"""`sidecar sessions`, as an operator meets it, over a real Valkey."""

import hashlib
import io
import sys
from dataclasses import replace

import pytest
from redis.asyncio import Redis

from sidecar.commands.opening import opened
from sidecar.errors import ConfigurationError
from tests.commands.operator import Operator
from tests.fakes.clock import FakeClock
from tests.world import Browser, World, free_port, plain_http

API = "/api/v1/applications"
OTHER_KEY = "other:" + "B" * 42 + "A="


def digest(browser: Browser) -> str:
    """The hash of the secret in a browser's cookie, by which the store knows its session."""
    return hashlib.sha256(browser.session().split(".")[1].encode()).hexdigest()


async def lives(here: World, clock: FakeClock, browser: Browser) -> bool:
    """Whether a browser's session goes up, once what was known of it is no longer fresh."""
    clock.advance(2)
    status = (await browser.get(API)).status
    assert status in (200, 401)
    return status == 200


# Listing


async def test_who_is_logged_in_is_listed_with_what_an_operator_knows_them_by(
    stored: World, operator: Operator
) -> None:
    ada, bob = await stored.logged_in(), await stored.logged_in(user="bob")

    said = await operator.run("sessions", "list")

    heading, *rows = said.out.splitlines()
    assert said.code == 0
    assert heading.split()[:3] == ["SESSION", "USER", "SIGNED"]
    assert [row.split()[:2] for row in rows] == [
        [digest(ada)[:12], "ada@example.org"],
        [digest(bob)[:12], "bob@example.org"],
    ]


async def test_programs_get_a_line_for_each_with_all_of_it(
    stored: World, operator: Operator, fake_clock: FakeClock
) -> None:
    await stored.logged_in()

    said = await operator.run("sessions", "list", "--json")

    (line,) = said.lines
    assert said.code == 0
    assert (line["subject"], line["email"], line["name"]) == ("ada", "ada@example.org", "Ada")
    assert line["groups"] == ["developers"]
    assert line["cookie_signed_by"] == "test"
    assert line["signed_in_at"] < line["ends_at"]
    assert line["browser"].startswith("Python/")


async def test_nothing_that_is_listed_lets_anybody_in(stored: World, operator: Operator) -> None:
    browser = await stored.logged_in()

    shown = "".join(
        [
            (await operator.run("sessions", "list")).out,
            (await operator.run("sessions", "list", "--json")).out,
        ]
    )

    _, secret, mac = browser.session().split(".")
    assert secret not in shown
    assert mac not in shown
    assert digest(browser) not in shown
    assert "eyJ" not in shown  # no token


async def test_an_empty_store_has_no_sessions(operator: Operator) -> None:
    said = await operator.run("sessions", "list")

    assert (said.code, said.out) == (0, "No sessions.\n")


@pytest.mark.parametrize(
    "arguments",
    [
        ("--user", "bob"),
        ("--user", "BOB@example.org"),
        ("--user", "Bob"),
        ("--group", "operators"),
        ("--user", "bob", "--group", "operators"),
    ],
)
async def test_a_list_is_narrowed_by_what_an_operator_knows(
    stored: World, operator: Operator, arguments: tuple[str, ...]
) -> None:
    await stored.logged_in()
    await stored.logged_in(user="bob")

    said = await operator.run("sessions", "list", "--json", *arguments)

    assert [line["subject"] for line in said.lines] == ["bob"]


@pytest.mark.parametrize(
    "arguments",
    [
        ("--user", "nobody"),
        ("--group", "Operators"),
        ("--user", "ada", "--group", "operators"),
        ("--user", "ada", "--session", "00000000"),
        ("--key", "another"),
    ],
)
async def test_a_list_has_nobody_whom_the_arguments_do_not_mean(
    stored: World, operator: Operator, arguments: tuple[str, ...]
) -> None:
    await stored.logged_in()
    await stored.logged_in(user="bob")

    assert (await operator.run("sessions", "list", "--json", *arguments)).lines == []


async def test_a_list_that_is_cut_says_so(stored: World, operator: Operator) -> None:
    for _ in range(3):
        await stored.logged_in()

    said = await operator.run("sessions", "list", "--limit", "2")

    assert len(said.out.splitlines()) == 1 + 2
    assert "There are more" in said.error
    exact = await operator.run("sessions", "list", "--limit", "3")
    assert exact.error == ""


async def test_what_people_call_themselves_does_nothing_to_a_terminal(
    stored: World, operator: Operator
) -> None:
    browser = await stored.browser()
    bob = next(user for user in stored.provider.settings.users if user.name == "bob")
    stored.provider.settings.users = (replace(bob, email="bob\x1b[2J\u202e@example.org"),)
    await browser.log_in(user="bob")

    said = await operator.run("sessions", "list")

    assert "\x1b" not in said.out
    assert "\u202e" not in said.out
    assert "bob?[2J?@example.org" in said.out


async def test_a_session_that_has_ended_is_not_listed(stored: World, operator: Operator) -> None:
    browser = await stored.logged_in()
    await stored.logged_in(user="bob")
    await browser.get("/auth/logout")

    said = await operator.run("sessions", "list", "--json")

    assert [line["subject"] for line in said.lines] == ["bob"]


async def test_sessions_under_a_key_that_is_not_here_are_counted_with_the_mend(
    stored: World, operator: Operator
) -> None:
    await stored.logged_in()

    said = await operator.run("sessions", "list", SIDECAR_SESSION_KEYS=OTHER_KEY)

    assert said.code == 1
    assert "1 could not be opened (sealed by key 'test')" in said.error
    assert "SIDECAR_SESSION_KEYS" in said.error


# Ending


async def test_a_users_sessions_end_for_their_browsers_and_nobody_elses(
    stored: World, operator: Operator, fake_clock: FakeClock
) -> None:
    laptop, phone = await stored.logged_in(), await stored.logged_in()
    bob = await stored.logged_in(user="bob")

    said = await operator.run("sessions", "end", "--user", "ada@example.org")

    assert (said.code, said.out) == (0, "2 sessions ended.\n")
    assert not await lives(stored, fake_clock, laptop)
    assert not await lives(stored, fake_clock, phone)
    assert await lives(stored, fake_clock, bob)


@pytest.mark.parametrize("all_of_it", [True, False], ids=["all of it", "one of two"])
async def test_a_session_that_the_users_index_has_lost_ends_with_the_others(
    stored: World, operator: Operator, fake_clock: FakeClock, store_url: str, all_of_it: bool
) -> None:
    laptop, phone = await stored.logged_in(), await stored.logged_in()
    index = f"argocd-token-refresh:{{{laptop.session().split('.')[0]}}}:index"
    async with Redis.from_url(store_url) as redis:
        await (redis.delete(index) if all_of_it else redis.hdel(index, digest(laptop)))

    said = await operator.run("sessions", "end", "--user", "ada")

    assert said.out == "2 sessions ended.\n"
    assert not await lives(stored, fake_clock, laptop)
    assert not await lives(stored, fake_clock, phone)


async def test_each_end_is_an_event_that_says_by_whom(stored: World, operator: Operator) -> None:
    browser = await stored.logged_in()

    said = await operator.run("sessions", "end", "--user", "ada")

    (event,) = said.events
    assert event["event"] == "session_ended_by_operator"
    assert event["session"] == digest(browser)[:12]
    assert event["user"] == browser.session().split(".")[0]
    assert event["by"]
    assert event["host"]
    assert event["timestamp"]
    assert (event["last"], event["revoked"]) == (True, "not_asked")


async def test_a_group_ends_by_the_current_id_token(
    stored: World, operator: Operator, fake_clock: FakeClock
) -> None:
    ada, bob = await stored.logged_in(), await stored.logged_in(user="bob")

    said = await operator.run("sessions", "end", "--group", "operators")

    assert (said.code, said.out) == (0, "1 session ended.\n")
    assert await lives(stored, fake_clock, ada)
    assert not await lives(stored, fake_clock, bob)


async def test_one_session_ends_by_its_first_digits(
    stored: World, operator: Operator, fake_clock: FakeClock
) -> None:
    laptop, phone = await stored.logged_in(), await stored.logged_in()

    said = await operator.run("sessions", "end", "--session", digest(laptop)[:8])

    assert (said.code, said.out) == (0, "1 session ended.\n")
    assert not await lives(stored, fake_clock, laptop)
    assert await lives(stored, fake_clock, phone)


async def test_all_sessions_end_where_it_is_said_twice(
    stored: World, operator: Operator, fake_clock: FakeClock
) -> None:
    browsers = [await stored.logged_in(user=user) for user in ("ada", "bob", "eve")]

    said = await operator.run("sessions", "end", "--all", "--yes")

    assert (said.code, said.out) == (0, "3 sessions ended.\n")
    for browser in browsers:
        assert not await lives(stored, fake_clock, browser)


@pytest.mark.parametrize(
    "other",
    [{"SIDECAR_SESSION_KEYS": OTHER_KEY}, {"SIDECAR_CLIENT_ID": "another"}],
    ids=["other keys", "another client"],
)
async def test_all_are_not_those_of_another_installation_in_the_same_store(
    stored: World, operator: Operator, fake_clock: FakeClock, other: dict[str, str]
) -> None:
    browser = await stored.logged_in()

    said = await operator.run("sessions", "end", "--all", "--yes", "--revoke", **other)

    assert (said.code, said.out) == (1, "No session has ended.\n")
    assert ("could not be opened" in said.error) == ("SIDECAR_SESSION_KEYS" in other)
    assert await lives(stored, fake_clock, browser)
    fake_clock.advance(301)
    assert await lives(stored, fake_clock, browser)  # its grant is renewed


async def test_all_is_refused_where_nobody_can_be_asked(
    stored: World, operator: Operator, fake_clock: FakeClock
) -> None:
    browser = await stored.logged_in()

    said = await operator.run("sessions", "end", "--all")

    assert said.code == 2
    assert "--yes" in said.error
    assert await lives(stored, fake_clock, browser)


class Terminal(io.StringIO):
    """A person who types."""

    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(("typed", "left"), [("yes\n", False), ("y\n", True), ("", True)])
async def test_who_is_asked_has_to_write_yes(
    stored: World,
    operator: Operator,
    fake_clock: FakeClock,
    monkeypatch: pytest.MonkeyPatch,
    typed: str,
    left: bool,
) -> None:
    browser = await stored.logged_in()
    monkeypatch.setattr(sys, "stdin", Terminal(typed))

    said = await operator.run("sessions", "end", "--all")

    assert "1 at most: everybody logs in again" in said.error
    assert said.code == (2 if left else 0)
    assert await lives(stored, fake_clock, browser) is left


@pytest.mark.parametrize("arguments", [(), ("--all", "--user", "ada"), ("--session", "12")])
async def test_what_does_not_say_who_is_meant_ends_nothing(
    stored: World, operator: Operator, fake_clock: FakeClock, arguments: tuple[str, ...]
) -> None:
    browser = await stored.logged_in()

    said = await operator.run("sessions", "end", "--yes", *arguments)

    assert said.code == 2
    assert "--session" in said.error
    assert await lives(stored, fake_clock, browser)


async def test_where_nobody_is_meant_none_has_ended(stored: World, operator: Operator) -> None:
    await stored.logged_in()

    said = await operator.run("sessions", "end", "--user", "nobody")

    assert (said.code, said.out) == (1, "No session has ended.\n")


async def test_who_takes_anothers_email_address_ends_nothing_of_theirs(
    stored: World, operator: Operator, fake_clock: FakeClock
) -> None:
    ada, eve = await stored.logged_in(), await stored.logged_in(user="eve")

    said = await operator.run("sessions", "end", "--user", "ada@example.org")

    assert said.code == 2
    assert "--user 'ada'" in said.error
    assert "--user 'eve'" in said.error
    assert await lives(stored, fake_clock, ada)

    by_subject = await operator.run("sessions", "end", "--user", "eve")
    assert by_subject.code == 0
    assert not await lives(stored, fake_clock, eve)
    assert await lives(stored, fake_clock, ada)


async def test_digits_with_which_two_sessions_begin_end_neither(
    stored: World, operator: Operator, store_url: str
) -> None:
    browser = await stored.logged_in()
    tag, start = browser.session().split(".")[0], digest(browser)[:8]
    async with Redis.from_url(store_url) as redis:
        of = f"argocd-token-refresh:{{{tag}}}:session:"
        await redis.copy(of + digest(browser), of + start + "0" * 56)

    said = await operator.run("sessions", "end", "--session", start)

    assert said.code == 2
    assert "Give more digits" in said.error
    assert (await browser.get(API)).status == 200


async def test_what_cannot_be_opened_can_be_ended_where_it_is_sure_who_is_meant(
    stored: World, operator: Operator, fake_clock: FakeClock
) -> None:
    browser = await stored.logged_in()
    lost = {"SIDECAR_SESSION_KEYS": OTHER_KEY}

    by_name = await operator.run("sessions", "end", "--user", "ada@example.org", **lost)
    assert by_name.code == 1
    assert "1 could not be opened" in by_name.error
    assert await lives(stored, fake_clock, browser)

    by_subject = await operator.run("sessions", "end", "--user", "ada", **lost)
    assert by_subject.out == "1 session ended.\n"
    assert not await lives(stored, fake_clock, browser)


# At the provider too


async def test_without_revoke_the_provider_is_told_nothing(
    stored: World, operator: Operator
) -> None:
    await stored.logged_in()

    await operator.run("sessions", "end", "--user", "ada")

    assert "revoked" not in [event.kind for event in stored.provider.log]


async def test_with_revoke_the_refresh_token_is_worth_nothing_any_more(
    stored: World, operator: Operator
) -> None:
    await stored.logged_in()

    said = await operator.run("sessions", "end", "--user", "ada", "--revoke")

    assert said.code == 0
    assert said.out == "1 session ended. 1 grant revoked at the provider.\n"
    assert "revoked" in [event.kind for event in stored.provider.log]
    assert said.events[0]["revoked"] == "done"


@pytest.mark.parametrize("away", [True, False], ids=["away", "without an endpoint"])
async def test_what_could_not_be_revoked_is_said_by_name(
    stored: World, operator: Operator, fake_clock: FakeClock, away: bool
) -> None:
    browser = await stored.logged_in()
    if away:
        stored.provider.available = False
    else:
        stored.provider.settings.revocation_endpoint = False

    said = await operator.run("sessions", "end", "--user", "ada", "--revoke")

    stored.provider.available = True
    assert said.code == 1
    assert "Not revoked at the provider: ada@example.org: the provider" in said.error
    assert said.events[0]["revoked"] == ("queued" if away else "no_endpoint")
    assert not await lives(stored, fake_clock, browser)


async def test_what_the_provider_did_not_take_is_revoked_by_the_replicas_once_it_is_back(
    stored: World, operator: Operator, store_url: str
) -> None:
    await stored.logged_in()
    stored.provider.available = False
    await operator.run("sessions", "end", "--user", "ada", "--revoke")
    stored.provider.available = True
    queue = "argocd-token-refresh:revoke"
    async with Redis.from_url(store_url) as redis:
        (entry,) = await redis.zrange(queue, 0, -1)
        assert isinstance(entry, bytes)
        await redis.zadd(queue, {entry: 0})  # it is due

    async with opened(operator.environ, operator.clock) as there:
        replica = there.revocations(await there.provider())
        await replica.tick()

    assert "revoked" in [event.kind for event in stored.provider.log]


async def test_the_grant_is_the_one_that_the_sealed_record_names_whatever_the_index_says(
    stored: World, operator: Operator, store_url: str, fake_clock: FakeClock
) -> None:
    laptop, phone = await stored.logged_in(), await stored.logged_in()
    index = f"argocd-token-refresh:{{{laptop.session().split('.')[0]}}}:index"
    async with Redis.from_url(store_url) as redis:  # somebody who may write there
        await redis.hset(index, digest(laptop), await redis.hget(index, digest(phone)) or b"")

    said = await operator.run("sessions", "end", "--session", digest(laptop)[:12], "--revoke")

    assert said.events[0]["revoked"] == "done"
    assert not await lives(stored, fake_clock, laptop)
    assert await lives(stored, fake_clock, phone)


async def test_all_with_revoke_takes_grants_that_no_session_has_any_more(
    stored: World, operator: Operator, store_url: str
) -> None:
    browser = await stored.logged_in()
    tag, _, _ = browser.session().split(".")
    async with Redis.from_url(store_url) as redis:  # as if it had been idle for too long
        await redis.delete(f"argocd-token-refresh:{{{tag}}}:session:{digest(browser)}")

    said = await operator.run("sessions", "end", "--all", "--yes", "--revoke")

    assert said.events[0]["revoked"] == "done"
    assert "revoked" in [event.kind for event in stored.provider.log]


async def test_in_mirror_mode_argo_cd_is_told_of_the_id_token_that_the_browser_has(
    stored: World, operator: Operator
) -> None:
    mirror = {"SIDECAR_COOKIE_MODE": "mirror"}
    replica = await stored.start_sidecar(SIDECAR_LISTEN="127.0.0.1:0", **mirror)
    browser = await stored.logged_in(replica)
    await browser.get(API)
    held = browser.cookies()["argocd.token"]
    async with plain_http() as http:
        upstream = stored.environment["SIDECAR_UPSTREAM"] + API
        bearer = {"Authorization": f"Bearer {held}"}
        async with http.get(upstream, headers=bearer) as before:
            assert before.status == 200

        said = await operator.run("sessions", "end", "--user", "ada", **mirror)

        assert said.code == 0
        async with http.get(upstream, headers=bearer) as after:
            assert after.status == 401


async def test_in_mirror_mode_it_is_said_if_argo_cd_could_not_be_told(
    stored: World, operator: Operator
) -> None:
    await stored.logged_in()
    away = {"SIDECAR_COOKIE_MODE": "mirror", "SIDECAR_UPSTREAM": f"http://127.0.0.1:{free_port()}"}

    said = await operator.run("sessions", "end", "--user", "ada", **away)

    assert said.code == 1
    assert "Argo CD could not be told of 1 ID token" in said.error


# What goes wrong


async def test_sessions_in_the_memory_of_a_process_cannot_be_seen_from_outside(
    operator: Operator,
) -> None:
    for command in (("sessions", "list"), ("sessions", "end", "--user", "ada"), ("keys", "status")):
        with pytest.raises(ConfigurationError) as refused:
            await operator.run(*command, SIDECAR_STORE_URL="memory://")

        assert "Set SIDECAR_STORE_URL" in str(refused.value)


async def test_a_store_that_is_away_is_an_error_with_its_variable(operator: Operator) -> None:
    away = {"SIDECAR_STORE_URL": f"redis://127.0.0.1:{free_port()}/0"}

    for arguments in (("list",), ("end", "--all", "--yes"), ("end", "--user", "ada")):
        said = await operator.run("sessions", *arguments, **away)
        assert said.code == 2
        assert "SIDECAR_STORE_URL" in said.error
        assert "Traceback" not in said.error


async def test_a_user_of_the_store_who_may_not_scan_is_told_what_to_give_them(
    stored: World, operator: Operator, store_url: str
) -> None:
    async with Redis.from_url(store_url) as redis:
        await redis.acl_setuser(
            "narrow",
            enabled=True,
            passwords=["+hush"],
            keys=["argocd-token-refresh:*"],
            categories=["+@all"],
            commands=["-scan"],
        )
    url = store_url.replace("unix://", "unix://narrow:hush@")

    said = await operator.run("sessions", "list", SIDECAR_STORE_URL=url)

    assert said.code == 2
    assert "+scan" in said.error
    assert "hush" not in said.error
