"""What is active and what changed, out of what stood and what was found."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpuwatch.accounting.alerts import HOLD_SECONDS, Around, changes_of, compare, stand
from gpuwatch.ledger.alert_store import Mode, Standing
from gpuwatch.ledger.scopes import AlertKey, key_of
from gpuwatch.model import Alert, Scope

JOB = Scope("job", "7")
NOW = 1_764_000_000.0
PROJECTED = Alert("projected", JOB, "energy", "warning", NOW, 2.0, 1.0, "job 7 needs more")
EXCEEDED = replace(PROJECTED, kind="exceeded", text="job 7 used more")
IDLE = replace(PROJECTED, kind="idle", quantity="device-hours", text="job 7 does nothing")
RUNS = Around({JOB})

Found = dict[AlertKey, Standing]


def step(before: Found, *found: Alert, mode: Mode = "told", around: Around = RUNS, now: float = NOW) -> Found:
    return stand(before, {key_of(each): each for each in found}, lambda _: mode, around, now)


def told(before: Found, after: Found, around: Around = RUNS) -> list[tuple[str, str, str]]:
    return [(change.what, change.alert.kind, mode) for change, mode in changes_of(compare(before, after, around))]


def test_what_is_found_is_raised_once() -> None:
    """The second time it is no news."""
    first = step({}, PROJECTED)
    second = step(first, PROJECTED)

    assert [("raised", "projected", "told")] == told({}, first)
    assert [] == told(first, second)


def test_a_projection_that_is_found_no_more_stays_for_ten_minutes() -> None:
    """From when it was last found on, and not a second longer."""
    first = step({}, PROJECTED)

    assert list(first) == list(step(first, now=NOW + HOLD_SECONDS - 1.0))
    assert {} == step(first, now=NOW + HOLD_SECONDS)


def test_one_that_comes_and_goes_with_each_pass_is_one_alert() -> None:
    """Of sixty passes the first raises it."""
    active: Found = {}
    said = []
    for number in range(60):
        found = (PROJECTED,) if number % 2 == 0 else ()
        following = step(active, *found, now=NOW + 60.0 * number)
        said += told(active, following)
        active = following

    assert [("raised", "projected", "told")] == said


def test_what_is_measured_does_not_linger() -> None:
    """It has a hysteresis of its own."""
    first = step({}, IDLE, EXCEEDED)

    assert {} == step(first, now=NOW + 60.0)


def test_a_projection_ends_with_its_job_and_gives_way_to_the_fact() -> None:
    """At once, whenever it was last found; the text says which."""
    first = step({}, PROJECTED)

    over = compare(first, step(first, around=Around(()), now=NOW + 60.0), Around(()))
    true = compare(first, step(first, EXCEEDED, now=NOW + 60.0), RUNS)

    assert [("ended", "the job ended: job 7 needs more")] == [
        (each.how, each.change.alert.text) for each in over.gone
    ]
    assert [("exceeded", "no longer a projection, the declared amount is exceeded: job 7 needs more")] == [
        (each.how, each.change.alert.text) for each in true.gone
    ]


def test_what_is_too_small_to_speak_of_is_over_at_once() -> None:
    """Its scope runs, and is below the floor."""
    first, around = step({}, PROJECTED), Around({JOB}, {JOB})

    after = step(first, around=around, now=NOW + 60.0)

    assert ["floor"] == [each.how for each in compare(first, after, around).gone]


@pytest.mark.parametrize(
    ("worse", "expected"),
    [
        ({"severity": "critical"}, ["changed"]), ({"level": 80}, ["changed"]), ({"value": 9.0}, []),
        ({"severity": "info"}, []),
    ],
)  # fmt: skip
def test_what_rises_is_told_and_what_falls_is_not(worse: dict[str, object], expected: list[str]) -> None:
    """In severity, or to the next mark."""
    first = step({}, PROJECTED)
    second = step(first, replace(PROJECTED, **worse))

    assert expected == [what for what, _, _ in told(first, second)]


def test_what_is_observed_and_comes_to_be_told_is_raised_then() -> None:
    """Whoever hears of it for the first time hears that it is so; and when it is muted, that it is over."""
    observed = step({}, IDLE, mode="observed")
    heard = step(observed, IDLE)
    muted = step(heard, IDLE, mode="muted")

    assert [("raised", "idle", "observed")] == told({}, observed)
    assert [("raised", "idle", "told")] == told(observed, heard)
    assert [("resolved", "idle", "told")] == told(heard, muted)


def test_accounts_and_clusters_do_not_end() -> None:
    """Alerts about them are over when they are no longer so."""
    alert = replace(IDLE, kind="pace", scope=Scope("account", "ml"))
    first = step({}, alert)

    assert ["cleared"] == [each.how for each in compare(first, {}, Around(())).gone]


_alerts = st.sampled_from((PROJECTED, EXCEEDED, IDLE, replace(PROJECTED, scope=Scope("job", "8"))))


@given(st.lists(st.tuples(st.sets(_alerts), st.sampled_from(("told", "observed", "muted")), st.integers(0, 900))))
def test_what_is_told_adds_up_to_what_is_active(history: list[tuple[set[Alert], Mode, int]]) -> None:
    """Raised and resolved alternate for each alert, whatever comes, goes and is muted in between."""
    active: Found = {}
    heard: dict[AlertKey, list[str]] = {}
    now = NOW
    for found, mode, passed in history:
        now += passed
        following = step(active, *found, mode=mode, now=now)
        for change, how in changes_of(compare(active, following, RUNS)):
            if how == "told" and change.what != "changed":
                heard.setdefault(key_of(change.alert), []).append(change.what)
        active = following

    told_now = {key for key, each in active.items() if each.mode == "told"}
    assert told_now == {key for key, whats in heard.items() if whats[-1] == "raised"}
    assert all(whats == (["raised", "resolved"] * len(whats))[: len(whats)] for whats in heard.values())
