"""Print what Helm makes of a chart and a file of values.

Run by the tools' Python, not by ours, as `render_chart.py CHART VALUES`. The community chart itself
will do for CHART.
"""

import sys
from pathlib import Path

import helm_python  # type: ignore[import-not-found]  # only the tools' environment has it
import yaml


def main() -> None:
    chart_folder, values = sys.argv[1:]
    with helm_python.Chart.load(chart_folder) as chart:
        found = chart.render(
            yaml.safe_load(Path(values).read_text()), name="argocd", namespace="argocd"
        )
    for name, text in sorted(found.items()):
        if name.endswith(".yaml") and text.strip():
            print(f"---\n{text}")


if __name__ == "__main__":
    main()
