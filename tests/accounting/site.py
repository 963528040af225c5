"""A site whose ledger is looked at pass by pass, for tests of forecasts."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from datetime import UTC
from typing import Any

from gpuwatch.accounting.forecaster import Forecaster, Policy
from gpuwatch.ledger import charging, queries, trial_store, writing
from gpuwatch.ledger.charging import Tariffs
from gpuwatch.ledger.forecast_store import points_of
from gpuwatch.ledger.posting import read
from gpuwatch.ledger.rate_file import load_rates
from gpuwatch.ledger.record_store import post_records
from gpuwatch.ledger.store import Store
from gpuwatch.ledger.trial_store import KeptTrial, TrialKey
from gpuwatch.model import Forecast, Scope
from gpuwatch.schedulers.base import Live, Record
from tests.ledger.batch import HOUR, T0, record
from tests.ledger.deliveries import delivery, progress, row

NOW = T0 + 1000 * HOUR
POLICY = Policy(open_ended=("jupyter*",))
TARIFFS = Tariffs(load_rates(None, UTC), UTC)


@dataclass
class Site:
    """A ledger, and a forecaster that looks at it; `found` is what was forecast in the latest pass."""

    store: Store
    forecaster: Forecaster = field(default_factory=lambda: Forecaster("default", POLICY))
    found: tuple[Forecast, ...] = ()

    def post(self, *records: Record, rows: Any = (), said: Any = (), events: Any = (), now: float = NOW) -> None:
        """Tell the ledger."""
        with self.store.writing() as connection:
            post_records(connection, records)
            if rows or said or events:
                told = delivery(list(rows), list(said), list(events), now=now)
                writing.post_all(connection, [writing.Posted(read(told), told.origin)])

    def look(self, now: float) -> None:
        """Forecast what runs now, and keep nothing yet."""
        charged = charging.catch_up(self.store, "default", TARIFFS, now)
        with self.store.reading() as connection:
            current = queries.current(connection, now, charged.jobs, "default")
            costs = charging.costs_of(
                connection, {(job.cluster, each) for job in current.jobs for each in job.job_ids}
            )
            self.found = self.forecaster.forecasts(connection, current, costs, now)

    def keep(self, now: float) -> None:
        """Write down what was found."""
        with self.store.writing() as connection:
            self.forecaster.keep(connection, self.found, now)
        self.forecaster.kept()

    def run_pass(self, now: float, *records: Record, **told: Any) -> None:
        """Post, look and keep."""
        self.post(*records, now=now, **told)
        self.look(now)
        self.keep(now)

    def restart(self) -> None:
        """Another process goes on."""
        self.forecaster = Forecaster("default", POLICY)

    def of(self, name: str, quantity: str = "device-hours", kind: str = "job") -> Forecast:
        """What was forecast of a scope."""
        (found,) = (each for each in self.found if (each.scope, each.quantity) == (Scope(kind, name), quantity))
        return found

    def has(self, name: str) -> bool:
        """Whether anything was forecast of a job."""
        return any(each.scope == Scope("job", name) for each in self.found)


def ran(job_id: str, ended: float, hours: float = 1.0, says: str = "", **changed: Any) -> Record:
    """A job of ada's of two devices without a limit that ended then, after so many hours."""
    began = ended - hours * HOUR
    values = {"seen": ended, "state": "COMPLETED", "limit_seconds": None, "submitted": int(began) - 60, **changed}
    return record(job_id, _said(says, began), started=began, ended=ended, **values)


def runs(job_id: str, began: float, now: float, says: str = "", **changed: Any) -> Record:
    """A job of ada's of two devices without a limit that runs since then."""
    values = {"state": "RUNNING", "limit_seconds": None, "submitted": int(began) - 60, **changed}
    return record(job_id, _said(says, began), started=began, ended=None, seen=now, **values)


def ends(record: Record, ended: float, state: str = "COMPLETED") -> Record:
    """The same job once it has ended."""
    return replace(record, facts=replace(record.facts, state=state, ended=ended, seen=ended))


def waits(job_id: str, now: float, says: str = "", **changed: Any) -> Record:
    """A job of ada's that waits for two devices."""
    values = {"state": "PENDING", "limit_seconds": None, "submitted": int(now) - 60, **changed}
    return record(job_id, _said(says, now), started=None, ended=None, seen=now, **values)


def _said(says: str, at: float) -> Live | None:
    return Live(at, f"gpuwatch: {says}") if says else None


def seen(job_id: str, began: float, now: float, open_: bool = True, **changed: Any) -> dict[str, Any]:
    """What the agent of its node saw of a job on one device until now."""
    held = now - began
    values = {
        "started": int(began), "last_seen": now, "open": open_, "held_seconds": held, "busy_seconds": held,
        "state_seconds": {"working": held}, "energy_joules": {"counter": 500.0 * held}, "throttled_seconds": {},
        "seq": int(now - began) + 10, **changed,
    }  # fmt: skip
    return row(job_id, **values)


def at_step(job_id: str, began: float, now: float, step: float, total: float = 1000.0, start: float = 0.0) -> Any:
    """What a job told of how far it was."""
    return progress(step, total, job_id, started=int(began), time=now, start_step=start, seq=int(now - began) + 10)


def history(count: int, until: float = NOW - HOUR, hours: Iterable[float] = (), **changed: Any) -> list[Record]:
    """So many jobs of ada's that ended one after the other, the last one at that time."""
    each = list(hours) or [1.0 + 0.02 * (number % 11) for number in range(count)]
    return [
        ran(f"h{number}", until - (count - 1 - number) * HOUR, each[number], **changed) for number in range(count)
    ]


BEGAN = NOW - HOUR
MINUTE = 60.0


def hours(forecast: Forecast) -> dict[float, float]:
    """The quantiles in device-hours."""
    return {level: amount / HOUR for level, amount in forecast.quantiles.items()}


def train(site: Site, until: float, says: str = "", total: float = 1000.0, job_id: str = "1") -> None:
    """Passes over a job that began at `BEGAN`, each ten minutes, which does a thousandth in 30 seconds."""
    now = BEGAN
    while now < until:
        now += 10 * MINUTE
        step = at_step(job_id, BEGAN, now, (now - BEGAN) / 30.0, total)
        site.run_pass(now, runs(job_id, BEGAN, now, says), rows=[seen(job_id, BEGAN, now)], events=[step])


def trials(site: Site) -> dict[TrialKey, KeptTrial]:
    """The trials in the ledger that are not over."""
    with site.store.reading() as connection:
        return trial_store.open_trials(connection, "default")


def over(site: Site) -> list[tuple[str, KeptTrial]]:
    """Those that are, by the job's name."""
    with site.store.reading() as connection:
        return [
            (key.scope.name, each) for key, each in trial_store.finished(connection, "default", "device-hours")
        ]


def learned_of(site: Site) -> int:
    """How many runs calibration knows of, at the stage at which it knows most."""
    with site.store.reading() as connection:
        told = trial_store.load_calibration(connection, "default")
    return max((n for _, n in told.values()), default=0)


def points(site: Site, name: str) -> list[float]:
    """When the forecasts of a job were kept."""
    with site.store.reading() as connection:
        return [each.time for each in points_of(connection, "default", Scope("job", name), "device-hours")]
