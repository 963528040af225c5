"""A job with a batch system's word beside what nodes saw: what it is charged, its attempts, its declarations."""

from __future__ import annotations

import pytest

from gpuwatch.ledger import queries, writing
from gpuwatch.ledger.posting import read
from gpuwatch.ledger.queries import Job, used
from gpuwatch.ledger.record_store import post_records
from gpuwatch.ledger.store import Store
from gpuwatch.model import Scope
from gpuwatch.schedulers.base import Live, Record
from gpuwatch.usage.base import Delivery
from tests.ledger.batch import HOUR, T0, pending, record, running
from tests.ledger.deliveries import declared, delivery, progress, row

NOW = T0 + HOUR / 2 + 60.0


def post(store: Store, *told: Record | Delivery) -> None:
    """Records and deliveries, each in a transaction of its own."""
    for each in told:
        with store.writing() as connection:
            if isinstance(each, Record):
                post_records(connection, [each])
            else:
                writing.post(connection, read(each), each.origin)


def jobs(store: Store, now: float = NOW) -> list[Job]:
    """All jobs, the oldest first."""
    with store.reading() as connection:
        return list(reversed(queries.jobs_since(connection, 0.0, now)))


def held(**changed: object) -> dict[str, object]:
    """A node's row of job 7, open since `T0`."""
    return row("7", **{"started": T0 + 1, "last_seen": T0 + 1700.0, "held_seconds": 1600.0, **changed})


def test_a_job_is_charged_what_was_allocated(store: Store) -> None:
    """Two devices for half an hour, of which an agent saw one; what was held explains it."""
    post(store, running(), delivery([held()]))

    (job,) = jobs(store)

    assert (3600.0, 1600.0, 3600.0) == (job.allocated_seconds, job.usage.held_seconds, used(job, "device-hours"))
    assert ("running", "train", "gw0", T0) == (job.state, job.name, *job.nodes, job.started)


def test_where_the_batch_system_does_not_know_what_was_held_counts(store: Store) -> None:
    """Its answer has no devices in it."""
    post(store, running(devices=None), delivery([held()]))

    (job,) = jobs(store)

    assert (None, 1600.0) == (job.allocated_seconds, used(job, "device-hours"))


def test_a_part_of_which_the_devices_are_not_known_is_charged_what_it_held(store: Store) -> None:
    """Two pods of one owner side by side; how many devices one has nobody told, but an agent saw it hold some."""
    told = [running(f"pod-{each}", whole="owner", devices=devices) for each, devices in (("a", 2.0), ("b", None))]
    post(store, *told, delivery([{**held(), "job_id": "pod-b"}]))

    (job,) = jobs(store)

    assert (3600.0, 3600.0 + 1600.0) == (job.allocated_seconds, used(job, "device-hours"))


def test_devices_counted_by_their_indices_stand_in(store: Store) -> None:
    """AllocTRES has no GPUs where the site does not track them; the indices were seen while it ran."""
    post(store, record(devices=None, live=Live(T0 + 9.0, devices=4.0, indices={"gw0": (0, 1, 2, 3)})))

    assert [4 * HOUR] == [job.allocated_seconds for job in jobs(store, T0 + 2 * HOUR)]


def test_a_job_that_no_agent_saw_is_a_job(store: Store) -> None:
    """There is no agent on its nodes; one without devices is none of this ledger's."""
    post(store, record(), record("8", devices=0.0))

    (job,) = jobs(store, T0 + 2 * HOUR)

    assert (Scope("job", "7"), "ended", 2 * HOUR, 0.0, ()) == (
        job.scope, job.state, job.device_seconds, job.usage.held_seconds, job.devices,
    )  # fmt: skip


def test_a_requeue_chain_is_one_job_with_attempts(store: Store) -> None:
    """What both attempts used is the job's; its progress is the last one's."""
    post(
        store,
        record(ended=T0 + 100.0, state="NODE_FAIL"),
        running(submitted=T0 + 100, started=T0 + 200.0, restarts=1),
        delivery([held(started=T0, last_seen=T0 + 99.0, open=False, held_seconds=98.0)]),
        delivery([held(started=T0 + 201, held_seconds=1500.0)]),
        delivery(events=[progress(100, job_id="7", started=T0, time=T0 + 90.0)]),
        delivery(events=[progress(300, job_id="7", started=T0 + 201, time=T0 + 900.0, start_step=100)]),
    )

    (job,) = jobs(store)

    assert [(T0, 200.0, 98.0, "NODE_FAIL"), (T0 + 200, 3200.0, 1500.0, "RUNNING")] == [
        (run.started, run.allocated_seconds, run.usage.held_seconds, run.outcome) for run in job.runs
    ]
    assert (3400.0, 1598.0, T0, "running") == (
        job.allocated_seconds, job.usage.held_seconds, job.started, job.state,
    )  # fmt: skip
    assert job.progress is not None
    assert 300 == job.progress.step


def test_a_requeued_job_waits(store: Store) -> None:
    """It is not over, though it holds nothing: alerts about it stay."""
    post(store, record(ended=T0 + 100.0, state="REQUEUED"), pending(submitted=T0 + 100, seen=NOW))

    assert ["waiting"] == [job.state for job in jobs(store)]


def test_a_reused_id_is_another_job(store: Store) -> None:
    """Months later, by somebody else."""
    later = T0 + 5_000_000
    again = record(submitted=later, started=later + 5.0, ended=later + 65.0, seen=later + 65.0, user="bob")
    post(store, record(), again)

    found = jobs(store, later + 100.0)

    assert [("7", "ada", 7200.0), (f"7@{later + 5}", "bob", 120.0)] == [
        (job.scope.name, job.record.facts.user, job.device_seconds) for job in found if job.record
    ]


@pytest.mark.parametrize(
    "told",
    [
        {"comment": "gpuwatch: device-hours=640 campaign=llama"},
        {"admin_comment": "gpuwatch: device-hours=640 campaign=llama"},
    ],
)
def test_a_comment_declares(store: Store, told: dict[str, str]) -> None:
    """For the job it is of, and its campaign; what the job says at the socket outranks it."""
    post(store, running(live=Live(T0 + 9.0, **told)))

    (job,) = jobs(store)

    estimate = job.estimates["device-hours"]
    expected = {"comment": "user:ada", "admin_comment": "administrator"}
    assert ("llama", 640 * HOUR) == (job.campaign, estimate.likely)
    assert expected == {**expected, estimate.channel.replace("-", "_"): estimate.declared_by}
    post(store, delivery([held()], [declared("device-hours=10", "7", started=T0 + 1, time=T0 + 2.0)]))
    assert [10 * HOUR] == [job.estimates["device-hours"].likely for job in jobs(store)]


def test_a_campaign_has_the_jobs_whose_comment_names_it(store: Store) -> None:
    """One by its comment, one by what it said at the socket; charged what each was allocated."""
    post(
        store,
        running(live=Live(T0 + 9.0, comment="gpuwatch: campaign=llama")),
        delivery(
            [row("run-1", started=T0, last_seen=NOW)], [declared("campaign=llama", time=T0 + 2.0, started=T0)]
        ),
    )

    with store.reading() as connection:
        (campaign,) = queries.campaigns_of(connection, ["llama"], NOW)

    assert ["7", "run-1"] == sorted(job.scope.name for job in campaign.jobs)
    assert (3600.0, 3700.0) == (campaign.allocated_seconds, used(campaign, "device-hours"))


def test_jobs_are_found_by_what_users_call_them(store: Store) -> None:
    """An array's task by its display id, a job by its name."""
    post(store, record(display="5_3"))

    with store.reading() as connection:
        found = [queries.jobs_named(connection, name, NOW) for name in ("7", "5_3", "train", "other")]

    assert [["7"], ["7"], ["7"], []] == [[job.scope.name for job in those] for those in found]
    assert "5_3" == found[0][0].display


def test_a_job_that_the_batch_system_forgot_ends_after_a_day(store: Store) -> None:
    """Its end was never told; it held until it was last seen."""
    post(store, running())

    states = [jobs(store, T0 + HOUR / 2 + seconds)[0].state for seconds in (60.0, 1000.0, 90_000.0)]

    assert ["running", "unseen", "ended"] == states
    assert 3600.0 == jobs(store, T0 + HOUR / 2 + 90_000.0)[0].allocated_seconds


def test_the_pass_sees_jobs_by_the_batch_systems_word(store: Store) -> None:
    """Running ones and those that ended a moment ago."""
    post(store, running("a"), record("b", ended=NOW - 60.0), record("c", ended=NOW - 2000.0, started=T0 - 999.0))

    with store.reading() as connection:
        found = queries.current(connection, NOW)

    assert {"a", "b"} == {job.scope.name for job in found.jobs}
