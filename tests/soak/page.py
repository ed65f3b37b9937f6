"""The result of `make soak` as `docs/reliability.md` shows it."""

import json
from collections.abc import Sequence
from typing import Any

from bench.page import table
from bench.panels import Line, Panel, picture
from tests.faults.plan import Kind
from tests.hostile.client import ROOT
from tests.soak.growth import ALLOWED
from tests.soak.judge import Why
from tests.soak.watching import COUNTERS, LINKS, REPLICAS

PAGE = ROOT / "docs" / "reliability.md"
PICTURE = ROOT / "docs" / "images" / "soak.svg"
RESULT = ROOT / "docs" / "soak.json"
BEGIN, END = "<!-- soak:begin -->", "<!-- soak:end -->"
_NAMES = {
    "memory_mib": "memory, MiB",
    "descriptors": "open descriptors",
    "connections": "connections, both sides",
    "tasks": "tasks",
}
_UNITS = {"memory_mib": "MiB"}
_ASKED = [("", "")]  # a panel without a query would be a heading
_HABITS = {
    "pages": "pages loaded, each with seven requests",
    "woken": "laptops woken, four pages at once",
    "streams": "event streams opened",
    "streams_ended": "and ended before their tab",
    "terminals": "terminals opened",
    "terminals_broken": "and broken off, or not opened",
    "logouts": "logouts",
    "logins": "logins, the first ones among them",
    "logins_tried_again": "and logins that had to be tried again",
}
_ACCIDENTS = {
    "kills": "replicas killed",
    "kills_during_a_renewal": "of them with a refresh at the provider",
    "rolls": "replicas updated (SIGTERM)",
    "longest_shutdown_seconds": "seconds that one took at most to end",
    "grants_ended_by_script": "grants that the provider ended",
}
_WHYS = {
    Why.SCRIPT: "the provider had ended the grant, as its script says",
    Why.WIRE: "the answer was cut off on the wire after the old token had been taken back",
    Why.PROCESS: "the answer died with the process that had asked",
}


def block(found: dict[str, Any]) -> str:
    """What stands between the two marks."""
    told = found["machine"]
    about = (
        f"`make soak`, seed {found['seed']}, {found['seconds']:,.0f} s, {told['date']}, "
        f"{told['cores']} cores of {told['cpu']}, load {told['load']} before the run, yardstick "
        f"{told['yardstick_ms']} ms; {told['system']}, Python {told['python']}. "
        f"{found['replicas']} replicas, {found['users']} people with {found['devices']} browsers, "
        f"ID tokens of {found['token_seconds']} s."
    )
    parts = [about, _claims(found), _logins(found), _seen(found), _growth(found), _faults(found)]
    return "\n\n".join(part for part in parts if part)


def plots(found: dict[str, Any]) -> str:
    """An SVG of the run over its time."""
    series: dict[str, Sequence[tuple[float, float]]] = found["series"]

    def lines(names: Sequence[str]) -> list[Line]:
        return [Line(name.replace("_", " "), series[name]) for name in names if series.get(name)]

    answers = Panel("Answers", "reqps", stacked=True, queries=_ASKED)
    renewals = Panel("Renewals", "reqps", queries=_ASKED)
    waits = Panel("Waits, of half and of 99 of 100", "s", queries=_ASKED)
    faults = Panel("Links with a fault", stacked=True, queries=_ASKED)
    logins = Panel("Forced logins so far, by reason", stacked=True, queries=_ASKED)
    shown = [
        (answers, lines([name for name in COUNTERS if name != "renewals"])),
        (renewals, lines(["renewals"])),
        (waits, lines(["p50", "p99"])),
        (faults, lines(LINKS)),
        (logins, lines([str(each) for each in Why])),
    ]
    for name in ALLOWED:
        panel = Panel(_NAMES[name].capitalize(), _UNITS.get(name, ""), queries=_ASKED)
        of_each = [
            Line(replica, series[f"{name} {replica}"])
            for replica in REPLICAS
            if series.get(f"{name} {replica}")
        ]
        shown.append((panel, of_each))
    return picture(shown, begins=0, ends=found["seconds"], title="A soak over its time")


def put(found: dict[str, Any]) -> None:
    """Write the result, the block and the picture."""
    RESULT.write_text(json.dumps(found, separators=(",", ":")) + "\n")
    before, _, rest = PAGE.read_text().partition(BEGIN)
    _, _, after = rest.partition(END)
    PAGE.write_text(f"{before}{BEGIN}\n\n{block(found)}\n\n{END}{after}")
    PICTURE.write_text(plots(found))


def _claims(found: dict[str, Any]) -> str:
    grown = "yes" if found["growth"] else "no"
    rows = [
        ["", "Measured", "Goal"],
        ["renewals that reached the store", f"{found['renewals']:,}", ""],
        ["forced logins that nothing explains", str(found["forced_logins_unexplained"]), "0"],
        ["spent tokens presented for no reason", str(found["reuses_unexplained"]), "0"],
        ["tokens out of date that went up", str(found["expired_tokens"]), "0"],
        ["answers 502, 503, 504 without `Retry-After`", str(found["without_retry_after"]), "0"],
        ["other answers that nobody should get", str(len(found["strange"])), "0"],
        ["something grows", grown if found["growth_judged"] else "too short to tell", "no"],
    ]
    return table(rows)


def _logins(found: dict[str, Any]) -> str:
    rows = [["Forced logins, and what explains them", "How many"]]
    rows += [[means, str(found["forced_logins"][each])] for each, means in _WHYS.items()]
    return table(rows)


def _seen(found: dict[str, Any]) -> str:
    waits = found["waits"]
    rows = [["What people did, and were told", ""]]
    for names, counts in ((_HABITS, found["habits"]), (_ACCIDENTS, found["accidents"])):
        rows += [[means, f"{counts.get(name, 0):,}"] for name, means in names.items()]
    rows += [[f"answers {status}", f"{count:,}"] for status, count in found["statuses"].items()]
    rows.append(["requests without an answer, asked again", f"{sum(found['unheard'].values()):,}"])
    rows.append(["half of the answers came within, s", f"{waits['p50_seconds']:g}"])
    rows.append(["99 of 100, s", f"{waits['p99_seconds']:g}"])
    rows.append(["the longest, s", f"{waits['longest_seconds']:g}"])
    return table(rows)


def _growth(found: dict[str, Any]) -> str:
    if not found["growth_of"]:
        return ""
    rows = [["Of the replica that lives on", "First", "Last", "In an hour", "Rising", "Grows"]]
    rows += [
        [
            _NAMES[name],
            f"{each['first']:.1f}",
            f"{each['last']:.1f}",
            f"{each['per_hour']:+.1f}",
            f"{each['rising_pairs']} of 28",
            "**yes**" if each["grows"] else "no",
        ]
        for name, each in found["growth_of"].items()
    ]
    return table(rows)


def _faults(found: dict[str, Any]) -> str:
    rows = [["Faults begun", *LINKS]]
    for kind in Kind:
        counts = [str(found["faults"].get(f"{link}: {kind}", 0)) for link in LINKS]
        rows.append([str(kind), *counts])
    return table(rows)
