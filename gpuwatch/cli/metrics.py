"""`gpuwatch metrics`: every metric of both daemons, out of the code that exports them."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from itertools import chain
from typing import Annotated

import typer

from gpuwatch.model import Metric

TITLES = {
    "agent": "Agent (port 9838)",
    "accounting": "Accounting (port 9839)",
    "both": "Both, of the web server that serves them and of their sinks",
}

_HEAD = """# Metrics

Made by `gpuwatch metrics --markdown`. Base units everywhere: seconds, joules, watts, bytes, ratios from 0 to 1.
A series that is not known is absent, never 0. Device series carry `uuid` alone: join `gpuwatch_device_info` for
the rest. Counters of jobs and devices begin anew with a new `epoch`; take the maximum of each, and add up epochs.
"""


def metrics(
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    markdown: Annotated[bool, typer.Option("--markdown", help="Print the page of the documentation.")] = False,
) -> None:
    """List every metric that the agent and accounting export: name, type, labels and meaning."""
    if as_json and markdown:
        raise typer.BadParameter("--json and --markdown exclude each other")
    found = catalogues()
    if as_json:
        print(json.dumps(documents(found), ensure_ascii=False, separators=(",", ":")))
    elif markdown:
        sys.stdout.write(page(found))
    else:
        _print_tables(found)


def catalogues() -> Mapping[str, Sequence[Metric]]:
    """The metrics of each daemon, and those that both have."""
    from gpuwatch.accounting.metrics import CATALOGUE, SINKS
    from gpuwatch.sinks.prometheus import catalogue
    from gpuwatch.web import counters

    sinks = {metric.name for metric in SINKS}
    own = {"agent": catalogue(), "accounting": CATALOGUE}
    apart = {daemon: [each for each in found if each.name not in sinks] for daemon, found in own.items()}
    return {**apart, "both": [*counters.CATALOGUE, *SINKS]}


def documents(found: Mapping[str, Sequence[Metric]]) -> list[dict[str, object]]:
    """The metrics as JSON objects, those of a daemon after those of another."""
    return [
        {
            "name": metric.name,
            "type": metric.kind,
            "labels": list(metric.labels),
            "help": metric.help,
            "daemon": daemon,
        }
        for daemon, described in found.items()
        for metric in described
    ]


def page(found: Mapping[str, Sequence[Metric]]) -> str:
    """The page docs/metrics.md."""
    lines = [_HEAD]
    for daemon, described in found.items():
        lines += [f"## {TITLES[daemon]}", "", "| metric | type | labels | meaning |", "|---|---|---|---|"]
        lines += [_row(metric) for metric in described]
        lines.append("")
    return "\n".join(lines).rstrip() + "\n"


def _row(metric: Metric) -> str:
    labels = ", ".join(f"`{label}`" for label in metric.labels)
    meaning = metric.help.replace("|", "\\|")
    return f"| `{metric.name}` | {metric.kind} | {labels} | {meaning} |"


def _print_tables(found: Mapping[str, Sequence[Metric]]) -> None:
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Column, Table
    from rich.text import Text

    console = Console(highlight=False)
    if not console.is_terminal:
        for metric in chain.from_iterable(found.values()):
            print(metric.name, metric.kind, ",".join(metric.labels) or "-", metric.help, sep="\t")
        return
    for daemon, described in found.items():
        name = Column("metric", no_wrap=True)
        table = Table(
            name, "type", "labels", "meaning", title=TITLES[daemon], title_justify="left", box=SIMPLE_HEAD
        )
        for metric in described:
            table.add_row(metric.name, metric.kind, Text(" ".join(metric.labels)), Text(metric.help))
        console.print(table)
