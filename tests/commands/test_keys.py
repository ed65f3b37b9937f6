"""`sidecar keys`, as an operator goes through a rotation, over a real Valkey."""

import base64
import json
import os
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import structlog
from cryptography.hazmat.primitives.asymmetric import rsa
from redis.asyncio import Redis

from sidecar.adapters.redis_store import RedisStore
from sidecar.core.key_rotation import write_report
from sidecar.core.sealing import KeyRing, derived_key, parse_keys
from sidecar.edges import KEY_PREFIX
from sidecar.flows.key_reports import KeyReporter
from sidecar.flows.records import Client, Records
from sidecar.flows.tasks import Runtime, Tasks
from sidecar.metrics import Metrics
from tests.adapters.conftest import PATIENT
from tests.commands.operator import Operator, Said
from tests.config.mounted import Installation
from tests.fakes.clock import FakeClock
from tests.world import World, world

API = "/api/v1/applications"
OLD, NEW = ("old:" + "A" * 43 + "=", "new:" + "B" * 42 + "A=")
ANOTHER_NEW = "new:" + "C" * 42 + "A="


@dataclass
class Rotating:
    """An installation whose keys are in a file, and what its replicas say of theirs."""

    world: World
    keys: Path
    operator: Operator
    store: RedisStore
    redis: Redis
    clock: FakeClock

    async def write(self, *keys: str) -> None:
        """The Secret has these keys, and the sidecar of this world has seen it."""
        self.keys.write_text("\n".join(keys))
        await self.world.sidecars[0].running.changes.look()

    async def report(self, replica: str, *keys: str) -> None:
        """A replica says that it has these."""
        log = structlog.get_logger()
        runtime = Runtime(self.clock, os.urandom, Tasks(log), Metrics(), log)
        ring = KeyRing(parse_keys(",".join(keys)))
        records = Records(ring, Client("", ""), runtime, prefix=KEY_PREFIX)
        reporter = KeyReporter(self.store, records, runtime, host=replica)
        reporter.name = replica
        await reporter.report()

    async def used_long_ago(self, key_id: str) -> None:
        """Let as much time go by since a key was last in use as logins take."""
        hour_ago = int((time.time() - 3600) * 1000)
        await self.redis.hset(f"{KEY_PREFIX}keys", f"used:{key_id}", str(hour_ago))

    async def step(self, *command: str) -> dict[str, Any]:
        """What comes next, by `keys status`."""
        said = await self.operator.run("keys", *(command or ("status",)), "--json")
        found: dict[str, Any] = json.loads(said.out)
        found["code"] = said.code
        return found


@pytest.fixture
async def rotating(
    signing_key: rsa.RSAPrivateKey,
    fake_clock: FakeClock,
    store_url: str,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
) -> AsyncIterator[Rotating]:
    """One sidecar that has the old key, and says so."""
    keys = tmp_path / "keys"
    keys.write_text(OLD)
    environment = {"SIDECAR_STORE_URL": store_url, "SIDECAR_SESSION_KEYS_FILE": str(keys)}
    argocd = Installation(tmp_path / "argocd")
    async with (
        world(signing_key, fake_clock, installation=argocd, environment=environment) as here,
        Redis.from_url(store_url) as redis,
    ):
        store = RedisStore(store_url, prefix=KEY_PREFIX, clock=fake_clock, **PATIENT)
        operator = Operator(here.environment, fake_clock, capfd)
        made = Rotating(here, keys, operator, store, redis, fake_clock)
        await made.report("pod-a", OLD)
        yield made
        await store.aclose()


async def test_one_key_is_no_rotation_and_it_says_how_one_begins(rotating: Rotating) -> None:
    said = await rotating.operator.run("keys", "status")

    assert said.code == 0
    assert "Next: nothing." in said.out
    assert "sidecar keys new ID" in said.out
    assert "SIDECAR_SESSION_KEYS_FILE" in said.out
    assert_shows_no_key(said)


async def test_a_whole_rotation_ends_nobodys_session_and_says_each_step(
    rotating: Rotating,
) -> None:
    here = rotating.world
    before = await here.logged_in()

    await rotating.write(OLD, NEW)
    waits = await rotating.step("rotate")
    await rotating.report("pod-a", OLD, NEW)
    added = await rotating.step("rotate")

    await rotating.write(NEW, OLD)
    turned = await rotating.step("rotate")
    await rotating.report("pod-a", NEW, OLD)
    after = await here.logged_in()
    due = await rotating.step("status")
    sealed = await rotating.operator.run("keys", "rotate")
    cookies = await rotating.step("status")

    assert [waits["step"], added["step"], turned["step"]] == [
        "wait_added", "write_first", "wait_in_use",
    ]  # fmt: skip
    assert (due["step"], due["keys"][1]["sessions"], due["keys"][1]["grants"]) == ("reseal", 1, 1)
    assert "Sealed 2 records anew by key new." in sealed.out
    assert cookies["step"] == "wait_cookies"
    assert {waits["code"], added["code"], due["code"], sealed.code, cookies["code"]} == {1}
    rotating.clock.advance(2)
    for browser in (before, after):
        assert (await browser.get(API)).status == 200

    await rotating.operator.run("sessions", "end", "--key", "old")
    assert (await rotating.step())["step"] == "wait_logins"
    await rotating.used_long_ago("old")
    assert (await rotating.step())["step"] == "take_out"
    await rotating.write(NEW)
    assert (await rotating.step())["step"] == "wait_taken_out"
    await rotating.report("pod-a", NEW)
    done = await rotating.step("rotate")
    assert (done["step"], done["code"]) == ("begin", 0)
    rotating.clock.advance(2)
    assert (await after.get(API)).status == 200
    assert (await before.get(API)).status == 401


async def test_a_replica_that_lacks_the_new_key_is_named_and_waited_for(
    rotating: Rotating,
) -> None:
    await rotating.write(OLD, NEW)
    await rotating.report("pod-a", OLD, NEW)
    await rotating.report("pod-b", OLD)

    said = await rotating.operator.run("keys", "rotate")

    assert said.code == 1
    assert "Next: wait: pod-b does not have key new yet" in said.out
    assert "pod-a does not" not in said.out


async def test_a_replica_that_still_seals_by_the_old_key_keeps_all_from_being_sealed_anew(
    rotating: Rotating,
) -> None:
    await rotating.world.logged_in()
    await rotating.write(NEW, OLD)
    await rotating.report("pod-a", NEW, OLD)
    await rotating.report("pod-b", OLD, NEW)

    said = await rotating.operator.run("keys", "rotate")

    assert "Next: wait: pod-b does not seal by key new yet" in said.out
    assert "Sealed" not in said.out


async def test_another_key_under_the_same_id_is_a_fault(rotating: Rotating) -> None:
    await rotating.write(OLD, NEW)
    await rotating.report("pod-a", OLD, NEW)
    await rotating.report("pod-b", OLD, ANOTHER_NEW)

    said = await rotating.operator.run("keys", "rotate")

    assert said.code == 2
    assert "pod-b has another key of the id new" in said.out
    assert_shows_no_key(said)


async def test_an_old_key_is_kept_while_a_cookie_that_it_signed_lives(
    rotating: Rotating,
) -> None:
    await rotating.world.logged_in()
    await rotating.write(NEW, OLD)
    await rotating.report("pod-a", NEW, OLD)
    await rotating.used_long_ago("old")

    said = await rotating.operator.run("keys", "rotate")

    assert said.code == 1
    assert "Next: keep key old: 1 session with a cookie that it signed" in said.out
    assert "sidecar sessions end --key old" in said.out


async def test_a_key_that_was_taken_out_too_early_is_asked_for_again(rotating: Rotating) -> None:
    await rotating.world.logged_in()
    await rotating.write(NEW)
    await rotating.report("pod-a", NEW)

    said = await rotating.operator.run("keys", "status")

    assert said.code == 1
    assert "2 records sealed by key 'old', which is not here" in said.out
    assert "Write that key at the end" in said.out


async def test_without_a_report_nothing_is_advised(rotating: Rotating) -> None:
    await rotating.redis.delete(f"{KEY_PREFIX}keys")

    said = await rotating.operator.run("keys", "rotate")

    assert said.code == 2
    assert "no replica reports" in said.out


async def test_what_was_sealed_anew_is_an_event(rotating: Rotating) -> None:
    await rotating.world.logged_in()
    await rotating.write(NEW, OLD)
    await rotating.report("pod-a", NEW, OLD)

    said = await rotating.operator.run("keys", "rotate")

    (event,) = said.events
    assert (event["event"], event["count"], event["key"]) == ("records_sealed_anew", 2, "new")
    assert event["by"]
    assert event["host"]


async def test_keys_from_the_environment_need_a_restart_and_it_says_so(
    rotating: Rotating,
) -> None:
    environ = {**rotating.operator.environ, "SIDECAR_SESSION_KEYS": f"{OLD},{NEW}"}
    del environ["SIDECAR_SESSION_KEYS_FILE"]
    rotating.operator.environ = environ

    said = await rotating.operator.run("keys", "rotate")

    assert "Restart the pods" in said.out


# Keys that follow from Argo CD's


async def test_a_derived_key_does_not_rotate_and_says_how_it_can_be_left(
    signing_key: rsa.RSAPrivateKey,
    fake_clock: FakeClock,
    store_url: str,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """From a key that follows from Argo CD's to one's own, and nobody logs in again."""
    argocd, file = Installation(tmp_path / "argocd"), tmp_path / "keys"
    environment = {"SIDECAR_STORE_URL": store_url}
    async with world(signing_key, fake_clock, installation=argocd, environment=environment) as here:
        browser = await here.logged_in()
        operator = Operator(here.environment, fake_clock, capfd)

        shown = (await operator.run("keys", "derived")).out.strip()
        store = RedisStore(store_url, prefix=KEY_PREFIX, clock=fake_clock, **PATIENT)
        await store.report_keys("pod-a", _marks(shown), in_use=shown.partition(":")[0])
        await store.aclose()
        said = await operator.run("keys", "status")

        assert said.code == 0
        assert "server.secretkey" in said.out
        assert "sidecar keys derived" in said.out
        key = derived_key(b"hunter3")
        assert shown == f"{key.id}:{base64.b64encode(key.secret).decode()}"
        file.write_text(f"{NEW}\n{shown}")
        replica = await here.start_sidecar(
            SIDECAR_LISTEN="127.0.0.1:0", SIDECAR_SESSION_KEYS_FILE=str(file)
        )
        assert (await here.through(browser, replica).get(API)).status == 200


async def test_what_another_secretkey_has_ended_is_not_listed_and_not_missed(
    signing_key: rsa.RSAPrivateKey,
    fake_clock: FakeClock,
    store_url: str,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    argocd = Installation(tmp_path)
    environment = {"SIDECAR_STORE_URL": store_url}
    async with world(signing_key, fake_clock, installation=argocd, environment=environment) as here:
        await here.logged_in()
        argocd.change("argocd-secret", {"server.secretkey": b"another"})
        operator = Operator(here.environment, fake_clock, capfd)

        listed = await operator.run("sessions", "list")
        status = await operator.run("keys", "status")

        assert (listed.code, listed.out, listed.error) == (0, "No sessions.\n", "")
        assert "which is not here" not in status.out


async def test_keys_of_ones_own_are_no_derived_ones(rotating: Rotating) -> None:
    said = await rotating.operator.run("keys", "derived")

    assert (said.code, said.out) == (2, "")
    assert "SIDECAR_SESSION_KEYS" in said.error


def _marks(line: str) -> str:
    """What a replica that has this key says."""
    return write_report(parse_keys(line))


def assert_shows_no_key(said: Said) -> None:
    for key in (OLD, NEW, ANOTHER_NEW):
        assert key.partition(":")[2] not in said.out + said.error
