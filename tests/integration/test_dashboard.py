"""The dashboards: generated from their source, laid out without holes, asking only for what there is."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from importlib.util import module_from_spec, spec_from_file_location
from itertools import combinations
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml

from tests.integration.debian import REPOSITORY, run
from tests.integration.metrics import exported, named_in

GRAFANA = REPOSITORY / "grafana"
FILES = sorted((GRAFANA / "dashboards").glob("*.json"))
WIDTH = 24


def dashboard(file: Path) -> dict[str, Any]:
    """A committed dashboard."""
    read: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    return read


def expressions(file: Path) -> Iterator[str]:
    """Every expression of a dashboard, with Grafana's variables filled in."""
    for panel in dashboard(file)["panels"]:
        for target in panel["targets"]:
            yield target["expr"].replace("$job_id", "run-1").replace("$__rate_interval", "1m")


@pytest.fixture(scope="module")
def generate() -> Iterator[ModuleType]:
    """The module grafana/generate.py, which is no package."""
    spec = spec_from_file_location("grafana_generate", GRAFANA / "generate.py")
    assert spec is not None and spec.loader is not None
    module = sys.modules[spec.name] = module_from_spec(spec)
    spec.loader.exec_module(module)
    yield module
    del sys.modules[spec.name]


def test_committed_dashboards_are_the_generated_ones(generate: ModuleType) -> None:
    """`make generate` changes nothing: the JSON is the Python's, byte for byte."""
    written = {file.name: file.read_text(encoding="utf-8") for file in FILES}

    assert {name: generate.render(name) for name in generate.DASHBOARDS} == written


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_expressions_name_only_exported_metrics(file: Path) -> None:
    """No panel waits for a metric that nobody exports."""
    assert set() == named_in(" ".join(expressions(file))) - exported()


@pytest.mark.integration
@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_expressions_parse(file: Path, promtool: Path, tmp_path: Path) -> None:
    """Every expression of a dashboard is one to Prometheus too."""
    rules = [
        {"record": f"panel:target:{number}", "expr": expression}
        for number, expression in enumerate(expressions(file))
    ]
    (tmp_path / "rules.yml").write_text(yaml.safe_dump({"groups": [{"name": "panels", "rules": rules}]}))

    checked = run(promtool, "check", "rules", tmp_path / "rules.yml")

    assert 0 == checked.returncode, checked.stderr
    assert f"{len(rules)} rules found" in checked.stdout


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_panels_fill_rows_and_do_not_overlap(file: Path) -> None:
    """Every row is as wide as the page, and no panel covers another."""
    places = [panel["gridPos"] for panel in dashboard(file)["panels"]]
    cells = [
        {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        for at in places
    ]
    height = max(at["y"] + at["h"] for at in places)

    assert not any(one & other for one, other in combinations(cells, 2))
    assert {(x, y) for x in range(WIDTH) for y in range(height)} == set().union(*cells)


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_panels_explain_themselves(file: Path) -> None:
    """Each panel has a number and a title of its own, a description, words for no data, and the variable store."""
    panels = dashboard(file)["panels"]

    assert list(range(1, len(panels) + 1)) == [panel["id"] for panel in panels]
    assert len(panels) == len({panel["title"] for panel in panels})
    assert all(panel["description"].endswith(".") for panel in panels)
    assert all(panel["fieldConfig"]["defaults"]["noValue"] for panel in panels)
    assert {"${datasource}"} == {panel["datasource"]["uid"] for panel in panels}


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_table_shows_only_columns_that_its_queries_give(file: Path) -> None:
    """A column of a table is a label in one of its expressions, or the value of one of its queries."""
    for panel in (each for each in dashboard(file)["panels"] if each["type"] == "table"):
        targets = panel["targets"]
        values = {f"Value #{target['refId']}" for target in targets}
        steps = {step["id"]: step["options"] for step in panel["transformations"]}
        shown = set(steps["filterFieldsByName"]["include"]["names"])

        assert values <= shown
        assert all(label in targets[0]["expr"] for label in shown - values)
        assert shown == set(steps["organize"]["renameByName"]) == set(steps["organize"]["indexByName"])


def test_provisioning_points_at_what_is_there() -> None:
    """The example provisioning files are what Grafana reads, and its scrape interval is that of the example."""
    provider = yaml.safe_load((GRAFANA / "provisioning/dashboards/gpuwatch.yaml").read_text())["providers"][0]
    source = yaml.safe_load((GRAFANA / "provisioning/datasources/gpuwatch.yaml").read_text())["datasources"][0]
    scraped = yaml.safe_load((REPOSITORY / "deploy/prometheus/prometheus.yml").read_text())

    assert ("file", "/var/lib/grafana/dashboards/gpuwatch") == (provider["type"], provider["options"]["path"])
    assert "prometheus" == source["type"]
    assert scraped["global"]["scrape_interval"] == source["jsonData"]["timeInterval"]


def test_readme_says_who_may_see_the_dashboards() -> None:
    """Grafana reads the store directly and shows every job: that has to be said where it is installed."""
    text = (GRAFANA / "README.md").read_text(encoding="utf-8")

    assert "For staff" in text
    assert all(file.name in text for file in FILES)
