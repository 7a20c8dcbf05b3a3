"""deploy/prometheus and deploy/grafana: Prometheus understands them, and a live server has what they name."""

from __future__ import annotations

import json
import re
import shutil
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from ..wire.client import request
from ..wire.servers import serving

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .conftest import Run

DEPLOY = Path(__file__).resolve().parents[2] / "deploy"
ALERTS = DEPLOY / "prometheus" / "alerts.yml"
DASHBOARD = DEPLOY / "grafana" / "zchttpd.json"
NAME = re.compile(r"\bzchttpd_\w+")
# What Grafana puts in their place.
VARIABLES = {"$__rate_interval": "5m", "$job": "zchttpd", "$instance": ".*"}


def queries() -> Iterator[str]:
    """Every query of the dashboard, as Prometheus gets it."""
    dashboard: dict[str, Any] = json.loads(DASHBOARD.read_text(encoding="utf-8"))
    for panel in dashboard["panels"]:
        for target in panel.get("targets", ()):
            text: str = target["expr"]
            for variable, value in VARIABLES.items():
                text = text.replace(variable, value)
            assert "$" not in text, text
            yield text


@pytest.fixture
def metrics(root: Path, engine: str) -> str:
    """The text that a server which has been asked for something gives to Prometheus."""
    (root / "page.txt").write_text("a page\n")
    with serving(root, engine=engine) as server:
        assert server.ask(request("/page.txt")).status == 200
        url = f"http://127.0.0.1:{server.admin[1]}/metrics"
        with urllib.request.urlopen(url, timeout=60) as answer:
            text: str = answer.read().decode("ascii")
    return text


def test_prometheus_understands_the_rules(run: Run) -> None:
    assert "9 rules found" in run("promtool", "check", "config", DEPLOY / "prometheus" / "prometheus.yml")


def test_each_alert_is_told_when_it_should(run: Run, tmp_path: Path) -> None:
    shutil.copy(ALERTS, tmp_path)
    shutil.copy(Path(__file__).with_name("alerts_test.yml"), tmp_path)
    assert "SUCCESS" in run("promtool", "test", "rules", tmp_path / "alerts_test.yml")


def test_prometheus_understands_every_query_of_the_dashboard(run: Run, tmp_path: Path) -> None:
    rules = [{"record": f"query{number}", "expr": text} for number, text in enumerate(queries())]
    assert len(rules) > 30
    # JSON is YAML.
    (tmp_path / "rules.yml").write_text(json.dumps({"groups": [{"name": "dashboard", "rules": rules}]}))
    assert f"{len(rules)} rules found" in run("promtool", "check", "rules", tmp_path / "rules.yml")


def test_a_server_has_every_metric_that_is_named(metrics: str) -> None:
    printed = set(re.findall(r"^(zchttpd_\w+)", metrics, re.MULTILINE))
    for text in (*queries(), ALERTS.read_text(encoding="utf-8")):
        missing = set(NAME.findall(text)) - printed
        assert not missing, f"no server has {missing}, of: {text}"


def test_each_reason_of_a_refusal_is_explained(metrics: str) -> None:
    reasons = set(re.findall(r'^zchttpd_refused_total{reason="(\w+)"}', metrics, re.MULTILINE))
    _, _, alert = ALERTS.read_text(encoding="utf-8").partition("alert: ZchttpdRefuses")
    explained = set(re.findall(r"\b(\w+):", alert.partition("- alert:")[0].partition("description:")[2]))
    assert reasons
    assert explained == reasons


def test_the_dashboard_shows_every_alert() -> None:
    [shown] = [text for text in queries() if "ALERTS" in text]
    pattern = re.search(r'alertname=~"([^"]+)"', shown)
    names = re.findall(r"alert: (\w+)", ALERTS.read_text(encoding="utf-8"))
    assert pattern
    assert names
    assert [name for name in names if not re.fullmatch(pattern[1], name)] == []


def test_the_dashboard_has_every_metric(metrics: str) -> None:
    families = set(re.findall(r"^# TYPE (zchttpd_\w+)", metrics, re.MULTILINE))
    shown = {name for text in queries() for name in NAME.findall(text)} | {"zchttpd_build_info"}
    missing = {name for name in families if not any(other.startswith(name) for other in shown)}
    assert not missing


def test_every_panel_shows_something_and_has_a_place_of_its_own() -> None:
    panels = json.loads(DASHBOARD.read_text(encoding="utf-8"))["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    taken: set[tuple[int, int]] = set()
    for panel in panels:
        assert panel["type"] == "row" or panel["targets"], panel["title"]
        at = panel["gridPos"]
        cells = {(at["x"] + x, at["y"] + y) for x in range(at["w"]) for y in range(at["h"])}
        assert not cells & taken, panel["title"]
        assert max(x for x, _ in cells) < 24, panel["title"]
        taken |= cells
