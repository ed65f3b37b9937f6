"""What a store tells of all that is in it: names of records, and what replicas say of their keys.

Who may write the store may write nonsense there; it is left out.
"""

import re
from collections.abc import Iterable

from sidecar.ports import KEY_REPORT_SECONDS, KeyReports, RecordKind, RecordName


def name_at(prefix: str, kind: RecordKind, key: str) -> RecordName | None:
    """The record that is at a key, if its key is one."""
    found = re.fullmatch(r"\{([^{}]+)\}:" + kind.value + ":(.+)", key.removeprefix(prefix))
    return RecordName(kind, found[1], found[2]) if found else None


def literally(text: str) -> str:
    """A pattern for SCAN that stands for this text alone."""
    return re.sub(r"([\\*?\[\]^-])", r"\\\1", text)


def read_key_reports(fields: Iterable[tuple[str, str]], now: float) -> KeyReports:
    """The reports in the fields of their hash, those of replicas that still report."""
    replicas: dict[str, tuple[float, str]] = {}
    used_at: dict[str, float] = {}
    for name, value in fields:
        kind, _, of = name.partition(":")
        at_ms, _, report = value.partition("|")
        at = int(at_ms) / 1000 if re.fullmatch(r"[0-9]{1,15}", at_ms) else 0.0
        if kind == "used":
            used_at[of] = at
        elif now - at < KEY_REPORT_SECONDS:
            replicas[of] = (at, report)
    return KeyReports(replicas, used_at)
