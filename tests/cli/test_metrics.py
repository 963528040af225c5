"""`gpuwatch metrics` and the page that is made by it."""

from __future__ import annotations

import json
from pathlib import Path

from typer.testing import CliRunner

from gpuwatch.cli import application
from gpuwatch.cli.metrics import catalogues, documents, page
from gpuwatch.model import Metric

DOCS = Path(__file__).parents[2] / "docs" / "metrics.md"


def output(*arguments: str, status: int = 0) -> str:
    """What the command prints."""
    result = CliRunner().invoke(application(["metrics", "check"]), ["metrics", *arguments])
    assert result.exit_code == status, result.output
    return result.stdout


def test_the_page_of_the_documentation_is_what_the_command_prints() -> None:
    """`make generate` writes it again."""
    assert DOCS.read_text(encoding="utf-8") == output("--markdown")


def test_json_has_every_metric_of_both_daemons_once() -> None:
    """Name, type, labels, meaning and who exports it."""
    found = json.loads(output("--json"))

    by_name = {each["name"]: each for each in found}
    assert len(by_name) == len(found)
    assert {each["daemon"] for each in found} == {"agent", "accounting", "both"}
    assert by_name["gpuwatch_device_power_watts"] == {
        "name": "gpuwatch_device_power_watts",
        "type": "gauge",
        "labels": ["uuid", "window", "scope"],
        "help": "Electrical power; window says over which time the sensor averages, scope what it covers.",
        "daemon": "agent",
    }


def test_without_a_terminal_there_is_one_line_for_each_metric() -> None:
    """So that grep and cut can be used."""
    lines = [line.split("\t") for line in output().splitlines()]

    assert ["gpuwatch_device_up", "gauge", "uuid"] in [line[:3] for line in lines]
    assert len(lines) == sum(map(len, catalogues().values()))
    assert {len(line) for line in lines} == {4}


def test_the_two_forms_exclude_each_other() -> None:
    """A wish that cannot be granted is refused."""
    output("--json", "--markdown", status=64)


def test_the_two_daemons_share_no_name_but_those_of_their_web_servers_and_sinks() -> None:
    """Scraping both never counts anything twice."""
    agent, accounting, both = ({metric.name for metric in found} for found in catalogues().values())

    assert not agent & accounting
    assert not (agent | accounting) & both
    assert all(name.startswith(("gpuwatch_web_", "gpuwatch_sink_")) for name in both)


def test_no_metric_names_a_person() -> None:
    """Who a job belongs to is not for whoever may scrape."""
    people = {"user", "account", "name", "uid", "command", "pid"}

    assert not people & {label for found in catalogues().values() for metric in found for label in metric.labels}


def test_a_bar_in_a_meaning_does_not_break_the_table() -> None:
    """The page's columns stay four."""
    described = {"agent": [Metric("a", "This | that.", ("x", "y"))]}

    assert page(described).splitlines()[-1] == "| `a` | gauge | `x`, `y` | This \\| that. |"
    assert documents(described)[0]["labels"] == ["x", "y"]
