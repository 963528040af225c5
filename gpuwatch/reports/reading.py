"""Reads out of the ledger what a compute statement is made of."""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, distinct, select

from gpuwatch.accounting.advice import Advice, advice_on
from gpuwatch.accounting.site_record import SiteRecord
from gpuwatch.accounting.trial_keeping import finished_trial
from gpuwatch.accounting.views import campaigns_forecasts, views_of
from gpuwatch.errors import Rejected, Unavailable
from gpuwatch.forecast.projection import HOURS
from gpuwatch.forecast.scoring import number_at
from gpuwatch.forecast.trials import STAGES
from gpuwatch.ledger import campaign_reading, charging, forecast_store, queries, summaries, tables, tag_store
from gpuwatch.ledger import trial_store as trials
from gpuwatch.ledger.campaign_document import is_debugging
from gpuwatch.ledger.campaign_reading import Member
from gpuwatch.ledger.campaigns import JobRef, Membership, ref_of
from gpuwatch.ledger.forecast_store import KeptForecast
from gpuwatch.ledger.jobs import Campaign, Job
from gpuwatch.ledger.quality import added, quality_of
from gpuwatch.ledger.scopes import Revision
from gpuwatch.ledger.sql import among
from gpuwatch.model import EMPTY, Forecast, Scope
from gpuwatch.reports.material import Asked, ChargeRow, Material, SiteForecasts, Tagged

MOST_JOBS = 20_000
"""A statement of more jobs is one of a shorter time."""
ADVISED = 50
"""Advice is given on the jobs that took the most, so many."""
_TOLERANCE = 0.1
_DAY = 86_400.0
_NONE = Membership("", "declared")


def read(connection: Connection, asked: Asked, now: float) -> Material:
    """Everything about a job, a campaign or an account; `Unavailable` where the ledger has nothing of it."""
    tagged, revisions, waiting = _READERS[asked.kind](connection, asked, now)
    tagged = tuple(each for each in tagged if each.job.started < asked.ends and each.job.last_seen >= asked.begins)
    if len(tagged) > MOST_JOBS:
        raise Rejected(f"report: has {len(tagged):,} jobs; at most {MOST_JOBS:,}, ask for a shorter time")
    jobs = [each.job for each in tagged]
    agents = queries.agents_of(connection)
    charges = _charges(connection, jobs)
    rows = sorted({row.rates for those in charges.values() for row in those})
    number, digest = _digest(tagged, charges)
    return Material(
        asked, now, tagged, charges, charging.rates_in(connection, rows),
        added(quality_of(job, agents) for job in jobs) if jobs else None, revisions, waiting,
        _forecasts(connection, asked, jobs, revisions, now), _foretold(connection, asked, jobs),
        record_of(connection, jobs), _advice(connection, jobs, now), summaries.zone_of(connection), number, digest,
    )  # fmt: skip


_Found = tuple[tuple[Tagged, ...], tuple[Revision, ...], int]


def _of_job(connection: Connection, asked: Asked, now: float) -> _Found:
    jobs = queries.jobs_named(connection, asked.name, now)
    if not jobs:
        raise Unavailable(f"job {asked.name!r}: not in the ledger; `gpuwatch jobs` lists what is")
    return _tagged(connection, jobs[:1]), jobs[0].revisions, 0


def _of_campaign(connection: Connection, asked: Asked, now: float) -> _Found:
    seen = campaign_reading.view(connection, asked.name, now)
    tagged = tuple(Tagged(each.job, each.tags, is_debugging(each)) for each in seen.members)
    return tagged, seen.revisions, len(seen.asked)


def _of_account(connection: Connection, asked: Asked, now: float) -> _Found:
    ids = _ids_of_account(connection, asked)
    if len(ids) > MOST_JOBS:
        raise Rejected(f"report: has {len(ids):,} jobs; at most {MOST_JOBS:,}, ask for a shorter time")
    jobs = [job for job in queries.jobs_of(connection, ids, now) if _account_of(job) == asked.name]
    revisions = queries.declared_for(connection, "account", [asked.name]).get(asked.name, ())
    if not (jobs or revisions or _is_known(connection, asked.name)):
        raise Unavailable(f"account {asked.name!r}: not in the ledger; `gpuwatch jobs --by account` lists those")
    return _tagged(connection, sorted(jobs, key=lambda job: (job.started, job.scope.name))), revisions, 0


_READERS = {"job": _of_job, "campaign": _of_campaign, "account": _of_account}


def _ids_of_account(connection: Connection, asked: Asked) -> set[str]:
    """Job ids that the account was charged for in the time, or that began in it."""
    there, said = tables.charges.c, tables.records.c
    within = [there.ends > asked.begins] if asked.begins > 0 else []
    within += [there.begins < asked.ends] if asked.ends < 1e11 else []
    query = select(distinct(there.job_id)).where(there.account == asked.name, there.current, *within)
    found = set(connection.scalars(query.limit(MOST_JOBS + 1)))
    began = [said.started >= asked.begins] if asked.begins > 0 else []
    began += [said.started < asked.ends] if asked.ends < 1e11 else []
    told = select(distinct(said.job_id)).where(said.account == asked.name, said.started.is_not(None), *began)
    return found | set(connection.scalars(told.limit(MOST_JOBS + 1)))


def _is_known(connection: Connection, account: str) -> bool:
    there = tables.records.c
    return connection.scalar(select(there.job_id).where(there.account == account).limit(1)) is not None


def _account_of(job: Job) -> str:
    return job.record.facts.account if job.record is not None else ""


def _tagged(connection: Connection, jobs: Sequence[Job]) -> tuple[Tagged, ...]:
    tags = tag_store.tags_of(connection, jobs)
    members = (Member(job, _NONE, tags[ref_of(job)]) for job in jobs)
    return tuple(Tagged(each.job, each.tags, is_debugging(each)) for each in members)


def _charges(connection: Connection, jobs: Sequence[Job]) -> dict[JobRef, list[ChargeRow]]:
    """What jobs were charged, by the figures in force."""
    there = tables.charges.c
    by_id: dict[tuple[str, str], list[Job]] = defaultdict(list)
    for job in jobs:
        for job_id in job.job_ids or {job.job_id}:
            by_id[job.cluster, job_id].append(job)
    columns = [there[name] for name in ChargeRow._fields]
    found: dict[JobRef, list[ChargeRow]] = defaultdict(list)
    ids = sorted({key[1] for key in by_id})
    query = select(there.cluster, there.job_id, *columns).where(among(there.job_id, ids), there.current)
    for cluster, job_id, *values in connection.execute(query.order_by(there.job_id, there.day, there.model)):
        row = ChargeRow(*values)
        for job in by_id.get((cluster, job_id), ()):
            if job.started <= row.attempt <= max(job.last_seen, float(job.started)):
                found[ref_of(job)].append(row)
    return found


def _forecasts(
    connection: Connection, asked: Asked, jobs: Sequence[Job], revisions: tuple[Revision, ...], now: float
) -> Mapping[str, Forecast]:
    """What is forecast of what goes on; nothing of what is over, or of a part of it."""
    if not jobs or not asked.whole or all(job.state == "ended" for job in jobs):
        return EMPTY
    if asked.kind == "job":
        return views_of(connection, jobs[:1], now)[0].forecasts
    if asked.kind == "campaign":
        campaign = Campaign(Scope("campaign", asked.name), tuple(jobs), revisions)
        return campaigns_forecasts(connection, [campaign]).get(asked.name, EMPTY)
    return EMPTY


def _foretold(connection: Connection, asked: Asked, jobs: Sequence[Job]) -> Sequence[KeptForecast]:
    """What was forecast of its device-hours while it ran, the oldest first."""
    if asked.kind == "account" or not jobs or not asked.whole:
        return ()
    if asked.kind == "job":
        job = jobs[0]
        return forecast_store.points_of(connection, job.cluster, job.scope, HOURS, job.started)
    scope = Scope("campaign", asked.name)
    points = [
        forecast_store.points_of(connection, cluster, scope, HOURS)
        for cluster in sorted({job.cluster for job in jobs})
    ]
    return max(points, key=len, default=[])


def record_of(connection: Connection, jobs: Sequence[Job]) -> SiteForecasts:
    """How right forecasts were where the jobs ran."""
    record = SiteRecord(_TOLERANCE)
    for cluster in sorted({job.cluster for job in jobs}):
        over = trials.finished(connection, cluster, HOURS)
        record.add(trial for _, each in over if (trial := finished_trial(each)) is not None)
    record.refresh()
    figures = record.figures
    coverage: dict[str, float] = {
        stage: held
        for stage in STAGES
        if (held := number_at(figures, "coverage", "80", "jobs", stage)) is not None
    }
    return SiteForecasts(record.words, record.n, coverage)


def _advice(connection: Connection, jobs: Sequence[Job], now: float) -> dict[str, Sequence[Advice]]:
    """What is to be said of the jobs that took the most."""
    most = sorted(jobs, key=lambda job: -job.device_seconds)[:ADVISED]
    return {view.job.scope.name: said for view in views_of(connection, most, now) if (said := advice_on(view))}


def _digest(tagged: Iterable[Tagged], charges: Mapping[JobRef, Sequence[ChargeRow]]) -> tuple[int, str]:
    """How many rows a statement is made of, and a SHA-256 over all that they say, in an order of its own."""
    lines = []
    for job, tags, _ in tagged:
        lines.append(["job", job.cluster, job.scope.name, job.started, job.last_seen, job.state, dict(tags)])
        for run in job.runs:
            usage = run.usage
            lines.append([
                "run", job.cluster, job.scope.name, run.started, run.last_seen, run.outcome, run.allocated_seconds,
                usage.held_seconds, usage.energy_unmeasured_seconds, _plain(usage.state_seconds),
                _plain(usage.energy_joules),
            ])  # fmt: skip
        # What is not known is left out, so that rows of earlier releases have the digest that they had.
        rows = (row if row.host_joules is not None else row[:-1] for row in charges.get(ref_of(job), ()))
        lines += [["charge", job.cluster, job.scope.name, *row] for row in rows]
    texts = sorted(json.dumps(line, sort_keys=True, separators=(",", ":")) for line in lines)
    return len(texts), hashlib.sha256("\n".join(texts).encode()).hexdigest()


def _plain(values: Mapping[Any, float]) -> dict[str, float]:
    return {str(key): value for key, value in values.items()}
