"""The contract of a notifier."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from gpuwatch.model import Alert


@dataclass(frozen=True, slots=True)
class Change:
    """An alert that began or ended; what did not change is not told."""

    what: Literal["raised", "resolved"]
    alert: Alert


class Notifier(Protocol):
    """One channel. The constructor takes `(settings, site)` as a device source's does."""

    def notify(self, changes: Sequence[Change]) -> bool:
        """Tell the channel; False asks for another try later. Raises `errors.Rejected` where no try can help."""
        ...
