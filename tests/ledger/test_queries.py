"""What is read from the ledger: jobs, their attempts, campaigns, and what is known of each."""

from __future__ import annotations

import pytest

from gpuwatch.ledger import queries, writing
from gpuwatch.ledger.ledger import JournalEntry
from gpuwatch.ledger.posting import read
from gpuwatch.ledger.queries import Job, used
from gpuwatch.ledger.store import Store
from gpuwatch.model import Progress, Scope, Usage
from gpuwatch.usage.base import Delivery
from tests.ledger.deliveries import T0, declared, delivery, progress, row, run_ended, run_started

NOW = T0 + 120.0


def post(store: Store, *deliveries: Delivery) -> None:
    for each in deliveries:
        with store.writing() as connection:
            writing.post(connection, read(each), each.origin)


def current_jobs(store: Store, now: float = NOW) -> dict[str, Job]:
    with store.reading() as connection:
        return {job.scope.name: job for job in queries.current(connection, now).jobs}


def only_job(store: Store, now: float = NOW) -> Job:
    (job,) = current_jobs(store, now).values()
    return job


def test_a_job_is_summed_over_nodes_devices_and_epochs(store: Store) -> None:
    """Two devices on one node, one on another whose agent lost its state in between."""
    post(
        store,
        delivery([row(uuid="GPU-0"), row(uuid="GPU-1")]),
        delivery([row(uuid="GPU-9", energy_joules={})], node="gw1", epoch="aa"),
        delivery([row(uuid="GPU-9", started=T0 + 110, last_seen=T0 + 115.0)], node="gw1", epoch="bb"),
    )

    job = only_job(store)
    with store.reading() as connection:
        (detailed,) = queries.jobs_of(connection, ["run-1"], NOW)

    assert ("running", ("gw0", "gw1"), ()) == (job.state, job.nodes, job.devices)
    assert (job.usage, ("GPU-0", "GPU-1", "GPU-9")) == (detailed.usage, detailed.devices)
    assert (400.0, 108_000.0, {"working": 360.0, "idle": 40.0}) == (
        job.usage.held_seconds, job.usage.joules, job.usage.state_seconds,
    )  # fmt: skip
    assert job.usage == sum(detailed.by_device.values(), Usage())
    assert (T0, 115.0) == (job.started, job.wall_seconds)


def test_what_was_never_measured_is_unknown(store: Store) -> None:
    """No energy is not 0 J."""
    post(store, delivery([row(energy_joules={}, busy_seconds=None)]))

    job = only_job(store)

    assert (None, None, None) == (used(job, "energy"), job.usage.busy_seconds, used(job, "carbon"))


def test_what_the_job_said_is_beside_what_it_used(store: Store) -> None:
    """Name and user of the run, declaration, campaign, progress."""
    post(
        store,
        delivery(
            [row()],
            [declared("device-hours=2 energy=1kWh campaign=llama", started=None, time=T0 - 0.5)],
            [run_started(), progress(300)],
        ),
    )

    job = only_job(store)

    assert ("llama-ft", 1000, "llama") == (job.name, job.uid, job.campaign)
    assert {"device-hours": 7200.0, "energy": 3.6e6} == {
        each: value.likely for each, value in job.estimates.items()
    }
    assert Progress(300, 1000, 0, T0 + 100.0, least_total=1000, most_total=1000) == job.progress


def test_the_farthest_node_is_the_jobs_progress(store: Store) -> None:
    """Ranks report one by one; a node that is late does not pull the job back."""
    post(
        store,
        delivery([row()], events=[progress(300, time=T0 + 100.0)]),
        delivery([row(uuid="GPU-9")], events=[progress(280, time=T0 + 110.0)], node="gw1"),
    )

    report = only_job(store).progress

    assert report is not None
    assert 300 == report.step


def test_progress_said_before_the_first_device_belongs_to_the_attempt(store: Store) -> None:
    """The first step of the attempt is the one said first."""
    post(store, delivery([row()], events=[progress(100, started=None, time=T0 - 1.0, start_step=100)]))
    post(store, delivery(events=[progress(150, start_step=150)]))

    report = only_job(store).progress

    assert report is not None
    assert (150, 100) == (report.step, report.start_step)


def test_a_closed_job_has_ended_with_its_exit_code(store: Store) -> None:
    """And is current for 15 minutes more."""
    post(store, delivery([row(open=False)], events=[run_ended(exit_code=3)]))

    job = only_job(store)

    assert ("ended", 3, T0 + 101.0) == (job.state, job.exit_code, job.last_seen)
    assert [] == list(current_jobs(store, NOW + 901))


def test_a_job_that_is_not_heard_of_is_unseen_and_then_lost(store: Store) -> None:
    """An agent that is down for an hour does not end its jobs; after a day they count as ended."""
    post(store, delivery([row()]))

    states = [only_job(store, T0 + 100.0 + silence).state for silence in (800, 1000, 86_000)]

    assert ["running", "unseen", "unseen"] == states
    assert {} == current_jobs(store, T0 + 100.0 + 90_000)


def test_a_row_of_an_epoch_that_its_node_left_is_closed(store: Store) -> None:
    """Nobody will close it any more."""
    post(store, delivery([row()], epoch="aa"), delivery(epoch="bb", now=T0 + 110.0))

    assert "ended" == only_job(store).state


def test_a_job_of_the_future_is_not_current_for_ever(store: Store) -> None:
    """A node whose clock was a year ahead ended a job then."""
    post(store, delivery([row(open=False, last_seen=T0 + 3e7)]))

    assert {} == current_jobs(store)


def test_a_job_id_used_again_is_a_scope_of_its_own(store: Store) -> None:
    """With its own usage, declaration and progress."""
    later = T0 + 5000
    post(
        store,
        delivery(
            [row(open=False), row(started=later, last_seen=later + 50.0, held_seconds=50.0)],
            [declared("device-hours=1"), declared("device-hours=3", seq=7, time=later + 1.0, started=later)],
            [progress(900), progress(10, started=later, time=later + 40.0)],
        ),
    )

    with store.reading() as connection:
        first, second = queries.jobs_of(connection, ["run-1"], later + 60.0)

    assert [Scope("job", "run-1"), Scope("job", f"run-1@{later}")] == [first.scope, second.scope]
    assert [100.0, 50.0] == [job.usage.held_seconds for job in (first, second)]
    assert [3600.0, 10_800.0] == [job.estimates["device-hours"].likely for job in (first, second)]
    assert second.scope == second.estimates["device-hours"].scope
    assert [900, 10] == [job.progress.step for job in (first, second) if job.progress]


def test_a_campaign_is_all_its_jobs_ever(store: Store) -> None:
    """Also the failed one of last week; its amount is the campaign's own, not the sum of the jobs'."""
    past = T0 - 600_000
    post(
        store,
        delivery(
            [row("old", started=past, last_seen=past + 100.0, open=False), row(), row("alone", uuid="GPU-5")],
            [
                declared("device-hours=9 campaign=llama", "old", seq=1, time=past + 1.0, started=past),
                declared("device-hours=9 campaign=llama", seq=2),
                declared("device-hours=5 for=campaign:llama", "alone", seq=3),
                declared("device-hours=6 for=campaign:llama", None, seq=4, time=T0 + 2.0, started=None),
            ],
        ),
    )

    with store.reading() as connection:
        (campaign,) = queries.current(connection, NOW).campaigns

    assert (Scope("campaign", "llama"), "running") == (campaign.scope, campaign.state)
    assert ["run-1", "old"] == [job.scope.name for job in campaign.jobs]
    assert (200.0, 600_100.0) == (campaign.usage.held_seconds, campaign.wall_seconds)
    assert {"device-hours": 21_600.0} == {each: value.likely for each, value in campaign.estimates.items()}
    assert [False, True] == sorted(each.in_force for each in campaign.revisions)


def test_another_job_cannot_declare_for_this_one(store: Store) -> None:
    """Its text is in the journal, and counts for nothing."""
    post(store, delivery([row(), row("run-2", uuid="GPU-1")], [declared("device-hours=1 for=job:run-1", "run-2")]))

    jobs = current_jobs(store)

    assert ({}, {}) == (jobs["run-1"].estimates, jobs["run-2"].estimates)


def test_an_operator_declares_for_a_job_by_its_id(store: Store) -> None:
    """By API, with no job of his own."""
    post(store, delivery([row()]))
    with store.writing() as connection:
        said = JournalEntry(T0 + 5.0, None, 0, "api", 1, None, "device-hours=1 for=job:run-1", "ada")
        writing.post_declaration(connection, "default", said)

    assert 3600.0 == only_job(store).estimates["device-hours"].likely


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("run-1", ["run-1"]),
        (f"run-1@{T0 + 5000}", [f"run-1@{T0 + 5000}"]),
        ("llama-ft", ["run-2", "run-3"]),
        ("no", []),
    ],
)
def test_a_job_is_found_by_id_attempt_or_name(store: Store, name: str, expected: list[str]) -> None:
    """Runs of one name come latest first."""
    post(
        store,
        delivery(
            [
                row(), row(started=T0 + 5000, last_seen=T0 + 5001.0), row("run-2", started=T0 + 9), row("run-3"),
            ],
            events=[run_started("run-2"), run_started("run-3")],
        ),
    )  # fmt: skip

    with store.reading() as connection:
        found = queries.jobs_named(connection, name, NOW)

    assert expected == [job.scope.name for job in found]


def test_jobs_since_a_time_come_latest_first(store: Store) -> None:
    """Older ones are left out."""
    post(
        store,
        delivery([row("a", last_seen=T0 - 50.0, started=T0 - 90), row("b"), row("c", started=T0 + 1), row("d")]),
    )

    with store.reading() as connection:
        found = queries.jobs_since(connection, T0, NOW)

    assert ["c", "b", "d"] == [job.scope.name for job in found]


def test_many_jobs_are_read_in_parts(store: Store) -> None:
    """More than one statement takes at once."""
    post(store, delivery([row(f"run-{number:04}") for number in range(1201)]))

    assert 1201 == len(current_jobs(store))
