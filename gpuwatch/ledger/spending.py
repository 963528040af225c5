"""What accounts used of what they were granted, by sums of days: so cheap that a pass may ask now and then."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from typing import NamedTuple

from sqlalchemy import Connection, func, select

from gpuwatch.ledger import tables
from gpuwatch.ledger.budgets import PACE_SECONDS, AccountId, Accounts, accounts_in, grant_in_force
from gpuwatch.ledger.record_store import grants_where
from gpuwatch.ledger.summaries import zone_of
from gpuwatch.schedulers.base import Grant

GPUS = "gres/gpu"
_QUANTITIES = {GPUS: "device-hours", "billing": "charge", "cpu": "cpu-hours"}
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Spending:
    """An account's grant of one resource: seconds of it granted and used, and used per second of late.

    `begins` and `ends` bound its period, Unix seconds; None where it has none. `reported`: what is used is the
    word of whoever granted it, else what the ledger charged. `complete`: nothing is missing in that, nor in the
    pace, for being unknown.
    """

    account: str
    quantity: str
    granted: float
    used: float
    pace: float
    begins: float | None = None
    ends: float | None = None
    reported: bool = False
    complete: bool = True


def spendings(connection: Connection, cluster: str, now: float) -> Iterator[Spending]:
    """What accounts of a cluster with a limit in force used of it. Of CPUs and billing units by report alone."""
    grants: dict[tuple[str, str], list[Grant]] = defaultdict(list)
    there = tables.grants.c
    for grant in grants_where(connection, (there.cluster == cluster) & (there.user == "")):
        if grant.resource in _QUANTITIES:
            grants[grant.account, grant.resource].append(grant)
    if not grants:
        return
    days = _Days(connection, cluster, accounts_in(connection), zone_of(connection), now)
    for (account, resource), those in grants.items():
        found = grant_in_force(those, now)
        if found is not None and found.limit_seconds and _is_current(found, now):
            spending = _spending(account, resource, found, days, now)
            if spending is not None:
                yield spending


def _is_current(grant: Grant, now: float) -> bool:
    return (grant.starts or 0.0) <= now and (grant.ends is None or now < grant.ends)


def _spending(account: str, resource: str, grant: Grant, days: _Days, now: float) -> Spending | None:
    reported = grant.used_seconds is not None
    charged = days.used(account, grant.starts) if resource == GPUS else None
    used = grant.used_seconds if reported or charged is None else charged.seconds
    if used is None:
        return None
    complete = reported or (charged is not None and charged.complete)
    if resource == GPUS:
        lately = days.used(account, now - PACE_SECONDS)
        pace, complete = lately.seconds / PACE_SECONDS, complete and lately.complete
    else:
        pace = used / (now - grant.starts) if grant.starts is not None and now > grant.starts else 0.0
    return Spending(
        account, _QUANTITIES[resource], grant.limit_seconds or 0.0, used, pace, grant.starts, grant.ends,
        reported, complete,
    )  # fmt: skip


class _Used(NamedTuple):
    """Device-seconds, as far as they are known, and whether all of them are."""

    seconds: float
    complete: bool


class _Days:
    """Device-seconds charged to accounts and their sub-accounts, by days of the site."""

    def __init__(self, connection: Connection, cluster: str, accounts: Accounts, zone: tzinfo, now: float) -> None:
        self._connection, self._cluster, self._accounts, self._zone = connection, cluster, accounts, zone
        self._last = self._day(now)
        self._kept: dict[float | None, Mapping[str, _Used]] = {}

    def used(self, account: str, since: float | None) -> _Used:
        """What was charged since a time: from the day on in which that is."""
        if since not in self._kept:
            self._kept[since] = self._read(since)
        sums = self._kept[since]
        found: AccountId = (self._cluster, account)
        names = {account, *(name for _, name in self._accounts.below(found))}
        its = [sums[name] for name in names if name in sums]
        return _Used(sum(each.seconds for each in its), all(each.complete for each in its))

    def _read(self, since: float | None) -> Mapping[str, _Used]:
        there = tables.daily.c
        query = (
            select(there.account, func.sum(there.charged_seconds), func.sum(there.jobs_unknown))
            .where(there.cluster == self._cluster, there.day <= self._last)
            .group_by(there.account)
        )
        if since is not None:
            query = query.where(there.day >= self._day(since))
        return {
            name: _Used(seconds or 0.0, not unknown) for name, seconds, unknown in self._connection.execute(query)
        }

    def _day(self, time: float) -> int:
        local = (_EPOCH + timedelta(seconds=time)).astimezone(self._zone)
        return (local.date() - _EPOCH.date()).days
