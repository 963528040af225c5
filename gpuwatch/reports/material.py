"""What a compute statement is made of: jobs and what they were charged, rates, declarations, forecasts. Frozen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, tzinfo
from typing import Literal, NamedTuple

from gpuwatch.accounting.advice import Advice
from gpuwatch.ledger.campaigns import JobRef
from gpuwatch.ledger.forecast_store import KeptForecast
from gpuwatch.ledger.jobs import Job
from gpuwatch.ledger.quality import Quality
from gpuwatch.ledger.rates import Rates
from gpuwatch.ledger.scopes import Revision
from gpuwatch.model import EMPTY, Forecast

Kind = Literal["job", "campaign", "account"]


@dataclass(frozen=True, slots=True)
class Asked:
    """What the statement is to be of, and what only its author can say.

    Of [begins, ends), Unix seconds; without bounds of everything. `flop` is what the author counted, `tag` the key
    by whose values figures are added up.
    """

    kind: Kind
    name: str
    begins: float = float("-inf")
    ends: float = float("inf")
    author: str = ""
    licence: str = ""
    purpose: str = ""
    flop: float | None = None
    tag: str = ""
    configuration: str = ""

    @property
    def whole(self) -> bool:
        """Whether it is of all time."""
        return self.begins == float("-inf") and self.ends == float("inf")


class ChargeRow(NamedTuple):
    """What an attempt was charged on a day and a model, as the ledger has it; None: not known."""

    attempt: int
    day: int
    model: str
    begins: float
    ends: float
    charged_seconds: float | None
    allocated_seconds: float | None
    held_seconds: float | None
    energy_joules: float | None
    covered_seconds: float | None
    facility_joules: float | None
    carbon_grams: float | None
    cost: float | None
    currency: str
    rates: str
    edition: int
    partition: str
    host_joules: float | None


class Tagged(NamedTuple):
    """A job with its tags, and whether it only tried something."""

    job: Job
    tags: Mapping[str, str] = EMPTY
    debugging: bool = False


@dataclass(frozen=True, slots=True)
class SiteForecasts:
    """How right forecasts were here: in words, of so many, and how many of the overruns called came true."""

    words: str
    n: int = 0
    coverage: Mapping[str, float] = EMPTY
    """Of intervals of 80 %, by stage."""


@dataclass(frozen=True, slots=True)
class Material:
    """Everything that a statement is reckoned from, as it was at `now`.

    `waiting` jobs were asked for, and their owners have not agreed. `rows` is how many rows of the ledger are in
    `digest`, a SHA-256 of them.
    """

    asked: Asked
    now: float
    jobs: tuple[Tagged, ...]
    charges: Mapping[JobRef, Sequence[ChargeRow]]
    rates: Mapping[str, Rates]
    quality: Quality | None = None
    revisions: tuple[Revision, ...] = ()
    waiting: int = 0
    forecasts: Mapping[str, Forecast] = EMPTY
    foretold: Sequence[KeptForecast] = ()
    record: SiteForecasts = SiteForecasts("no record at this site yet (n=0)")
    advice: Mapping[str, Sequence[Advice]] = field(default_factory=lambda: EMPTY)
    zone: tzinfo = UTC
    rows: int = 0
    digest: str = ""
