"""Every effective value with its source, as `sidecar config` shows it: secrets masked."""

import json
from collections.abc import Iterator
from enum import Enum
from typing import Any

from sidecar.config import values
from sidecar.config.environment import variable
from sidecar.config.settings import Config
from sidecar.config.variables import VARIABLES
from sidecar.core.refresh_policy import RefreshWindow

MASK = "***"


def as_text(config: Config) -> str:
    """A line for every value, then what was found."""
    rows = [(variable(name), shown, source) for name, shown, source in _rows(config)]
    rows += [(name, value, "argocd-cm") for name, value in _beside(config)]
    widths = [max(len(row[column]) for row in rows) for column in (0, 1)]
    lines = [f"{name:{widths[0]}}  {value:{widths[1]}}  {source}" for name, value, source in rows]
    login = "taken over" if config.argocd.takes_over_logins else "not taken over: they pass"
    login = "the upstream's own" if config.argocd.leaves_logins else login
    findings = [f"{found.weight}: {found}" for found in config.argocd.findings]
    return "\n".join([*lines, "", f"logins: {login}", *findings])


def as_json(config: Config) -> str:
    """The same for programs."""
    shown_values = {
        name: {"value": shown, "source": source} for name, shown, source in _rows(config)
    }
    findings = [
        {"weight": found.weight, "where": found.where, "sentence": found.sentence}
        for found in config.argocd.findings
    ]
    report = {
        "takes_over_logins": config.argocd.takes_over_logins,
        "values": shown_values,
        "beside": dict(_beside(config)),
        "findings": findings,
    }
    return json.dumps(report, indent=2)


def _rows(config: Config) -> Iterator[tuple[str, str, str]]:
    for name, known in VARIABLES.items():
        value = getattr(config, name)
        hidden = known.secret and value is not None
        yield name, MASK if hidden else _shown(value, name), config.source(name)


def _shown(value: Any, name: str) -> str:
    if name in ("store_url", "argocd_redis_url") and value:
        return values.masked(value)
    match value:
        case None | "":
            return "-"
        case bool():
            return "on" if value else "off"
        case Enum():
            return str(value.value)
        case tuple():
            return " ".join(map(str, value))
        case float():
            return values.written_duration(value)
        case RefreshWindow(seconds=0):
            return f"{value.share * 100:g}%"
        case RefreshWindow():
            return values.written_duration(value.seconds)
    return values.written_size(value) if name.endswith("_size") else str(value)


def _beside(config: Config) -> Iterator[tuple[str, str]]:
    """What Argo CD says that has no variable."""
    argocd = config.argocd
    yield "rootCA", "given" if argocd.provider_ca else "-"
    yield "access token for Argo CD", "written" if argocd.access_token_seed else "-"
    yield "anonymous users", "on" if argocd.anonymous else "off"
    yield from argocd.authorization
