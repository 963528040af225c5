"""How often alerts were right here, what was done about them, and how many were muted. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from gpuwatch.ledger.episodes import Count
from gpuwatch.notifiers.kinds import kind_of

RECORD_SECONDS = 90 * 86_400.0
"""The time that a record is of."""


@dataclass(frozen=True, slots=True)
class Tally:
    """Alerts of a kind: how many there were, were told and muted, were right and wrong, and were acted upon."""

    raised: int = 0
    told: int = 0
    muted: int = 0
    right: int = 0
    wrong: int = 0
    acted: int = 0
    """Of those that were told: cancelled, declared anew, acknowledged."""

    @property
    def judged(self) -> int:
        """Of how many it is known whether they were right."""
        return self.right + self.wrong

    @property
    def right_ratio(self) -> float | None:
        """Which part of these was."""
        return self.right / self.judged if self.judged else None


@dataclass(frozen=True, slots=True)
class Record:
    """The tallies of kinds."""

    by_kind: Mapping[str, Tally] = field(default_factory=dict)

    def words(self, kind: str) -> str:
        """How often such an alert was right, for people."""
        if kind_of(kind).fact:
            return "a fact, not a forecast"
        tally = self.by_kind.get(kind, Tally())
        if not tally.judged:
            return "none whose outcome is known yet"
        share = 100 * tally.right / tally.judged
        return f"{tally.right} of {tally.judged} were right ({share:.0f} %)"


def record_of(counts: Iterable[Count]) -> Record:
    """The record of what became of alerts; what is active counts as raised."""
    by_kind: dict[str, list[Count]] = defaultdict(list)
    for each in counts:
        by_kind[each.kind].append(each)
    return Record({kind: tally_of(those) for kind, those in by_kind.items()})


def tally_of(counts: Iterable[Count]) -> Tally:
    """Some of them together."""
    those = list(counts)

    def number(*which: bool) -> int:
        return sum(each.number for each, wanted in zip(those, which, strict=True) if wanted)

    return Tally(
        sum(each.number for each in those),
        number(*(each.mode == "told" for each in those)),
        number(*(each.mode == "muted" or each.acted == "muted" for each in those)),
        number(*(each.verdict == "right" for each in those)),
        number(*(each.verdict == "wrong" for each in those)),
        number(*(each.mode == "told" and each.acted not in ("", "muted") for each in those)),
    )
