"""What tests of the ledger's faults share: rates, and what there is to compare of two ledgers."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from math import fsum
from typing import Any

import pytest
from sqlalchemy import Table, select

from gpuwatch.ledger import tables
from gpuwatch.ledger.charging import SUMS
from gpuwatch.ledger.rates import Rates
from gpuwatch.ledger.store import Store
from tests.ledger.test_rate_file import HEAD, rates_of

RATES_FILE = f"{HEAD}\nprice,,,2020-01-01,,2,EUR,,,\npue,,,2020-01-01,,1.5,,report,2024,\n"
CHEAPER = RATES_FILE.replace(",2,EUR", ",1,EUR")

_BY = ("day", "user", "account", "partition", "currency")
_ATTEMPT = ("job_id", "attempt", "model", "user", "account", "currency", "final")


def priced(text: str = RATES_FILE) -> Rates:
    """Rates of 2 EUR an hour."""
    return rates_of(text)


def rows(store: Store, table: Table, cluster: str = "default") -> list[tuple[Any, ...]]:
    """A cluster's rows of a table, without its name."""
    others = [column for column in table.c if column.name != "cluster"]
    with store.reading() as connection:
        found = connection.execute(select(*others).where(table.c.cluster == cluster))
        return sorted(map(tuple, found), key=repr)


def charges(store: Store, cluster: str = "default") -> Sequence[Any]:
    """The charges that count."""
    there = tables.charges.c
    with store.reading() as connection:
        return connection.execute(select(tables.charges).where(there.cluster == cluster, there.current)).all()


def totals(store: Store, cluster: str = "default") -> dict[tuple[Any, ...], dict[str, Any]]:
    """What each attempt of a job came to, over its days."""
    added = _added(charges(store, cluster), _ATTEMPT)
    return {
        key: {name: pytest.approx(fsum(values)) for name, values in sums.items() if values}
        for key, sums in added.items()
    }


def check_days(store: Store, cluster: str = "default") -> None:
    """The days' sums are those of the charges that count, no more and no less."""
    added = _added(charges(store, cluster), _BY)
    with store.reading() as connection:
        days = connection.execute(select(tables.daily).where(tables.daily.c.cluster == cluster)).all()
    there = {tuple(getattr(day, name) for name in _BY): day for day in days}

    assert added.keys() == there.keys()
    for key, sums in added.items():
        for name, values in sums.items():
            assert (pytest.approx(fsum(values)) if values else None) == getattr(there[key], name)


def _added(found: Sequence[Any], by: Sequence[str]) -> dict[tuple[Any, ...], dict[str, list[float]]]:
    added: dict[tuple[Any, ...], dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for charge in found:
        sums = added[tuple(getattr(charge, name) for name in by)]
        for name in SUMS:
            value = getattr(charge, name)
            sums[name] += [] if value is None else [value]
    return added
