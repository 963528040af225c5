"""Accounting itself: its passes, what they post and whom they tell, and what is in doubt."""

from __future__ import annotations

from collections.abc import Sequence

from grafana_foundation_sdk.builders import table, timeseries

from grafana import prometheus as ask
from grafana.blocks import (
    BLUE,
    COUNT,
    GREEN,
    ORANGE,
    RED,
    SECONDS,
    Band,
    Column,
    at,
    band,
    coloured,
    even,
    graph,
    listing,
    said,
)
from grafana.prometheus import ACCOUNTING, lines

PASSES = {"ok": GREEN, "partial": ORANGE, "failed": RED, "standby": BLUE}
BOTH = 'instance=~"$node|$accounting"'
NO_ACCOUNTING = "no accounting is scraped"
YES_NO = {"mappings": said({1: ("yes", GREEN), 0: ("no", RED)}), "custom.cellOptions": {"type": "color-text"}}


def _passes() -> timeseries.Panel:
    return graph(
        "Passes",
        "Passes a minute by outcome. Partial: a node or a notifier did not answer. Standby: another leads.",
        COUNT,
        lines(
            (
                "{{outcome}}",
                f"60 * sum by (outcome) (rate(gpuwatch_accounting_passes_total{{{ACCOUNTING}}}{ask.RATE}))",
            )
        ),
    )


def _length() -> timeseries.Panel:
    return graph(
        "Length of a pass",
        "How long passes take, and batch systems in them.",
        SECONDS,
        lines(
            ("pass", f"max(gpuwatch_accounting_pass_seconds{{{ACCOUNTING}}})"),
            ("{{scheduler}}", f"max by (scheduler) (gpuwatch_accounting_scheduler_seconds{{{ACCOUNTING}}})"),
        ),
    )


def _rows() -> timeseries.Panel:
    return graph(
        "Posted",
        "Rows of usage and records of batch systems posted a second, and refused ones by reason.",
        "cps",
        lines(
            ("rows", f"sum(rate(gpuwatch_accounting_rows_posted_total{{{ACCOUNTING}}}{ask.RATE}))"),
            ("records", f"sum(rate(gpuwatch_accounting_records_posted_total{{{ACCOUNTING}}}{ask.RATE}))"),
            *(
                (
                    f"{name} refused: {{{{reason}}}}",
                    f"sum by (reason) "
                    f"(rate(gpuwatch_accounting_{name}_rejected_total{{{ACCOUNTING}}}{ask.RATE})) > 0",
                )
                for name in ("rows", "records")
            ),
        ),
    )


def _told() -> timeseries.Panel:
    return graph(
        "Told",
        "Alert changes a minute by notifier and outcome, and how many wait.",
        COUNT,
        lines(
            (
                "{{notifier}} {{outcome}}",
                f"60 * sum by (notifier, outcome) "
                f"(rate(gpuwatch_accounting_notifications_total{{{ACCOUNTING}}}{ask.RATE}))",
            ),
            (
                "{{notifier}} waiting",
                f"sum by (notifier) (gpuwatch_accounting_notifications_waiting{{{ACCOUNTING}}})",
            ),
        ),
        "nothing was told yet",
    )


def accounting() -> Sequence[Band]:
    """The passes, what they post and whom they tell."""
    return (
        even(8, coloured(_passes(), PASSES), _length().fill_opacity(0), _rows(), _told(), heading="Accounting"),
        band(8, at(8, health()), at(8, doubts()), at(8, web())),
    )


def health() -> table.Panel:
    """The ledger and what surrounds it."""
    asked = {
        "Leads": "gpuwatch_accounting_leading",
        "Ledger whole": "gpuwatch_accounting_ledger_intact",
        "Copied": "gpuwatch_accounting_last_backup_successful",
        "Batch system answers": "gpuwatch_accounting_scheduler_up",
    }
    columns = {
        f"Value #{ref}": Column(title, width=width, more=YES_NO)
        for ref, title, width in zip("ABCD", asked, (70, 110, 80, 170), strict=True)
    }
    return listing(
        "The ledger",
        "Whether each accounting leads, its ledger's file was whole when last looked through, the last copy "
        "succeeded, and the batch systems answered. Empty where that is not done.",
        ask.columns(*(f"min by (instance) ({metric}{{{ACCOUNTING}}})" for metric in asked.values())),
        {"instance": Column("Accounting"), **columns},
        NO_ACCOUNTING,
        by="instance",
    )


def doubts() -> timeseries.Panel:
    """Jobs whose figures are to be taken with care."""
    asked = {
        "held and allocated differ": "gpuwatch_accounting_jobs_allocation_differs",
        "energy not fully known": "gpuwatch_accounting_jobs_partial",
        "told more than charged": "gpuwatch_accounting_jobs_uncharged",
        "scopes left out": "gpuwatch_accounting_scopes_dropped",
    }
    return (
        graph(
            "Figures in doubt",
            "Current jobs whose held and allocated time differ by more than 1 %, whose energy is known for less "
            "than 90 % of their time, of which more was told than they are charged, and scopes that are too "
            "many to export.",
            COUNT,
            lines(*((name, f"sum({metric}{{{ACCOUNTING}}})") for name, metric in asked.items())),
            NO_ACCOUNTING,
        )
        .axis_soft_max(1)
        .fill_opacity(0)
    )


def web() -> timeseries.Panel:
    """What the daemons serve."""
    return graph(
        "Connections",
        "Open connections of all daemons; requests turned away and connections ended by the server, a second, "
        "by reason.",
        COUNT,
        lines(
            ("open", f"sum(gpuwatch_web_connections{{{BOTH}}})"),
            (
                "refused: {{reason}}",
                f"sum by (reason) (rate(gpuwatch_web_requests_refused_total{{{BOTH}}}{ask.RATE})) > 0",
            ),
            (
                "ended: {{reason}}",
                f"sum by (reason) (rate(gpuwatch_web_connections_cut_total{{{BOTH}}}{ask.RATE})) > 0",
            ),
        ),
    ).fill_opacity(0)
