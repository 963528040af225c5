"""Options and metrics that a page names exist, and what exists is in a page."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from gpuwatch.cli import COMMANDS, application
from gpuwatch.cli.metrics import catalogues
from tests.test_docs import PAGES, ROOT

NO_METRICS = {
    "gpuwatch_client": "the Python module",
    "gpuwatch_device": "a measurement of InfluxDB",
    "gpuwatch_event": "a measurement of InfluxDB",
    "gpuwatch_forecast": "a measurement of InfluxDB",
    "gpuwatch_host": "a measurement of InfluxDB",
    "gpuwatch_job": "a measurement of InfluxDB",
}
FAMILIES = re.compile(r"(_|\*|…|\{)$")
OTHER_NAMES = {ROOT / "CHANGELOG.md", ROOT / "deploy" / "ansible" / "README.md"}
"""The one names what was, too, the other has variables of that form."""


COMMON = {"--help", "-h", "--version", "--install-completion", "--show-completion"}
"""What gpuwatch itself takes."""


def _commands() -> dict[str, set[str]]:
    """The options of each command, those of its parts included, and what all commands have."""
    group: Any = typer.main.get_command(application())
    context = group.make_context("gpuwatch", [], resilient_parsing=True)
    return {name: COMMON | set(_options(group.get_command(context, name))) for name in COMMANDS}


def _options(command: Any) -> Iterator[str]:
    for parameter in command.params:
        yield from (*parameter.opts, *parameter.secondary_opts)
    for part in getattr(command, "commands", {}).values():
        yield from _options(part)


OPTIONS = _commands()
METRICS = {metric.name for found in catalogues().values() for metric in found}


def _spoken(text: str) -> Iterator[tuple[str, str]]:
    """`(command, option)` of every line of code that calls gpuwatch, up to a `--` of its own."""
    fenced = re.findall(r"^```[a-z]*\n(.*?)^```", text, flags=re.S | re.M)
    inline = re.findall(r"`([^`\n]+)`", re.sub(r"^```.*?^```", "", text, flags=re.S | re.M))
    for line in [line for block in fenced for line in block.replace("\\\n", " ").splitlines()] + inline:
        for command, rest in re.findall(r"(?:^|[\s(/])gpuwatch ([a-z]+)\b([^|;#]*)", line):
            words = rest.split(" -- ")[0].split(" gpuwatch ")[0]
            yield from ((command, option) for option in re.findall(r"(?<=\s)--[a-z][a-z-]*", words))


def _named_metrics(text: str) -> set[str]:
    """Metrics that are named whole: not the beginning of a family, as `gpuwatch_job_…`."""
    found = re.findall(r"\bgpuwatch_[a-z][a-z0-9_]*(?:[*…{](?!\w+[=~!])|\b)", text)
    return {name.rstrip("{") for name in found if not FAMILIES.search(name.rstrip("{"))}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_pages_name_options_that_exist(page: Path) -> None:
    """An option behind `gpuwatch COMMAND` is one of that command."""
    spoken = {(command, option) for command, option in _spoken(page.read_text("utf-8")) if command in OPTIONS}

    assert [] == sorted((command, option) for command, option in spoken if option not in OPTIONS[command])


@pytest.mark.parametrize(
    "page", [page for page in PAGES if page not in OTHER_NAMES], ids=lambda page: str(page.relative_to(ROOT))
)
def test_pages_name_metrics_that_exist(page: Path) -> None:
    """Every `gpuwatch_…` is exported by a daemon, or is one of the few other things of that form."""
    assert [] == sorted(_named_metrics(page.read_text("utf-8")) - METRICS - set(NO_METRICS))


def test_every_metric_is_in_the_page_of_metrics() -> None:
    """And nothing else is."""
    rows = re.findall(r"^\| `(gpuwatch_\w+)` \|", (ROOT / "docs" / "metrics.md").read_text("utf-8"), flags=re.M)

    assert sorted(METRICS) == sorted(set(rows))


def test_every_option_is_in_the_page_of_commands_and_in_the_manual() -> None:
    """Of every command and of its parts."""
    page = (ROOT / "docs" / "commands.md").read_text("utf-8")
    manual = (ROOT / "docs" / "gpuwatch.1").read_text("utf-8").replace("\\-", "-")
    said = {option for options in OPTIONS.values() for option in options if option.startswith("--")}

    assert [] == sorted(option for option in said - COMMON if option not in page or option not in manual)
