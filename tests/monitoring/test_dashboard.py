"""The dashboard: it asks for what there is, and can be imported anywhere."""

import json
import re
import subprocess
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import yaml

from bench.panels import panels
from tests.monitoring.promtool import required
from tests.monitoring.test_alerts import MONITORING, known_metrics

BOARD: dict[str, Any] = json.loads((MONITORING / "dashboard.json").read_text())
PANELS: list[dict[str, Any]] = [each for each in BOARD["panels"] if each["type"] != "row"]
TITLES = [each["title"] for each in PANELS]
VARIABLES = {each["name"]: each for each in BOARD["templating"]["list"]}
each_panel = pytest.mark.parametrize("panel", PANELS, ids=TITLES)


def queries(panel: dict[str, Any]) -> list[str]:
    return [target["expr"] for target in panel["targets"]]


@each_panel
def test_a_panel_asks_for_metrics_that_there_are_and_for_one_namespace(
    panel: dict[str, Any],
) -> None:
    for query in queries(panel):
        asked = re.findall(r"(argocd_token_refresh_\w+)(\{[^}]*\})?", query)

        assert asked
        assert {name for name, _ in asked} <= known_metrics()
        assert all('namespace=~"$namespace"' in labels for _, labels in asked)


@each_panel
def test_a_panel_says_what_it_shows_and_in_which_unit(panel: dict[str, Any]) -> None:
    assert panel["title"]
    assert panel["description"].endswith(".")
    assert panel["fieldConfig"]["defaults"]["unit"]
    assert all(target["legendFormat"] for target in panel["targets"])


def test_forced_logins_per_person_and_day_come_first() -> None:
    first = PANELS[0]

    assert "forced_logins_total" in queries(first)[0]
    assert (first["gridPos"]["x"], first["gridPos"]["y"]) == (0, 1)


def test_no_two_panels_have_an_id_or_a_place_in_common() -> None:
    places = [
        (x, y)
        for at in (each["gridPos"] for each in BOARD["panels"])
        for x in range(at["x"], at["x"] + at["w"])
        for y in range(at["y"], at["y"] + at["h"])
    ]

    assert len({each["id"] for each in BOARD["panels"]}) == len(BOARD["panels"])
    assert max(Counter(places).values()) == 1
    assert {x for x, _ in places} == set(range(24))


def test_whoever_imports_it_chooses_the_data_source() -> None:
    asked = [*PANELS, VARIABLES["namespace"], *(t for p in PANELS for t in p["targets"])]

    assert VARIABLES["datasource"]["query"] == "prometheus"
    assert {each["datasource"]["uid"] for each in asked} == {"${datasource}"}
    assert set(re.findall(r"\$\{?(\w+)", json.dumps(BOARD))) <= {
        "datasource",
        "namespace",
        "__rate_interval",
        "__all",
    }


def test_every_metric_that_somebody_would_page_for_is_on_it() -> None:
    alerts = (MONITORING / "alerts.yaml").read_text()
    paged = set(re.findall(r"argocd_token_refresh_\w+", alerts))
    shown = set(re.findall(r"argocd_token_refresh_\w+", json.dumps(BOARD)))

    # The two that say nothing over time are lines of their alerts alone.
    assert paged - shown <= {
        "argocd_token_refresh_token_life_left_seconds_count",
    }


def test_the_picture_in_the_docs_is_of_this_dashboard() -> None:
    picture = (MONITORING.parents[1] / "docs/images/dashboard.svg").read_text()
    shown = re.findall(r'<text class="(?:title|row)"[^>]*>([^<]*)<', picture)

    assert shown == [each["title"] for each in BOARD["panels"]]


def test_prometheus_understands_every_query(tmp_path: Path) -> None:
    filled_in = panels(rate_interval="2m", namespace="argocd")
    queries = [query for panel in filled_in for query, _ in panel.queries]
    rules = [{"record": f"panel:{n}", "expr": query} for n, query in enumerate(queries)]
    file = tmp_path / "rules.yaml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "dashboard", "rules": rules}]}))

    done = subprocess.run([required(), "check", "rules", file], capture_output=True, text=True)

    assert done.returncode == 0, done.stderr
    assert f"{len(queries)} rules found" in done.stdout
