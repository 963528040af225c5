"""What people would have been told, as text and as JSON."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from gpuwatch import hygiene
from gpuwatch.accounting.alert_record import Tally
from gpuwatch.accounting.amounts import digits
from gpuwatch.accounting.would_have_figures import (
    LEAST_JUDGED,
    LEAST_RIGHT,
    OfKind,
    Person,
    WouldHave,
    policy_text,
)
from gpuwatch.cli.periods import columns

_SHOWN = 20


def document(found: WouldHave) -> dict[str, Any]:
    """For JSON; null is what nobody can tell."""
    return {
        "days": found.days,
        "people": [
            {
                "recipient": each.recipient, "letters": each.letters, "most_letters_in_a_day": each.most,
                "alerts": dict(each.alerts), **_tally(each.tally),
            }
            for each in found.people
        ],
        "kinds": [
            {
                "kind": each.kind, "raised": each.tally.raised, "told": each.told, "recipients": each.people,
                **_tally(each.tally), "right_ratio": each.tally.right_ratio, "fact": each.fact,
                "earned": each.earned,
            }
            for each in found.kinds
        ],
        "letters_per_person_and_week": found.letters_a_week,
        "alerts_per_person_and_week": found.alerts_a_week,
        "most_letters_in_a_day": found.most_in_a_day,
        "muted": found.muted,
        "nobody_to_tell": found.nobody,
        "over_before_a_letter": found.missed,
        "promote": list(found.promote),
        "policy": policy_text(found.promote) if found.promote else None,
    }  # fmt: skip


def _tally(tally: Tally) -> dict[str, int]:
    return {"right": tally.right, "wrong": tally.wrong, "unknown": tally.raised - tally.judged}


def lines(found: WouldHave, policy: Path | None) -> Iterator[str]:
    """For people: by kind, by person, the whole, and what has earned to be told."""
    supposed = f"Had {policy} been in force" if policy is not None else "Had every kind been told"
    yield f"{supposed}, in the last {digits(found.days)} days:"
    if not found.kinds:
        yield "no alert was raised in that time."
        return
    yield ""
    yield from _kinds(found)
    yield ""
    yield from _people(found)
    yield ""
    yield from _whole(found)
    yield from _earned(found)


def _kinds(found: WouldHave) -> Iterator[str]:
    head = ("KIND", "RAISED", "TOLD", "TO", "RIGHT", "WRONG", "UNKNOWN", "SHARE RIGHT")
    yield from columns([head, *map(_kind_row, found.kinds)])


def _kind_row(each: OfKind) -> tuple[str, ...]:
    tally = each.tally
    ratio = tally.right_ratio
    share = "a fact" if each.fact else "" if ratio is None else f"{100 * ratio:.0f} %"
    return (
        hygiene.label(each.kind), f"{tally.raised:,}", f"{each.told:,}", f"{each.people:,}", f"{tally.right:,}",
        f"{tally.wrong:,}", f"{tally.raised - tally.judged:,}", share,
    )  # fmt: skip


def _people(found: WouldHave) -> Iterator[str]:
    if not found.people:
        yield "Nobody would have been written to."
        return
    head = ("WHO", "LETTERS", "MOST A DAY", "ALERTS", "RIGHT", "WRONG", "UNKNOWN")
    yield from columns([head, *map(_person_row, found.people[:_SHOWN])])
    more = len(found.people) - _SHOWN
    if more > 0:
        yield f"and {more:,} more, with fewer letters; --json has all"


def _person_row(each: Person) -> tuple[str, ...]:
    tally = each.tally
    return (
        hygiene.label(each.recipient), f"{each.letters:,}", f"{each.most:,}", f"{sum(each.alerts.values()):,}",
        f"{tally.right:,}", f"{tally.wrong:,}", f"{tally.raised - tally.judged:,}",
    )  # fmt: skip


def _whole(found: WouldHave) -> Iterator[str]:
    people = len(found.persons)
    if people:
        each = "1 person would have got" if people == 1 else f"{people:,} people would have got, each"
        a_week = (
            f"{digits(found.letters_a_week or 0.0)} letters and {digits(found.alerts_a_week or 0.0)} alerts a week"
        )
        yield f"{each} {a_week} on the mean; the most letters to one in a day are {found.most_in_a_day}."
    for number, what in (
        (found.muted, "muted: nobody would have heard"),
        (found.nobody, "for nobody: it is not known whose, or the policy tells nobody"),
        (found.missed, "over before a letter could go, or still waiting for one"),
    ):
        if number:
            yield f"{number:,} {'alert was' if number == 1 else 'alerts were'} {what}."


def _earned(found: WouldHave) -> Iterator[str]:
    bar = f"{LEAST_JUDGED} judged and {100 * LEAST_RIGHT:.0f} % right"
    if not found.promote:
        yield f"No further kind has earned to be told yet, by {bar}."
        return
    yield f"Worth telling, by {bar} at least, and not told yet: {', '.join(found.promote)}. In the policy file:"
    yield ""
    yield from policy_text(found.promote).splitlines()
