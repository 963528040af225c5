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
    """How far a job says it is. `start_step` is the first step its attempt reported."""

    step: float
    total: float
    start_step: float
    time: float

    @property
    def ratio(self) -> float:
        """Fraction of the whole that is done."""
        return self.step / self.total

    @property
    def start_ratio(self) -> float:
        """Fraction that was already done when this attempt began."""
        return self.start_step / self.total


@dataclass(frozen=True, slots=True)
class Declared:
    """The current numbers of a job's declarations and progress; the history is in the journal."""

    job: JobKey
    estimates: tuple[Estimate, ...] = ()
    progress: Progress | None = None
    campaign: str | None = None


@dataclass(frozen=True, slots=True)
class Forecast:
    """Where a scope will end: `quantiles` maps 0 < q < 1 to amounts in base units; `basis` says why, in words."""

    scope: Scope
    quantity: str
    used: float
    quantiles: Mapping[float, float]
    declared: Estimate | None
    basis: str
    time: float
    p_over: float | None = None
    crosses_at: float | None = None


@dataclass(frozen=True, slots=True)
class Alert:
    """Something worth telling: identity is (kind, scope, quantity); values are never part of it."""

    kind: str
    scope: Scope
    quantity: str
    severity: Literal["info", "warning", "critical"]
    since: float
    value: float
    declared: float
    text: str
