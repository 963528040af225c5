"""The dashboards: generated from their source, laid out without holes, asking only for what there is."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import combinations
from pathlib import Path

import pytest
import yaml

from gpuwatch.model import points
from tests.grafana.boards import (
    FILES,
    GRAFANA,
    REPOSITORY,
    dashboard,
    filled,
    notes,
    panels,
    targets,
    variables,
)
from tests.integration.debian import run
from tests.integration.metrics import exported, named_in

WIDTH = 24
OF_PROMETHEUS = {"up", "scrape_samples_scraped"}
TAGS = {"cluster", "node", "uuid", "model", "job_id", "started", "epoch", "kind", "scope_kind", "quantity"}
IDENTITY = re.compile(r"max by \([^)]*\) \(gpuwatch_device_info")
"""A query for labels alone: its value is always 1."""
each_file = pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)


def queries(file: Path, store: str) -> Iterator[str]:
    """Every query of a dashboard in the language of a store, what finds the values of variables too."""
    asked = (*targets(file), *notes(file), *variables(file))
    yield from (each.text for each in asked if each.store == store)


def test_committed_dashboards_are_the_generated_ones() -> None:
    """`make generate` changes nothing: the JSON is the Python's, byte for byte."""
    pytest.importorskip("grafana_foundation_sdk")
    from grafana.__main__ import PAGES, render

    written = {file.name: file.read_text(encoding="utf-8") for file in FILES}

    assert {name: render(name) for name in PAGES} == written


@each_file
def test_expressions_name_only_exported_metrics(file: Path) -> None:
    """No panel, variable or annotation waits for a metric that nobody exports."""
    text = " ".join(queries(file, "prometheus"))
    text = re.sub(r'job="[^"]*"', "", text)

    assert set() == named_in(text) - exported()


def _fields() -> set[str]:
    """Metrics as fields are called, and what forecasts and events have beside them."""
    parts = ("gpuwatch_device_", "gpuwatch_host_", "gpuwatch_job_")
    metrics = {name.removeprefix(part) for name in exported() for part in parts if name.startswith(part)}
    events = {*points.EVENT_WORDS, *points.EVENT_NUMBERS}
    quantiles = {points.quantile(q) for q in (0.05, 0.25, 0.5, 0.75, 0.95)}
    return metrics | events | quantiles | {points.FORECAST_SCOPE, points.FORECAST_DECLARED, points.FORECAST_OVER}


@each_file
def test_influxql_names_only_what_is_pushed(file: Path) -> None:
    """Whatever is quoted is a measurement, a tag, a field called as its metric, or a name given in the query."""
    written = {points.DEVICE, points.JOB, points.EVENT, points.FORECAST, *TAGS}
    fields = tuple(_fields())

    for text in queries(file, "influxdb"):
        quoted = set(re.findall(r'"([^"]+)"', text)) - set(re.findall(r'AS "([^"]+)"', text))
        assert set() == {name for name in quoted - written if not name.startswith(fields)}, text


@pytest.mark.integration
@each_file
def test_expressions_parse(file: Path, promtool: Path, tmp_path: Path) -> None:
    """Every expression of a dashboard is one to Prometheus too."""
    asked = [each.text for each in (*targets(file), *notes(file)) if each.store == "prometheus"]
    rules = [
        {"record": f"panel:target:{number}", "expr": filled(text, {"job_id": "run-1"})}
        for number, text in enumerate(asked)
    ]
    (tmp_path / "rules.yml").write_text(yaml.safe_dump({"groups": [{"name": "panels", "rules": rules}]}))

    checked = run(promtool, "check", "rules", tmp_path / "rules.yml")

    assert 0 == checked.returncode, checked.stderr
    assert f"{len(rules)} rules found" in checked.stdout


@each_file
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


@each_file
def test_panels_explain_themselves(file: Path) -> None:
    """Each panel has a number and a title of its own, a description, words for no data, and the variable store."""
    found, numbered = panels(file), [panel["id"] for panel in dashboard(file)["panels"]]

    assert list(range(1, len(numbered) + 1)) == numbered
    assert len(found) == len({panel["title"] for panel in found})
    assert all(panel["description"].endswith(".") for panel in found)
    assert all(panel["fieldConfig"]["defaults"]["noValue"] for panel in found)
    assert all(panel["fieldConfig"]["defaults"]["unit"] for panel in found)
    assert {"${datasource}"} == {panel["datasource"]["uid"] for panel in found}
    assert all("For staff" in dashboard(file)["description"] for _ in found)


@each_file
def test_tables_show_only_columns_that_their_queries_give(file: Path) -> None:
    """A column of a table is a label in one of its queries, a name given there, or the value of one of them."""
    for panel in (each for each in panels(file) if each["type"] == "table"):
        asked = panel["targets"]
        several = len(asked) > 1
        told = [each for each in asked if "expr" in each and not IDENTITY.match(each["expr"])]
        values = {f"Value #{each['refId']}" if several else "Value" for each in told}
        steps = {step["id"]: step["options"] for step in panel["transformations"]}
        shown = set(steps["filterFieldsByName"]["include"]["names"])
        text = " ".join(each.get("expr") or each["query"] for each in asked)

        assert values <= shown
        assert {label for label in shown - values if label not in text} == set(), panel["title"]
        assert shown == set(steps["organize"]["renameByName"]) == set(steps["organize"]["indexByName"])


@each_file
def test_variables_are_chosen_before_they_are_used(file: Path) -> None:
    """Every variable of a query is one of the dashboard's, and every one of these is used."""
    names = [each["name"] for each in dashboard(file)["templating"]["list"]]
    used = set(
        re.findall(r"\$([a-zA-Z_]\w*)", " ".join((*queries(file, "prometheus"), *queries(file, "influxdb"))))
    )

    assert used - set(names) <= {"__rate_interval", "__range", "__interval", "timeFilter"}
    assert set(names) == (used & set(names)) | {"datasource"}
    assert "datasource" == names[0]


@each_file
def test_links_lead_to_dashboards_and_set_their_variables(file: Path) -> None:
    """A link to another dashboard names one that there is, of the same store, and variables that it has."""
    known = {dashboard(each)["uid"]: each for each in FILES}
    text = file.read_text(encoding="utf-8")

    for uid, parameters in re.findall(r'"/d/([\w-]+)/[\w-]+\?([^"]*)"', text):
        names = {each["name"] for each in dashboard(known[uid])["templating"]["list"]}
        assert set(re.findall(r"var-(\w+)", parameters)) <= names
        assert ("influxdb" in uid) == ("influxdb" in file.stem)
    assert all(link["tags"][0] in dashboard(file)["tags"] for link in dashboard(file)["links"])


@each_file
def test_same_thing_has_the_same_colour(file: Path) -> None:
    """Working is green, idle orange, spinning red and unknown grey wherever they are drawn."""
    colours = {"working": "green", "idle": "orange", "spinning": "red", "unknown": "#8e8e8e"}

    for panel in panels(file):
        for override in panel["fieldConfig"]["overrides"]:
            name = override["matcher"]["options"]
            found = [each["value"]["fixedColor"] for each in override["properties"] if each["id"] == "color"]
            assert name not in colours or found in ([], [colours[name]]), panel["title"]


def test_provisioning_points_at_what_is_there() -> None:
    """The example provisioning files are what Grafana reads, and its scrape interval is that of the example."""
    provider = yaml.safe_load((GRAFANA / "provisioning/dashboards/gpuwatch.yaml").read_text())["providers"][0]
    found = yaml.safe_load((GRAFANA / "provisioning/datasources/gpuwatch.yaml").read_text())["datasources"]
    sources = {each["type"]: each for each in found}
    scraped = yaml.safe_load((REPOSITORY / "deploy/prometheus/prometheus.yml").read_text())

    assert ("file", "/var/lib/grafana/dashboards/gpuwatch") == (provider["type"], provider["options"]["path"])
    assert {"prometheus", "influxdb"} == set(sources)
    assert scraped["global"]["scrape_interval"] == sources["prometheus"]["jsonData"]["timeInterval"]
    assert "InfluxQL" == sources["influxdb"]["jsonData"]["version"]


def test_readme_says_who_may_see_the_dashboards() -> None:
    """Grafana reads the store directly and shows every job: that has to be said where it is installed."""
    text = (GRAFANA / "README.md").read_text(encoding="utf-8")

    assert "For staff" in text
    assert all(file.name in text for file in FILES)


def test_page_of_the_documentation_shows_every_dashboard() -> None:
    """Each has its picture, small enough to be loaded, and a sentence in docs/dashboards.md."""
    folder = REPOSITORY / "docs"
    text = (folder / "dashboards.md").read_text(encoding="utf-8")

    for file in FILES:
        picture = folder / "pictures" / f"{file.stem}.png"
        assert f"pictures/{picture.name}" in text
        assert picture.stat().st_size <= 250_000
    assert "For staff" in text
