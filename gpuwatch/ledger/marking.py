"""Jobs of which something was told are marked, in the same transaction, until they are charged."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from sqlalchemy import Connection, func, select

from gpuwatch.ledger import tables
from gpuwatch.ledger.sql import Insert, run_many


def mark(connection: Connection, jobs: Iterable[tuple[str, str]]) -> None:
    """Mark jobs (cluster, job id): in one order, so that two writers never wait for each other."""
    run_many(connection, _mark, sorted(set(jobs)))


def marked(connection: Connection, cluster: str) -> int:
    """How many jobs of a cluster are marked."""
    there = tables.changed.c
    return connection.scalar(select(func.count()).where(there.cluster == cluster)) or 0


def _mark(insert: Insert) -> Any:
    return insert(tables.changed).on_conflict_do_nothing()
