"""Where a rotation is, for people and for programs: each step says exactly what to do next."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from sidecar.core.key_rotation import NOT_OURS, Advice, KeyMark, ReplicaKeys, Step, Tally
from sidecar.core.person import printable

_KEYS = "SIDECAR_SESSION_KEYS"
_FILE = "SIDECAR_SESSION_KEYS_FILE"
_MOST_NAMED = 10


@dataclass(frozen=True, slots=True)
class Status:
    """All that is known of a rotation, by the store's time `now`; `source` names the keys'."""

    own: Sequence[KeyMark]
    replicas: Sequence[ReplicaKeys]
    used_at: Mapping[str, float]
    tally: Tally
    advice: Advice
    lacking: Mapping[str, int]
    source: str
    now: float


def as_text(found: Status) -> str:
    """The keys, the replicas, what is wrong, and the next step."""
    return "\n".join(
        [
            f"Keys here, from {found.source}; the first one seals:",
            *(f"  {line}" for line in _keys(found)),
            f"Replicas that have reported within a minute: {len(found.replicas)}",
            *(f"  {line}" for line in _replicas(found)),
            *_lacking(found),
            "",
            f"Next: {_next(found)}",
        ]
    )


def as_json(found: Status) -> str:
    """The same for programs."""
    advice, tally = found.advice, found.tally
    report = {
        "step": advice.step.value,
        "done": advice.is_done and not found.lacking,
        "key": advice.key_id,
        "next": _next(found),
        "waiting_for": list(advice.replicas),
        "until": _iso(advice.until) if advice.until else None,
        "keys": [
            {
                "id": key.id,
                "sealing": key == found.own[0],
                "sessions": tally.sessions[key.id],
                "grants": tally.grants[key.id],
                "revocations": tally.revocations[key.id],
                "cookies": tally.signed[key.id],
                "last_in_use_at": _iso(found.used_at[key.id]) if key.id in found.used_at else None,
            }
            for key in found.own
        ],
        "replicas": [
            {"name": replica.name, "keys": [key.id for key in replica.keys]}
            for replica in found.replicas
        ],
        "sealed_by_keys_not_here": {printable(k): count for k, count in found.lacking.items()},
        "sealed_by_other_keys_of_the_same_id": tally.sealed(NOT_OURS),
        "cookies_of_earlier_releases": tally.signed[""],
    }
    return json.dumps(report, indent=2)


def _keys(found: Status) -> Iterator[str]:
    tally = found.tally
    for key in found.own:
        used = found.used_at.get(key.id)
        in_use = "never in use" if used is None else f"last in use {_short(used)}"
        yield (
            f"{key.id}: sealed {_count(tally.sealed(key.id), 'record')}, "
            f"signed {_count(tally.signed[key.id], 'cookie')}, {in_use}"
        )
    if tally.signed[""]:
        yield f"(not known: signed {_count(tally.signed[''], 'cookie')}, by an earlier release)"


def _replicas(found: Status) -> Iterator[str]:
    for replica in found.replicas[:_MOST_NAMED]:
        yield f"{replica.name}: {', '.join(key.id for key in replica.keys)}"
    if len(found.replicas) > _MOST_NAMED:
        yield f"and {len(found.replicas) - _MOST_NAMED} more"


def _lacking(found: Status) -> Iterator[str]:
    for key_id, count in found.lacking.items():
        yield (
            f"{_count(count, 'record')} sealed by key {printable(key_id)!r}, which is not here: "
            "their users log in anew, or get 503. Write that key at the end of "
            f"{found.source} again; if it is lost, their sessions end by their own time. Leave "
            "it if it is another installation's in the same Redis"
        )
    if count := found.tally.sealed(NOT_OURS):
        yield (
            f"{_count(count, 'record')} not opened by the key whose id is on them: damaged, or "
            "another installation's in the same Redis, with a key of the same id. They are left "
            "as they are"
        )


def _next(found: Status) -> str:
    advice, write = found.advice, _where(found.source)
    key, who = advice.key_id, _named(advice.replicas)
    match advice.step:
        case Step.NO_REPORTS:
            return (
                "find out why no replica reports its keys to this store. They do so every few "
                "seconds, from this release on: compare SIDECAR_STORE_URL, and look at /readyz"
            )
        case Step.TWO_KEYS_OF_ONE_ID:
            return (
                f"give the keys different ids: {who} has another key of the id {key} than this "
                "command. Each replica must have the same keys"
            )
        case Step.BEGIN:
            return (
                "nothing. To rotate, make a key with `sidecar keys new ID`, ID being one that "
                f"was never used, and write its line behind the others {write}; then run "
                "`sidecar keys rotate`"
            )
        case Step.DERIVED:
            return (
                "nothing. The key follows from Argo CD's server.secretkey: another one there ends "
                "all sessions, here and in Argo CD. To rotate without that, have keys of your own: "
                "write the line of `sidecar keys derived` and, behind it, one of `sidecar keys "
                "new ID` into SIDECAR_SESSION_KEYS; then run `sidecar keys rotate`"
            )
        case Step.WAIT_ADDED:
            return f"wait: {who} does not have key {key} yet. {_follows(found)}"
        case Step.WRITE_FIRST:
            return (
                f"every replica that reports opens by key {key}. If these are all of them (kubectl "
                f"get pods), write its line first {write}, the others behind it; then run "
                "`sidecar keys rotate`"
            )
        case Step.WAIT_IN_USE:
            return f"wait: {who} does not seal by key {key} yet. {_follows(found)}"
        case Step.RESEAL:
            return (
                f"run `sidecar keys rotate`: {_count(advice.count, 'record')} still sealed by "
                "another key than the first one. What remains after it was changed meanwhile, or "
                "written by a newer release: run it again, by that release"
            )
        case Step.WAIT_REVOCATIONS:
            return (
                f"keep key {key}: {_count(advice.count, 'revocation')} that it sealed still to be "
                "repeated at the provider. Run `sidecar keys rotate` again in an hour"
            )
        case Step.WAIT_COOKIES:
            return (
                f"keep key {key}: {_count(advice.count, 'session')} with a cookie that it signed, "
                f"the last one until {_short(advice.until)}. Run `sidecar keys rotate` again then. "
                f"To be done sooner, end them: `sidecar sessions end --key {key}`"
            )
        case Step.WAIT_LOGINS:
            return (
                f"keep key {key}: logins that began with it may come back until "
                f"{_short(advice.until)}. Run `sidecar keys rotate` again then"
            )
        case Step.TAKE_OUT:
            return (
                f"take the line of key {key} out {write.replace('into', 'of')}: nothing that "
                "lives needs it. Then run `sidecar keys rotate`"
            )
        case Step.WAIT_TAKEN_OUT:
            return f"wait: {who} still has other keys than {key}. {_follows(found)}"


def _follows(found: Status) -> str:
    """How a replica comes by what was written."""
    if found.source == _KEYS:
        how = f"Restart the pods: a process reads {_KEYS} at its start only"
    else:
        how = "A mounted Secret follows within two minutes; /readyz says if it was refused"
    return f"{how}. Then run `sidecar keys rotate`"


def _where(source: str) -> str:
    return {_KEYS: f"into {_KEYS}", _FILE: f"into the Secret of {_FILE}"}.get(
        source, f"into {source}"
    )


def _named(replicas: Sequence[str]) -> str:
    shown = ", ".join(replicas[:_MOST_NAMED])
    more = len(replicas) - _MOST_NAMED
    return f"{shown} and {more} more" if more > 0 else shown


def _count(count: int, word: str) -> str:
    return f"{count:,} {word}{'' if count == 1 else 's'}"


def _short(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M UTC")


def _iso(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="seconds")
