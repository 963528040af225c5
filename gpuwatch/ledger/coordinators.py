"""Which accounts a user coordinates by the batch system's word, with all that are part of them."""

from __future__ import annotations

import json
from collections.abc import Iterable

from sqlalchemy import Connection, select

from gpuwatch.ledger import tables
from gpuwatch.ledger.budgets import AccountId, Accounts


def coordinated(connection: Connection, cluster: str, user: str, more: Iterable[str] = ()) -> frozenset[str]:
    """The accounts of a cluster that a user coordinates, and those that are part of them or of `more`."""
    there = tables.grants.c
    query = select(there.account, there.parent, there.coordinators, there.user).where(there.cluster == cluster)
    parents: dict[AccountId, str] = {}
    own = {*more}
    for row in connection.execute(query.order_by(there.seen)):
        if row.user == "":
            parents[cluster, row.account] = row.parent if row.parent != row.account else ""
            if user and user in json.loads(row.coordinators):
                own.add(row.account)
    accounts = Accounts(parents, ((cluster, account) for account in own))
    below = {name for account in own for _, name in accounts.below((cluster, account))}
    return frozenset(own | below)
