"""One job's part of a compute statement: what of it lies in the time asked for. Pure.

Hours come from its runs, as the batch system or the agents have them; energy, money and carbon from what it was
charged, row by row. What lies partly in the time counts at an even rate. What nobody knows is None.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from gpuwatch.ledger.campaign_document import outcome_of
from gpuwatch.ledger.campaigns import ref_of
from gpuwatch.ledger.jobs import Job, Run
from gpuwatch.ledger.waste import Parts, waste_of
from gpuwatch.model import EMPTY
from gpuwatch.reports.material import ChargeRow, Material, Tagged


class RunPart(NamedTuple):
    """One run of a job: when it lies in the time asked for, how it ended, and what it came to in that time."""

    begins: float
    ends: float
    outcome: str
    device_seconds: float
    energy_joules: float | None = None
    facility_joules: float | None = None
    carbon_grams: float | None = None
    cost: Mapping[str, float] = EMPTY


class ModelPart(NamedTuple):
    """Device-seconds on one model of device, and how much of them has a measurement of energy."""

    device_seconds: float = 0.0
    covered_seconds: float = 0.0
    energy_joules: float = 0.0

    def plus(self, other: ModelPart) -> ModelPart:
        """Both together."""
        return ModelPart(*(mine + its for mine, its in zip(self, other, strict=True)))


@dataclass(frozen=True, slots=True)
class Piece:
    """What of a job is in the statement; `days` are device-seconds by day since 1970 and how the run ended.

    `unknown_devices`: nobody said how many devices it had, so that its hours are missing.
    """

    tagged: Tagged
    runs: tuple[RunPart, ...]
    device_seconds: float
    allocated_seconds: float | None
    held_seconds: float
    parts: Parts
    energy_joules: float | None
    by_method: Mapping[str, float]
    covered_seconds: float
    facility_joules: float | None
    carbon_grams: float | None
    cost: Mapping[str, float] = EMPTY
    rates: frozenset[str] = frozenset()
    editions: frozenset[int] = frozenset()
    models: Mapping[str, ModelPart] = field(default_factory=lambda: EMPTY)
    days: Mapping[tuple[int, str], float] = field(default_factory=lambda: EMPTY)
    unknown_devices: bool = False
    host_joules: float | None = None

    @property
    def job(self) -> Job:
        """The job."""
        return self.tagged.job

    @property
    def outcome(self) -> str:
        """How its last run ended."""
        return self.runs[-1].outcome if self.runs else outcome_of(self.job, max(0, len(self.job.runs) - 1))


def pieces_of(material: Material) -> tuple[Piece, ...]:
    """The part of every job that ran in the time, in the order in which they began."""
    jobs = sorted(material.jobs, key=lambda each: (each.job.started, each.job.cluster, each.job.scope.name))
    pieces = (_piece(each, material.charges.get(ref_of(each.job), ()), material) for each in jobs)
    return tuple(piece for piece in pieces if piece.runs)


def runs_of(job: Job) -> tuple[Run, ...]:
    """The runs of a job; one that nobody divided is one run."""
    return job.runs or (Run(job.started, job.last_seen, job.usage),)


def inside(begins: float, ends: float, first: float, last: float) -> float:
    """Which part of [begins, ends) lies in [first, last)."""
    if ends <= begins:
        return float(first <= begins < last)
    return max(0.0, min(ends, last) - max(begins, first)) / (ends - begins)


def _piece(tagged: Tagged, rows: Sequence[ChargeRow], material: Material) -> Piece:
    job, asked = tagged.job, material.asked
    first, last = asked.begins, asked.ends
    runs = runs_of(job)
    shares = [inside(run.started, run.last_seen, first, last) for run in runs]
    told = [(row, share) for row in rows if (share := inside(row.begins, row.ends, first, last)) > 0]
    parts = tuple(_run_parts(job, runs, shares, told, (first, last)))
    allocated = [
        run.allocated_seconds * part for run, part in _with(runs, shares) if run.allocated_seconds is not None
    ]
    energy = _energy(runs, shares, told)
    return Piece(
        tagged,
        parts,
        sum(run.device_seconds * part for run, part in _with(runs, shares)),
        sum(allocated) if allocated else None,
        sum(run.usage.held_seconds * part for run, part in _with(runs, shares)),
        waste_of(job, first, last),
        *energy,
        _sum((row.facility_joules, share) for row, share in told),
        _sum((row.carbon_grams, share) for row, share in told),
        _cost(told),
        frozenset(row.rates for row, _ in told if row.rates),
        frozenset(row.edition for row, _ in told),
        _models(job, runs, shares, told),
        _days(job, runs, told),
        job.record is not None
        and any(run.allocated_seconds is None and not run.usage.held_seconds for run in runs),
        _sum((row.host_joules, share) for row, share in told),
    )


def _with(runs: Sequence[Run], shares: Sequence[float]) -> Iterator[tuple[Run, float]]:
    return ((run, share) for run, share in zip(runs, shares, strict=True) if share > 0)


_Told = Sequence[tuple[ChargeRow, float]]


def _run_parts(
    job: Job, runs: Sequence[Run], shares: Sequence[float], told: _Told, asked: tuple[float, float]
) -> Iterator[RunPart]:
    charged: dict[int, list[tuple[ChargeRow, float]]] = defaultdict(list)
    for each in told:
        charged[_run_at(runs, each[0].attempt)].append(each)
    for number, (run, share) in enumerate(zip(runs, shares, strict=True)):
        if share > 0:
            rows = charged[number]
            joules = run.usage.joules * share if run.usage.energy_joules else None
            yield RunPart(
                max(asked[0], float(run.started)),
                min(asked[1], max(run.last_seen, float(run.started))),
                outcome_of(job, number if job.runs else 0),
                run.device_seconds * share,
                _sum((row.energy_joules, part) for row, part in rows) if rows else joules,
                _sum((row.facility_joules, part) for row, part in rows),
                _sum((row.carbon_grams, part) for row, part in rows),
                _cost(rows),
            )


def _energy(
    runs: Sequence[Run], shares: Sequence[float], told: _Told
) -> tuple[float | None, Mapping[str, float], float]:
    """Joules, by method, and the device-seconds they are of: as charged, and as counted where nothing is yet."""
    counted: dict[str, float] = defaultdict(float)
    for run, share in _with(runs, shares):
        for method, amount in run.usage.energy_joules.items():
            counted[str(method)] += amount * share
    whole = sum(counted.values())
    if not told:
        unmeasured = (
            (run.usage.held_seconds - run.usage.energy_unmeasured_seconds) * part
            for run, part in _with(runs, shares)
        )
        return (whole, counted, max(0.0, sum(unmeasured))) if counted else (None, EMPTY, 0.0)
    joules = _sum((row.energy_joules, share) for row, share in told)
    covered = _sum((row.covered_seconds, share) for row, share in told if row.energy_joules is not None) or 0.0
    if joules is None or not counted:
        return joules, EMPTY, covered
    return joules, {method: joules * (each / whole if whole else 0.0) for method, each in counted.items()}, covered


def _sum(values: Iterable[tuple[float | None, float]]) -> float | None:
    known = [value * share for value, share in values if value is not None]
    return sum(known) if known else None


def _cost(told: _Told) -> dict[str, float]:
    found: dict[str, float] = defaultdict(float)
    for row, share in told:
        if row.cost is not None:
            found[row.currency] += row.cost * share
    return dict(found)


def _models(job: Job, runs: Sequence[Run], shares: Sequence[float], told: _Told) -> dict[str, ModelPart]:
    """By model; time of which nobody says the model is that of the job's only one, else of an unknown one."""
    usual = job.models[0] if len(job.models) == 1 else ""
    found: dict[str, ModelPart] = defaultdict(ModelPart)
    for row, share in told:
        measured = None if row.energy_joules is None else row.covered_seconds
        amounts = ((each or 0.0) * share for each in (row.charged_seconds, measured, row.energy_joules))
        found[row.model or usual] = found[row.model or usual].plus(ModelPart(*amounts))
    if not told:
        for run, share in _with(runs, shares):
            known = max(0.0, run.usage.held_seconds - run.usage.energy_unmeasured_seconds)
            seconds = known if run.usage.energy_joules else 0.0
            part = ModelPart(*(each * share for each in (run.device_seconds, seconds, run.usage.joules)))
            found[usual] = found[usual].plus(part)
    return {model: part for model, part in found.items() if part.device_seconds > 0 or part.energy_joules > 0}


def _days(job: Job, runs: Sequence[Run], told: _Told) -> dict[tuple[int, str], float]:
    """Device-seconds by day and how the run ended, as they were charged."""
    found: dict[tuple[int, str], float] = defaultdict(float)
    for row, share in told:
        if row.charged_seconds:
            number = _run_at(runs, row.attempt)
            found[row.day, outcome_of(job, number if job.runs else 0)] += row.charged_seconds * share
    return dict(found)


def _run_at(runs: Sequence[Run], time: int) -> int:
    """The number of the run that an attempt is of: the last that had begun."""
    begun = [number for number, run in enumerate(runs) if run.started <= time]
    return begun[-1] if begun else 0
