"""What accounting exports: current scopes and itself, never a user, an account or a job's name."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import TypeVar

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from gpuwatch.accounting import alert_metrics, record_metrics
from gpuwatch.accounting.accountant import Report
from gpuwatch.accounting.shown import jobs_in, labels_of, shown
from gpuwatch.forecast.projection import HOURS
from gpuwatch.ledger.charging import cost_of
from gpuwatch.ledger.posting import REASONS
from gpuwatch.ledger.quality import quality_of
from gpuwatch.ledger.queries import Campaign, Job, used
from gpuwatch.ledger.records import REASONS as RECORD_REASONS
from gpuwatch.model import EMPTY, Forecast, Labelled, Labels, Metric, SinkHealth, metric, metrics_of, series_of

L = TypeVar("L", bound=Labels)

Family = GaugeMetricFamily | CounterMetricFamily

_SCOPE = ("scope_kind", "scope")

HELD = Metric(
    "gpuwatch_ledger_held_device_seconds_total",
    "Device time that the scope held, times its share.", _SCOPE, "counter",
)  # fmt: skip
ALLOCATED = Metric(
    "gpuwatch_ledger_allocated_device_seconds_total",
    "Device time that the batch system allocated to the scope; absent where none says.", _SCOPE, "counter",
)  # fmt: skip
ENERGY = Metric(
    "gpuwatch_ledger_energy_joules_total",
    "Energy of the scope's share of its devices; absent where none was measured.", _SCOPE, "counter",
)  # fmt: skip
DIFFERENCE = Metric(
    "gpuwatch_ledger_allocation_difference_ratio",
    "Held less allocated device time of a job, as a part of the allocated; only where it is above 1 %.", _SCOPE,
)  # fmt: skip
COST = Metric(
    "gpuwatch_ledger_cost_total",
    "What the scope was charged in money; absent where no price is known.", (*_SCOPE, "currency"), "counter",
)  # fmt: skip
CARBON = Metric(
    "gpuwatch_ledger_carbon_grams_total",
    "Grams of CO2e of the scope's energy, with the facility's; absent where none was measured.", _SCOPE, "counter",
)  # fmt: skip
FORECAST = Metric(
    "gpuwatch_forecast_quantile",
    "Projected total of a scope, base unit of the quantity (s, J); q is the probability of staying below.",
    (*_SCOPE, "quantity", "q"),
)
OVER = Metric(
    "gpuwatch_forecast_over_probability",
    "Probability that a scope comes to more than what is declared for it and the tolerance above that.",
    (*_SCOPE, "quantity"),
)
CROSSING = Metric(
    "gpuwatch_forecast_crossing_timestamp_seconds",
    "When a scope has used what is declared for it, Unix seconds; absent where it most likely never will.",
    (*_SCOPE, "quantity"),
)
KILLED = Metric(
    "gpuwatch_forecast_limit_probability",
    "Probability that its time limit ends a job before it is done; absent where nothing is known of that.", _SCOPE,
)  # fmt: skip
DECLARED = Metric(
    "gpuwatch_declared", "Declared amount (likely) in force, base unit of the quantity.", (*_SCOPE, "quantity")
)
ALERT = Metric("gpuwatch_alert_active", "1 for each active alert.", ("kind", *_SCOPE, "quantity", "severity"))


@dataclass(frozen=True, slots=True)
class Health:
    """How accounting itself fares."""

    passes: Labelled = metric(
        "gpuwatch_accounting_passes_total",
        "Passes by outcome: ok, partial (a node or a notifier did not answer), failed, standby (another leads).",
        "outcome",
        kind="counter",
    )
    pass_seconds: float | None = metric("gpuwatch_accounting_pass_seconds", "How long the last pass took.")
    last_success_timestamp_seconds: float | None = metric(
        "gpuwatch_accounting_last_success_timestamp_seconds",
        "When a pass last ended that did not fail, Unix seconds.",
    )
    leading: float = metric(
        "gpuwatch_accounting_leading",
        "1 where this accounting writes the cluster's ledger, 0 where it stands by.",
        default=0.0,
    )
    disk_reserve_bytes: float | None = metric(
        "gpuwatch_accounting_disk_reserve_bytes", "Place held on the ledger's disk; 0 once it was given up."
    )
    last_backup_timestamp_seconds: float | None = metric(
        "gpuwatch_accounting_last_backup_timestamp_seconds", "When the ledger was last copied, Unix seconds."
    )
    last_backup_successful: float | None = metric(
        "gpuwatch_accounting_last_backup_successful",
        "1 where the last try to copy the ledger succeeded; absent where no copies are wanted.",
    )
    ledger_intact: float | None = metric(
        "gpuwatch_accounting_ledger_intact",
        "1 where the ledger's file was whole when it was last looked through, 0 where it was not.",
    )
    nodes: float | None = metric("gpuwatch_accounting_nodes", "Nodes asked in the last pass.")
    nodes_failed: float | None = metric(
        "gpuwatch_accounting_nodes_failed", "Nodes that could not be read or posted in the last pass."
    )
    rows_posted: float = metric(
        "gpuwatch_accounting_rows_posted_total", "Usage rows posted.", kind="counter", default=0.0
    )
    rows_rejected: Labelled = metric(
        "gpuwatch_accounting_rows_rejected_total",
        "Rows, declarations and events that cannot be right, by reason.",
        "reason",
        kind="counter",
    )
    scheduler_up: Labelled = metric(
        "gpuwatch_accounting_scheduler_up",
        "1 where the batch system answered every question of the last pass.",
        "scheduler",
    )
    scheduler_seconds: Labelled = metric(
        "gpuwatch_accounting_scheduler_seconds",
        "How long asking it and posting took in the last pass.",
        "scheduler",
    )
    records_posted: float = metric(
        "gpuwatch_accounting_records_posted_total",
        "Records of batch systems posted, repeated ones too.",
        kind="counter", default=0.0,
    )  # fmt: skip
    records_rejected: Labelled = metric(
        "gpuwatch_accounting_records_rejected_total",
        "Records of batch systems that cannot be right, by reason.",
        "reason",
        kind="counter",
    )
    notifications: Labelled = metric(
        "gpuwatch_accounting_notifications_total",
        "Alert changes by notifier and outcome, later ones are tried again; of alerts told anew, what went wrong: "
        "refused, unrenewed.",
        "notifier", "outcome",
        kind="counter",
    )  # fmt: skip
    notifications_waiting: Labelled = metric(
        "gpuwatch_accounting_notifications_waiting", "Alert changes not taken yet.", "notifier"
    )
    clock_jumps: float = metric(
        "gpuwatch_accounting_clock_jumps_total", "Jumps of the wall clock.", kind="counter", default=0.0
    )
    passes_missed: Labelled = metric(
        "gpuwatch_accounting_passes_missed_total",
        "Passes that did not begin on time, by reason: missed, overlap (the one before still ran).",
        "reason",
        kind="counter",
    )
    config_last_reload_successful: float = metric(
        "gpuwatch_accounting_config_last_reload_successful",
        "1 where the running configuration is the one on disk.",
        default=1.0,
    )
    jobs_allocation_differs: float | None = metric(
        "gpuwatch_accounting_jobs_allocation_differs",
        "Current jobs whose held and allocated device time differ by more than 1 %.",
    )
    jobs_partial: float | None = metric(
        "gpuwatch_accounting_jobs_partial",
        "Current jobs whose energy is known for less than 90 % of their device time.",
    )
    jobs_uncharged: float = metric(
        "gpuwatch_accounting_jobs_uncharged",
        "Jobs of which more was told than they are charged: after an upgrade or an import, else few.",
        default=0.0,
    )
    rates_last_reload_successful: float = metric(
        "gpuwatch_accounting_rates_last_reload_successful",
        "1 where the rates in force are those of the file on disk.",
        default=1.0,
    )
    alert_policy_last_reload_successful: float = metric(
        "gpuwatch_accounting_alert_policy_last_reload_successful",
        "1 where the alert policy in force is that of the file on disk.",
        default=1.0,
    )
    usage_devices: Labelled = metric(
        "gpuwatch_accounting_usage_devices", "Devices that a usage source saw for itself.", "source"
    )
    usage_unattributed_ratio: Labelled = metric(
        "gpuwatch_accounting_usage_unattributed_ratio",
        "Part of the time of these devices whose holder is not known.",
        "source",
    )
    scopes_dropped: float = metric(
        "gpuwatch_accounting_scopes_dropped", "Current scopes that are too many to export.", default=0.0
    )
    sinks: Mapping[str, SinkHealth] = EMPTY
    """Its outputs, by the value of the label `sink`."""


def at_start() -> Health:
    """Nothing happened yet: counters whose labels are known begin at 0."""
    return Health(
        passes=dict.fromkeys(("ok", "partial", "failed", "standby"), 0.0),
        rows_rejected=dict.fromkeys(REASONS, 0.0),
        records_rejected=dict.fromkeys(RECORD_REASONS, 0.0),
        passes_missed=dict.fromkeys(("missed", "overlap"), 0.0),
    )


def after(health: Health, report: Report) -> Health:
    """Health after a pass that did not fail."""
    collected = report.collected
    qualities = [quality_of(job, explain=False) for job in report.current.jobs]
    return replace(
        health,
        last_success_timestamp_seconds=report.time,
        nodes=float(collected.nodes),
        nodes_failed=float(collected.failed),
        rows_posted=health.rows_posted + collected.rows,
        rows_rejected=grown(health.rows_rejected, collected.rejected),
        scheduler_up={name: float(up) for name, up in report.asked.up.items()},
        scheduler_seconds=report.asked.seconds,
        records_posted=health.records_posted + report.asked.records,
        records_rejected=grown(health.records_rejected, report.asked.rejected),
        notifications=grown(health.notifications, collected.notifications),
        notifications_waiting={name: float(count) for name, count in report.waiting.items()},
        jobs_allocation_differs=float(sum(each.differs for each in qualities)),
        jobs_partial=float(sum(each.energy.partial for each in qualities)),
        jobs_uncharged=float(report.uncharged),
        rates_last_reload_successful=float(report.rates_successful),
        alert_policy_last_reload_successful=float(report.alert_policy_successful),
        usage_devices=_of_sources(collected.figures, "devices"),
        usage_unattributed_ratio=_of_sources(collected.figures, "unattributed_ratio"),
        scopes_dropped=float(shown(report.current)[1]),
    )


def _of_sources(figures: Mapping[tuple[str, str], float], wanted: str) -> Labelled:
    return {source: value for (source, what), value in figures.items() if what == wanted}


SINKS = tuple(replace(each, labels=("sink", *each.labels)) for _, each in metrics_of(SinkHealth))

CATALOGUE: tuple[Metric, ...] = (
    HELD, ALLOCATED, ENERGY, COST, CARBON, DIFFERENCE, FORECAST, OVER, CROSSING, KILLED, DECLARED, ALERT,
    *alert_metrics.CATALOGUE, *record_metrics.CATALOGUE,
    *(each.metric for each in metrics_of(Health)), *SINKS,
)  # fmt: skip
"""Every metric that accounting exports."""


def render(report: Report | None, health: Health) -> bytes:
    """The text exposition of the last pass; without one only what accounting knows of itself."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Exposition(report, health))
    return generate_latest(registry)


@dataclass(eq=False, slots=True)
class _Exposition(Collector):
    report: Report | None
    health: Health
    families: dict[Metric, Family] = field(default_factory=dict)

    def collect(self) -> Iterable[Family]:
        if self.report is not None:
            self._scopes(self.report)
        for described, labels, value in series_of(self.health):
            self._add(described, labels, value)
        for name, sink in sorted(self.health.sinks.items()):
            for described, labels, value in series_of(sink):
                self._add(replace(described, labels=("sink", *described.labels)), (name, *labels), value)
        return self.families.values()

    def _scopes(self, report: Report) -> None:
        kept, _ = shown(report.current)
        names = {each.scope for each in kept}
        for each in kept:
            self._ledger(each)
            self._cost(each, report)
        for forecast in report.forecasts:
            if forecast.scope in names:
                self._forecast(forecast)
        for described, labels, value in record_metrics.series(report.record):
            self._add(described, labels, value)
        for alert in report.alerts:
            if alert.scope in names:
                self._add(ALERT, (alert.kind, *labels_of(alert.scope), alert.quantity, alert.severity), 1.0)
        for described, labels, value in alert_metrics.series(
            report.observed, report.alert_record, report.letters, names
        ):
            self._add(described, labels, value)

    def _forecast(self, forecast: Forecast) -> None:
        scope = labels_of(forecast.scope)
        for q, value in forecast.quantiles.items():
            self._add(FORECAST, (*scope, forecast.quantity, f"{q:g}"), value)
        # What is expected of its like is nobody's declaration.
        if forecast.against == "declared" and forecast.p_over is not None:
            self._add(OVER, (*scope, forecast.quantity), forecast.p_over)
            if forecast.crosses_at is not None:
                self._add(CROSSING, (*scope, forecast.quantity), forecast.crosses_at)
        if forecast.quantity == HOURS and forecast.p_limit is not None:
            self._add(KILLED, scope, forecast.p_limit)

    def _cost(self, each: Job | Campaign, report: Report) -> None:
        cost, labels = cost_of(jobs_in(each), report.costs), labels_of(each.scope)
        for currency, value in cost.cost.items():
            self._add(COST, (*labels, currency), value)
        if cost.carbon_grams is not None:
            self._add(CARBON, labels, cost.carbon_grams)

    def _ledger(self, each: Job | Campaign) -> None:
        labels = labels_of(each.scope)
        self._add(HELD, labels, each.usage.held_seconds)
        if each.allocated_seconds is not None:
            self._add(ALLOCATED, labels, each.allocated_seconds)
        energy = used(each, "energy")
        if energy is not None:
            self._add(ENERGY, labels, energy)
        quality = quality_of(each, explain=False) if isinstance(each, Job) else None
        if quality is not None and quality.differs and quality.difference is not None:
            self._add(DIFFERENCE, labels, quality.difference)
        for quantity, estimate in each.estimates.items():
            self._add(DECLARED, (*labels, quantity), estimate.likely)

    def _add(self, described: Metric, labels: tuple[str, ...], value: float) -> None:
        family = self.families.get(described)
        if family is None:
            kind = CounterMetricFamily if described.kind == "counter" else GaugeMetricFamily
            family = self.families[described] = kind(described.name, described.help, labels=described.labels)
        family.add_metric(labels, value)


def grown(counts: Labelled, more: Mapping[L, int]) -> Labelled:
    """Counters by label with `more` added."""
    sums = dict(counts)
    for key, count in more.items():
        sums[key] = sums.get(key, 0.0) + count
    return sums
