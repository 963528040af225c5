"""A usage source, a notifier and a clock that do as a test says."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from gpuwatch.accounting.site_policy import SitePolicy
from gpuwatch.errors import GpuwatchError
from gpuwatch.model import EMPTY, Alert
from gpuwatch.notifiers.base import Change, Letter
from gpuwatch.usage.base import Asking, Delivery, Failure, Mark, Reached

Answer = Delivery | Reached | Failure


def everything_told() -> SitePolicy:
    """A policy that observes nothing: whatever is found is told."""
    return SitePolicy(told=["*"])


@dataclass
class FakeSource:
    """Gives `answers` at every pass and remembers the watermarks it was shown and what was acknowledged."""

    answers: list[Answer | GpuwatchError] = field(default_factory=list)
    acknowledged: list[int | None] = field(default_factory=list)
    marks: list[Mapping[str, Mark]] = field(default_factory=list)
    refuses: GpuwatchError | None = None
    asked: list[Asking] = field(default_factory=list)
    known: Mapping[str, float] = field(default_factory=dict)

    def collect(self, asking: Asking) -> Iterator[Answer]:
        self.asked.append(asking)
        self.marks.append(dict(asking.marks))
        for answer in self.answers:
            if isinstance(answer, GpuwatchError):
                raise answer
            yield answer

    def figures(self) -> Mapping[str, float]:
        return self.known

    def acknowledge(self, delivery: Delivery) -> None:
        if self.refuses is not None:
            raise self.refuses
        self.acknowledged.append(delivery.seq)


@dataclass
class FakeNotifier:
    """Takes changes, or answers False, or raises."""

    answer: bool | GpuwatchError = True
    told: list[Change] = field(default_factory=list)

    def notify(self, changes: Sequence[Change]) -> bool:
        if isinstance(self.answer, GpuwatchError):
            raise self.answer
        if self.answer:
            self.told.extend(changes)
        return self.answer


@dataclass
class FakeRenewing(FakeNotifier):
    """Takes what is active as well, and says that something went wrong with it."""

    wrong: Mapping[str, int] = EMPTY
    calls: list[Any] = field(default_factory=list)

    def renew(self, active: Sequence[Alert], now: float, until: float) -> Mapping[str, int]:
        self.calls.append((tuple(active), now, until))
        return self.wrong

    def notify(self, changes: Sequence[Change]) -> bool:
        self.calls.append([change.what for change in changes])
        return FakeNotifier.notify(self, changes)


@dataclass
class FakeClock:
    """Both clocks, moved by the test."""

    wall: float = 1_764_000_000.0
    steady: float = 1000.0

    def time(self) -> float:
        return self.wall

    def monotonic(self) -> float:
        return self.steady


@dataclass
class FakePeople:
    """Tells owners, accounts and operators, whoever they are; `answers` by recipient, True for the rest."""

    answers: dict[str, bool | GpuwatchError] = field(default_factory=dict)
    letters: list[Letter] = field(default_factory=list)
    tried: list[Letter] = field(default_factory=list)

    def recipients(self, alert: Alert, to: Collection[str]) -> Collection[str]:
        concern = alert.concern
        found = {
            "owner": f"user:{concern.user}" if concern.user else "",
            "account": f"account:{concern.account}" if concern.account else "",
            "operators": "operators",
        }
        return [found[each] for each in sorted(to) if found.get(each)]

    def send(self, letter: Letter) -> bool:
        self.tried.append(letter)
        answer = self.answers.get(letter.recipient, True)
        if isinstance(answer, GpuwatchError):
            raise answer
        if answer:
            self.letters.append(letter)
        return answer
