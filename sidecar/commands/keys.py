"""`sidecar keys status` and `rotate`: where the rotation of the keys is, and its next step."""

import base64
import sys
from argparse import Namespace
from collections.abc import Mapping

import structlog

from sidecar.commands import key_text as text
from sidecar.commands.audit import Audit
from sidecar.commands.key_text import Status
from sidecar.commands.opening import Opened, opened, trouble_of
from sidecar.commands.progress import Progress
from sidecar.core.key_rotation import Step, marks, missing_keys, next_step, read_reports
from sidecar.core.sealing import is_derived
from sidecar.errors import StoreUnavailable
from sidecar.flows.rotation import Rotation
from sidecar.loading import loading
from sidecar.ports import Clock

DONE, MORE_TO_DO, NOT_AT_ALL = 0, 1, 2
_FAULTS = (Step.NO_REPORTS, Step.TWO_KEYS_OF_ONE_ID)


async def derived(given: Namespace, environ: Mapping[str, str], clock: Clock) -> int:
    """Print the key that follows from Argo CD's own, as one of one's own."""
    async with loading(environ, clock=clock, log=structlog.get_logger()) as loaded:
        key = next(iter(loaded.config.session_keys or ()), None)
    if key is None or not is_derived(key.id):
        return _fail("The key here does not follow from server.secretkey: SIDECAR_SESSION_KEYS")
    print(f"{key.id}:{base64.b64encode(key.secret).decode()}")
    return DONE


async def status(given: Namespace, environ: Mapping[str, str], clock: Clock) -> int:
    """Say where the rotation is and what comes next; nothing is changed."""
    try:
        async with opened(environ, clock) as store:
            return _tell(await _status(store), as_json=given.json)
    except StoreUnavailable as error:
        return _fail(trouble_of(error))


async def rotate(given: Namespace, environ: Mapping[str, str], clock: Clock) -> int:
    """Do the next step as far as it can be done from here, and say what comes then."""
    try:
        async with opened(environ, clock) as store:
            found = await _status(store)
            if found.advice.step is Step.RESEAL:
                audit = Audit(environ, store.config.audit_log)
                await _reseal(store, found.advice.count, audit)
                found = await _status(store)
            return _tell(found, as_json=given.json)
    except StoreUnavailable as error:
        return _fail(trouble_of(error))


async def _status(store: Opened) -> Status:
    progress = _progress(store, "looking at what is stored")
    tally = await Rotation(store.store, store.records, progress.passed).tally()
    progress.close()
    said = await store.store.key_reports()
    own, replicas = marks(store.ring.keys), read_reports(said.replicas)
    now = await store.store.now()
    advice = next_step(own, replicas, said.used_at, tally, now=now)
    lacking = missing_keys(own, tally)
    file = store.config.session_keys_file
    source = store.config.source("session_keys_file" if file else "session_keys")
    return Status(own, replicas, said.used_at, tally, advice, lacking, source, now)


async def _reseal(store: Opened, total: int, audit: Audit) -> None:
    # Every record is passed over once; those that are sealed anew are `total` of them.
    progress = _progress(store, "sealing anew", total=total)
    rotation = Rotation(store.store, store.records)
    try:
        async for count in rotation.reseal():
            progress.passed(count)
    finally:
        progress.close()
        if progress.done:
            key = store.ring.sealing_id
            audit.note("records_sealed_anew", count=progress.done, key=key)
    print(f"Sealed {progress.done:,} records anew by key {store.ring.sealing_id}.")


def _tell(found: Status, *, as_json: bool) -> int:
    print(text.as_json(found) if as_json else text.as_text(found))
    if found.advice.step in _FAULTS:
        return NOT_AT_ALL
    return DONE if found.advice.is_done and not found.lacking else MORE_TO_DO


def _progress(store: Opened, what: str, *, total: int = 0) -> Progress:
    return Progress(what, sys.stderr, store.clock.monotonic, total=total)


def _fail(line: str) -> int:
    print(line, file=sys.stderr)
    return NOT_AT_ALL
