"""Statements for tests: out of a ledger, with what changes from version to version held still."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from gpuwatch import specs
from gpuwatch.ledger.store import Store
from gpuwatch.reports.making import statement_of
from gpuwatch.reports.material import Asked
from gpuwatch.reports.reading import read
from gpuwatch.reports.statement import Statement


def spec_of(model: str) -> specs.Spec | None:
    """What is shipped, from one source."""
    found = specs.lookup(model)
    return replace(found, source="the maker's data sheet") if found is not None else None


def made(store: Store, now: float, kind: Any = "job", name: str = "7", **asked: Any) -> Statement:
    """The statement of a scope, as version 1.2.3 on a ledger of schema 1 makes it."""
    with store.reading() as connection:
        found = statement_of(read(connection, Asked(kind, name, **asked), now), spec_of)
    return replace(found, version="1.2.3", ledger_schema=1)
