"""The contract of a usage source: deliveries for the ledger, in any order, any number of times."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

from gpuwatch.model import EMPTY, Probe


class Mark(NamedTuple):
    """How far an origin has been read; `state` is what its source needs to go on from there, if anything."""

    epoch: str
    seq: int
    state: str | None = None


@dataclass(frozen=True, slots=True)
class Delivery:
    """What one node said. `rows`, `declarations` and `events` are as in the agent's usage API (docs/usage-api.md).

    `seq` is the highest sequence number it covers; the ledger stores it as the origin's mark in the same
    transaction as the rows, and only then is the delivery acknowledged. Where it is None there is no mark to move:
    it is one of those that a `Reached` of another origin covers.
    """

    cluster: str
    node: str
    epoch: str
    seq: int | None
    now: float
    rows: Sequence[Mapping[str, Any]]
    declarations: Sequence[Mapping[str, Any]]
    events: Sequence[Mapping[str, Any]]
    origin: str


@dataclass(frozen=True, slots=True)
class Reached:
    """Every delivery up to here was given: the origin's mark moves once all of them are posted.

    A delivery that the ledger refuses for what it is does not hold the mark up; one that could not be posted does.
    """

    origin: str
    mark: Mark


@dataclass(frozen=True, slots=True)
class Failure:
    """A node, or a whole source, that could not be read, and why."""

    origin: str
    message: str


@dataclass(frozen=True, slots=True)
class Allocated:
    """A job had devices of a node from `started` to `until`, in Unix seconds, as the batch system said.

    `indices` are those of its generic resources on the node, None where they are not known. `devices` is how many
    it had on all its `nodes` together, None where that is not known either. `open` says that it may still run.
    """

    job_id: str
    node: str
    started: float
    until: float
    indices: tuple[int, ...] | None
    devices: float | None
    nodes: int
    open: bool


@dataclass(frozen=True, slots=True)
class Asking:
    """What a pass asks of a source: everything newer than `marks` (origin → mark), as of `now` (Unix seconds).

    `allocated(since, until)` has what batch systems allocated in that time, for sources that see devices only.
    """

    now: float
    marks: Mapping[str, Mark] = EMPTY
    allocated: Callable[[float, float], Sequence[Allocated]] = lambda since, until: ()


class UsageSource(Protocol):
    """A place where usage is kept. The constructor takes `(settings, site)` as a device source's does."""

    def collect(self, asking: Asking) -> Iterator[Delivery | Reached | Failure]:
        """Everything newer than the marks; one bad node stays alone as a `Failure`."""
        ...

    def acknowledge(self, delivery: Delivery) -> None:
        """The ledger has it for good; the source may forget it. Raises `errors.Unavailable`; not fatal."""
        ...

    def figures(self) -> Mapping[str, float]:
        """What it knows beside what it delivers, as of the last `collect`; accounting exports it.

        `devices`: how many it saw. `unattributed_ratio`: the part of their time whose holder it does not know.
        """
        ...

    def check(self, now: float) -> Sequence[Probe]:
        """Try out where it reads; `now` is in Unix seconds. Changes nothing there, and does not raise.

        Asked by `gpuwatch check --probe` alone.
        """
        ...
