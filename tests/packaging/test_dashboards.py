"""What watches detector: alert rules for Prometheus and a dashboard for Grafana, checked by Prometheus' own tool."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from detector.service.metrics.catalogue import METRICS

if TYPE_CHECKING:
    from collections.abc import Iterator

_PACKAGING = Path(__file__).parents[2] / "packaging"
_RULES = _PACKAGING / "prometheus" / "detector.rules.yml"
_DASHBOARD = _PACKAGING / "grafana" / "detector.json"
_SERIES = {series for each in METRICS for series in each.series}
_LABELS = {series: set(each.labels) for each in METRICS for series in each.series}


def _promtool(*arguments: str | Path) -> None:
    program = shutil.which("promtool")
    assert program, "promtool is not installed: apt-get install prometheus (make test does)"
    done = subprocess.run([program, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def _rules() -> list[dict[str, Any]]:
    (group,) = yaml.safe_load(_RULES.read_text(encoding="utf-8"))["groups"]
    return list(group["rules"])


def _panels() -> list[dict[str, Any]]:
    return list(json.loads(_DASHBOARD.read_text(encoding="utf-8"))["panels"])


def _queries() -> Iterator[str]:
    yield from (rule["expr"] for rule in _rules())
    yield from (target["expr"] for panel in _panels() for target in panel["targets"])


def test_the_alert_rules_are_sound_and_fire_when_they_should() -> None:
    """As Prometheus reads them, on series of an hour: nothing is told while all is well."""
    _promtool("check", "rules", _RULES)
    _promtool("test", "rules", _RULES.with_name("detector.tests.yml"))


def test_the_tests_of_the_alert_rules_know_each_of_them() -> None:
    """None is left out."""
    tried = _RULES.with_name("detector.tests.yml").read_text(encoding="utf-8")
    for rule in _rules():
        name = rule["alert"].removeprefix("Detector")
        assert re.search(rf"\b(Detector)?{name}\b", tried), rule["alert"]
        assert {"summary", "description"} <= set(rule["annotations"])


def test_the_queries_of_the_dashboard_are_sound(tmp_path: Path) -> None:
    """As Prometheus reads them, with Grafana's variables filled in."""
    filled = [
        query.replace("$__rate_interval", "5m").replace("$host", ".*") for panel in _panels() for query in _of(panel)
    ]
    rules = [{"record": f"panel:{number}", "expr": query} for number, query in enumerate(filled)]
    path = tmp_path / "queries.yml"
    path.write_text(yaml.safe_dump({"groups": [{"name": "dashboard", "rules": rules}]}))
    _promtool("check", "rules", path)


def _of(panel: dict[str, Any]) -> list[str]:
    return [target["expr"] for target in panel["targets"]]


@pytest.mark.parametrize("query", list(_queries()))
def test_every_metric_that_is_asked_for_is_served_with_the_labels_that_are_asked_for(query: str) -> None:
    """By the names that the code has; of the client library's own no more than memory."""
    asked = re.findall(r"\b((?:detector|process|python)_[a-z_]+)(?:\{([^}]*)\})?", query)
    asked = [(name, labels) for name, labels in asked if name != "process_resident_memory_bytes"]
    for name, labels in asked:
        assert name in _SERIES, name
        assert set(re.findall(r"(\w+)\s*=", labels)) <= _LABELS[name], query


def test_the_dashboard_has_no_two_panels_in_one_place() -> None:
    """Each has a number of its own, a title, and its place in the grid of 24 columns."""
    taken: set[tuple[int, int]] = set()
    for panel in _panels():
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert panel["title"]
        assert not cells & taken
        assert place["x"] + place["w"] <= 24
        taken |= cells
    assert len({panel["id"] for panel in _panels()}) == len(_panels())
