"""Free tags of jobs, given by themselves or after the fact: `table:3`. Whoever writes has proved who they are."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from sqlalchemy import Connection, insert, select

from gpuwatch import declaration
from gpuwatch.errors import Forbidden, Rejected
from gpuwatch.ledger.campaign_store import storable
from gpuwatch.ledger.campaign_tables import tags
from gpuwatch.ledger.campaigns import Actor, JobRef, is_about, name_of, ref_of, standing_of
from gpuwatch.ledger.jobs import Job
from gpuwatch.ledger.sql import among

MAX_TAGS = 100
"""How many tags one call may give."""


def read_tags(words: Sequence[str]) -> dict[str, str]:
    """Tags as they are written, `KEY:VALUE`; `DeclarationError` for what is none."""
    if len(words) > MAX_TAGS:
        raise Rejected(f"tag: {len(words)} at once; at most {MAX_TAGS}")
    return dict(declaration.parse(declaration.from_options(tag=words)).tags) if words else {}


def read_key(word: str) -> str:
    """The key of a tag; `DeclarationError` for what cannot be one."""
    return next(iter(read_tags([f"{word}:1"])))


def tag(connection: Connection, actor: Actor, jobs: Sequence[Job], given: Mapping[str, str], now: float) -> None:
    """Give jobs tags; a key has one value. `Forbidden` where a job is not the actor's to tag."""
    _write(connection, actor, jobs, {**given}, now)


def untag(connection: Connection, actor: Actor, jobs: Sequence[Job], keys: Collection[str], now: float) -> None:
    """Take tags off jobs, those too that they gave themselves."""
    _write(connection, actor, jobs, dict.fromkeys(keys), now)


def _write(
    connection: Connection, actor: Actor, jobs: Sequence[Job], given: Mapping[str, str | None], now: float
) -> None:
    rows = []
    for job in jobs:
        standing = standing_of(actor, job)
        if not standing:
            there = "its owner, a coordinator of its account and the cluster's staff may"
            raise Forbidden(f"tag: job {job.scope.name!r} is not yours to tag; {there}")
        about = {**ref_of(job)._asdict(), "time": now, "by": storable(name_of(actor.person)), "standing": standing}
        rows += [{**about, "key": key, "value": value} for key, value in given.items()]
    if rows:
        connection.execute(insert(tags), rows)


def tags_of(connection: Connection, jobs: Sequence[Job]) -> dict[JobRef, dict[str, str]]:
    """The tags of jobs: what was said after the fact goes before what they say themselves."""
    found: dict[JobRef, dict[str, str]] = {ref_of(job): dict(job.tags) for job in jobs}
    by_id: dict[tuple[str, str], list[Job]] = {}
    for job in jobs:
        by_id.setdefault((job.cluster, job.job_id), []).append(job)
    query = select(tags).where(among(tags.c.job_id, sorted({job.job_id for job in jobs})))
    for row in connection.execute(query.order_by(tags.c.time, tags.c.id)):
        ref = JobRef(row.cluster, row.job_id, row.started)
        for job in by_id.get((row.cluster, row.job_id), ()):
            if is_about(ref, job):
                mine = found[ref_of(job)]
                mine.pop(row.key, None)
                if row.value is not None:
                    mine[row.key] = row.value
    return found
