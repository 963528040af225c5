"""Jobs on a node: when they begin, what they said, when they end."""

from __future__ import annotations

import json

from gpuwatch.agent.registry import Registry, claims
from gpuwatch.jobs.base import JobsReading, Run
from gpuwatch.model import Allocation, Estimate, JobKey, Reading, Scope

D0, D1 = "demo:0", "demo:1"


def claim(job_id, device=D0, share=1.0):
    return Allocation(job_id, device, share, "holders")


def hold(registry, now, *allocations, linger=0.0):
    return registry.hold(allocations, lambda _job: linger, now, 1000.0 + now)


def estimate(quantity="device-hours", likely=3600.0):
    return Estimate(Scope("job", "a"), quantity, likely, likely, likely, "s")


def test_job_begins_at_the_second_it_is_first_seen_and_keeps_its_key():
    """`started` is the wall-clock second of the first holding, on every later tick too."""
    registry = Registry()

    first, later = hold(registry, 0.7, claim("a")), hold(registry, 5.0, claim("a"), claim("a", D1))
    assert {each.job for each in (*first, *later)} == {JobKey("a", 1000)}


def test_job_ends_when_it_is_neither_holding_nor_alive():
    """A job of which the end is known ends at once."""
    registry = Registry()
    hold(registry, 0, claim("a"))

    assert registry.ended(frozenset({"a"}), 1) == []
    assert registry.ended(frozenset(), 2) == [JobKey("a", 1000)]
    assert registry.open == {}


def test_job_without_a_known_end_lingers():
    """`user:` jobs may let go of a device and come back within fifteen minutes."""
    registry = Registry()
    hold(registry, 0, claim("user:x"), linger=900)

    assert registry.ended(frozenset(), 899) == []
    assert registry.ended(frozenset(), 900) == [JobKey("user:x", 1000)]


def test_second_life_of_an_id_has_another_key_even_within_the_same_second():
    """Two lives of one id must never share counters."""
    registry = Registry()
    hold(registry, 0.1, claim("a"))
    registry.ended(frozenset(), 0.2)

    assert hold(registry, 0.3, claim("a"))[0].job == JobKey("a", 1001)


def test_first_step_reported_is_where_the_attempt_began():
    """A resumed run starts at the step it first reports, whatever comes later."""
    registry = Registry()
    registry.report(registry.said("a"), 300, 1000, 1.0, 1)

    progress = registry.report(registry.said("a"), 400, 1000, 2.0, 2)
    assert (progress.start_ratio, progress.ratio) == (0.3, 0.4)


def test_what_is_said_before_the_first_hold_belongs_to_the_job():
    """A batch script declares before its first kernel runs."""
    registry = Registry()
    registry.declare(registry.said("a"), [estimate()], "ft")
    key = hold(registry, 0, claim("a"))[0].job

    declared = registry.declared([key])[key]
    assert (declared.campaign, [each.quantity for each in declared.estimates]) == ("ft", ["device-hours"])


def test_second_life_does_not_inherit_what_the_first_said():
    """Progress of an ended job is not shown for the next one of that id, and stays with the first."""
    registry = Registry()
    first = hold(registry, 0, claim("a"))[0].job
    registry.report(registry.said("a"), 5, 10, 0.5, 1)
    registry.ended(frozenset(), 1)
    second = hold(registry, 2, claim("a"))[0].job

    told = registry.declared([first, second])
    assert list(told) == [first]
    registry.forget(first)
    assert registry.declared([first]) == {}


def test_registry_survives_as_json():
    """Everything a restart needs goes through the state file unchanged."""
    registry = Registry()
    registry.runs["r"] = Run("r", "name", 1, 2, 3)
    hold(registry, 0, claim("a"))
    registry.declare(registry.said("a"), [estimate()], "ft")
    registry.report(registry.said("a"), 5, 10, 0.5, 7)

    again = Registry()
    again.restore(json.loads(json.dumps(registry.document())))
    assert again.document() == registry.document()


def test_first_source_that_claims_a_device_decides_about_it():
    """What the batch system granted is not charged a second time to the process's user."""
    slurm, local = JobsReading((claim("42"),)), JobsReading((claim("user:x"), claim("user:y", D1)))

    allocations, unknown = claims({D0: Reading(D0, 0), D1: Reading(D1, 0)}, {"slurm": slurm, "local": local})
    assert [each.job_id for each in allocations] == ["42", "user:y"]
    assert unknown == set()


def test_silent_source_makes_the_rest_unknown():
    """Where a source does not answer, what nobody claims may be held by somebody."""
    _, unknown = claims(
        {D0: Reading(D0, 0), D1: Reading(D1, 0)}, {"slurm": None, "local": JobsReading((claim("x"),))}
    )

    assert unknown == {D0, D1}


def test_lost_device_that_nobody_claims_is_unknown_and_not_free():
    """A device that does not answer cannot say who has it open."""
    _, unknown = claims({D0: None, D1: None}, {"slurm": JobsReading((claim("42", D1),))})

    assert unknown == {D0}


def test_source_that_is_down_keeps_its_own_jobs_and_no_others():
    """What slurm knew lives on while slurm is silent; what local does not list any more has ended."""
    registry = Registry()
    hold(registry, 0, claim("42"), claim("user:x", D1))
    registry.see({"slurm": JobsReading((claim("42"),)), "local": JobsReading((claim("user:x", D1),))})

    alive = registry.see({"slurm": None, "local": JobsReading()})
    assert registry.ended(alive, 1) == [JobKey("user:x", 1000)]
    assert registry.ended(registry.see({"slurm": JobsReading(), "local": None}), 2) == [JobKey("42", 1000)]


def test_job_of_no_known_source_lives_while_any_is_silent():
    """After a restart nobody has said yet whose job it is."""
    registry = Registry()
    hold(registry, 0, claim("42"))

    assert registry.see({"slurm": None, "local": JobsReading()}) == {"42"}
    assert registry.see({"slurm": JobsReading(), "local": JobsReading()}) == set()


def test_made_up_jobs_do_not_grow_without_bound():
    """Anybody can talk about any number of jobs; the oldest are forgotten."""
    registry = Registry()
    for number in range(10_050):
        registry.report(registry.said(f"job{number}"), 1, 2, 0.0, number)

    assert len(registry.document()["said"]) == 10_000


def test_jobs_that_are_only_talked_about_do_not_make_a_real_one_forgotten():
    """A training that has run for weeks is the oldest of all, and what it declared stays."""
    registry = Registry()
    hold(registry, 0, claim("a"))
    registry.declare(registry.said("a"), [estimate()], None)
    for number in range(10_050):
        registry.said(f"job{number}")

    (told,) = registry.declared([JobKey("a", 1000)]).values()
    assert (estimate(),) == told.estimates
    assert len(registry.document()["said"]) == 10_000
