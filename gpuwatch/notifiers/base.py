"""The contract of a notifier, and what one may do beside it.

There are two sorts. A channel (`Notifier`) hears of every alert that the site's policy tells. One that tells
people (`Personal`) says whom an alert concerns; what is news to each of them comes in few letters.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, runtime_checkable

from gpuwatch.model import Alert, Probe


@dataclass(frozen=True, slots=True)
class Change:
    """An alert that began, rose (in severity or level), or ended; what did not change is not told."""

    what: Literal["raised", "changed", "resolved"]
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


@dataclass(frozen=True, slots=True)
class Letter:
    """What is news to one recipient, in one message: the most urgent first, `more` changes left out.

    `key` is the same whenever the same letter is sent again, also after a restart: where a channel can tell by it
    that it has the letter already, nobody gets it twice. `time` is in Unix seconds.
    """

    key: str
    recipient: str
    changes: tuple[Change, ...]
    time: float
    more: int = 0


@runtime_checkable
class Personal(Protocol):
    """A notifier that tells people. It is given letters in place of `notify`."""

    def recipients(self, alert: Alert, to: Collection[str]) -> Collection[str]:
        """Whom to tell of an alert; nobody where none is known.

        `to` are words of the policy: `owner`, `account`, `operators`, or the name of one of the notifier's own
        channels. A recipient is a word under which the notifier finds him again after a restart, at most 200
        characters; two words that reach the same person would tell him twice.
        """
        ...

    def send(self, letter: Letter) -> bool:
        """Tell one recipient; False, or `errors.Unavailable`, asks for another try later.

        Raises `errors.Rejected` where no try can help. May take as long as the notifier's time-outs allow; called
        for one recipient after the other, in one thread.
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
