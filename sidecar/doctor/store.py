"""What follows from what the store showed. Plain functions over values."""

import re
from collections.abc import Iterator
from typing import Any

from sidecar.config.settings import Config
from sidecar.config.values import masked
from sidecar.core.store_acl import MEND
from sidecar.core.store_address import StoreAddress
from sidecar.doctor.addresses import is_inside, is_loopback
from sidecar.doctor.clocks import clock_finding
from sidecar.doctor.findings import Finding, fault, ok, warning
from sidecar.doctor.store_look import StoreSeen

_OLDEST = (6, 2)
_NO_STORE = "No session can be written: logins fail, and renewals with them."
_FULL = 0.9
_ERRORS = {
    "AuthenticationError": (
        "refuses the password",
        "Mount the Secret argocd-redis at secrets/argocd-redis, or correct the password in "
        "SIDECAR_STORE_URL or SIDECAR_STORE_PASSWORD_FILE",
    ),
    "CertificateError": (
        "has a certificate that is not trusted here",
        "Give its authority by SIDECAR_STORE_CA_FILE, and the name in it by "
        "SIDECAR_STORE_TLS_SERVER_NAME where that is not its address",
    ),
    "ClientCertificateError": (
        "wants a certificate of its clients",
        "Give one by SIDECAR_STORE_TLS_CERT_FILE and SIDECAR_STORE_TLS_KEY_FILE",
    ),
    "PrimaryUnknown": (
        "names Sentinels of whom none can be asked, or who hold the primary for dead",
        "Correct the hosts in SIDECAR_STORE_URL, let this pod through their NetworkPolicy, and "
        "look at SENTINEL MASTERS",
    ),
    "PrimaryNotNamed": (
        "names a primary that its Sentinels do not know",
        "Write the name that SENTINEL MASTERS shows behind the hosts in SIDECAR_STORE_URL",
    ),
    "SentinelsRefuse": (
        "names Sentinels that do not take the password",
        "Set SIDECAR_STORE_SENTINEL_PASSWORD_FILE to that of their default user",
    ),
    "SlotUnserved": (
        "names servers that are no Cluster, or one of which parts are not served",
        "Correct SIDECAR_STORE_URL, let this pod through to all of its servers, and look at "
        "CLUSTER INFO",
    ),
    "NotPrimary": (
        "leads to a replica that its Sentinels take for the primary",
        "Wait until the failover is over; look at SENTINEL MASTERS and at ROLE of that server",
    ),
    "NoTlsError": ("does not speak TLS there", "Write redis:// in SIDECAR_STORE_URL"),
    "LOADING": ("is still loading its data", "Wait until it has"),
}


def of_memory() -> Finding:
    """What is to be said of `memory://`."""
    return warning(
        "store.kind",
        "sessions are kept in the memory of one process",
        "Everybody logs in again after a restart, and a second replica knows nobody.",
        "Set SIDECAR_STORE_URL, or mount argocd-cmd-params-cm and argocd-redis",
    )


def of_store(config: Config, seen: StoreSeen) -> Iterator[Finding]:
    """Everything that is to be said of a store."""
    where = masked(config.store_url)
    if seen.error:
        what, mend = _ERRORS.get(
            seen.error,
            (
                f"cannot be reached ({seen.error})",
                "Correct SIDECAR_STORE_URL or redis.server (redis:// without TLS, rediss:// with "
                "it), and let this pod through the store's NetworkPolicy",
            ),
        )
        yield fault("store.reach", f"{where} {what}", _NO_STORE, mend)
        return
    yield from _speed(config, where, seen.answer_seconds)
    yield from _trial(seen)
    yield from _report(seen.info)
    yield from _tls(config.store_url)
    yield clock_finding("store.clock", "the store", seen.clock_ahead)


def _speed(config: Config, where: str, seconds: float) -> Iterator[Finding]:
    if seconds > config.store_timeout / 2:
        yield warning(
            "store.reach",
            f"{where} took {seconds * 1000:.0f} ms for an answer",
            f"After {config.store_timeout * 1000:.0f} ms it counts as away.",
            "Take a nearer or less busy store, or raise SIDECAR_STORE_TIMEOUT",
        )
    else:
        yield ok("store.reach", f"{where} answers")


def _trial(seen: StoreSeen) -> Iterator[Finding]:
    name = "store.scripts"
    if seen.trial_error == "READONLY":
        yield fault(
            name, "the store is a replica, which takes no writes", _NO_STORE,
            "Let SIDECAR_STORE_URL or redis.server lead to the primary",
        )  # fmt: skip
    elif seen.trial_error == "NOPERM":
        yield fault(
            name, "the store does not let this user run scripts or commands", _NO_STORE,
            MEND,
        )  # fmt: skip
    elif seen.trial_error == "MOVED":
        yield fault(
            name, "the store is one server of a Cluster, and others have the other keys", _NO_STORE,
            "Write redis+cluster://… in SIDECAR_STORE_URL",
        )  # fmt: skip
    elif seen.trial_error:
        yield fault(
            name, f"a trial session cannot be written ({seen.trial_error})", _NO_STORE,
            "Look into the store's log: memory, disk, or a command that is switched off",
        )  # fmt: skip
    elif not (seen.saves and seen.refuses_stale):
        yield fault(
            name, "compare-and-set does not hold: two replicas could both have renewed",
            "A refresh token would be lost.",
            "Take a Redis or Valkey; what stands there answers as neither",
        )  # fmt: skip
    else:
        yield ok(name, "a session can be written, and a stale write is refused")
        yield from _ttl(seen)


def _ttl(seen: StoreSeen) -> Iterator[Finding]:
    if seen.keeps_ttl:
        yield ok("store.ttl", "what is written ends by itself")
    else:
        yield fault(
            "store.ttl", "what is written has no end", "The store fills up until it stops.",
            "Take a Redis or Valkey that keeps PEXPIREAT",
        )  # fmt: skip


# The server's own report


def _report(info: dict[str, Any]) -> Iterator[Finding]:
    if not info:
        yield warning(
            "store.report",
            "the store does not tell of itself (INFO)",
            "Version, eviction and persistence cannot be checked.",
            "Give its ACL +info, or look with redis-cli",
        )
        return
    yield _version(info)
    yield _eviction(info)
    yield _persistence(info)


def _version(info: dict[str, Any]) -> Finding:
    product = "Valkey" if "valkey_version" in info else "Redis"
    shown = str(info.get("valkey_version") or info.get("redis_version", ""))
    spoken = re.match(r"(\d+)\.(\d+)", str(info.get("redis_version", "")))
    if spoken is None or (int(spoken[1]), int(spoken[2])) >= _OLDEST:
        return ok("store.version", f"{product} {shown[:20]}")
    return fault(
        "store.version", f"{product} {shown[:20]} is too old", "The scripts need 6.2 or later.",
        "Take Redis 6.2 or later, or Valkey",
    )  # fmt: skip


def _eviction(info: dict[str, Any]) -> Finding:
    name, most = "store.eviction", _number(info, "maxmemory")
    policy = str(info.get("maxmemory_policy", "noeviction"))
    if most == 0:
        return ok(name, "no limit of memory, so nothing is evicted")
    if policy != "noeviction":
        return warning(
            name,
            f"at {most // 1024**2} MiB the store forgets what it likes ({policy})",
            "People are logged out at random when it is full.",
            "Set maxmemory-policy noeviction, or give the sidecar a store of its own",
        )
    used = _number(info, "used_memory") / most
    if used > _FULL:
        return warning(
            name,
            f"the store's memory is {used:.0%} full, and then it takes no more writes",
            _NO_STORE,
            "Raise maxmemory",
        )
    return ok(name, f"noeviction, {used:.0%} of the memory in use")


def _number(info: dict[str, Any], name: str) -> int:
    """A number of the report; 0 where it has none."""
    value = info.get(name)
    return value if isinstance(value, int) and value > 0 else 0


def _persistence(info: dict[str, Any]) -> Finding:
    name = "store.persistence"
    failed = [
        key
        for key in ("rdb_last_bgsave_status", "aof_last_write_status", "aof_last_bgrewrite_status")
        if info.get(key, "ok") != "ok"
    ]
    if failed:
        return fault(
            name, "the store failed to write to its disk", "It may refuse all writes until it can.",
            f"Look at its disk; it reports {', '.join(failed)}",
        )  # fmt: skip
    if info.get("aof_enabled"):
        return ok(name, "an append-only file: a restart loses a second at most")
    return ok(
        name,
        "no append-only file, as with Argo CD's own Redis",
        "After its restart, replicas put back the sessions of the last minute; idle ones log in "
        "again. For more: appendonly yes",
    )


def _tls(url: str) -> Iterator[Finding]:
    address = StoreAddress.parse(url)
    if address.tls:
        yield ok("store.tls", "TLS")
    elif address.hosts:
        host = address.hosts[0][0]
        near = is_inside(host) or is_loopback(host) or re.fullmatch(r"[0-9.:]+", host)
        if near or host.endswith(".svc"):
            yield ok("store.tls", "no TLS, inside the cluster; what is stored is sealed")
        else:
            yield warning(
                "store.tls",
                f"no TLS on the way to {host}",
                "The store's password travels in clear text; what is stored is sealed.",
                "Write rediss:// in SIDECAR_STORE_URL",
            )
