"""What was declared, how far it is, where it will end, and what is worth telling."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, NamedTuple

from gpuwatch.model.usage import JobKey


class Scope(NamedTuple):
    """What a figure is about: `kind` is job, array, campaign or account."""

    kind: str
    name: str

    def __str__(self) -> str:
        return f"{self.kind}:{self.name}"


@dataclass(frozen=True, slots=True)
class Estimate:
    """What somebody declared a scope would need. Amounts are in base units; `unit` names it (s, J, g, EUR, 1)."""

    scope: Scope
    quantity: str
    low: float
    likely: float
    high: float
    unit: str
    basis: str | None = None
    declared_by: str = ""
    declared_at: float = 0.0
    channel: str = "socket"


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a job says it is. `start_step` is the first step its attempt reported.

    `best` is the farthest step it reported, `lost` the sum of all that it went back; None where nobody counted.
    """

    step: float
    total: float
    start_step: float
    time: float
    best: float | None = None
    lost: float | None = None
    least_total: float | None = None
    """The least total that it ever gave, and the greatest; `total` is the latest, which is in force."""
    most_total: float | None = None

    @property
    def ratio(self) -> float:
        """Fraction of the whole that is done; 1 where a job goes on beyond its total."""
        return min(1.0, self.step / self.total)

    @property
    def start_ratio(self) -> float:
        """Fraction that was already done when this attempt began."""
        return min(1.0, self.start_step / self.total)

    @property
    def farthest(self) -> float:
        """The farthest step it was ever at, as far as is known."""
        return self.step if self.best is None else max(self.step, self.best)

    @property
    def gone_back(self) -> float:
        """Steps that the attempt itself did in vain; where nobody counted, from the farthest to where it is."""
        return self.farthest - self.step if self.lost is None else self.lost

    @property
    def other_totals(self) -> tuple[float, ...]:
        """Totals that it gave before, as far as they are kept; empty where it never changed."""
        known = {each for each in (self.least_total, self.most_total) if each is not None}
        return tuple(sorted(known - {self.total}))

    @property
    def made(self) -> float:
        """Steps that the attempt did, those in vain too."""
        return max(0.0, self.step - self.start_step) + self.gone_back


@dataclass(frozen=True, slots=True)
class Declared:
    """The current numbers of a job's declarations and progress; the history is in the journal."""

    job: JobKey
    estimates: tuple[Estimate, ...] = ()
    progress: Progress | None = None
    campaign: str | None = None


@dataclass(frozen=True, slots=True)
class Forecast:
    """Where a scope will end: `quantiles` maps 0 < q < 1 to amounts in base units; `basis` says why, in words.

    `against` says what it is compared with: what is `declared`, or what is `expected` of its like (`reference`);
    `p_over` is the probability that it comes to more than that by more than the site's tolerance.
    """

    scope: Scope
    quantity: str
    used: float
    quantiles: Mapping[float, float]
    declared: Estimate | None
    basis: str
    time: float
    p_over: float | None = None
    crosses_at: float | None = None
    """When it will have used what is declared, Unix seconds: the median; None where it most likely never will."""
    crosses_between: tuple[float, float | None] | None = None
    """The 80 % interval of that; its end is None where it may never be. None: hardly ever, or not known."""
    against: Literal["", "declared", "expected"] = ""
    reference: float | None = None
    p_limit: float | None = None
    """The probability that its time limit ends it before it is done; None: it has none, or nothing is known."""
    stage: str = ""
    """How much of the reference is used, as calibration divides it (`forecast.trials`)."""
    record: str = ""
    """How often such forecasts were right at this site, in words."""
    n: int = 0
    """Of how many runs the weightiest class of runs is that it is based on; 0: on none."""


@dataclass(frozen=True, slots=True)
class Expectation:
    """What a scope that declares nothing may come to, by what `n` others came to; `basis` says which, in words.

    It is nobody's declaration: it is shown, and no alert is held against it. `quantiles` maps 0 < q < 1 to amounts
    in base units; one that is missing is not known.
    """

    scope: Scope
    quantity: str
    quantiles: Mapping[float, float]
    n: int
    basis: str


@dataclass(frozen=True, slots=True)
class Concern:
    """Whose something is, by the batch system's word; `name` is what its owner calls it. Empty: not known."""

    user: str = ""
    account: str = ""
    partition: str = ""
    name: str = ""


@dataclass(frozen=True, slots=True)
class Alert:
    """Something worth telling: identity is (kind, scope, quantity); values are never part of it.

    `text` is all of it in one line, `details` what is to be said line by line where there is room. `level` is a
    mark that was reached, as 80 of the percents of a budget: a higher one is news. `concern` says whose it is.
    """

    kind: str
    scope: Scope
    quantity: str
    severity: Literal["info", "warning", "critical"]
    since: float
    value: float
    declared: float
    text: str
    details: tuple[str, ...] = ()
    level: int = 0
    concern: Concern = Concern()
