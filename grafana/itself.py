"""gpuwatch itself: whether agents, accounting, sinks and notifiers do what they should."""

from __future__ import annotations

from collections.abc import Sequence

from grafana_foundation_sdk.builders import stat, table, timeseries

from grafana import prometheus as ask
from grafana.blocks import (
    BYTES,
    COUNT,
    GREEN,
    ORANGE,
    RED,
    SECONDS,
    Band,
    Column,
    Page,
    even,
    graded,
    graph,
    listing,
    number,
    said,
    steps,
)
from grafana.itself_accounting import BOTH, NO_ACCOUNTING, accounting
from grafana.prometheus import ACCOUNTING, NODE, lines

OVER = "[$__range]"
RELOADED = ("agent_config", "accounting_config", "accounting_rates", "accounting_alert_policy", "web_config")


def _answer(title: str, description: str, expression: str, empty: str) -> stat.Panel:
    panel = number(title, description, "none", lines(("", expression)), empty)
    return panel.mappings(said({1: ("yes", GREEN), 0: ("no", RED)}))


def _at_a_glance() -> Sequence[stat.Panel]:
    age = f"time() - max(gpuwatch_accounting_last_success_timestamp_seconds{{{ACCOUNTING}}})"
    return (
        number(
            "Agents",
            "Agents that are scraped.",
            COUNT,
            lines(("", f"count(gpuwatch_agent_info{{{NODE}}})")),
            "no agent is scraped",
        ),
        number(
            "Agents down",
            "Agents of any cluster that cannot be scraped; their job is called gpuwatch-agent in the example.",
            COUNT,
            lines(("", ask.DOWN)),
            "no such job",
        ).thresholds(steps(GREEN, (1, RED))),
        number(
            "Last good pass",
            "How long ago a pass of accounting ended that did not fail. A pass begins each minute.",
            SECONDS,
            lines(("", age)),
            NO_ACCOUNTING,
        ).thresholds(steps(GREEN, (180, ORANGE), (600, RED))),
    )


def _in_between() -> Sequence[stat.Panel]:
    return (
        number(
            "Nodes missed",
            "Nodes that the last pass could not read or post.",
            COUNT,
            lines(("", f"sum(gpuwatch_accounting_nodes_failed{{{ACCOUNTING}}})")),
            NO_ACCOUNTING,
        ).thresholds(steps(GREEN, (1, ORANGE))),
        _answer(
            "Leads",
            "Whether exactly one accounting writes the ledger of each cluster that is scraped.",
            f"max(gpuwatch_accounting_leading{{{ACCOUNTING}}}) == bool 1",
            NO_ACCOUNTING,
        ),
    )


def _and_at_last() -> Sequence[stat.Panel]:
    backup = f"time() - max(gpuwatch_accounting_last_backup_timestamp_seconds{{{ACCOUNTING}}})"
    dropped = (
        f"sum(increase(gpuwatch_sink_dropped_total{{{BOTH}}}{OVER})) + "
        f"sum(increase(gpuwatch_agent_journal_dropped_total{{{NODE}}}{OVER}))"
    )
    reloaded = " * ".join(f"min(gpuwatch_{each}_last_reload_successful{{{BOTH}}})" for each in RELOADED)
    return (
        _answer(
            "Settings in force",
            "Whether all run what is on disk: configuration, rates, alert policy, certificates.",
            reloaded,
            "agents and accounting are not scraped",
        ),
        number(
            "Dropped",
            "Points, series and entries of journals given up in the time range shown, of all sinks and agents.",
            COUNT,
            ask.now(("", f"({dropped}) or sum(increase(gpuwatch_sink_dropped_total{{{BOTH}}}{OVER}))")),
            "nothing is scraped",
        )
        .decimals(0)
        .thresholds(steps(GREEN, (1, RED))),
        number(
            "Last backup",
            "How long ago the ledger was copied.",
            SECONDS,
            lines(("", backup)),
            "no copies are wanted",
        ).thresholds(steps(GREEN, (93600, ORANGE), (180000, RED))),
    )


def numbers() -> Sequence[stat.Panel]:
    """Is anything wrong?"""
    return (*_at_a_glance(), *_in_between(), *_and_at_last())


def agents() -> Sequence[Band]:
    """The agents on the nodes."""
    ticks = graph(
        "Ticks",
        "How long a reading of everything takes, the five slowest nodes. It has a second.",
        SECONDS,
        lines(("{{instance}}", f"topk(5, max by (instance) (gpuwatch_agent_tick_seconds{{{NODE}}}))")),
    )
    missed = graph(
        "Missed and jumped",
        "Ticks a second that a late one swallowed, and jumps of the wall clock, of all agents.",
        COUNT,
        lines(
            ("ticks missed", f"sum(rate(gpuwatch_agent_ticks_missed_total{{{NODE}}}{ask.RATE}))"),
            ("clock jumps", f"sum(rate(gpuwatch_agent_clock_jumps_total{{{NODE}}}{ask.RATE}))"),
        ),
    ).axis_soft_max(1)
    samples = graph(
        "Series of an agent",
        "Series that an agent exports, the five largest: at most 2,000 by default, series of jobs are left out "
        "first.",
        COUNT,
        lines(
            ("{{instance}}", f'topk(5, max by (instance) (scrape_samples_scraped{{job="gpuwatch-agent",{NODE}}}))')
        ),
    )
    residual = graph(
        "Does it add up?",
        "The largest part of any device's time and energy that nobody accounts for, and of shares above the "
        "whole. All are 0 but for rounding, or the figures are wrong.",
        COUNT,
        lines(
            ("seconds", f"max(abs(gpuwatch_agent_residual_seconds{{{NODE}}}))"),
            ("joules", f"max(abs(gpuwatch_agent_residual_joules{{{NODE}}}))"),
            ("share above the whole", f"max(gpuwatch_agent_share_excess{{{NODE}}})"),
        ),
    ).axis_soft_max(1)
    thin = [panel.fill_opacity(0) for panel in (ticks, missed, samples, residual)]
    return even(8, *thin, heading="Agents"), even(8, sources(), spoken())


def sources() -> table.Panel:
    """What agents read."""
    of = f"by (source) (gpuwatch_source_up{{{NODE}}}"
    return listing(
        "Sources",
        "What agents read: on how many nodes, on how many the last read failed, the longest that one took, and "
        "values refused as out of range since the agents started.",
        ask.columns(
            f"count {of})",
            f"count {of} == 0) or 0 * count {of})",
            f"max by (source) (gpuwatch_source_duration_seconds{{{NODE}}})",
            f"sum by (source) (gpuwatch_source_rejected_readings_total{{{NODE}}}) or 0 * count {of})",
        ),
        {
            "source": Column("Source"),
            "Value #A": Column("Nodes", COUNT, 90),
            "Value #B": Column("Fail", COUNT, 90, more=graded((1, RED))),
            "Value #C": Column("Slowest", SECONDS, 110),
            "Value #D": Column("Refused", COUNT, 100, more=graded((1, ORANGE))),
        },
        "no agent is scraped",
        by="source",
        sort="Fail",
    )


def spoken() -> timeseries.Panel:
    """What jobs say."""
    return graph(
        "What jobs say",
        "Requests a second at the agents' sockets, by type and outcome: declarations, progress, runs.",
        "reqps",
        lines(
            (
                "{{type}} {{outcome}}",
                f"sum by (type, outcome) (rate(gpuwatch_agent_socket_requests_total{{{NODE}}}{ask.RATE}))",
            )
        ),
        "no job has said anything",
    ).fill_opacity(0)


def _delivered() -> timeseries.Panel:
    return graph(
        "Delivered",
        "Series and points a second that sinks passed on.",
        "cps",
        lines(("{{sink}}", f"sum by (sink) (rate(gpuwatch_sink_delivered_total{{{BOTH}}}{ask.RATE}))")),
    )


def _queued() -> timeseries.Panel:
    return graph(
        "Waiting",
        "Bytes that wait to be delivered, on the disks of the nodes.",
        BYTES,
        lines(("{{sink}}", f"sum by (sink) (gpuwatch_sink_queued_bytes{{{BOTH}}})")),
        "no sink has a queue",
    )


def _oldest() -> timeseries.Panel:
    return graph(
        "Behind",
        "How long the oldest point waits, by sink; most sinks deliver within seconds.",
        SECONDS,
        lines(
            (
                "{{sink}}",
                f"max by (sink) (gpuwatch_sink_oldest_age_seconds{{{BOTH}}}) or 0 * max by (sink) "
                f"(gpuwatch_sink_queued{{{BOTH}}})",
            )
        ),
        "no sink has a queue",
    ).axis_soft_max(60)


def _failed() -> timeseries.Panel:
    return graph(
        "Failures and drops",
        "Failed requests and dropped points a second, by sink and reason; nothing where there are none.",
        COUNT,
        lines(
            (
                "{{sink}} failed: {{reason}}",
                f"sum by (sink, reason) (rate(gpuwatch_sink_failures_total{{{BOTH}}}{ask.RATE})) > 0",
            ),
            (
                "{{sink}} dropped: {{reason}}",
                f"sum by (sink, reason) (rate(gpuwatch_sink_dropped_total{{{BOTH}}}{ask.RATE})) > 0",
            ),
        ),
        "nothing failed, nothing dropped",
    )


def sinks() -> Band:
    """Where what is known goes."""
    return even(8, _delivered(), _queued(), _oldest(), _failed(), heading="Sinks")


def itself() -> Page:
    """All daemons of gpuwatch that one Prometheus scrapes."""
    return Page(
        "gpuwatch-itself",
        "gpuwatch: itself",
        "Whether agents, accounting, sinks and notifiers do what they should, and whether the figures add up. "
        "For staff.",
        ask.KIND,
        [*ask.cluster_variables(), ask.accounting_variable()],
        (even(4, *numbers()), *agents(), sinks(), *accounting()),
    )
