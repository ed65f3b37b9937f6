"""The tables in `docs/configuration.md` and `docs/providers.md`, from the code."""

import math

from sidecar.config.environment import variable
from sidecar.config.variables import VARIABLES
from sidecar.core.provider_profiles import PROFILES, ErrorRow, FailureClass

_CLASSES = {
    FailureClass.OVER: "over",
    FailureClass.OPERATOR: "operator",
    FailureClass.PASSING: "passing",
    FailureClass.PASSING_ONLY_HERE: "passing, for this grant alone",
}


def configuration_table() -> str:
    """A Markdown table with every variable, its default and its meaning."""
    rows = ["| Variable | Default | Meaning |", "| --- | --- | --- |"]
    for name, known in VARIABLES.items():
        rows.append(f"| `{variable(name)}` | {known.default} | {known.meaning} |")
    return "\n".join(rows) + "\n"


def providers_table() -> str:
    """A Markdown table with every provider profile."""
    rows = [
        "| Provider | `SIDECAR_PROVIDER` | A second use is harmless | A grant is | "
        "Answers of its own | What else |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for profile in PROFILES:
        own = "; ".join(_answer(row) for row in profile.errors) or "-"
        rows.append(
            f"| {profile.title} | `{profile.provider}` | {_window(profile.reuse_window_seconds)} "
            f"| `{profile.sharing}` | {own} | {profile.notes} |"
        )
    return "\n".join(rows) + "\n"


def _window(seconds: float) -> str:
    if seconds == math.inf:
        return "always"
    return f"for {seconds:g} s" if seconds else "never"


def _answer(row: ErrorRow) -> str:
    statuses = "/".join(map(str, row.statuses)) or "any 4xx"
    some = {None: "", "": ", without a text"}.get(row.description, ", some texts")
    return f"{statuses} `{row.error}`{some}: {_CLASSES[row.failure_class]}"
