"""What was used by day, month or whose it was: out of the daily sums where days are enough, else out of charges.

A year of a million jobs is a few thousand daily sums. Days and months of other time zones than the ledger's,
campaigns and earlier editions need the charges themselves.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, tzinfo
from zoneinfo import ZoneInfo

from sqlalchemy import Connection, select

from gpuwatch.ledger import tables
from gpuwatch.ledger.day_sums import DaySums, days_of
from gpuwatch.ledger.groups import group_of
from gpuwatch.ledger.periods import Grouped, Span, grouped, in_order, left
from gpuwatch.ledger.queries import memberships
from gpuwatch.ledger.questions import Question, Visible
from gpuwatch.ledger.rate_words import bases
from gpuwatch.ledger.rates import Rates
from gpuwatch.ledger.spans import spans

__all__ = ["Question", "Visible", "rates_of", "summary", "zone_called", "zone_of"]


def summary(connection: Connection, question: Question) -> Grouped:
    """What was used, by group."""
    zone = zone_of(connection)
    same = str(zone) == str(question.zone) or question.by not in ("day", "month")
    days = days_of(question, zone) if same else None
    if days is None or question.edition is not None:
        found = _out_of_charges(connection, question)
    elif question.by == "campaign":
        found = _by_campaign(connection, question, DaySums(connection, replace(question, by="user"), days, zone))
    else:
        found = DaySums(connection, question, days, zone).grouped()
    rates = rates_of(connection)
    if rates is None or "carbon_grams" not in found.total.amounts:
        return found
    return replace(found, bases=tuple(bases(rates, min(question.ends, question.now), zone_called(rates.zone))))


def zone_called(name: str) -> tzinfo:
    """A time zone; UTC needs no database of them."""
    return UTC if name == "UTC" else ZoneInfo(name)


def rates_of(connection: Connection) -> Rates | None:
    """The rates that came into force last; None in a ledger that has charged nothing."""
    there = tables.rate_sets.c
    text = connection.scalar(select(there.text).order_by(there.since.desc(), there.version).limit(1))
    return Rates.from_text(text) if text is not None else None


def zone_of(connection: Connection) -> tzinfo:
    """The time zone by whose days the ledger charges."""
    rates = rates_of(connection)
    return UTC if rates is None else zone_called(rates.zone)


def _out_of_charges(connection: Connection, question: Question) -> Grouped:
    campaigns = memberships(connection, question.now) if question.by == "campaign" else None
    held = spans(connection, question.begins, question.ends, campaigns, question.edition)
    return _grouped(question, held)


def _by_campaign(connection: Connection, question: Question, whole: DaySums) -> Grouped:
    """Of campaigns the charges of their jobs, of which there are few; what is left of the whole is in none."""
    members = memberships(connection, question.now)
    job_ids = sorted({job_id for _, job_id in members})
    told = spans(connection, question.begins, question.ends, members, None, job_ids)
    found = _grouped(question, (each for each in told if each.campaign is not None))
    total = whole.grouped().total
    rest = left(total, found.total)
    rows = (*found.rows, rest) if rest.jobs or rest.device_seconds or rest.cpu_seconds else found.rows
    return Grouped(in_order("campaign", rows), total)


def _grouped(question: Question, held: Iterable[Span]) -> Grouped:
    if question.visible is not None:
        may = question.visible
        held = (each for each in held if may(each.job[0], each.user or "", each.account or ""))
    if question.by == "group":
        groups = question.groups
        held = (replace(each, group=group_of(groups, each.job[0], each.account or "")) for each in held)
    return grouped(held, question.by, question.zone, question.begins, question.ends)
