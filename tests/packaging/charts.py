"""The chart with each file of values, rendered by Helm's own engine, as plain manifests.

`python -m tests.packaging.charts` writes them to deploy/kubernetes, where they are read, reviewed
and applied without Helm; a test holds them to the chart.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml
from helm_python import Chart, lint

ROOT = Path(__file__).parents[2]
CHART = ROOT / "deploy" / "helm" / "orchestrator"
VALUES = {path.stem: path for path in sorted((ROOT / "deploy" / "helm" / "values").glob("*.yaml"))}
PLAIN = ROOT / "deploy" / "kubernetes"
KUBERNETES = "v1.31.0"


def rendered(name: str) -> str:
    """All manifests of one file of values, in the order of their templates' names."""
    values = yaml.safe_load(VALUES[name].read_text())
    parts = Chart.load(CHART).render(values, name="orders", namespace="orders", is_install=True)
    texts = [text.strip() for path, text in sorted(parts.items()) if path.endswith(".yaml")]
    head = f"# Written by tests/packaging/charts.py from deploy/helm with values/{name}.yaml.\n"
    documents = [text.removeprefix("---").strip() for text in texts if text]
    return head + "".join(f"---\n{text}\n" for text in documents)


def findings(name: str) -> list[dict[str, Any]]:
    """What `helm lint --strict` has to say, warnings and worse."""
    values = yaml.safe_load(VALUES[name].read_text())
    report = lint(CHART, values, strict=True, kube_version=KUBERNETES)
    return [each for each in report["messages"] if each["severity"] > 1]


def main() -> None:
    """Write all of them."""
    PLAIN.mkdir(exist_ok=True)
    for name in VALUES:
        (PLAIN / f"{name}.yaml").write_text(rendered(name))


if __name__ == "__main__":
    main()
