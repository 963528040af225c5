"""`gpuwatch nodes`: which nodes are measured, and which are not."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gpuwatch.cli.jobs import JsonOption, LedgerOption, opened
from gpuwatch.cli.options import ConfigOption

if TYPE_CHECKING:
    from gpuwatch.ledger.measured_nodes import NodeMeasured

DAYS = 7.0
_PARTIAL = 0.9


def nodes(
    days: Annotated[float, typer.Option(min=0, help="By what ran in so many days.")] = DAYS,
    unmeasured: Annotated[
        bool, typer.Option("--unmeasured", help="Only nodes of which a tenth or more is not measured.")
    ] = False,
    ledger: LedgerOption = None,
    config_file: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """List nodes with how much of what was charged on them is measured, the least measured first.

    A node is one whose agent was heard, or that a batch system gave to a job.
    """
    from gpuwatch.ledger import queries
    from gpuwatch.ledger.device_rows import agents_heard
    from gpuwatch.ledger.measured_nodes import measured_nodes

    now = time.time()
    with opened(ledger, config_file) as connection:
        clusters = sorted({cluster for cluster, _ in queries.agents_of(connection)})
        heard = {
            (cluster, node): seen
            for cluster in clusters
            for node, seen in agents_heard(connection, cluster).items()
        }
        found = measured_nodes(queries.jobs_since(connection, now - days * 86_400, now), heard)
    if unmeasured:
        found = tuple(each for each in found if each.coverage is not None and each.coverage < _PARTIAL)
    if as_json:
        print(json.dumps([_document(each) for each in found], separators=(",", ":"), allow_nan=False))
    else:
        print("\n".join(_lines(found, now, days)))


def _document(each: NodeMeasured) -> dict[str, Any]:
    return {
        "cluster": each.cluster, "node": each.node, "heard": each.heard, "seen_device_seconds": each.seen_seconds,
        "unseen_device_seconds": each.unseen_seconds, "unread_device_seconds": each.unread_seconds,
        "coverage_ratio": each.coverage, "jobs": len(each.jobs),
    }  # fmt: skip


def _lines(found: tuple[NodeMeasured, ...], now: float, days: float) -> list[str]:
    from gpuwatch import hygiene
    from gpuwatch.accounting.amounts import digits
    from gpuwatch.cli.text import columns, terminal_width

    if not found:
        return ["No such node: all that ran is measured, or nothing ran."]
    several = len({each.cluster for each in found}) > 1
    head = ("NODE", "AGENT", "DEVICE-HOURS", "NOT MEASURED", "SHARE", "JOBS", "WHY")
    rows = [
        (
            hygiene.log(f"{each.node} ({each.cluster})" if several else each.node), _agent(each, now),
            digits((each.seen_seconds + each.unseen_seconds) / 3600), digits(each.unmeasured_seconds / 3600),
            "" if each.coverage is None else f"{100 * (1 - each.coverage):.0f} %", f"{len(each.jobs):,}",
            _why(each),
        )
        for each in found
    ]  # fmt: skip
    blind = sum(each.coverage is not None and each.coverage < _PARTIAL for each in found)
    are = f"{blind} of {len(found)} nodes " + ("is" if blind == 1 else "are")
    told = f"{are} not measured for a tenth or more of what was charged there"
    return [*columns([head, *rows], terminal_width()), f"{told}, in the last {days:g} days."]


def _agent(each: NodeMeasured, now: float) -> str:
    from gpuwatch.accounting.amounts import amount

    return "never heard" if each.heard is None else f"{amount('wall', max(0.0, now - each.heard))} ago"


def _why(each: NodeMeasured) -> str:
    if each.coverage is None or each.unmeasured_seconds <= 0.01 * (each.seen_seconds + each.unseen_seconds):
        return "" if each.heard is not None else "no agent"
    if each.unseen_seconds > each.unread_seconds:
        return "no agent" if each.heard is None else "its agent was away, or did not see these jobs"
    return "its devices could not be read"
