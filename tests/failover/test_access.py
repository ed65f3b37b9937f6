"""The store's user: what it must be allowed, and how its password changes under a running store."""

import re
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from redis.asyncio import Redis
from redis.exceptions import NoPermissionError

from sidecar import edges
from sidecar.adapters.redis_store import RedisStore
from sidecar.config.settings import Config
from sidecar.core.store_acl import (
    CLUSTER,
    COMMANDS,
    DATABASE,
    DOCTOR,
    SENTINEL,
    SERVING,
    acl_line,
)
from sidecar.errors import StoreUnavailable
from sidecar.ports import RecordKind, RecordName, SaveResult, Write
from tests.adapters.conftest import PATIENT
from tests.adapters.records import LAPTOP, PHONE, TABLET, USER, attach, write
from tests.failover.servers import Server, servers, valkey_program
from tests.failover.test_tls import LEAST
from tests.fakes.clock import FakeClock

DOCS = Path(__file__).parents[2] / "docs" / "store.md"
PREFIX = "argocd-token-refresh:"


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    async with servers() as made:
        yield await made.new(valkey_program())


async def everything(store: RedisStore) -> None:
    """All that a sidecar that serves ever asks of its store."""
    await store.ping()
    now = await store.now()
    await attach(store, LAPTOP)
    await attach(store, PHONE, version=2)
    await store.load(LAPTOP)
    record = await store.load_grant(USER, "grant")
    assert record
    name = RecordName(RecordKind.GRANT, USER, "grant")
    await store.reseal(name, record, b"resealed")
    await store.changed([(name, "another")])
    await store.user_sessions(USER, limit=9)
    await store.shared_grant(USER)
    await store.surplus(PHONE, most=1)
    await store.touch(LAPTOP, "grant", seen_at=now, idle_ends_at=now + 9, ends_at=now + 99)
    await store.last_seen(USER, "grant")
    assert await store.save_grant(USER, "grant", await write(store, 3)) is SaveResult.SAVED
    await store.take_lease(USER, "grant", "owner", seconds=9)
    await store.release_lease(USER, "grant", "owner")
    again = Write(1, "again", b"-", now + 99)
    await store.put_back_grant(USER, "lost", again, over=0, hold_seconds=1, shared=True)
    await store.put_back_session(TABLET, again, "lost", seen_at=now, idle_ends_at=now + 9)
    await store.put_back_end(name, reason="r", write_id="w")
    await store.schedule(USER, "grant", now)
    await store.take_due(0, now=now, limit=9, hide_seconds=1)
    await store.schedule(USER, "grant", None)
    await store.redeem("state", "owner", seconds=9)
    await store.set_redeemed("state", b"x")
    await store.redeemed("state")
    await store.note_provider_sid("sid", USER, seconds=9)
    await store.user_of_provider_sid("sid")
    await store.note_logout_token("token", seconds=9)
    await store.knows_logout_token("token")
    await store.queue_revocation(b"entry", due_at=now, limit=9)
    await store.take_revocations(now=now, limit=9, hide_seconds=1)
    await store.queued_revocations(limit=9)
    await store.put_off_revocation(b"entry", now + 9)
    await store.put_off_revocation(b"entry", None)
    await store.report_keys("replica", "report", in_use="key")
    await store.report_keys("replica", "report", in_use="key")
    await store.key_reports()
    await store.end_session(LAPTOP, "grant", reason="logout", write_id="end")
    await store.end_grant(USER, "lost", version=1, reason="over", write_id="over")


async def let_in(server: Server, commands: str) -> RedisStore:
    """A store of a new user who may do this."""
    await server.told("FLUSHALL")
    await server.told("SCRIPT", "FLUSH")
    await server.told("ACL", "DELUSER", "sidecar")
    await server.told(*acl_line("sidecar", PREFIX, commands=commands).split(), ">secret")
    url = server.url.replace("redis://", "redis://sidecar:secret@")
    return RedisStore(url, prefix=PREFIX, clock=FakeClock(), **PATIENT)


async def test_the_documented_acl_is_enough_to_serve(server: Server) -> None:
    store = await let_in(server, SERVING)

    await everything(store)

    assert await server.told("ACL", "LOG") == []
    await store.aclose()


async def test_each_word_of_the_documented_acl_is_needed(server: Server) -> None:
    words = SERVING.split()
    needless = []

    for word in words:
        store = await let_in(server, " ".join(other for other in words if other != word))
        try:
            await everything(store)
            needless.append(word)
        except StoreUnavailable:
            pass
        await store.aclose()

    assert needless == []


async def test_the_documented_acl_lets_nobody_at_the_keys_of_others(server: Server) -> None:
    store = await let_in(server, SERVING)
    await store.aclose()

    async with Redis.from_url(server.url.replace("redis://", "redis://sidecar:secret@")) as user:
        await user.set(f"{PREFIX}mine", 1)
        for forbidden in (
            user.get("theirs"),
            user.set("theirs", 1),
            user.execute_command("FLUSHALL"),  # type: ignore[no-untyped-call]
            user.execute_command("CONFIG", "GET", "*"),  # type: ignore[no-untyped-call]
            user.execute_command("KEYS", "*"),  # type: ignore[no-untyped-call]
        ):
            with pytest.raises(NoPermissionError):
                await forbidden


def test_the_page_has_the_acl_that_is_tested() -> None:
    page = DOCS.read_text(encoding="utf-8")

    assert acl_line("token-refresh", PREFIX, commands=SERVING) in page
    beside = re.findall(r"`(\+[a-z| +]+)`", page)
    for words in (COMMANDS, DOCTOR, SENTINEL, CLUSTER, DATABASE):
        assert words in beside


def configured(server: Server, file: Path, clock: FakeClock) -> RedisStore:
    config = Config.load(
        {
            **LEAST,
            "SIDECAR_STORE_URL": server.url.replace("redis://", "redis://sidecar@"),
            "SIDECAR_STORE_PASSWORD_FILE": str(file),
        }
    )
    store = edges.store(config, clock, command_seconds=10.0)
    assert isinstance(store, RedisStore)
    return store


async def test_a_password_is_changed_without_a_restart_and_without_an_error(
    server: Server, clock: FakeClock, tmp_path: Path
) -> None:
    await (await let_in(server, SERVING)).aclose()
    file = tmp_path / "password"
    file.write_text("secret\n")
    store = configured(server, file, clock)
    await attach(store, LAPTOP)

    await server.told("ACL", "SETUSER", "sidecar", ">another")
    file.write_text("another\n")
    await server.told("ACL", "SETUSER", "sidecar", "<secret")
    await server.told("CLIENT", "KILL", "TYPE", "normal")

    assert await store.load(LAPTOP)
    await store.aclose()


async def test_a_password_that_was_changed_at_the_server_first_is_refused_until_its_file_has_it(
    server: Server, clock: FakeClock, tmp_path: Path
) -> None:
    await (await let_in(server, SERVING)).aclose()
    file = tmp_path / "password"
    file.write_text("secret")
    store = configured(server, file, clock)
    await attach(store, LAPTOP)

    await server.told("ACL", "SETUSER", "sidecar", "resetpass", ">another")
    open_still = await store.load(LAPTOP)
    await server.told("CLIENT", "KILL", "TYPE", "normal")
    with pytest.raises(StoreUnavailable, match="AuthenticationError"):
        await store.load(LAPTOP)
    file.write_text("another")

    assert open_still
    assert await store.load(LAPTOP)
    await store.aclose()


async def test_a_password_that_cannot_be_read_leaves_no_connection_without_a_login(
    server: Server, clock: FakeClock, tmp_path: Path
) -> None:
    await (await let_in(server, SERVING)).aclose()
    file = tmp_path / "password"
    file.write_text("secret")
    await server.told("CONFIG", "SET", "requirepass", "of nobody here")
    server.secrets["password"] = "of nobody here"
    store = configured(server, file, clock)
    file.unlink()

    with pytest.raises(StoreUnavailable):
        await attach(store, LAPTOP)
    file.write_text("secret")

    assert await attach(store, LAPTOP) is SaveResult.SAVED
    await store.aclose()


async def test_a_connection_with_a_password_says_nothing_in_the_log(
    server: Server, clock: FakeClock, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The library has a warning for who gives credentials in a way that it does not like."""
    await (await let_in(server, SERVING)).aclose()
    file = tmp_path / "password"
    file.write_text("secret")
    store = configured(server, file, clock)

    await store.ping()

    assert caplog.messages == []
    await store.aclose()
