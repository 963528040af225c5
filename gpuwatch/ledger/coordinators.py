"""Which accounts who coordinates by the batch system's word, with all that are part of them."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping

from sqlalchemy import Connection, select

from gpuwatch.ledger import tables
from gpuwatch.ledger.budgets import AccountId

_Parts = Mapping[AccountId, Collection[str]]


def coordinators(connection: Connection) -> Mapping[str, frozenset[AccountId]]:
    """The accounts that each coordinator looks after, with their sub-accounts."""
    own, parts = _told(connection)
    return {name: _with_parts(accounts, parts) for name, accounts in own.items()}


def coordinated(connection: Connection, cluster: str, user: str, more: Iterable[str] = ()) -> frozenset[str]:
    """The accounts of a cluster that a user coordinates, and those that are part of them or of `more`."""
    own, parts = _told(connection)
    accounts = {(cluster, account) for account in more} | (own.get(user, set()) if user else set())
    return frozenset(account for its, account in _with_parts(accounts, parts) if its == cluster)


def _told(connection: Connection) -> tuple[Mapping[str, set[AccountId]], _Parts]:
    there = tables.grants.c
    parts: dict[AccountId, set[str]] = defaultdict(set)
    own: dict[str, set[AccountId]] = defaultdict(set)
    parents: dict[AccountId, str] = {}
    query = select(there.cluster, there.account, there.parent, there.coordinators).where(there.user == "")
    for row in connection.execute(query.order_by(there.seen)):
        parents[row.cluster, row.account] = row.parent
        for name in json.loads(row.coordinators or "[]"):
            own[name].add((row.cluster, row.account))
    for (cluster, account), parent in parents.items():
        if parent and parent != account:
            parts[cluster, parent].add(account)
    return own, parts


def _with_parts(accounts: Iterable[AccountId], parts: _Parts) -> frozenset[AccountId]:
    found: set[AccountId] = set()
    left = list(accounts)
    while left:
        account = left.pop()
        if account not in found:
            found.add(account)
            left.extend((account[0], part) for part in parts.get(account, ()))
    return frozenset(found)
