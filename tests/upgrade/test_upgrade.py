"""What a release has left in the store, the next one goes on with; and back."""

import base64
import json
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from redis.asyncio import Redis

from sidecar.core.session import EndReason
from sidecar.demo.valkey import valkey
from sidecar.errors import SessionOver
from sidecar.flows.records import Live
from tests.upgrade.written import Release, release, restore, tokens_of, written

FILES = sorted(Path(__file__).parent.glob("store-*.json"))
_CHANGES = re.compile(r"\{[^}]*\}|:[0-9a-f]{32,}$|(?<=:due):\d+$")


@pytest.fixture(params=FILES, ids=lambda file: file.stem)
def left(request: pytest.FixtureRequest) -> dict[str, Any]:
    """What a release left, as its file says."""
    found: dict[str, Any] = json.loads(request.param.read_text())
    return found


@pytest.fixture
async def here(left: dict[str, Any]) -> AsyncIterator[Release]:
    """This release, on the store that the other one left."""
    async with valkey() as url, Redis.from_url(url) as redis:
        await restore(redis, left["store"])
        async with release(url) as found:
            yield found


async def live(here: Release, cookie: str) -> Live:
    key = here.parts.sessions.read_cookies([cookie])
    assert key
    found = await here.parts.sessions.load(key)
    assert found
    return found


async def test_who_was_logged_in_still_is_with_the_newest_tokens(
    here: Release, left: dict[str, Any]
) -> None:
    ada = await live(here, left["cookies"]["ada"])
    bob = await live(here, left["cookies"]["bob"])

    assert ada.grant.tokens.refresh_token == "refresh-token-2-of-ada"
    assert (ada.grant.renewals, ada.grant.intent) == (1, None)
    assert bob.grant.tokens.id_token == "id-token-1-of-bob"
    assert (bob.grant.subject, bob.grant.nonce) == ("bob", "nonce-of-bob")
    assert bob.session.user_agent == "A browser"
    assert bob.session.provider_sid == "sid-of-bob"


async def test_who_had_logged_out_stays_logged_out(here: Release, left: dict[str, Any]) -> None:
    with pytest.raises(SessionOver, match="logout"):
        await live(here, left["cookies"]["eve"])


async def test_a_session_of_the_other_release_is_renewed_used_and_ended(
    here: Release, left: dict[str, Any]
) -> None:
    bob = await live(here, left["cookies"]["bob"])
    now = await here.store.now()

    intended = bob.grant.with_intent(now=now, asker="a-replica")
    await here.parts.sessions.save(intended)
    await here.parts.sessions.save(intended.with_tokens(tokens_of("bob", now, generation=2)))

    renewed = await live(here, left["cookies"]["bob"])
    assert renewed.grant.tokens.refresh_token == "refresh-token-2-of-bob"
    ended = await here.parts.sessions.end(bob.session.key, bob.grant.id, EndReason.LOGOUT)
    assert ended.last


async def test_what_waits_for_its_renewal_or_revocation_is_found(
    here: Release, left: dict[str, Any]
) -> None:
    later = await here.store.now() + 24 * 3600
    found = set()
    for shard in range(16):
        due = await here.store.take_due(shard, now=later, limit=10, hide_seconds=0)
        found |= {tag for tag, _ in due}
    [entry] = await here.store.queued_revocations(limit=10)

    assert (await live(here, left["cookies"]["ada"])).grant.user_tag in found
    revocation = here.parts.records.open_revocation(entry)
    assert revocation.refresh_token == "refresh-token-1-of-eve"


async def test_a_back_channel_logout_finds_whose_session_the_other_release_noted(
    here: Release, left: dict[str, Any]
) -> None:
    bob = await live(here, left["cookies"]["bob"])
    tag = base64.b64encode(bob.grant.user_tag.encode()).decode()
    [named] = [name for name, value in left["store"].items() if value == tag]

    assert await here.store.user_of_provider_sid(named.rpartition(":")[2]) == bob.grant.user_tag


async def test_this_release_writes_what_the_other_one_can_read(left: dict[str, Any]) -> None:
    """The same kinds of keys, and in each hash at least the fields that were there."""
    now, before = forms((await written())["store"]), forms(left["store"])

    assert before.keys() <= now.keys()
    assert all(fields <= now[kind] for kind, fields in before.items())


def forms(store: dict[str, Any]) -> dict[str, set[str]]:
    """The kinds of keys, and of the hashes among them the fields, with the mark of their form."""
    found: dict[str, set[str]] = {}
    for key, value in store.items():
        kind = _CHANGES.sub("", key)
        fields = {f"f={value['f']}", *value} if isinstance(value, dict) and "f" in value else set()
        found.setdefault(kind, set()).update(fields)
    return found
