"""A compute statement as values: every figure with its bounds, and what is not known with the reason. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import tzinfo
from typing import NamedTuple

from gpuwatch.accounting.advice import Advice
from gpuwatch.ledger.forecast_store import KeptForecast
from gpuwatch.ledger.quality import Gap, Quality
from gpuwatch.ledger.scopes import Revision
from gpuwatch.ledger.waste import Parts
from gpuwatch.model import EMPTY, Forecast
from gpuwatch.reports.checks import Linted
from gpuwatch.reports.figures import Figure
from gpuwatch.reports.flop import Computed
from gpuwatch.reports.material import Asked, SiteForecasts
from gpuwatch.reports.pieces import RunPart

SCHEMA = "gpuwatch-statement/1"


class Unknown(NamedTuple):
    """Something that a statement should have and has not, and why."""

    what: str
    why: str


@dataclass(frozen=True, slots=True)
class Group:
    """What some runs or jobs came to together; `share` is their part of all device-seconds, None where none are.

    `count` is of jobs, or of runs where the group is of an outcome.
    """

    name: str
    count: int
    device_seconds: float
    share: float | None
    device_energy: Figure = Figure()
    facility_energy: Figure = Figure()
    carbon: Figure = Figure()
    cost: Mapping[str, float] = EMPTY
    covered_ratio: float | None = None


@dataclass(frozen=True, slots=True)
class RunRow:
    """One job in the list of runs: what it is called, when, how it ended, and what it came to."""

    job: str
    name: str
    begins: float
    ends: float
    outcome: str
    debugging: bool
    runs: int
    devices: float | None
    models: tuple[str, ...]
    device_seconds: float
    energy_joules: float | None
    covered_ratio: float | None
    carbon_grams: float | None
    cost: Mapping[str, float]
    tags: Mapping[str, str]


class ModelRow(NamedTuple):
    """A model of device: how many of it were seen, the time on it, and what its maker says; None: not known."""

    name: str
    devices: int | None
    device_seconds: float
    covered_seconds: float
    energy_joules: float
    board_watts: float | None
    peak_flops: float | None
    peak_precision: str
    source: str


@dataclass(frozen=True, slots=True)
class Declared:
    """A quantity that was declared, with every revision, the newest first, and what it came to.

    `ratio` is final over the estimate in force, None where the final figure is not known or the statement is of a
    part of the time.
    """

    quantity: str
    unit: str
    revisions: tuple[Revision, ...]
    final: float | None
    ratio: float | None
    original_ratio: float | None = None


class Rate(NamedTuple):
    """A PUE or a grid intensity that was in force, from `low` to `high` where it changed, and where it is from."""

    kind: str
    low: float
    high: float
    basis: str
    source: str
    year: int | None
    default: bool
    values: int = 1


class Day(NamedTuple):
    """Device-seconds of a day, since 1970, by how the runs ended."""

    number: int
    kept: float
    stopped: float
    other: float


@dataclass(frozen=True, slots=True)
class Statement:
    """Everything that a statement says; seconds, joules, grams, money by currency, Unix times.

    `runs` are jobs, and `attempts` their runs one by one. `wall_seconds` are from the first begin to the last end,
    `run_wall_seconds` the time in which anything ran: time in a queue is not in that. `burn_up` are device-seconds
    used by a Unix time.
    """

    id: str
    asked: Asked
    title: str
    purpose: str
    author: str
    made: float
    version: str
    ledger_schema: int
    begins: float | None
    ends: float | None
    goes_on: bool
    zone: tzinfo
    total: Group
    debugging: Group
    outcomes: tuple[Group, ...] = ()
    tags: tuple[Group, ...] = ()
    runs: tuple[RunRow, ...] = ()
    attempts: tuple[RunPart, ...] = ()
    models: tuple[ModelRow, ...] = ()
    nodes: int = 0
    users: int = 0
    waiting: int = 0
    declared: tuple[Declared, ...] = ()
    allocated_seconds: float | None = None
    held_seconds: float = 0.0
    parts: Parts = Parts()
    wall_seconds: float | None = None
    run_wall_seconds: float | None = None
    unknown_devices: int = 0
    devices_at_once: float | None = None
    computed: Computed = Computed()
    by_method: Mapping[str, float] = field(default_factory=lambda: EMPTY)
    unmeasured_seconds: float = 0.0
    gaps: tuple[Gap, ...] = ()
    """Why energy is missing, the most first; nodes and devices are not named."""
    charged_joules: float | None = None
    """Energy of devices of which facility energy was reckoned."""
    host_joules: float | None = None
    """Energy of the nodes' processors and memory that is in the facility energy beside it."""
    quality: Quality | None = None
    cost: Mapping[str, Figure] = field(default_factory=lambda: EMPTY)
    prices: tuple[str, ...] = ()
    rates: tuple[Rate, ...] = ()
    rate_versions: tuple[str, ...] = ()
    editions: tuple[int, ...] = ()
    days: tuple[Day, ...] = ()
    burn_up: tuple[tuple[float, float], ...] = ()
    forecasts: Mapping[str, Forecast] = field(default_factory=lambda: EMPTY)
    foretold: Sequence[KeptForecast] = ()
    record: SiteForecasts = SiteForecasts("")
    wasted_cost: Mapping[str, float] = field(default_factory=lambda: EMPTY)
    advice: tuple[tuple[str, Advice], ...] = ()
    ledger_rows: int = 0
    digest: str = ""
    unknown: tuple[Unknown, ...] = ()
    lint: Linted = field(default_factory=lambda: Linted(()))

    @property
    def empty(self) -> bool:
        """Whether nothing ran in the time."""
        return not self.runs
