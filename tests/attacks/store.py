"""Attacks of whoever reads the store, or writes into it, on a real Valkey."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any, cast

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from redis.asyncio import Redis

from sidecar.core.session import SessionKey, user_tag
from sidecar.demo.misbehaviour import Change
from tests.attacks.attack import Defence, attack, becomes, is_always
from tests.attacks.lab import (
    API,
    VICTIM,
    Lab,
    begun,
    cookies_upstream,
    login_cookies,
    named,
    who,
    whoever_has,
)
from tests.attacks.sessions import groups_in
from tests.world import Browser, Replica, World

ANY_PLACE = Defence(
    "a record is sealed for its place and version",
    "sidecar.core.sealing:Label.encode",
    is_always(b""),
)
ANY_MAC = Defence("a cookie has a MAC", "sidecar.core.sealing:KeyRing.signed", is_always(True))


class _Plain:
    """Seals nothing."""

    def __init__(self, _: bytes) -> None: ...

    def encrypt(self, _nonce: bytes, plain: bytes, _data: bytes) -> bytes:
        return plain + b"0" * 16

    def decrypt(self, _nonce: bytes, sealed: bytes, _data: bytes) -> bytes:
        return sealed[:-16]


class _WithoutTag:
    """AES in counter mode as GCM has it, but nobody looks at the tag."""

    def __init__(self, key: bytes) -> None:
        self._key = key

    def _stream(self, nonce: bytes, data: bytes) -> bytes:
        mode = modes.CTR(nonce + (2).to_bytes(4))
        cipher = Cipher(algorithms.AES(self._key), mode).encryptor()
        return cipher.update(data) + cipher.finalize()

    def encrypt(self, nonce: bytes, plain: bytes, _data: bytes) -> bytes:
        return self._stream(nonce, plain) + b"0" * 16

    def decrypt(self, nonce: bytes, sealed: bytes, _data: bytes) -> bytes:
        return self._stream(nonce, sealed[:-16])


async def keys(redis: Redis, pattern: str) -> list[str]:
    """The keys that fit, by name."""
    return sorted([key.decode() async for key in redis.scan_iter(pattern)])


async def key_of(redis: Redis, kind: str, tag: str) -> str:
    """The one record of this kind that a user has."""
    (found,) = await keys(redis, f"*{{{tag}}}:{kind}:*")
    return found


def tag_of(here: World, user: str) -> str:
    """The tag that a user's records carry; whoever knows the subject can make it."""
    return user_tag(here.provider.issuer, "argo-cd", user)


@asynccontextmanager
async def two_users(
    lab: Lab, **options: Any
) -> AsyncIterator[tuple[World, Redis, Browser, Browser]]:
    """A victim and an attacker who are logged in, and the attacker's way to the store."""
    async with lab.stored(**options) as (here, redis):
        victim, attacker = await here.logged_in(), await here.logged_in(user="mallory")
        yield here, redis, victim, attacker


async def fresh(here: World) -> Replica:
    """A replica that knows only what the store tells it."""
    return await here.start_sidecar(SIDECAR_LISTEN="127.0.0.1:0")


async def raw_of(redis: Redis) -> bytes:
    """All that stands in the store, keys and values."""
    parts: list[Any] = []
    async for key in redis.scan_iter():
        kind = await redis.type(key)
        parts.append(key)
        if kind == b"hash":
            fields = await redis.hgetall(key)
            parts += [part for pair in fields.items() for part in pair]
        elif kind == b"string":
            parts.append(await redis.get(key) or b"")
    return b"\n".join(parts)


@attack(
    24,
    18,
    does="Reads the whole store, and looks for tokens.",
    stopped_by=Defence("records are sealed", "sidecar.core.sealing:AESGCM", becomes(_Plain)),
)
async def tokens_in_the_store(lab: Lab) -> bool:
    async with two_users(lab) as (here, redis, _, _):
        known = [*here.provider._grants._families, *here.provider._grants._access]
        stored = await raw_of(redis)
        return any(token.encode() in stored for token in known)


def _keeps_the_secret(_: Any) -> Any:
    return lambda tag, secret: SessionKey(tag, secret)


@attack(
    24,
    does="Reads the store, and makes a victim's cookie out of the name of its record.",
    stopped_by=(
        Defence(
            "the store knows a hash of the cookie's secret",
            "sidecar.core.session:_key",
            _keeps_the_secret,
        ),
        ANY_MAC,
    ),
)
async def cookie_out_of_the_store(lab: Lab) -> bool:
    async with two_users(lab) as (here, redis, _, _):
        tag = tag_of(here, "ada")
        name = (await key_of(redis, "session", tag)).rpartition(":")[2]
        return await whoever_has(here, f"{tag}.{name}.{'A' * 43}", await fresh(here)) == VICTIM


@attack(
    24,
    16,
    does="Writes a victim's sealed grant into the place of their own.",
    stopped_by=ANY_PLACE,
)
async def swapped_grants(lab: Lab) -> bool:
    async with two_users(lab) as (here, redis, _, attacker):
        theirs = await key_of(redis, "grant", tag_of(here, "ada"))
        own = await key_of(redis, "grant", tag_of(here, "mallory"))
        await redis.copy(theirs, own, replace=True)

        return await whoever_has(here, attacker.session(), await fresh(here)) == VICTIM


class _Whoever(str):
    """A subject that is equal to every other."""

    __hash__ = str.__hash__

    def __eq__(self, _: object) -> bool:
        return True


def _of_whoever_asks(original: Any) -> Any:
    async def shared(joining: Any, tag: str) -> Any:
        grant = await original(joining, tag)
        return grant and replace(grant, subject=_Whoever(grant.subject))

    return shared


@attack(
    24,
    16,
    does="Where a user's sessions share a grant (Dex), points the own user tag at a copy of a "
    "victim's grant, logs in, and has the own refresh token refused: the victim's is tried next.",
    stopped_by=(
        ANY_PLACE,
        Defence(
            "a shared grant is the login's own subject's",
            "sidecar.flows.joining:Joining._shared",
            _of_whoever_asks,
        ),
    ),
)
async def pointed_user_tag(lab: Lab) -> bool:
    dex = {"SIDECAR_PROVIDER": "dex"}
    async with lab.stored(environment=dex) as (here, redis):
        await here.logged_in()
        theirs = await key_of(redis, "grant", tag_of(here, "ada"))
        mine, grant_id = tag_of(here, "mallory"), theirs.rpartition(":")[2]
        prefix = theirs.partition("{")[0]
        await redis.copy(theirs, f"{prefix}{{{mine}}}:grant:{grant_id}")
        await redis.hset(f"{prefix}{{{mine}}}:index", "shared", grant_id)
        replica = await fresh(here)
        attacker = await here.browser()
        await attacker.log_in(user="mallory")
        here.provider.end_grant("mallory")
        for _ in range(6):
            here.clock.advance(400)
            if await whoever_has(here, attacker.session(), replica) == VICTIM:
                return True
        return False


@attack(
    24,
    16,
    does="Writes the outcome of a victim's login into an own one's place, and repeats the "
    "callback.",
    stopped_by=ANY_PLACE,
)
async def swapped_outcomes(lab: Lab) -> bool:
    async with lab.stored() as (here, redis):
        await here.logged_in()
        (theirs,) = await keys(redis, "*redeemed:*")
        attacker = await here.browser()
        callback, _ = await begun(attacker, user="mallory")
        again = here.share_cookies(attacker, await here.browser())
        await attacker.get(callback)
        (own,) = [key for key in await keys(redis, "*redeemed:*") if key != theirs]
        await redis.copy(theirs, own, replace=True)

        await again.get(callback)

        return await who(again) == VICTIM


@attack(
    24,
    16,
    does="Flips bits in an own sealed session, whose form is known, so that it ends years later.",
    stopped_by=Defence(
        "GCM: what was changed does not open", "sidecar.core.sealing:AESGCM", becomes(_WithoutTag)
    ),
)
async def flipped_bits(lab: Lab) -> bool:
    short = {"SIDECAR_SESSION_MAX_LIFETIME": "1h", "SIDECAR_SESSION_IDLE_TIMEOUT": "1000h"}
    async with two_users(lab, environment=short) as (here, redis, _, attacker):
        record = await key_of(redis, "session", tag_of(here, "mallory"))
        sealed = cast(bytes, await redis.hget(record, "d"))
        # Key id, salt and nonce stand in front; then the grant's id, when it began, when it ends.
        ends = 1 + sealed[0] + 28 + len(json.dumps(["0" * 32, 1.8e9]))
        for at in range(ends, ends + 12):
            changed = sealed[:at] + bytes([sealed[at] ^ ord("1") ^ ord("9")]) + sealed[at + 1 :]
            await redis.hset(record, mapping={"d": changed, "seen": 0})
            replica = await fresh(here)
            await whoever_has(here, attacker.session(), replica)
            await replica.settled()
            if await redis.pttl(record) > 7_200_000:
                return True
        return False


@attack(
    24,
    19,
    does="Was taken out of a group, and writes the grant from before in the place of the new one.",
    stopped_by=ANY_PLACE,
)
async def old_record_for_a_new_one(lab: Lab) -> bool:
    async with lab.stored() as (here, redis):
        attacker = await here.logged_in()
        grant = await key_of(redis, "grant", tag_of(here, "ada"))
        before = cast(bytes, await redis.hget(grant, "d"))
        here.provider.script.append(Change(claims={"groups": []}))
        here.clock.advance(250)
        await who(attacker)
        await here.settled()
        assert await redis.hget(grant, "d") != before
        await redis.hset(grant, "d", before)
        replica = await fresh(here)

        cookie = named(here, attacker.session())
        sent = await cookies_upstream(await here.browser(replica), headers={"Cookie": cookie})
        return "developers" in groups_in(sent)


@attack(
    16,
    24,
    does="Cuts a victim's record short, so that replicas break at it (500) and do not end it.",
    stopped_by=Defence(
        "what does not open ends the session",
        "sidecar.core.sealing:InvalidTag",
        becomes(ZeroDivisionError),
    ),
)
async def cut_record(lab: Lab) -> bool:
    async with two_users(lab) as (here, redis, victim, _):
        grant = await key_of(redis, "grant", tag_of(here, "ada"))
        sealed = cast(bytes, await redis.hget(grant, "d"))
        await redis.hset(grant, "d", sealed[:-20])
        browser = await here.browser(await fresh(here))

        answer = await browser.get(API, headers={"Cookie": named(here, victim.session())})

        return answer.status == 500


@attack(
    24,
    10,
    does="Copies an own session before its end, and writes it back afterwards.",
    stopped_by=Defence(
        "who has seen a session end does not take it back",
        "sidecar.flows.cache:Cache.note_end",
        is_always(None),
    ),
)
async def session_written_back(lab: Lab) -> bool:
    async with two_users(lab) as (here, redis, victim, _):
        tag = tag_of(here, "ada")
        stolen = victim.session()
        names = await keys(redis, f"*{{{tag}}}:*")
        copies = {name: cast(bytes, await redis.dump(name)) for name in names}
        await victim.get("/auth/logout")
        await here.settled()
        for key, copy in copies.items():
            await redis.restore(key, 3_600_000, copy, replace=True)
        here.clock.advance(3)

        again = await here.browser()
        sent = await cookies_upstream(again, headers={"Cookie": named(here, stolen)})
        return "argocd.token" in sent


@attack(
    25,
    12,
    does="Sends forged session cookies in numbers: each would be a trip to the store.",
    stopped_by=ANY_MAC,
)
async def flood_of_forged_cookies(lab: Lab) -> bool:
    async with two_users(lab) as (here, redis, _, _):
        await redis.config_resetstat()
        for number in range(10):
            await whoever_has(here, f"{'A' * 22}.{number:043}.{'A' * 43}")
        stats = await redis.info("commandstats")
        return any(name.startswith("cmdstat_eval") for name in stats)


@attack(
    25,
    does="Sends a browser to the login again and again, until its cookies are too many (431).",
    stopped_by=Defence(
        "a browser keeps five unfinished logins",
        "sidecar.web.auth:MAX_LOGINS_IN_FLIGHT",
        becomes(10**6),
    ),
)
async def pile_of_login_cookies(lab: Lab) -> bool:
    async with lab.world() as here:
        browser = await here.browser()
        for _ in range(12):
            here.clock.advance(1)
            await browser.get("/auth/login")
        return len(login_cookies(browser)) > 5
