"""Which schema a ledger has, and bringing it up to this one: forward only, in the caller's transaction.

The version stands in `schema_version`, which every gpuwatch ever released reads, and beside it in the table that
Alembic keeps, so that its own tools can be used.
"""

from __future__ import annotations

import logging
from pathlib import Path

from sqlalchemy import Column, Connection, MetaData, String, Table, inspect, select

from gpuwatch.errors import ConfigurationError, Unavailable
from gpuwatch.ledger import store_postgres, store_sqlite, tables

log = logging.getLogger("gpuwatch.ledger")

SCRIPTS = Path(__file__).parent / "migrations"

alembic_version = Table("alembic_version", MetaData(), Column("version_num", String(32), primary_key=True))


def bring_up_to_date(connection: Connection, where: str, path: Path | None, cluster: str) -> None:
    """Make what is missing; a newer ledger raises `ConfigurationError`. A file is copied before it is changed."""
    if connection.dialect.name == "postgresql":
        store_postgres.check_encoding(connection, where)
        store_postgres.lock_schema(connection)
    version = _version(connection, where)
    if version is None:
        tables.metadata.create_all(connection)
        stamp(connection, tables.SCHEMA_VERSION)
    elif version < tables.SCHEMA_VERSION:
        log.info("ledger is brought up to date ledger=%s from=%d to=%d", where, version, tables.SCHEMA_VERSION)
        if path is not None:
            # The transaction has begun, so nobody else writes; the copy reads what was committed before.
            store_sqlite.copy(path, store_sqlite.beside(path, f"v{version}-backup"))
        migrate(connection, version, cluster)


def check_readable(connection: Connection, where: str) -> None:
    """Raises where a reader cannot make sense of the ledger."""
    version = _version(connection, where)
    if version is None:
        raise Unavailable(f"ledger {where!r}: is no ledger yet; start `gpuwatch accounting` on it")
    if version < tables.SCHEMA_VERSION:
        todo = "start this gpuwatch's accounting on it first"
        raise Unavailable(f"ledger {where!r}: has schema version {version}; {todo}")


def _version(connection: Connection, where: str) -> int | None:
    if not inspect(connection).has_table(tables.schema_version.name):
        return None
    version: int | None = connection.execute(select(tables.schema_version.c.version)).scalar()
    if version is not None and version > tables.SCHEMA_VERSION:
        known = f"this gpuwatch knows up to {tables.SCHEMA_VERSION}"
        raise ConfigurationError([f"ledger {where!r}: has schema version {version}; {known}, use a newer one"])
    return version


def stamp(connection: Connection, version: int) -> None:
    """Say which schema the ledger has."""
    alembic_version.create(connection, checkfirst=True)
    connection.execute(alembic_version.delete())
    if version:
        connection.execute(alembic_version.insert().values(version_num=revision(version)))
    connection.execute(tables.schema_version.delete())
    connection.execute(tables.schema_version.insert().values(version=version))


def revision(version: int) -> str:
    """Alembic's name of a version."""
    return f"{version:04d}"


def migrate(connection: Connection, version: int, cluster: str, to: int = tables.SCHEMA_VERSION) -> None:
    """Bring a ledger of `version` (0: none) forward; what did not know of clusters becomes `cluster`'s."""
    # Only a ledger that is behind needs it, and it takes a quarter of a second to load.
    from alembic import command
    from alembic.config import Config

    stamp(connection, version)
    config = Config()
    config.set_main_option("script_location", str(SCRIPTS).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    config.attributes["cluster"] = cluster
    command.upgrade(config, revision(to))
    stamp(connection, to)
