"""The contract of a notifier, and what one may do beside it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, runtime_checkable

from gpuwatch.model import Alert, Probe


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


@runtime_checkable
class Renewing(Protocol):
    """A notifier whose channel forgets an alert of which it hears no more."""

    def renew(self, active: Sequence[Alert], now: float, until: float) -> Mapping[str, int]:
        """All that is active as of `now`, once in each pass and before `notify`; it holds until `until`.

        Both in Unix seconds; there is another pass long before `until`. Returns how often something went wrong, by
        what it was, as `gpuwatch_accounting_notifications_total` counts it; raises nothing.
        """
        ...


@runtime_checkable
class Probing(Protocol):
    """A notifier that can try out where it tells."""

    def check(self, now: float) -> Sequence[Probe]:
        """Whether alerts would be taken; `now` is in Unix seconds. Tells nobody anything, and does not raise.

        Asked by `gpuwatch check --probe` alone, of a notifier that was told nothing.
        """
        ...
