"""What would have been forecast of runs that are over, strictly in the order of time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
import pytest

from gpuwatch.forecast.backtest import Replay, replayed
from gpuwatch.forecast.history import BacktestRun
from gpuwatch.forecast.trials import LEVELS, POLLS, SHARES, THRESHOLDS, Call, Trial
from tests.forecast.histories import DAY, HOUR, history, run

TOLERANCE = 0.1

Said = tuple[str, str, object]


def in_order_of_ends(runs: Sequence[BacktestRun]) -> list[BacktestRun]:
    """The runs of which there are trials, in the order of these."""
    judged = (each for each in runs if each.declared and each.final > 0)
    return sorted(judged, key=lambda each: (each.ended, each.job_id))


def trial_of(replay: Replay, runs: Sequence[BacktestRun], job_id: str) -> Trial:
    return replay.trials[[each.job_id for each in in_order_of_ends(runs)].index(job_id)]


def said_before(replay: Replay, runs: Sequence[BacktestRun], until: float) -> dict[Said, object]:
    """All that was said before a time, of whatever run, by all rules: marks and calls that were made by then."""
    by_end = in_order_of_ends(runs)
    return {
        (rule, each.job_id, what): found
        for rule, trials in {"": replay.trials, **replay.baselines}.items()
        for each, trial in zip(by_end, trials, strict=True)
        for what, used, found in _said(trial)
        if (each.submitted if what == "submit" else each.started + used / each.devices) < until
    }


def _said(trial: Trial) -> Iterator[tuple[object, float, object]]:
    for stage, mark in trial.marks.items():
        yield stage, mark.used, mark
    for threshold, call in trial.calls.items():
        if call.used <= trial.declared:
            yield threshold, call.used, call


def changed_after(each: BacktestRun, now: float, random: np.random.Generator) -> BacktestRun | None:
    """A run with another future: another end, state and progress after `now`, or none at all."""
    if each.ended <= now:
        return each
    if each.submitted > now:
        return None if random.random() < 0.5 else replace(each, declared=(each.declared or HOUR) * 7.0, user="ada")
    # What it says of itself and what it used by then remain; decisions that came by then were made on it.
    ended = max(now, each.started) + float(random.exponential(20 * HOUR)) + 1.0
    known = tuple(report for report in each.progress if report[0] <= now)
    later = ((now + (ended - now) / 2, float(random.random() * 3)), (ended, 0.9)) if ended > now else ()
    return replace(
        each, ended=ended, state=str(random.choice(("COMPLETED", "FAILED", "CANCELLED"))), progress=known + later
    )


@pytest.mark.parametrize("round_to", [0.0, HOUR])
@pytest.mark.parametrize("seed", range(3))
def test_nothing_that_was_said_knows_what_came_later(seed: int, round_to: float) -> None:
    """However runs go on after a time, whatever is submitted after it: what was forecast before stays as it is."""
    runs, random = history(150, seed, round_to), np.random.default_rng(seed)
    replay = replayed(runs, TOLERANCE)
    for now in (30 * HOUR + 0.5, 80 * HOUR + 0.5, 130 * HOUR + 0.5):
        others = [found for each in runs if (found := changed_after(each, now, random)) is not None]

        before, after = (
            said_before(found, those, now)
            for found, those in ((replay, runs), (replayed(others, TOLERANCE), others))
        )

        assert len(before) > 50
        assert before == after


@pytest.mark.parametrize("seed", range(3))
def test_nobody_knows_of_a_silent_run_whether_it_will_report(seed: int) -> None:
    """What was forecast of runs before any of them said anything is the same if all of them remain silent."""
    runs, now = history(120, seed), 60 * HOUR
    silent, later = [], []
    for each in runs:
        until = max(now, each.started)
        last = ((until + each.ended) / 2, 0.7)
        silent.append(replace(each, progress=()))
        later.append(replace(each, progress=(last,) if each.ended > until else ()))

    before, after = (said_before(replayed(those, TOLERANCE), those, now) for those in (silent, later))

    assert len(before) > 50
    assert before == after


def test_that_test_could_fail() -> None:
    """Another past does change what is said."""
    runs = history(60, 1)
    others = [replace(each, ended=each.started + 2 * (each.ended - each.started)) for each in runs]

    first, second = (said_before(replayed(each, TOLERANCE), each, 40 * HOUR) for each in (runs, others))

    assert first != second


@pytest.mark.parametrize("round_to", [0.0, HOUR])
def test_the_order_in_which_runs_are_told_of_does_not_matter(round_to: float) -> None:
    """Also where many begin and end at the same time."""
    runs = history(120, 3, round_to)
    mixed = [runs[place] for place in np.random.default_rng(1).permutation(len(runs))]

    first, second = replayed(runs, TOLERANCE), replayed(mixed, TOLERANCE)

    assert first.trials == second.trials
    assert first.baselines == second.baselines


def test_a_run_is_forecast_at_each_stage_that_it_reaches() -> None:
    """One that comes to .6 of what was declared reaches four; used is then what the stage says."""
    runs = [run(hours=6.0, declared=10.0)]

    (trial,) = replayed(runs, TOLERANCE).trials

    assert {stage: SHARES[stage] * 10 * HOUR for stage in ("submit", "0.1", "0.25", "0.5")} == {
        stage: mark.used for stage, mark in trial.marks.items()
    }
    assert ("ada", 10 * HOUR, 6 * HOUR, False) == (trial.user, trial.declared, trial.final, trial.cut)


def test_a_stage_that_is_reached_as_it_ends_is_not() -> None:
    """Half of what was declared, and not a second more."""
    runs = [run("a", hours=5.0, declared=10.0), run("b", DAY, 5.0)]

    assert [["submit", "0.1", "0.25"]] * 2 == [list(trial.marks) for trial in replayed(runs, TOLERANCE).trials]


def test_what_ended_just_as_another_begins_is_known() -> None:
    """At the same second: ends come first. One that ends a second later is not known."""
    declared = 10.0
    before = [run(f"a{n}", n * DAY - 20 * HOUR * 30, 2.0, declared) for n in range(20)]
    latest = max(each.ended for each in before)
    same, later = (run("b", at, 9.0, declared) for at in (latest, latest - 1.0))

    found = [trial_of(replayed(runs, 0.1), runs, "b").marks["submit"].quantiles for runs in (
        [*before, same], [*before[:-1], same], [*before, later], [*before[:-1], later],
    )]  # fmt: skip

    assert found[0] != found[1]
    assert found[2] == found[3]


def test_history_makes_forecasts_of_its_like() -> None:
    """Forty runs came to a fifth of what was declared: the next one will, too."""
    runs = [run(f"a{n:02}", n * DAY, 2.0 + 0.01 * (n % 5)) for n in range(41)]

    mark = replayed(runs, TOLERANCE).trials[-1].marks["submit"]

    assert pytest.approx(2 * HOUR, rel=0.1) == mark.quantiles[LEVELS.index(0.5)]
    assert mark.p_over is not None
    assert mark.p_over < 0.05


@pytest.mark.parametrize("amiss", [
    run(hours=0.0), run(declared=None), run(user="", name=""), run(progress=3), run(declared=1e-9),
    run(declared=1e12), replace(run(), progress=((HOUR, 50.0), (2 * HOUR, 0.1))),
    replace(run(), progress=((-5.0, 0.5), (HOUR, 1e-300))), replace(run(), limit_seconds=1.0), run(devices=0.0),
])  # fmt: skip
def test_a_run_with_something_amiss_breaks_nothing(amiss: BacktestRun) -> None:
    """Of no length, without a declaration or a user, a thousand million times off, wrong progress, no devices."""
    runs = [replace(amiss, job_id="x"), *(run(f"a{n}", n * HOUR) for n in range(5)), replace(amiss, job_id="y")]

    found = replayed(runs, TOLERANCE).trials

    assert {5, 7} >= {len(found)}
    assert all(np.isfinite(mark.quantiles).all() for trial in found for mark in trial.marks.values())


def test_no_runs_make_no_trials() -> None:
    """And no baselines' either."""
    found = replayed([], TOLERANCE)

    assert ((), [(), (), (), ()]) == (found.trials, list(found.baselines.values()))


def test_runs_that_declare_nothing_have_no_trials_but_teach() -> None:
    """What is declared is judged; what others came to is known of them all."""
    silent = [run(f"a{n:02}", n * DAY, 2.0, None) for n in range(40)]
    last = run("b", 40 * DAY, 2.0, 10.0)

    alone, beside = (replayed(runs, TOLERANCE).trials for runs in ([last], [*silent, last]))

    assert (1, 1) == (len(alone), len(beside))
    middle = LEVELS.index(0.25)
    assert beside[0].marks["submit"].quantiles[middle] < alone[0].marks["submit"].quantiles[middle]


def test_clusters_know_nothing_of_each_other() -> None:
    """Also where they number their jobs alike; each is replayed as if it were alone."""
    runs = history(80, 2)
    others = [replace(each, cluster="b", ended=each.ended + HOUR) for each in runs]

    alone, beside, both = (replayed(those, TOLERANCE) for those in (runs, others, [*runs, *others]))

    assert (*alone.trials, *beside.trials) == both.trials
    assert {rule: (*said, *beside.baselines[rule]) for rule, said in alone.baselines.items()} == both.baselines


def test_failed_runs_teach_nothing_and_are_cut() -> None:
    """What failing takes says nothing about those that do not fail."""
    others = [run(f"b{n:02}", n * DAY, 8.0 + 0.1 * (n % 7)) for n in range(20)]
    failed = [run(f"a{n:02}", n * DAY + HOUR, 0.5, state="FAILED") for n in range(20)]
    last = run("c", 40 * DAY, 9.0)

    alone, beside = (replayed(runs, TOLERANCE).trials for runs in ([*others, last], [*others, *failed, last]))

    assert alone[-1] == beside[-1]
    assert {20} == {sum(trial.cut for trial in beside)}


def test_runs_that_were_ended_by_somebody_came_to_that_or_more() -> None:
    """Half were cancelled after an hour: what is forecast is what the others came to."""
    runs = [
        run(f"a{n:02}", n * DAY, 8.0 if n % 2 else 1.0, state="COMPLETED" if n % 2 else "CANCELLED")
        for n in range(60)
    ]

    mark = replayed(runs, TOLERANCE).trials[-1].marks["submit"]

    assert pytest.approx(8 * HOUR, rel=0.05) == mark.quantiles[LEVELS.index(0.5)]
    assert mark.quantiles[LEVELS.index(0.25)] > 7 * HOUR


@pytest.mark.parametrize("state", ["CANCELLED", "PREEMPTED", "KILLED", "UNKNOWN"])
def test_what_was_ended_by_others_or_unheard_is_not_judged(state: str) -> None:
    """As it is with forecasts of jobs that run: nobody knows what they would have come to."""
    (trial,) = replayed([run(state=state)], TOLERANCE).trials

    assert trial.cut


def test_what_is_used_up_is_a_fact_and_no_forecast() -> None:
    """An overrun that nobody called by then is called at every threshold as the tolerance is used up."""
    (trial,) = replayed([run(hours=20.0, declared=10.0)], TOLERANCE).trials

    assert set(THRESHOLDS) == set(trial.calls)
    assert Call(pytest.approx(11 * HOUR), 1.0) == trial.calls[0.95]


def test_a_run_that_stays_within_its_tolerance_becomes_no_fact() -> None:
    """It came to more than what was declared, and not to an overrun: what was called of it was forecast before."""
    (trial,) = replayed([run(hours=10.9, declared=10.0)], TOLERANCE).trials

    assert [] == [call for call in trial.calls.values() if call.used >= 10 * HOUR or call.stated == 1.0]
    assert 0.95 not in trial.calls


def test_an_overrun_is_called_as_soon_as_its_burn_up_says_so() -> None:
    """Declared for 10 hours and halfway through after 9: it is called as a tenth more is used."""
    (trial,) = replayed([run(hours=18.0, declared=10.0, progress=180)], TOLERANCE).trials

    for threshold in (0.5, 0.8):
        call = trial.calls[threshold]
        assert call.used < 10 * HOUR
        assert call.stated is not None
        assert call.stated >= threshold
        assert pytest.approx(round(call.used / HOUR * POLLS / 10)) == call.used / HOUR * POLLS / 10


def test_a_limit_that_a_run_went_beyond_is_no_end_to_it() -> None:
    """A site that does not enforce limits, or raised one: what is used is not all that it comes to."""
    (trial,) = replayed([replace(run(), limit_seconds=3 * HOUR)], TOLERANCE).trials

    assert {3 * HOUR} == {trial.marks[stage].quantiles[-1] for stage in ("submit", "0.1", "0.25")}
    assert [True, True] == [trial.marks[stage].quantiles[0] > trial.marks[stage].used for stage in ("0.5", "0.75")]


def test_thresholds_are_reached_in_their_order() -> None:
    """What is called at a high one was called at the lower ones before, or then."""
    for trial in replayed(history(120, 5), TOLERANCE).trials:
        used = [trial.calls[threshold].used for threshold in THRESHOLDS if threshold in trial.calls]

        assert sorted(used) == used


def test_a_forecast_is_never_below_what_is_used() -> None:
    """Whatever the history and whatever was learned from it."""
    for trial in replayed(history(150, 7), TOLERANCE).trials:
        for mark in trial.marks.values():
            assert mark.quantiles[0] >= mark.used
            assert list(mark.quantiles) == sorted(mark.quantiles)
            assert 0.0 <= (mark.p_over or 0.0) <= 1.0


def test_intervals_of_a_steady_history_hold_what_they_promise() -> None:
    """Six hundred runs of one user that come to a log-normal multiple of what is declared, one after the other."""
    random = np.random.default_rng(4)
    hours = np.exp(0.5 * random.standard_normal(600)) * 5
    runs = [run(f"a{n:04}", n * 10 * DAY, float(each), 5.0) for n, each in enumerate(hours)]

    marks = [(trial.marks["submit"], trial.final) for trial in replayed(runs, TOLERANCE).trials[100:]]
    held = np.mean([mark.quantiles[1] <= final <= mark.quantiles[5] for mark, final in marks])

    assert pytest.approx(0.8, abs=0.04) == held


def test_a_run_that_outlives_ever_so_many_others_waits_for_no_end() -> None:
    """Its decisions are made in time, though it ends last; one without an end yet is not there."""
    runs = [run("long", 0.0, 1000.0, 2000.0), *(run(f"a{n:03}", n * HOUR, 0.5, 1.0) for n in range(600))]

    found = trial_of(replayed(runs, TOLERANCE), runs, "long")

    assert ["submit", "0.1", "0.25"] == list(found.marks)
