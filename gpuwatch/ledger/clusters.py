"""Whose ledger it is. A file is one cluster's unless somebody imported others; PostgreSQL keeps any number."""

from __future__ import annotations

from sqlalchemy import Connection, select

from gpuwatch.errors import ConfigurationError
from gpuwatch.ledger import tables
from gpuwatch.ledger.sql import inserting


def known(connection: Connection) -> tuple[str, ...]:
    """The clusters that the ledger keeps, in the order of their names."""
    return tuple(connection.scalars(select(tables.clusters.c.cluster).order_by(tables.clusters.c.cluster)))


def add(connection: Connection, cluster: str, now: float) -> None:
    """The ledger keeps this cluster from now on, if it does not already."""
    new = inserting(connection, tables.clusters).values(cluster=cluster, made=now)
    connection.execute(new.on_conflict_do_nothing())


def claim(connection: Connection, cluster: str, now: float, where: str) -> None:
    """Accounting of `cluster` begins on this ledger; `ConfigurationError` for a file that is of others only.

    A file that was moved to another cluster's machine would become two ledgers in one.
    """
    names = known(connection)
    if connection.dialect.name == "sqlite" and names and cluster not in names:
        others = ", ".join(map(repr, names))
        todo = "set site.cluster or accounting.ledger right"
        raise ConfigurationError([f"ledger {where!r}: is that of cluster {others}, not of {cluster!r}; {todo}"])
    add(connection, cluster, now)


def add_imported(connection: Connection, cluster: str, own: str, now: float) -> None:
    """What is imported is about `cluster`; a ledger that is new is the configured cluster's, `own`, too."""
    if not known(connection):
        add(connection, own, now)
    add(connection, cluster, now)
