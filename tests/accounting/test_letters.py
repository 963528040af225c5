"""What is news to a person, and when he may be written to."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpuwatch.accounting.alert_policy import LetterLimits
from gpuwatch.accounting.letters import DAY_SECONDS, may_write_at, news, told_of, tried
from gpuwatch.ledger.episodes import Episode
from gpuwatch.ledger.letter_store import Posted, To, Told
from gpuwatch.ledger.scopes import AlertKey, key_of
from gpuwatch.model import Alert, Concern, Scope

NOW = 1_764_000_000.0
HOUR = 3600.0
PROJECTED = Alert("projected", Scope("job", "7"), "energy", "warning", NOW, 2.0, 1.0, "job 7 needs more")
EXCEEDED = replace(PROJECTED, kind="exceeded", text="job 7 used more", level=100)
IDLE = replace(PROJECTED, kind="idle", quantity="device-hours", text="job 7 does nothing")
LIMITS = LetterLimits()
ME = To("mail", "user:ada")


def active(*alerts: Alert) -> dict[AlertKey, Alert]:
    return {key_of(each): each for each in alerts}


def known(*alerts: Alert, at: float = NOW, over: bool = False) -> dict[AlertKey, Told]:
    return {key_of(each): Told(at, over, each.severity, each.level) for each in alerts}


def ended(
    alert: Alert, how: str = "ended", verdict: str = "right", at: float = NOW, mode: str = "told"
) -> Episode:
    return Episode(
        1, "c", key_of(alert), NOW - HOUR, at, alert.severity, alert.level, mode, Concern("ada"), 2.0, 1.0,
        alert.text, f"the job ended: {alert.text}", 0, how, verdict,
    )  # type: ignore[arg-type] # fmt: skip


def said(found: object) -> list[tuple[str, str]]:
    return [(change.what, change.alert.kind) for change in found]  # type: ignore[attr-defined]


def test_what_he_does_not_know_is_news_once() -> None:
    """And nothing is, once he was told."""
    first = news(active(PROJECTED), {})

    again = news(active(PROJECTED), told_of(first.known, NOW))

    assert [("raised", "projected")] == said(first.changes)
    assert ((), ()) == (again.changes, again.besides)


def test_only_what_became_worse_is_told_again() -> None:
    """The next mark, a graver severity; not the same with other numbers."""
    before = known(EXCEEDED)

    assert [] == said(news(active(replace(EXCEEDED, value=9.0, text="other")), before).changes)
    assert [("changed", "exceeded")] == said(news(active(replace(EXCEEDED, level=150)), before).changes)
    assert [("changed", "exceeded")] == said(news(active(replace(EXCEEDED, severity="critical")), before).changes)


def test_what_is_over_is_told_beside_other_news_and_never_alone() -> None:
    """Nobody needs a letter that says that all is well."""
    before, gone = known(PROJECTED), {key_of(PROJECTED): ended(PROJECTED, "cleared", "wrong", at=NOW + 1.0)}

    assert [] == said(news({}, before, gone).changes)
    assert [("resolved", "projected")] == said(news(active(IDLE), before, gone).besides)


def test_a_projection_that_came_true_is_told_as_the_fact() -> None:
    """Not as one that is over."""
    gone = {key_of(PROJECTED): ended(PROJECTED, "exceeded")}

    found = news(active(EXCEEDED), known(PROJECTED), gone)

    assert ([("raised", "exceeded")], ()) == (said(found.changes), found.besides)


@pytest.mark.parametrize(
    ("alert", "how", "verdict", "mode", "told"),
    [
        (EXCEEDED, "ended", "right", "told", True), (IDLE, "ended", "right", "told", True),
        (PROJECTED, "ended", "wrong", "told", False), (IDLE, "cleared", "wrong", "told", False),
        (EXCEEDED, "ended", "right", "observed", False), (EXCEEDED, "ended", "right", "muted", False),
        (replace(IDLE, kind="throttled"), "ended", "right", "told", False),
    ],
)  # fmt: skip
def test_what_came_true_before_anybody_was_told_is_told_yet(
    alert: Alert, how: str, verdict: str, mode: str, told: bool
) -> None:
    """To owners; what came to nothing is not."""
    found = news({}, {}, {key_of(alert): ended(alert, how, verdict, mode=mode)})

    assert ([("resolved", alert.kind)] if told else []) == said(found.changes)


def test_what_ended_and_began_anew_is_news() -> None:
    """Unless he was told of it since."""
    gone = {key_of(IDLE): ended(IDLE, "cleared", "wrong", at=NOW)}

    assert [("raised", "idle")] == said(news(active(IDLE), known(IDLE, at=NOW - 1.0), gone).changes)
    assert [] == said(news(active(IDLE), known(IDLE, at=NOW + 1.0), gone).changes)
    assert [("raised", "idle")] == said(news(active(IDLE), known(IDLE, over=True)).changes)


def test_the_gravest_comes_first() -> None:
    """Then by kind, then what is farthest over."""
    far, near = (
        replace(EXCEEDED, scope=Scope("job", name), value=value) for name, value in (("8", 9.0), ("9", 3.0))
    )
    grave = replace(IDLE, severity="critical")

    found = news(active(near, PROJECTED, far, grave), {})

    assert ["idle", "exceeded", "exceeded", "projected"] == [each.alert.kind for each in found.changes]
    assert ["7", "8", "9", "7"] == [each.alert.scope.name for each in found.changes]


def letter(at: float, refused: bool = False) -> Posted:
    return Posted(1, ME, "k", at, None if refused else at, at if refused else None)


@pytest.mark.parametrize(
    ("sent", "at"),
    [
        ((), NOW), ((NOW - 60.0,), NOW - 60.0 + HOUR), ((NOW - 2 * HOUR, NOW - 60.0), NOW - 60.0 + 8 * HOUR),
        ((NOW - 10 * HOUR, NOW - 9 * HOUR, NOW - 60.0), NOW - 10 * HOUR + DAY_SECONDS),
        ((NOW - DAY_SECONDS,), NOW), ((NOW + 5.0,), NOW),
    ],
)  # fmt: skip
def test_each_letter_of_a_day_waits_longer(sent: tuple[float, ...], at: float) -> None:
    """At once, after an hour, after eight more, and then when the first is a day old."""
    assert at == may_write_at([letter(each) for each in sent], LIMITS, False, NOW)


def test_what_several_people_read_has_a_letter_an_hour() -> None:
    """Operators, accounts, channels."""
    sent = [letter(NOW - HOUR * number - 60.0) for number in range(5)]

    assert NOW - 60.0 + HOUR == may_write_at(sent, LIMITS, True, NOW)


def test_a_letter_that_was_refused_counts() -> None:
    """Who cannot be reached is not tried with every alert."""
    assert NOW - 60.0 + HOUR == may_write_at([letter(NOW - 60.0, refused=True)], LIMITS, False, NOW)


@given(st.lists(st.floats(0, 4 * DAY_SECONDS), max_size=200), st.integers(1, 5))
def test_nobody_gets_more_than_so_many_in_any_day(wishes: list[float], a_day: int) -> None:
    """Whenever there is news."""
    limits, sent = LetterLimits(a_day=a_day), []
    for wish in sorted(wishes):
        now = NOW + wish
        if may_write_at([letter(each) for each in sent], limits, False, now) <= now:
            sent.append(now)

    assert all(sum(t <= each < t + DAY_SECONDS for each in sent) <= a_day for t in sent)


def test_who_is_not_reached_is_tried_less_and_less_often() -> None:
    """After half a minute, one, two, and never later than after an hour."""
    waits, one = [], Posted(1, ME, "k", NOW)
    for _ in range(9):
        one = tried(one, NOW)
        waits.append(one.next_try - NOW)

    assert [30.0, 60.0, 120.0, 240.0, 480.0, 960.0, 1920.0, 3600.0, 3600.0] == waits
