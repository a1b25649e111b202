"""Alert rules and the dashboard: what they ask for exists in the daemon, and each alert fires by its fault."""

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "deploy/prometheus"
RULES = FOLDER / "reid-stream.rules.yml"
needs_promtool = pytest.mark.skipif(shutil.which("promtool") is None, reason="needs promtool (package prometheus)")


def known() -> dict[str, set[str]]:
    """Return the series of the daemon with their labels, from the reference, which is generated from its code."""
    found: dict[str, set[str]] = {}
    pattern = re.compile(r"\| `(reid_stream_\w+)` \| (\w+) \| ([^|]*) \|")
    for name, kind, labels in pattern.findall((ROOT / "docs/reference/metrics.md").read_text()):
        names = {f"{name}_{part}" for part in ("bucket", "sum", "count")} if kind == "histogram" else {name}
        found |= {key: set(re.findall(r"`(\w+)`", labels)) for key in names}
    return found


def rules() -> list[dict[str, Any]]:
    loaded = YAML(typ="safe").load(RULES.read_text())
    return [rule for group in loaded["groups"] for rule in group["rules"]]


def dashboard() -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((ROOT / "deploy/grafana/reid-stream.json").read_text())
    return loaded


def expressions() -> list[str]:
    panels = [panel for panel in dashboard()["panels"] if panel["type"] != "row"]
    return [rule["expr"] for rule in rules()] + [target["expr"] for panel in panels for target in panel["targets"]]


def test_every_metric_and_label_that_rules_and_dashboard_ask_for_is_one_of_the_daemon() -> None:
    series = known()
    asked = [
        (name, set(re.findall(r"(\w+)\s*[=!]", inside or "")))
        for expression in expressions()
        for name, inside in re.findall(r"(reid_stream_\w+)(?:\{([^}]*)\})?", expression)
    ]
    assert len(asked) > 60
    assert {name for name, _ in asked} <= set(series)
    wrong = [(name, labels) for name, labels in asked if labels - series[name] - {"instance", "job", "le"}]
    assert not wrong
    grouped = {
        label for text in expressions() for group in re.findall(r"by \(([^)]*)\)", text) for label in group.split(", ")
    }
    assert grouped <= {label for labels in series.values() for label in labels} | {"instance", "le"}


def test_every_alert_is_explained_and_has_a_fault_that_fires_it() -> None:
    names = [rule["alert"] for rule in rules()]
    assert len(set(names)) == len(names) == 20
    tests = (FOLDER / "reid-stream.rules.test.yml").read_text()
    guide = (ROOT / "docs/guide/monitoring.md").read_text()
    for rule in rules():
        assert f'alertname="{rule["alert"]}"' in tests
        assert f"`{rule['alert']}`" in guide
        assert set(rule["annotations"]) == {"summary", "description"}
        assert rule["labels"]["severity"] in ("critical", "warning", "info")


@pytest.mark.slow
@needs_promtool
def test_prometheus_takes_the_rules_and_each_fault_fires_its_alert() -> None:
    checked = subprocess.run(
        ["promtool", "check", "config", "prometheus.yml"], cwd=FOLDER, capture_output=True, check=False
    )
    assert checked.returncode == 0, checked.stdout + checked.stderr
    command = ["promtool", "test", "rules", "reid-stream.rules.test.yml"]
    tried = subprocess.run(command, cwd=FOLDER, capture_output=True, text=True, check=False)
    assert tried.returncode == 0, tried.stdout + tried.stderr


@pytest.mark.slow
@needs_promtool
def test_a_rule_that_never_fires_fails_that_test(tmp_path: Path) -> None:
    shutil.copytree(FOLDER, tmp_path / "rules")
    copy = tmp_path / "rules" / RULES.name
    copy.write_text(copy.read_text().replace("reid_stream_redis_up == 0", "reid_stream_redis_up == 2"))
    command = ["promtool", "test", "rules", "reid-stream.rules.test.yml"]
    assert subprocess.run(command, cwd=copy.parent, capture_output=True, check=False).returncode != 0


def test_panels_of_the_dashboard_do_not_overlap_and_each_says_what_it_shows() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in dashboard()["panels"]:
        at = panel["gridPos"]
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert not cells & taken, panel["title"]
        assert at["x"] + at["w"] <= 24
        taken |= cells
        assert panel["title"]
    assert len({panel["id"] for panel in dashboard()["panels"]}) == len(dashboard()["panels"])
