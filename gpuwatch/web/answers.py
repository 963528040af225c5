"""What each operation of the API reads from the ledger, as far as the viewer may see it."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, tzinfo
from typing import Any

from sqlalchemy import select

from gpuwatch.accounting.advice import advice_on
from gpuwatch.accounting.expected_use import expecting
from gpuwatch.accounting.series import series_of
from gpuwatch.accounting.views import campaigns_forecasts, views_of, with_bases
from gpuwatch.errors import Rejected
from gpuwatch.estimates.history import likeness
from gpuwatch.ledger import alert_store, listing, summaries, tables
from gpuwatch.ledger import history as points
from gpuwatch.ledger.audience import Audience, Owner
from gpuwatch.ledger.budgets import AccountId, accounts_in, budgets
from gpuwatch.ledger.jobs import Job
from gpuwatch.ledger.listing import Page, Wanted
from gpuwatch.ledger.past import Kind, past_jobs, with_details
from gpuwatch.ledger.quality import quality_document, quality_of
from gpuwatch.ledger.queries import agents_of
from gpuwatch.model import EMPTY
from gpuwatch.web import api_documents as documents
from gpuwatch.web.api_documents import Document
from gpuwatch.web.cursors import cursor, name_after, position
from gpuwatch.web.expectation_documents import likeness_document
from gpuwatch.web.forecast_documents import series_document
from gpuwatch.web.operations import Question
from gpuwatch.web.parameters import time_of
from gpuwatch.web.records import burnups_document
from gpuwatch.web.roles import may_read_account

LIST_SECONDS = 7 * 86_400.0
"""How far back lists of jobs go where the request does not say."""

USAGE_SECONDS = 30 * 86_400.0
"""The same for groups of usage."""

KIND_SECONDS = 365 * 86_400.0
"""The same for what jobs of a kind came to."""

_UID = "uid:"


def me(question: Question) -> Document:
    """Who the viewer is here, and what he may read."""
    viewer = question.viewer
    return {
        "name": viewer.name, "uid": viewer.uid, "cluster": viewer.cluster, "roles": list(viewer.roles),
        "accounts": sorted(viewer.accounts), "identified_by": viewer.how,
    }  # fmt: skip


def jobs(question: Question) -> Document:
    """A page of jobs, those that began last first."""
    return _jobs_document(question, _jobs(question))


def jobs_with_burnups(question: Question) -> tuple[Document, Document]:
    """The same page of `jobs` and of `burnups`, looked for once."""
    page = _jobs(question)
    return _jobs_document(question, page), burnups_document(question.connection, page.items, _next(page))


def _jobs_document(question: Question, page: Page[Job]) -> Document:
    views = views_of(question.connection, page.items, question.now)
    return {"jobs": [documents.job_document(view) for view in views], "next": _next(page)}


def job(question: Question) -> Document | None:
    """One job with its history; `others` of the same name that the viewer may see."""
    found = listing.jobs_called(question.connection, question.viewer.audience, question.name, question.now)
    if not found:
        return None
    view = with_bases(question.connection, views_of(question.connection, found[:1], question.now)[0])
    history = alert_store.history(question.connection, view.job.cluster, view.job.scope)
    others = [each.scope.name for each in found[1:101]]
    return (
        documents.job_document(view)
        | documents.history_document(view, history, advice_on(view))
        | {"others": others}
    )


def history(question: Question) -> Document | None:
    """What one job had used, minute by minute while that is fresh; the parts of a job together."""
    found = listing.jobs_called(question.connection, question.viewer.audience, question.name, question.now)
    if not found:
        return None
    curves = points.curves(question.connection, found[0].job_ids)
    mine = [curves.get((found[0].cluster, job_id), []) for job_id in sorted(found[0].job_ids)]
    return documents.points_document(found[0], points.together(mine))


def forecasts(question: Question) -> Document | None:
    """How one job came to where it is, and what was forecast of it on the way."""
    found = listing.jobs_called(question.connection, question.viewer.audience, question.name, question.now)
    return series_document(found[0], series_of(question.connection, found[0])) if found else None


def burnups(question: Question) -> Document:
    """How the jobs of a page came to what they used; the same page as that of `jobs`."""
    page = _jobs(question)
    return burnups_document(question.connection, page.items, _next(page))


def estimates(question: Question) -> Document:
    """What is declared for a page of jobs, beside what they used and are projected to need."""
    page = _jobs(question)
    views = views_of(question.connection, page.items, question.now)
    return {
        "estimates": [each for view in views for each in documents.estimate_documents(view)],
        "next": _next(page),
    }


def expectations(question: Question) -> Document:
    """What jobs of a kind came to, of those that the viewer may see."""
    values, now = question.values, question.now
    since = _time(values, "since", UTC, max(0.0, now - KIND_SECONDS))
    named = {name: values[name] for name in ("user", "account", "partition", "campaign", "name")}
    found = past_jobs(question.connection, question.viewer.audience, Kind(**named, since=since), now)
    told = likeness(with_details(question.connection, found), values["name"], values["declared"])
    return {"since": since, **likeness_document(told)}


def quality(question: Question) -> Document:
    """How far the figures of a page of jobs can be trusted."""
    page = _jobs(question)
    agents = agents_of(question.connection)
    found = [
        {"job": each.scope.name, "cluster": each.cluster, **quality_document(quality_of(each, agents))}
        for each in page.items
    ]
    return {"jobs": found, "next": _next(page)}


def usage(question: Question) -> Document:
    """What was allocated, held where no batch system says, by group."""
    values, now = question.values, question.now
    zone: tzinfo = values["timezone"]
    ends = _time(values, "to", zone, now)
    begins = _time(values, "from", zone, max(0.0, ends - USAGE_SECONDS))
    if ends <= begins:
        raise Rejected("to: is not after from")
    by = values["by"]
    visible = _visible(question.viewer.audience)
    asked = summaries.Question(by, begins, ends, zone, now, question.groups, visible)
    found = summaries.summary(question.connection, asked)
    return {"by": by, "from": begins, "to": ends, "timezone": str(zone), **documents.groups_document(found)}


def campaigns(question: Question) -> Document:
    """A page of campaigns by name."""
    after = name_after(question.values["cursor"]) if question.values["cursor"] else ""
    limit = question.values["limit"]
    page = listing.campaigns_page(question.connection, question.viewer.audience, after, limit, question.now)
    said = campaigns_forecasts(question.connection, [campaign for campaign, _ in page.items])
    found = [
        documents.campaign_document(campaign, complete, said.get(campaign.scope.name, EMPTY))
        for campaign, complete in page.items
    ]
    return {"campaigns": found, "next": cursor(page.items[-1][0].scope.name) if page.more else None}


def campaign(question: Question) -> Document | None:
    """One campaign, with the jobs of it that the viewer may see."""
    found = listing.campaign_called(question.connection, question.viewer.audience, question.name, question.now)
    if found is None:
        return None
    seen, complete = found
    views = views_of(question.connection, seen.jobs[:1000], question.now)
    said = campaigns_forecasts(question.connection, [seen]).get(seen.scope.name, EMPTY)
    return documents.campaign_document(seen, complete, said) | {
        "members": [documents.job_document(view) for view in views]
    }


def all_budgets(question: Question) -> Document:
    """The budgets of the accounts that the viewer coordinates, of all accounts for staff."""
    return {"budgets": _budgets(question, None)}


def budget(question: Question) -> Document | None:
    """One account's budget; of several clusters' accounts of that name the first, where none is asked for."""
    return next(iter(_budgets(question, question.name)), None)


def rates(question: Question) -> Document:
    """Prices, PUE and grid intensities, every version that a figure may name."""
    there = tables.rate_sets.c
    rows = question.connection.execute(select(there.version, there.since, there.text).order_by(there.since))
    return {"versions": [{"version": row.version, "since": row.since, "text": row.text} for row in rows]}


def _jobs(question: Question) -> Page[Job]:
    values, now = question.values, question.now
    zone: tzinfo = UTC
    until = None if values["until"] is None else _time(values, "until", zone, now)
    wanted = Wanted(
        since=_time(values, "since", zone, max(0.0, now - LIST_SECONDS)),
        until=until,
        **{name: values[name] for name in ("user", "account", "partition", "campaign", "state")},
    )
    after = position(values["cursor"]) if values["cursor"] else None
    audience = question.viewer.audience
    return listing.jobs_page(question.connection, audience, wanted, after, values["limit"], now)


def _next(page: Page[Job]) -> str | None:
    last = page.items[-1] if page.items else None
    return cursor(last.started, last.scope.name) if page.more and last is not None else None


def _budgets(question: Question, name: str | None) -> list[Document]:
    accounts = accounts_in(question.connection)
    cluster = question.values["cluster"]

    def is_wanted(account: AccountId) -> bool:
        return name in (None, account[1]) and cluster in (None, account[0])

    wanted = [each for each in accounts.all if is_wanted(each) and may_read_account(question.viewer, *each)]
    found = expecting(budgets(question.connection, accounts, wanted, question.values["resource"], question.now))
    return [documents.budget_document(each) for each in found] if wanted else []


def _visible(audience: Audience) -> summaries.Visible | None:
    """Whose usage the viewer may see; None: everybody's."""
    if audience.everything:
        return None
    return lambda cluster, user, account: audience.admits(_owner(cluster, user, account))


def _owner(cluster: str, user: str, account: str) -> Owner:
    if user.startswith(_UID) and user.removeprefix(_UID).isdigit():
        return Owner(cluster, None, int(user.removeprefix(_UID)), account or None)
    return Owner(cluster, user or None, None, account or None)


def _time(values: Mapping[str, Any], name: str, zone: tzinfo, default: float) -> float:
    return default if values[name] is None else time_of(name, values[name], zone)
