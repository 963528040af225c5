"""What people would have been told, had a policy been in force: past alerts, told again as letters go. Pure.

An alert is told to a person with the first letter that he may get after it was raised. What is over by then is
told to nobody, unless it is as true as before: an overrun of a job that has ended. Letters wait as in life.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from gpuwatch.accounting import letters
from gpuwatch.accounting.alert_policy import LetterLimits, Policy, telling
from gpuwatch.accounting.overruns import EXCEEDED
from gpuwatch.accounting.postman import SHARED
from gpuwatch.ledger.episodes import Episode
from gpuwatch.ledger.letter_store import Posted, To

Recipients = Callable[[Episode], Collection[str]]


@dataclass(frozen=True, slots=True)
class WouldBe:
    """A letter that would have been sent, and what it would have told."""

    recipient: str
    time: float
    alerts: tuple[Episode, ...]


@dataclass(frozen=True, slots=True)
class Simulation:
    """All letters in the order of time; and the alerts that would have been told to `nobody`, or were `missed`:
    over before a letter could go, or not yet told when the time ended."""

    letters: tuple[WouldBe, ...] = ()
    missed: Mapping[str, tuple[Episode, ...]] = field(default_factory=dict)
    nobody: tuple[Episode, ...] = ()


def simulate(
    episodes: Iterable[Episode], recipients: Recipients, limits: LetterLimits, until: float
) -> Simulation:
    """Tell `episodes` again, in the order in which they were raised, until a time (Unix seconds) after them."""
    by_recipient: dict[str, list[Episode]] = defaultdict(list)
    nobody = []
    for each in sorted(episodes, key=lambda each: (each.raised, each.id)):
        to = recipients(each)
        for recipient in to:
            by_recipient[recipient].append(each)
        if not to:
            nobody.append(each)
    sent: list[WouldBe] = []
    missed: dict[str, tuple[Episode, ...]] = {}
    for recipient in sorted(by_recipient):
        its = _Mailbox(recipient, limits)
        sent += its.told(by_recipient[recipient], until)
        if its.missed:
            missed[recipient] = tuple(its.missed)
    return Simulation(tuple(sorted(sent, key=lambda each: (each.time, each.recipient))), missed, tuple(nobody))


class _Mailbox:
    """The letters of one recipient."""

    def __init__(self, recipient: str, limits: LetterLimits) -> None:
        self._recipient, self._limits = recipient, limits
        self._shared = recipient.startswith(SHARED)
        self._sent: list[Posted] = []
        self._waiting: list[Episode] = []
        self.missed: list[Episode] = []

    def told(self, raised: Sequence[Episode], until: float) -> Iterator[WouldBe]:
        """The letters that tell what was raised, which is in the order of time."""
        due = 0.0
        for number, each in enumerate(raised):
            if self._waiting and due < each.raised:
                yield from self._write(due)
            if not self._waiting:
                due = self._next(each.raised)
            self._waiting.append(each)
            is_last_of_pass = number + 1 == len(raised) or raised[number + 1].raised != each.raised
            if is_last_of_pass and due <= each.raised:
                yield from self._write(due)
        if self._waiting and due <= until:
            yield from self._write(due)
        self.missed += self._waiting

    def _next(self, at: float) -> float:
        """When the next letter may go, from a time on."""
        while (later := letters.may_write_at(self._sent, self._limits, self._shared, at)) > at:
            at = later
        return at

    def _write(self, at: float) -> Iterator[WouldBe]:
        told = tuple(each for each in self._waiting if _is_news(each, at))
        self.missed += [each for each in self._waiting if not _is_news(each, at)]
        self._waiting = []
        if told:
            self._sent = [each for each in self._sent if each.made > at - letters.DAY_SECONDS]
            self._sent.append(Posted(0, To("", self._recipient), "", at, sent=at))
            yield WouldBe(self._recipient, at, told)


def _is_news(episode: Episode, at: float) -> bool:
    if episode.resolved is None or episode.resolved > at:
        return True
    lately = at - episode.resolved < letters.DAY_SECONDS
    return episode.key.kind == EXCEEDED and episode.how == "ended" and lately


def by_policy(policy: Policy) -> Recipients:
    """Whom a policy has told of an alert, by the words that notifiers which tell people know them by.

    A mute that was in force then would have been in force all the same.
    """
    known: dict[tuple[str, ...], frozenset[str]] = {}

    def recipients(episode: Episode) -> Collection[str]:
        if episode.mode == "muted":
            return ()
        concern, key = episode.concern, episode.key
        account = key.scope.name if key.scope.kind == "account" else ""
        what = key.kind, account, concern.user, concern.account, concern.partition
        found = known.get(what)
        if found is None:
            told = telling(policy, letters.alert_of(episode))
            names = (_recipient(to, episode) for to in told.to)
            found = known[what] = frozenset(filter(None, names))
        return found

    return recipients


def _recipient(to: str, episode: Episode) -> str:
    concern, scope = episode.concern, episode.key.scope
    if to == "owner":
        return f"user:{concern.user}" if concern.user else ""
    if to == "account":
        account = scope.name if scope.kind == "account" else concern.account
        return f"account:{account}" if account else ""
    return to if to == "operators" else f"channel:{to}"
