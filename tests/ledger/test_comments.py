"""Comments that change while their job runs: each is a revision, by whoever may write such a comment."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from gpuwatch.ledger import tables
from gpuwatch.ledger.queries import campaigns_of, jobs_of
from gpuwatch.ledger.record_store import post_records
from gpuwatch.ledger.scopes import Revision
from gpuwatch.ledger.store import Store, open_store
from gpuwatch.schedulers.base import Live
from tests.ledger.batch import HOUR, T0, record, running

SUBMITTED = T0 - 60


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    opened = open_store(str(tmp_path / "ledger.db"))
    yield opened
    opened.close()


def told(store: Store, seconds: float, comment: str = "", admin_comment: str = "", **changed: Any) -> None:
    """Slurm tells of the job, so long after its start."""
    live = Live(T0 + seconds, *(text and f"gpuwatch: {text}" for text in (comment, admin_comment)))
    with store.writing() as connection:
        post_records(connection, [running(live=live, seen=T0 + seconds, **changed)])


def revisions(store: Store) -> list[Revision]:
    """What is declared for the job, the first first."""
    with store.reading() as connection:
        (job,) = jobs_of(connection, ["7"], T0 + 300.0)
    return list(job.revisions[::-1])


def said(store: Store) -> list[tuple[float, float, str, str, bool]]:
    """Of each revision the hours, when, through what, who, and whether it is in force."""
    found = [(each.estimate, each.in_force) for each in revisions(store)]
    return [
        (one.likely / HOUR, one.declared_at, one.channel, one.declared_by, in_force) for one, in_force in found
    ]


def journalled(store: Store) -> int:
    with store.reading() as connection:
        return len(list(connection.execute(select(tables.journal))))


def test_a_comment_that_never_changes_needs_no_journal(store: Store) -> None:
    """However often it is told of."""
    for seconds in range(5):
        told(store, seconds, "device-hours=1")

    assert [(1.0, SUBMITTED, "comment", "user:ada", True)] == said(store)
    assert 0 == journalled(store)


def test_a_comment_that_changes_is_a_revision_each_time(store: Store) -> None:
    """With when the change was seen; what is said again later is in force again."""
    for seconds, hours in enumerate((1, 2, 3, 3, 1), 10):
        told(store, seconds, f"device-hours={hours}")

    assert [
        (1.0, SUBMITTED, "comment", "user:ada", False),
        (2.0, T0 + 11.0, "comment", "user:ada", False),
        (3.0, T0 + 12.0, "comment", "user:ada", False),
        (1.0, T0 + 14.0, "comment", "user:ada", True),
    ] == said(store)
    assert [True, False, False, False] == [each.original for each in revisions(store)]


def test_an_administrators_comment_has_the_same_rank(store: Store) -> None:
    """The later of the two counts, and who made it is told apart."""
    told(store, 10, "device-hours=1", "device-hours=5")
    told(store, 11, "device-hours=1", "device-hours=6")

    assert [
        (5.0, SUBMITTED, "admin-comment", "administrator", False),
        (1.0, SUBMITTED, "comment", "user:ada", False),
        (6.0, T0 + 11.0, "admin-comment", "administrator", True),
    ] == said(store)


def test_a_comment_may_be_for_the_campaign_of_its_job(store: Store) -> None:
    """Made as the job was submitted; by a job that is none of its jobs it is not heard after the first."""
    told(store, 10, "device-hours=5 for=campaign:llama", "campaign=llama")
    told(store, 11, "device-hours=5 for=campaign:llama", "campaign=llama")
    with store.writing() as connection:
        stranger = Live(T0 + 12.0, "gpuwatch: device-hours=9 for=campaign:llama")
        post_records(connection, [running("8", live=stranger, submitted=SUBMITTED + 9, user="eve")])

    with store.reading() as connection:
        (campaign,) = campaigns_of(connection, ["llama"], T0 + 300.0)
    (only,) = campaign.revisions
    assert ["7"] == [job.job_id for job in campaign.jobs]
    assert (5 * HOUR, SUBMITTED, "user:ada") == (
        only.estimate.likely, only.estimate.declared_at, only.estimate.declared_by,
    )  # fmt: skip


def test_a_declaration_that_is_taken_out_of_a_comment_stands(store: Store) -> None:
    """What was said was said, and what is said anew comes after it."""
    told(store, 10, "device-hours=1")
    told(store, 11, "no such key")
    told(store, 12, "device-hours=2")

    assert [(1.0, SUBMITTED, False), (2.0, T0 + 12.0, True)] == [
        (each[0], each[1], each[4]) for each in said(store)
    ]


def test_old_news_of_a_comment_changes_nothing(store: Store) -> None:
    """Told late, or told again."""
    told(store, 10, "device-hours=1")
    told(store, 20, "device-hours=2")
    before = said(store)

    told(store, 15, "device-hours=9")
    told(store, 10, "device-hours=1")
    told(store, 20, "device-hours=2")

    assert before == said(store)


def test_the_next_attempt_with_the_same_comment_declares_nothing_new(store: Store) -> None:
    """A requeue carries the comment on."""
    told(store, 10, "device-hours=1")
    told(store, 20, "device-hours=2")
    again = Live(T0 + 200.0, "gpuwatch: device-hours=2")
    with store.writing() as connection:
        post_records(
            connection,
            [
                record(state="REQUEUED", ended=T0 + 100.0, seen=T0 + 190.0),
                running(submitted=T0 + 101, started=T0 + 120.0, restarts=1, seen=T0 + 200.0, live=again),
            ],
        )

    assert [(1.0, False), (2.0, True)] == [(each[0], each[4]) for each in said(store)]


def test_of_a_job_id_that_came_back_each_job_keeps_its_comments(store: Store) -> None:
    """What was said first for the later one too, though the journal has comments of that id."""
    for seconds, hours in enumerate((1, 2), 10):
        told(store, seconds, f"device-hours={hours}")
    told(store, 60, "device-hours=2", state="COMPLETED", ended=T0 + 60.0)
    later: dict[str, Any] = {"submitted": T0 + 200, "started": T0 + 210.0, "name": "another"}
    for seconds, hours in enumerate((4, 5), 220):
        told(store, seconds, f"device-hours={hours}", **later)

    with store.reading() as connection:
        jobs = sorted(jobs_of(connection, ["7"], T0 + 300.0), key=lambda job: job.started)
    assert [[1.0, 2.0], [4.0, 5.0]] == [
        [each.estimate.likely / HOUR for each in job.revisions[::-1]] for job in jobs
    ]
