"""The contract of a usage source: deliveries for the ledger, in any order, any number of times."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol


@dataclass(frozen=True, slots=True)
class Delivery:
    """What one node said. `rows`, `declarations` and `events` are as in the agent's usage API (docs/usage-api.md).

    `seq` is the highest sequence number it covers; the ledger stores it as the node's watermark in the same
    transaction as the rows, and only then is the delivery acknowledged.
    """

    cluster: str
    node: str
    epoch: str
    seq: int
    now: float
    rows: Sequence[Mapping[str, Any]]
    declarations: Sequence[Mapping[str, Any]]
    events: Sequence[Mapping[str, Any]]
    origin: str


@dataclass(frozen=True, slots=True)
class Failure:
    """A node that could not be read, and why."""

    origin: str
    message: str


class UsageSource(Protocol):
    """A place where usage is kept. The constructor takes `(settings, site)` as a device source's does."""

    def collect(self, watermarks: Mapping[str, tuple[str, int]]) -> Iterator[Delivery | Failure]:
        """Everything newer than the watermarks (origin → epoch, seq); one bad node stays alone as a `Failure`."""
        ...

    def acknowledge(self, delivery: Delivery) -> None:
        """The ledger has it for good; the source may forget it. Raises `errors.Unavailable`; not fatal."""
        ...
