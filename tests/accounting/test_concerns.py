"""Whose an alert is."""

from __future__ import annotations

import os
import pwd

import pytest

from gpuwatch.accounting.concerns import concern_of
from gpuwatch.ledger.jobs import Campaign, Job
from gpuwatch.model import Concern, Scope
from tests.ledger import made
from tests.ledger.batch import HOUR, running


def job(name: str, user: str, hours: float, account: str = "ml") -> Job:
    return made.job(
        made.run(allocated_seconds=hours * HOUR), name=name, record=running(name, user=user, account=account)
    )  # fmt: skip


def test_a_job_is_its_owners_by_the_batch_systems_word() -> None:
    """With the account and the partition that it is charged to and runs in."""
    assert Concern("ada", "ml", "gpu", "") == concern_of(job("7", "ada", 1.0))


def test_a_job_that_no_batch_system_knows_is_the_users_whose_id_the_node_saw() -> None:
    """By the name that the id has here; one that has none is nobody's."""
    own = made.job(made.run(), uid=os.getuid(), name="llama")

    assert pwd.getpwuid(os.getuid()).pw_name == concern_of(own).user
    assert "" == concern_of(made.job(made.run(), uid=4_000_000_000)).user


@pytest.mark.parametrize(
    ("others", "user", "account"),
    [
        ((("bob", 4.0, "ml"),), "ada", "ml"), ((("bob", 6.0, "bio"),), "bob", "bio"),
        ((("bob", 5.0, "ml"),), "", "ml"),
    ],
)  # fmt: skip
def test_a_campaign_is_whose_who_has_more_than_half_of_it(
    others: tuple[tuple[str, float, str], ...], user: str, account: str
) -> None:
    """Who joins it with little takes neither its alerts nor the right to mute them from its owner."""
    jobs = (job("1", "ada", 5.0), *(job(f"2{n}", *each) for n, each in enumerate(others)))

    found = concern_of(Campaign(Scope("campaign", "llama"), jobs))

    assert (user, account, "llama") == (found.user, found.account, found.name)


def test_jobs_that_have_used_nothing_yet_count_each() -> None:
    """A campaign that has just begun."""
    jobs = tuple(job(str(n), user, 0.0) for n, user in enumerate(("ada", "ada", "bob")))

    assert "ada" == concern_of(Campaign(Scope("campaign", "llama"), jobs)).user
