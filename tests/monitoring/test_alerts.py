"""The alerts: promtool runs them over made-up days, and the runbook has a section for each."""

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from sidecar.metrics import Metrics
from tests.monitoring.promtool import required

ROOT = Path(__file__).parents[2]
MONITORING = ROOT / "deploy/monitoring"
CASES = Path(__file__).parent / "alerts.yaml"
SPEC = yaml.safe_load((MONITORING / "alerts.yaml").read_text())["spec"]
ALERTS: list[dict[str, Any]] = [rule for group in SPEC["groups"] for rule in group["rules"]]
NAMES = [alert["alert"] for alert in ALERTS]


def known_metrics() -> set[str]:
    """Every series' name that the sidecar gives."""
    names = set()
    for family in Metrics().registry.collect():
        names.add(family.name)
        if family.type == "counter":
            names.add(f"{family.name}_total")
        if family.type == "histogram":
            names |= {f"{family.name}_{part}" for part in ("bucket", "count", "sum")}
    return names


def test_each_alert_fires_where_it_should_and_none_on_a_quiet_day(
    tmp_path: Path,
) -> None:
    rules = [{k: v for k, v in alert.items() if k != "annotations"} for alert in ALERTS]
    spec = {"groups": [{"name": "argocd-token-refresh", "rules": rules}]}
    (tmp_path / "rules.yaml").write_text(yaml.safe_dump(spec))
    (tmp_path / "alerts.yaml").write_text(CASES.read_text())

    done = subprocess.run(
        [required(), "test", "rules", "alerts.yaml"], cwd=tmp_path, capture_output=True, text=True
    )

    assert done.returncode == 0, done.stdout + done.stderr


def fired() -> set[str]:
    """The alerts that a made-up day raises."""
    days = yaml.safe_load(CASES.read_text())["tests"]
    asked = [case for day in days for case in day["alert_rule_test"]]
    return {case["alertname"] for case in asked if case["exp_alerts"]}


@pytest.mark.parametrize("name", NAMES)
def test_every_alert_is_raised_by_one_of_the_days(name: str) -> None:
    assert name in fired()


@pytest.mark.parametrize("alert", ALERTS, ids=NAMES)
def test_an_alert_asks_for_metrics_that_there_are(alert: dict[str, Any]) -> None:
    named = set(re.findall(r"argocd_token_refresh_\w+", alert["expr"]))

    assert named
    assert named <= known_metrics()


@pytest.mark.parametrize("alert", ALERTS, ids=NAMES)
def test_an_alert_leads_to_its_section_of_the_runbook(alert: dict[str, Any]) -> None:
    page, _, anchor = alert["annotations"]["runbook"].partition("#")
    headings = re.findall(r"^## (\w+)$", (ROOT / page).read_text(), re.MULTILINE)

    assert anchor == alert["alert"].lower()
    assert alert["alert"] in headings


def test_the_runbook_has_no_section_for_an_alert_that_is_gone() -> None:
    page = (ROOT / "docs/runbook.md").read_text()

    assert set(re.findall(r"^## (TokenRefresh\w+)$", page, re.MULTILINE)) == set(NAMES)
