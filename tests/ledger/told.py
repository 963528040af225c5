"""A ledger with a handful of jobs of a few people, for tests of campaigns, tags and snapshots."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Connection

from gpuwatch.ledger import campaign_reading, queries
from gpuwatch.ledger.campaign_reading import CampaignView
from gpuwatch.ledger.campaigns import Actor, Person
from gpuwatch.ledger.jobs import Job
from gpuwatch.ledger.record_store import post_grants, post_records
from gpuwatch.ledger.store import Store
from gpuwatch.schedulers.base import Grant, Live, Record
from tests.ledger.batch import HOUR, T0, record

NOW = T0 + 3 * HOUR
ADA, BOB, EVE = (Actor(Person(name, uid)) for name, uid in (("ada", 1000), ("bob", 1001), ("eve", 1002)))
ADMIN = Actor(Person("root", 0), "admin")
COORDINATOR = Actor(Person("cleo", 1003), "self", frozenset({("default", "ml")}))


def told() -> list[Record]:
    """Ada trains twice, once in vain; bob and eve of the same account run the like; zed of another does."""
    said = Live(T0, comment="gpuwatch: campaign=llama device-hours=5 tag=table:1")
    return [
        record("1", said, name="llama-7b-1"),
        record("2", name="llama-7b-2", state="FAILED", exit_code=1),
        record("3", name="llama-7b-3", user="bob"),
        record("4", name="llama-debug", user="eve"),
        record("5", name="other", user="bob"),
        record("6", name="llama-7b-4", user="zed", account="cv"),
    ]


def fill(store: Store, records: Sequence[Record] | None = None) -> None:
    """Post the records, and that cleo coordinates science, which ml is a part of."""
    grant = Grant("default", "ml", "", "gres/gpu", None, None, NOW, parent="science")
    above = Grant("default", "science", "", "gres/gpu", None, None, NOW, coordinators=("cleo",))
    with store.writing() as connection:
        post_records(connection, told() if records is None else records)
        post_grants(connection, [grant, above])


def jobs(connection: Connection, *job_ids: str) -> tuple[Job, ...]:
    """The jobs of some ids, in order."""
    return tuple(sorted(queries.jobs_of(connection, job_ids, NOW), key=lambda job: job.scope.name))


def view(store: Store, name: str = "llama") -> CampaignView:
    """The campaign as it is read."""
    with store.reading() as connection:
        return campaign_reading.view(connection, name, NOW)


def members(store: Store, name: str = "llama") -> dict[str, str]:
    """The members of a campaign, and why each belongs."""
    return {member.job.scope.name: member.membership.why for member in view(store, name).members}
