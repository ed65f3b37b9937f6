"""The page about metrics names each of them, with its labels, and no other."""

import re
from pathlib import Path

from sidecar.metrics import Metrics

PAGE = Path(__file__).parent.parent / "docs" / "metrics.md"


def documented() -> dict[str, set[str]]:
    """The metrics of the page's table with their labels."""
    rows = re.findall(r"^\| `(\w+)` \|([^|]*)\|", PAGE.read_text(), re.MULTILINE)
    return {name: set(re.findall(r"`(\w+)`", labels)) for name, labels in rows}


def made() -> dict[str, set[str]]:
    """The metrics that the code makes with their labels."""
    metrics = vars(Metrics()).values()
    found = [m for m in metrics if hasattr(m, "_labelnames")]
    return {_shown(m.describe()[0]): set(m._labelnames) for m in found}


def _shown(family: object) -> str:
    name, kind = str(getattr(family, "name", "")), getattr(family, "type", "")
    suffix = "_total" if kind == "counter" else ""
    return name.removeprefix("argocd_token_refresh_") + suffix


def test_every_metric_has_a_row_and_every_row_a_metric() -> None:
    assert documented() == made()
