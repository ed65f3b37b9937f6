"""Sealed records as the stores' tests write them: what is sealed does not matter there."""

from uuid import uuid4

from sidecar.core.session import SessionKey
from sidecar.ports import SaveResult, Store, Write

USER = "dXNlcg"
LAPTOP = SessionKey(USER, "1a")
PHONE = SessionKey(USER, "2b")
TABLET = SessionKey(USER, "3c")
IDLE_SECONDS = 600.0
LIFE_SECONDS = 3600.0


async def write(
    store: Store, version: int = 1, *, sealed: bytes = b"", ends_in: float = LIFE_SECONDS
) -> Write:
    """A record's version with a write id of its own."""
    write_id = uuid4().hex
    ends_at = await store.now() + ends_in
    return Write(version, write_id, sealed or write_id.encode(), ends_at)


async def attach(
    store: Store,
    key: SessionKey,
    grant_id: str = "grant",
    *,
    version: int = 1,
    idle_in: float = IDLE_SECONDS,
    ends_in: float = LIFE_SECONDS,
    shared: bool = False,
) -> SaveResult:
    """What becomes of a new session that comes with this version of its grant."""
    return await store.attach(
        key,
        await write(store, ends_in=ends_in),
        grant_id,
        await write(store, version, ends_in=ends_in),
        idle_ends_at=await store.now() + idle_in,
        shared=shared,
    )


async def save(store: Store, version: int, grant_id: str = "grant") -> SaveResult:
    """What becomes of a grant's next version."""
    return await store.save_grant(USER, grant_id, await write(store, version))


async def version_of(store: Store, grant_id: str = "grant") -> int | None:
    """The version of a stored grant, None where nothing or a tombstone is."""
    record = await store.load_grant(USER, grant_id)
    return record.version if record and not record.ended else None


async def ended(store: Store, key: SessionKey) -> str | None:
    """Why a session has ended, "" while it lives, None where nothing is."""
    stored = await store.load(key)
    return stored.session.ended if stored else None


async def grant_ended(store: Store, grant_id: str = "grant") -> str | None:
    """Why a grant has ended, "" while it lives, None where nothing is."""
    record = await store.load_grant(USER, grant_id)
    return record.ended if record else None
