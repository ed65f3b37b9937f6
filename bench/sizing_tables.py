"""What the measurements and the model say, as the tables of `docs/sizing.md`."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from bench.page import table
from bench.report import Found
from bench.sizing_checks import (
    checked_crowd,
    checked_store,
    checked_table,
    of_crowd,
    of_store,
    rates_table,
    short,
)
from bench.sizing_limits import Most, full_at, nodes_for, replicas_for
from bench.sizing_model import Costs, People, Takes, takes

SESSIONS = (100, 10_000, 1_000_000)
LIVES: Mapping[float, str] = {300: "5 min", 3600: "1 h"}
MOST = Most()
EVERYBODY = People(1, 300)
A_TENTH = People(1, 300, in_use=0.1, refresh_token_seconds=1800)

_COSTS = (
    ("look", "to confirm one of a session's two records, twice a second while it is in use"),
    ("request", "a request of a session in use"),
    ("touch", "to note that a session was used, once a minute"),
    ("load", "to read a session that the replica does not know, beside the request"),
    ("renewal", "a renewal"),
    ("idle", "a second in which nothing happens"),
)
_FULL = {
    "provider_rate": "the provider, if it takes 100 renewals a second",
    "renewals": "the 32 renewals that run at once in a replica, if the provider takes 0.3 s",
    "cpu": "half a core of a replica, with all that it does",
    "cpu_renewals": "the same, if there were renewals alone",
    "cpu_looks": "the same, confirmations alone",
    "cpu_requests": "the same, requests alone",
    "streams": "the 10,000 connections of a replica (`SIDECAR_MAX_CONNECTIONS`)",
    "cache": "the 128 MiB in which a replica knows sessions",
    "round": "half a second, in which a replica confirms what it knows",
    "store_cpu": "half a core of the store, with one replica",
    "store_mib": "1 GiB of the store",
}
FULL_NAMES = tuple(_FULL)
SHORT = {
    "provider_rate": "provider: 100/s",
    "renewals": "32 renewals at once",
    "cpu": "half a core, all",
    "cpu_renewals": "half a core, renewals",
    "cpu_looks": "half a core, confirmations",
    "cpu_requests": "half a core, requests",
    "streams": "10,000 connections",
    "cache": "cache, 128 MiB",
    "round": "a round of 0.5 s",
    "store_cpu": "store: half a core",
    "store_mib": "store: 1 GiB",
}


def costs_table(costs: Costs) -> str:
    """What each thing costs."""
    lines = [["What", "a replica's CPU, µs", "the store's CPU, µs"]]
    for name, what in _COSTS:
        store = getattr(costs, f"store_{name}_us", None)
        of_store = "" if store is None else short(store)
        lines.append([what, short(getattr(costs, f"{name}_us")), of_store])
    memory = (
        ("a session, in the store", f"{short(costs.store_bytes)} bytes"),
        ("a session in use, in a replica's cache", f"{short(costs.cached_bytes)} bytes"),
        ("the same, of the process", f"{short(costs.resident_bytes)} bytes"),
        ("an open event stream, of the process", f"{costs.stream_kib:.1f} KiB"),
        ("the process at rest", f"{costs.rest_mib:.0f} MiB"),
    )
    head = ["What", "Memory"]
    return f"{table(lines)}\n\n{table([head, *map(list, memory)])}"


def needs_table(
    costs: Costs,
    people: People,
    *,
    sessions: Sequence[int] = SESSIONS,
    lives: Mapping[float, str] = LIVES,
    most: Most = MOST,
) -> str:
    """What numbers of sessions need, for tokens of these lives in seconds, which are told so."""
    lines = [
        [
            "Sessions",
            "ID tokens",
            "renewals/s",
            "store: memory",
            "replicas",
            "their CPU",
            "store: commands/s",
            "store: CPU",
            "spread: replicas",
            "their CPU",
            "store: CPU",
        ]
    ]
    for count in sessions:
        for life, shown in lives.items():
            who = replace(people, sessions=count, token_seconds=life)
            lines.append([f"{count:,}", shown, *_needs(costs, who, most)])
    return table(lines)


def _needs(costs: Costs, people: People, most: Most) -> list[str]:
    together, kept = _fewest(costs, people, most, together=True)
    spread, spread_out = _fewest(costs, people, most, together=False)
    return [
        short(people.renewals),
        _memory(kept.store_mib),
        f"{together:,}",
        _cores(together * kept.cpu),
        short(kept.commands),
        _store(kept, most),
        f"{spread:,}",
        _cores(spread * spread_out.cpu),
        _store(spread_out, most),
    ]


def _fewest(costs: Costs, people: People, most: Most, *, together: bool) -> tuple[int, Takes]:
    replicas = replicas_for(costs, people, most, together=together)
    return replicas.count, takes(costs, people, replicas)


def _store(taken: Takes, most: Most) -> str:
    nodes = nodes_for(taken, most)
    return _cores(taken.store_cpu) + (f": **{nodes} primaries**" if nodes > 1 else "")


def full_table(costs: Costs, *, most: Most = MOST) -> str:
    """At how many sessions in use each thing is full, the first ones first."""
    found = {life: full_at(costs, replace(EVERYBODY, token_seconds=life), most) for life in LIVES}
    first = found[next(iter(LIVES))]
    lines = [["Full", *(f"ID tokens of {shown}" for shown in LIVES.values())]]
    for name in sorted(_FULL, key=lambda name: first[name]):
        lines.append([_FULL[name], *(short(found[life][name]) for life in LIVES)])
    return table(lines)


def million(costs: Costs) -> str:
    """What a million sessions need, each person at one replica, in sentences."""
    lines = []
    for how, people in (("Everybody", EVERYBODY), ("A tenth", A_TENTH)):
        for life, shown in LIVES.items():
            who = replace(people, sessions=1_000_000, token_seconds=life)
            count, taken = _fewest(costs, who, MOST, together=True)
            lines.append(
                f"- **{how} at work, ID tokens of {shown}**: {count} replicas, which use "
                f"{short(count * taken.cpu)} cores; {_memory(taken.store_mib)} of a store that "
                f"works {short(taken.store_cpu)} cores full: {nodes_for(taken, MOST)} primaries, "
                f"if each is to be half free; {short(who.renewals)} renewals a second."
            )
    one = [_one_store(costs, life) for life in LIVES]
    lines.append(
        f"- **One store**, on one core that is never idle: {one[0]} sessions in use with ID tokens "
        f"of {LIVES[300]}, {one[1]} with {LIVES[3600]}, and as many idle ones as its memory holds."
    )
    return "\n".join(lines)


def _one_store(costs: Costs, life: float) -> str:
    busy = replace(MOST, store_cpu=1.0)
    return short(full_at(costs, replace(EVERYBODY, token_seconds=life), busy)["store_cpu"])


def blocks(found: Found) -> Mapping[str, str]:
    """What stands between the page's marks, by the name of the mark; of what was measured."""
    costs = Costs.read(found)
    told = {
        "costs": costs_table(costs),
        "everybody": needs_table(costs, EVERYBODY),
        "a-tenth": needs_table(costs, A_TENTH),
        "full": full_table(costs),
        "million": million(costs),
    }
    if "crowd" in found:
        told["crowd"] = f"{of_crowd(found)}\n\n{checked_table(checked_crowd(found))}"
    if "alone" in found:
        told["alone"] = "\n\n".join(
            [of_store(found), checked_table(checked_store(found)), rates_table(costs, found)]
        )
    return told


def _cores(cpu: float) -> str:
    return f"{short(cpu)} cores" if cpu >= 0.1 else f"{max(cpu, 0.01):.2f} cores"


def _memory(mib: float) -> str:
    return f"{short(mib / 1024)} GiB" if mib >= 1024 else f"{short(mib)} MiB"
