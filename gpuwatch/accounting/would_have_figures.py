"""What a simulation of letters comes to, by person and kind; which kinds have earned to be told. Pure."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from gpuwatch.accounting.alert_policy import Policy
from gpuwatch.accounting.alert_record import Tally
from gpuwatch.accounting.would_have import Simulation, WouldBe
from gpuwatch.ledger.episodes import Episode
from gpuwatch.notifiers.kinds import KINDS, kind_of

LEAST_JUDGED = 20
LEAST_RIGHT = 0.85
"""A kind of which so many were judged, and such a part of them was right, has earned to be told."""

DAY_SECONDS = 86_400.0
WEEK_DAYS = 7.0


@dataclass(frozen=True, slots=True)
class Person:
    """What one recipient would have been told: `most` is the largest number of letters in any 24 hours."""

    recipient: str
    letters: int
    most: int
    alerts: Mapping[str, int]
    tally: Tally


@dataclass(frozen=True, slots=True)
class OfKind:
    """Alerts of a kind: how all of them turned out, how many would have been told, in so many letters."""

    kind: str
    tally: Tally
    told: int
    people: int

    @property
    def fact(self) -> bool:
        """Whether it is right as soon as it is said."""
        return kind_of(self.kind).fact

    @property
    def earned(self) -> bool:
        """Whether enough of enough were right."""
        ratio = self.tally.right_ratio
        return ratio is not None and self.tally.judged >= LEAST_JUDGED and ratio >= LEAST_RIGHT


@dataclass(frozen=True, slots=True)
class WouldHave:
    """The whole of it, over so many days."""

    days: float
    people: tuple[Person, ...] = ()
    kinds: tuple[OfKind, ...] = ()
    muted: int = 0
    nobody: int = 0
    missed: int = 0
    promote: tuple[str, ...] = field(default=())
    """Kinds that have earned it and that the site's policy tells to nobody yet."""

    @property
    def persons(self) -> tuple[Person, ...]:
        """Those of the recipients who are people: a channel is none."""
        return tuple(each for each in self.people if each.recipient.startswith("user:"))

    @property
    def letters_a_week(self) -> float | None:
        """The mean of people who would have been written to at all."""
        return self._a_week([each.letters for each in self.persons])

    @property
    def alerts_a_week(self) -> float | None:
        """The same of the alerts that they would have been told."""
        return self._a_week([sum(each.alerts.values()) for each in self.persons])

    @property
    def most_in_a_day(self) -> int:
        """The most letters that one person would have got in any 24 hours."""
        return max((each.most for each in self.persons), default=0)

    def _a_week(self, numbers: Sequence[int]) -> float | None:
        weeks = max(self.days / WEEK_DAYS, 1.0 / WEEK_DAYS)
        return sum(numbers) / len(numbers) / weeks if numbers else None


def figures(episodes: Iterable[Episode], simulation: Simulation, days: float, in_force: Policy) -> WouldHave:
    """What a simulation of some alerts comes to; `in_force` is what the site tells already."""
    there = list(episodes)
    letters: dict[str, list[WouldBe]] = defaultdict(list)
    for each in simulation.letters:
        letters[each.recipient].append(each)
    people = sorted((_person(name, its) for name, its in letters.items()), key=_most_first)
    kinds = tuple(_kinds(there, simulation))
    told_already = {kind for rule in in_force.tell for kind in (KINDS if "*" in rule.kinds else rule.kinds)}
    return WouldHave(
        days, tuple(people), kinds,
        sum(each.mode == "muted" for each in there),
        sum(each.mode != "muted" for each in simulation.nobody),
        len({each.id for its in simulation.missed.values() for each in its}),
        tuple(each.kind for each in kinds if each.earned and each.kind not in told_already),
    )  # fmt: skip


def _person(recipient: str, letters: Sequence[WouldBe]) -> Person:
    told = [each for letter in letters for each in letter.alerts]
    return Person(
        recipient, len(letters), _most([each.time for each in letters]),
        dict(Counter(each.key.kind for each in told).most_common()), _tally(told),
    )  # fmt: skip


def _most_first(person: Person) -> tuple[int, int, str]:
    return -person.letters, -sum(person.alerts.values()), person.recipient


def _most(times: Sequence[float]) -> int:
    """The most of some times, which are in order, within any 24 hours."""
    most = first = 0
    for last, time in enumerate(times):
        while times[first] <= time - DAY_SECONDS:
            first += 1
        most = max(most, last - first + 1)
    return most


def _tally(episodes: Sequence[Episode]) -> Tally:
    verdicts = Counter(each.verdict for each in episodes)
    return Tally(len(episodes), right=verdicts["right"], wrong=verdicts["wrong"])


def _kinds(episodes: Sequence[Episode], simulation: Simulation) -> Iterable[OfKind]:
    by_kind: dict[str, list[Episode]] = defaultdict(list)
    for each in episodes:
        by_kind[each.key.kind].append(each)
    told: dict[str, set[int]] = defaultdict(set)
    people: dict[str, set[str]] = defaultdict(set)
    for letter in simulation.letters:
        for each in letter.alerts:
            told[each.key.kind].add(each.id)
            people[each.key.kind].add(letter.recipient)
    for kind in sorted(by_kind, key=lambda kind: (list(KINDS).index(kind) if kind in KINDS else len(KINDS), kind)):
        yield OfKind(kind, _tally(by_kind[kind]), len(told[kind]), len(people[kind]))


def policy_text(kinds: Sequence[str]) -> str:
    """The lines of a policy file that tell these kinds to whom they are for."""
    return f"[[tell]]\nkinds = [{', '.join(f'{chr(34)}{kind}{chr(34)}' for kind in kinds)}]\n"
