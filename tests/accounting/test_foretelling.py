"""What is said of jobs and campaigns out of a ledger, whatever is known of them."""

from __future__ import annotations

from typing import Any

import pytest

from gpuwatch.accounting.forecasts import NOTHING
from gpuwatch.accounting.telling import OUTLIVED
from gpuwatch.ledger import coming
from gpuwatch.ledger.store import Store
from tests.accounting.site import (
    BEGAN,
    MINUTE,
    NOW,
    Site,
    at_step,
    ends,
    history,
    hours,
    learned_of,
    ran,
    runs,
    seen,
    train,
    trials,
    waits,
)
from tests.ledger.batch import HOUR
from tests.ledger.deliveries import declared


@pytest.fixture
def site(sqlite_store: Store) -> Site:
    """A site of which nothing is known yet."""
    return Site(sqlite_store)


def test_where_nothing_is_known_nothing_is_said_but_why(site: Site) -> None:
    """No declaration, no progress, no history: what is shipped alone says nothing of such a job."""
    site.run_pass(NOW, runs("1", BEGAN, NOW))

    found = site.of("1")
    assert ({}, NOTHING, None, 2 * HOUR) == (found.quantiles, found.basis, found.p_over, found.used)
    assert {} == trials(site)


def test_where_its_like_say_too_little_it_is_not_said_that_there_are_none(site: Site) -> None:
    """Two have ended, and nothing is declared."""
    site.run_pass(NOW, *history(2), runs("1", NOW - 10 * HOUR, NOW))

    found = site.of("1")
    why = "too little to go by: neither its progress nor what jobs like it came to says enough"
    assert ({}, why) == (found.quantiles, found.basis)


def test_history_alone_makes_an_expectation_which_is_no_declaration(site: Site) -> None:
    """What 9 of 10 of its like do not exceed stays what it is held against, whatever is forecast later."""
    site.run_pass(NOW, *history(30), runs("1", NOW - 600, NOW))
    first = site.of("1")
    site.run_pass(NOW + HOUR, runs("1", NOW - 600, NOW + HOUR))
    later = site.of("1")

    assert ("expected", None) == (first.against, first.declared)
    assert "30 jobs of ada called train" in first.basis
    assert 2.0 <= hours(first)[0.5] <= 2.4
    assert first.reference == first.quantiles[0.9] == later.reference
    assert {"expected"} == {each.against for each in trials(site).values()}


def test_what_is_shipped_is_called_so(site: Site) -> None:
    """A declaration, and nothing alike has ended: wide, around it, and no record of this site."""
    site.run_pass(NOW, runs("1", BEGAN, NOW, "device-hours=10"))

    found = site.of("1")
    assert "what is shipped about declarations: nothing alike has ended here" == found.basis
    assert "no record at this site yet (n=0)" == found.record
    assert ("declared", 10 * HOUR, "0.1") == (found.against, found.reference, found.stage)
    assert hours(found)[0.1] < 5 < 8 < hours(found)[0.5] < 12 < 20 < hours(found)[0.9]


def test_a_job_that_tells_how_far_it_is_is_forecast_by_that(site: Site) -> None:
    """A thousandth in thirty seconds of two devices: 16.7 device-hours in all, whatever was declared."""
    train(site, NOW + 3 * HOUR, "device-hours=10")

    found = site.of("1")
    assert found.basis.startswith("its burn-up at 48 % of 1,000 steps")
    assert 1000 * 30 * 2 / HOUR == pytest.approx(hours(found)[0.5], rel=0.02)
    assert hours(found)[0.9] - hours(found)[0.1] < 0.4 * hours(found)[0.5]
    assert found.p_over is not None and found.p_over > 0.95
    assert BEGAN + 5 * HOUR == found.crosses_at


def test_progress_in_other_units_than_the_whole_is_not_believed(site: Site) -> None:
    """Tokens of a whole in steps: it would have been done long ago."""
    train(site, NOW, "device-hours=10", total=0.01)

    assert "what is shipped about declarations: nothing alike has ended here" == site.of("1").basis
    assert hours(site.of("1"))[0.5] > 8


@pytest.mark.parametrize("off", [1e-3, 1e3])
def test_a_declaration_may_be_a_thousand_times_off(site: Site, off: float) -> None:
    """Too low: it is exceeded, and what follows is about as long again; too high: the burn-up tells the end."""
    train(site, NOW + 3 * HOUR, f"device-hours={17 * off}")

    found = site.of("1")
    assert (1.0 if off < 1 else 0.0) == pytest.approx(found.p_over, abs=0.05)
    assert 17 == pytest.approx(hours(found)[0.5], rel=0.05)
    assert found.quantiles[0.05] >= found.used


def test_what_outlives_all_that_is_known_goes_on_for_about_as_long_again(site: Site) -> None:
    """A job that never ends, and declared a hundredth of what it used."""
    for day in range(1, 15):
        now = BEGAN + day * 24 * HOUR
        site.run_pass(now, runs("1", BEGAN, now, "device-hours=1"))

        found = site.of("1")
        assert found.used <= found.quantiles[0.05] < found.quantiles[0.95] < 10 * found.used
    assert (OUTLIVED, 1.0) == (found.basis, found.p_over)


def test_a_limit_is_an_end_to_all(site: Site) -> None:
    """Four hours of two devices: no forecast is beyond; how likely they end it is said where its like is known."""
    site.run_pass(NOW, runs("1", BEGAN, NOW, "device-hours=10", limit_seconds=4 * HOUR))
    alone = site.of("1")
    longer = history(30, hours=[5.0 + number % 7 / 10 for number in range(30)], says="device-hours=10")
    site.restart()
    site.run_pass(NOW + 60, *longer, runs("1", BEGAN, NOW + 60, "device-hours=10", limit_seconds=4 * HOUR))

    found = site.of("1")
    assert (8.0, 8.0) == (hours(alone)[0.95], hours(found)[0.95])
    assert (0.0, None, None) == (found.p_over, found.crosses_at, alone.p_limit)
    assert found.p_limit is not None and found.p_limit > 0.8


def test_what_was_not_measured_makes_the_interval_of_energy_wider(site: Site) -> None:
    """Half of the time nobody measured: nothing is added for sure, and as much as was measured at most."""
    for number, gap in enumerate((0.0, 0.5)):
        job_id = f"g{number}"
        row = seen(job_id, BEGAN, NOW, energy_unmeasured_seconds=gap * HOUR,
                   energy_joules={"counter": 1.8e6 * (1 - gap)}, uuid=f"GPU-{number}")  # fmt: skip
        site.post(rows=[row], now=NOW)
    records = [runs(f"g{number}", BEGAN, NOW, "device-hours=10", devices=1.0) for number in range(2)]
    site.run_pass(NOW, *records)

    whole, half = site.of("g0", "energy"), site.of("g1", "energy")
    spread = [each.quantiles[0.9] / each.quantiles[0.1] for each in (whole, half)]
    assert half.basis.endswith("not measured for 50 % of the held time")
    assert spread[0] < spread[1]
    assert site.of("g0").quantiles == site.of("g1").quantiles


def test_open_ended_jobs_have_no_forecast(site: Site) -> None:
    """Processes of a user, and what the site calls a notebook."""
    notebook = runs("2", BEGAN, NOW, "device-hours=1", name="Jupyter-lab")
    site.run_pass(NOW, *history(30), notebook, rows=[seen("user:ada", BEGAN, NOW)])

    assert not any(each.quantiles for each in site.found if each.scope.name in ("2", "user:ada"))
    assert {} == trials(site)


@pytest.mark.parametrize("jump", [-2 * HOUR, 30 * 24 * HOUR])
def test_a_clock_that_jumps_breaks_nothing(site: Site, jump: float) -> None:
    """Back or ahead, and right again: the forecast is what it was."""
    declared_twenty = "device-hours=20"
    train(site, NOW + 2 * HOUR, declared_twenty)
    site.run_pass(NOW + 2 * HOUR + jump)
    now = NOW + 2 * HOUR + MINUTE
    site.run_pass(now, runs("1", BEGAN, now, declared_twenty), rows=[seen("1", BEGAN, now)])

    assert 16.7 == pytest.approx(hours(site.of("1"))[0.5], rel=0.05)
    assert learned_of(site) <= 1


def test_an_array_of_many_tasks_fakes_no_certainty(site: Site) -> None:
    """A thousand tasks of one array say less than a thousand jobs that were submitted one by one."""
    array = [
        ran(f"a{n}", NOW - HOUR - n * HOUR, 1.0 + n % 7 / 100, display=f"5_{n}", name="sweep") for n in range(150)
    ]
    single = [
        ran(f"s{n}", NOW - HOUR - n * HOUR, 1.0 + n % 7 / 100, name="single", user="bob") for n in range(150)
    ]
    site.run_pass(NOW, *array, *single, runs("1", NOW - 600, NOW, name="sweep"),
                  runs("2", NOW - 600, NOW, name="single", user="bob"))  # fmt: skip

    one, other = site.of("1"), site.of("2")
    assert other.quantiles[0.95] - other.quantiles[0.05] < one.quantiles[0.95] - one.quantiles[0.05]


def test_projections_of_others_correct_a_burn_up(site: Site) -> None:
    """All of them came to half as much again as their burn-ups said at first: the last third is slow."""
    now = NOW
    for number in range(6):
        began = now
        for minutes, step in ((10, 200), (20, 400), (30, 600), (50, 800), (70, 1000)):
            at = began + minutes * MINUTE
            site.run_pass(at, runs(f"{number}", began, at, "device-hours=4"), rows=[seen(f"{number}", began, at)],
                          events=[at_step(f"{number}", began, at, step)])  # fmt: skip
        site.run_pass(at + 60, ends(runs(f"{number}", began, at, "device-hours=4"), at + 30))
        now = at + 10 * MINUTE
    for minutes, step in ((10, 200), (20, 400), (30, 600)):
        at = now + minutes * MINUTE
        site.run_pass(at, runs("9", now, at), rows=[seen("9", now, at)], events=[at_step("9", now, at, step)])

    assert 1.05 * 1.0 / 0.6 < hours(site.of("9"))[0.5] < 2.4


def test_what_is_of_fewer_than_three_people_is_not_told_to_others(site: Site) -> None:
    """Neither in words nor in numbers: bob's runs would be told by the forecast of eve's."""
    secret = [ran(f"b{n}", NOW - HOUR - n * HOUR, 40.0 + n, user="bob", name="secret") for n in range(20)]
    site.run_pass(NOW, *secret, runs("1", NOW - 600, NOW, user="eve", name="secret"))
    alone = site.of("1")
    more = [ran(f"c{n}", NOW - HOUR - n * HOUR, 40.0 + n, user=f"user{n % 2}", name="secret") for n in range(20)]
    other = Site(site.store)
    other.run_pass(NOW + 60, *more, runs("1", NOW - 600, NOW + 60, user="eve", name="secret"))

    assert ({}, NOTHING) == (alone.quantiles, alone.basis)
    assert "40 jobs called secret, of anybody" in other.of("1").basis


def test_jobs_that_wait_are_forecast_with_their_campaign(site: Site) -> None:
    """By what ended of their like; a job that holds no device needs none, and an array as much as its tasks."""
    site.run_pass(
        NOW, *history(30), runs("1", NOW - 600, NOW, "campaign=llama", name="train"),
        waits("2", NOW, "campaign=llama", name="train"), waits("3", NOW, "campaign=llama", name="train", tasks=3),
        waits("4", NOW, "campaign=llama", name="train", devices=0.0), waits("5", NOW, "campaign=other"),
    )  # fmt: skip

    found = site.of("llama", kind="campaign")
    assert 5 * 2.2 == pytest.approx(hours(found)[0.5], rel=0.25)
    assert found.basis.startswith("1 job running, 4 jobs waiting beside")
    assert found.quantiles[0.1] < found.quantiles[0.5] < found.quantiles[0.9]
    assert found.record == site.of("1").record


def chain(site: Site, now: float, *waiting: Any) -> None:
    """A chain of two jobs of a campaign of 10 device-hours: 600 of 1000 steps after two hours of two devices."""
    first, second = now - 2 * HOUR, now - HOUR
    said = "campaign=llama"
    told = [
        declared("device-hours=10 for=campaign:llama", "1", started=int(first), seq=3, time=first + 1),
    ]
    site.run_pass(
        now, ran("1", second - 60, 1 - 1 / 60, said, state="TIMEOUT"), runs("2", second, now, said), *waiting,
        rows=[seen("1", first, second - 60, False), seen("2", second, now)], said=told,
        events=[at_step("1", first, second - 60, 300), at_step("2", second, now, 600, start=300)],
    )  # fmt: skip


def test_jobs_that_wait_beyond_those_that_are_looked_at_are_told_of(site: Site) -> None:
    """A campaign of very many is more than what is forecast of it."""
    queue = (waits(f"2{number:04d}", NOW, "campaign=llama", name="train") for number in range(coming.MOST))
    site.run_pass(NOW, *history(30), runs("1", NOW - 600, NOW, "campaign=llama", name="train"), *queue,
                  waits("3", NOW, "campaign=llama", name="train", tasks=7))  # fmt: skip

    basis = site.of("llama", kind="campaign").basis
    assert basis.startswith("1 job running, 1000 jobs waiting beside, 7 more of which nothing can be said: ")


def test_a_campaign_of_one_chain_is_held_against_what_is_declared_for_it(site: Site) -> None:
    """Its burn-up is that of the chain, and its declaration is evidence."""
    chain(site, NOW)

    found = site.of("llama", kind="campaign")
    assert ("declared", 10 * HOUR) == (found.against, found.reference)
    assert found.basis.startswith("chain of 2 jobs, 60 % of 1000 steps: its burn-up at 60 % of 1,000 steps")
    assert 4 / 0.6 == pytest.approx(hours(found)[0.5], rel=0.05)
    assert found.p_over is not None and found.p_over < 0.2


def test_what_will_go_on_with_a_chain_is_not_counted_twice(site: Site) -> None:
    """The chain is forecast to its end, whoever makes it; another job that waits comes on top."""
    chain(site, NOW)
    alone = site.of("llama", kind="campaign").quantiles
    site.restart()
    chain(site, NOW, waits("3", NOW, "campaign=llama", name="train"))

    assert alone == site.of("llama", kind="campaign").quantiles
    chain(site, NOW, waits("4", NOW, "campaign=llama", name="eval"))
    assert "1 more of which nothing can be said" in site.of("llama", kind="campaign").basis
