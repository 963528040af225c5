"""Ledgers of earlier schemas: every total is kept, and afterwards they are as if made today."""

from __future__ import annotations

import shutil
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Connection, select

from gpuwatch.errors import Unavailable
from gpuwatch.ledger import schema, tables, writing
from gpuwatch.ledger.store import Store, open_store, open_to_read
from gpuwatch.ledger.store_sqlite import engine
from gpuwatch.usage.base import Mark
from tests.ledger.fixtures import ON_POSTGRES
from tests.ledger.postgres import Postgres

DDL = (Path(__file__).parent / "schema_2.sql").read_text(encoding="utf-8")
LATER = (("watermarks", "state"), ("journal", "who"), ("progress", "best"), ("progress", "lost"),
         ("progress", "least_total"), ("progress", "most_total"))  # fmt: skip
"""Columns that schema 3 did not have."""

ADDED_IN_2 = ("records", "grants", "polls")
EARLIER = pytest.mark.parametrize("version", [1, 2])

KEYS = [("run-1", 1000, "hydra", "gw0", "aa", "GPU-0"), ("run-1", 1000, "hydra", "gw0", "bb", "GPU-0"),
        ("it's 7", 2000, "hydra", "gw1", "aa", "MIG-é")]  # fmt: skip
COUNTERS = {
    "held_seconds": 100.5, "busy_seconds": 80.25, "memory_byte_seconds": 1e15, "energy_unmeasured_seconds": 0.5,
    "state_seconds:working": 90.0, "state_seconds:idle": 10.5, "energy_joules:counter": 36_000.0,
    "throttled_seconds:sw_power_cap": 2.0, "throttled_seconds:display_clock": 3.0, "throttled_seconds:moon": 4.0,
    "throttled_seconds:other": 0.25,
}  # fmt: skip
ALERT = ("warning", 50.0, 2.0, 1.0, "job run-1: too much")


def fill(database: sqlite3.Connection, version: int, clusters: tuple[str, ...]) -> None:
    for number, key in enumerate(KEYS):
        facts = (3000.0 + number, 0.5, "mig", "H100", number == 0)
        database.execute(f"INSERT INTO held VALUES ({', '.join('?' * 11)})", (*key, *facts))
        for counter, value in COUNTERS.items() if number < 2 else [("held_seconds", 7.0)]:
            database.execute(
                "INSERT INTO counters VALUES (?, ?, ?, ?, ?, ?, ?, ?)", (*key, counter, value + number)
            )
    for cluster in clusters:
        database.execute("INSERT INTO nodes VALUES (?, 'gw0', 'bb', 3001.0)", (cluster,))
    database.execute("INSERT INTO watermarks VALUES ('http://gw0:9838', 'bb', 17)")
    database.execute(
        "INSERT INTO journal VALUES ('hydra', 'gw0', 'aa', 1, 1.5, 'run-1', 1000, 'socket', 7, 8, 'wall=1h', NULL,"
        " NULL, NULL)"
    )
    database.execute("INSERT INTO alerts VALUES ('exceeded', 'job', 'run-1', 'energy', ?, ?, ?, ?, ?)", ALERT)
    for number in (1, 2):
        database.execute(
            "INSERT INTO alert_changes VALUES (?, 60.0, 'raised', 'exceeded', 'job', 'run-1', 'energy',"
            " ?, ?, ?, ?, ?)",
            (number, *ALERT),
        )
    database.execute("INSERT INTO outbox VALUES (2, 'log', 61.0)")
    if version == 2:
        database.execute("INSERT INTO polls VALUES ('slurm', 'hydra', 123.5)")
        names = [row[1] for row in database.execute("PRAGMA table_info(records)")]
        known = {"job_id": "7", "submitted": 10, "cluster": "hydra", "seen": 99.0, "started": 20.0, "tasks": 1}
        empty = ("state", "rule", "doubt", "whole", "display", "name", "user", "account", "partition", "qos")
        row = {name: known.get(name, "" if name in empty else None) for name in names} | {"nodes": "[]"}
        marks = ", ".join("?" * len(row))
        database.execute(f"INSERT INTO records VALUES ({marks})", tuple(row.values()))


def made(path: Path, version: int, clusters: tuple[str, ...] = ("hydra",)) -> Path:
    """A file as an earlier gpuwatch left it."""
    with closing(sqlite3.connect(path)) as database, database:
        database.executescript(DDL)
        if version == 1:
            for name in ADDED_IN_2:
                database.execute(f"DROP TABLE {name}")
        database.execute("INSERT INTO schema_version VALUES (?)", (version,))
        fill(database, version, clusters)
    return path


def rows(store: Store, table: Any) -> list[tuple[Any, ...]]:
    with store.reading() as connection:
        return sorted((tuple(each) for each in connection.execute(select(table))), key=repr)


def everything(store: Store) -> dict[str, list[tuple[Any, ...]]]:
    return {table.name: rows(store, table) for table in tables.metadata.sorted_tables}


def differences(connection: Connection) -> list[Any]:
    context = MigrationContext.configure(connection, opts={"compare_type": True})
    return compare_metadata(context, tables.metadata)


@EARLIER
def test_every_total_is_kept(tmp_path: Path, version: int) -> None:
    """By row, in its column; reasons of throttling that have none are together under `other`."""
    with closing(open_store(str(made(tmp_path / "ledger.db", version)))) as store, store.reading() as connection:
        there = tables.usage.c
        query = select(tables.usage).order_by(there.job_id.desc(), there.epoch)
        first, second, third = (row._asdict() for row in connection.execute(query))

    expected = {
        "job_id": "run-1", "started": 1000, "cluster": "hydra", "node": "gw0", "epoch": "aa", "uuid": "GPU-0",
        "last_seen": 3000.0, "share": 0.5, "basis": "mig", "model": "H100", "open": True, "held_seconds": 100.5,
        "busy_seconds": 80.25, "memory_byte_seconds": 1e15, "energy_unmeasured_seconds": 0.5,
        "state_seconds_working": 90.0, "state_seconds_idle": 10.5, "energy_joules_counter": 36_000.0,
        "throttled_seconds_sw_power_cap": 2.0, "throttled_seconds_other": 7.25,
    }  # fmt: skip
    assert expected == {name: value for name, value in first.items() if value is not None}
    assert (101.5, 10.25) == (second["held_seconds"], second["throttled_seconds_other"])
    assert (9.0, 0.0, None) == (third["held_seconds"], third["energy_unmeasured_seconds"], third["busy_seconds"])


@EARLIER
def test_what_did_not_know_of_clusters_is_that_of_its_nodes(tmp_path: Path, version: int) -> None:
    """Watermarks and alerts; a change that waits to be told still waits."""
    with closing(open_store(str(made(tmp_path / "ledger.db", version)), cluster="other")) as store:
        kept = everything(store)

    assert [("hydra", "http://gw0:9838", "bb", 17, None)] == kept["watermarks"]
    assert [("hydra", "exceeded", "job", "run-1", "energy", *ALERT)] == [each[:10] for each in kept["alerts"]]
    assert [("exceeded", "run-1", 50.0)] == [(each[2], each[4], each[6]) for each in kept["alert_episodes"]]
    assert [(1, "hydra"), (2, "hydra")] == [each[:2] for each in kept["alert_changes"]]
    assert [(2, "log", 61.0)] == kept["outbox"]
    assert ["hydra"] == [cluster for cluster, _ in kept["clusters"]]
    assert [(1,)] * (version - 1) == [(len(kept[name]),) for name in ("polls",) if kept[name]]


def test_where_nodes_are_of_several_clusters_the_configured_one_has_it(tmp_path: Path) -> None:
    """It is the one whose accounting opens the file."""
    path = made(tmp_path / "ledger.db", 2, ("hydra", "medusa"))
    with closing(open_store(str(path), cluster="medusa")) as store:
        kept = everything(store)

    assert [("medusa", "http://gw0:9838", "bb", 17, None)] == kept["watermarks"]
    assert ["hydra", "medusa"] == [cluster for cluster, _ in kept["clusters"]]


@EARLIER
def test_a_migrated_ledger_is_as_one_made_today(tmp_path: Path, version: int) -> None:
    """Alembic finds no difference to the tables that the code has."""
    with closing(open_store(str(made(tmp_path / "ledger.db", version)))) as store, store.reading() as connection:
        found = differences(connection)

    assert [] == found


def test_a_new_ledger_is_as_the_code_has_it(store: Store) -> None:
    """And carries Alembic's mark, so that its own tools know it."""
    with store.reading() as connection:
        found = differences(connection)
        mark = connection.scalar(select(schema.alembic_version.c.version_num))

    assert ([], f"{tables.SCHEMA_VERSION:04d}") == (found, mark)


@pytest.mark.parametrize("database", ["sqlite", pytest.param("postgresql", marks=ON_POSTGRES)])
def test_the_scripts_alone_make_what_the_code_has(
    tmp_path: Path, request: pytest.FixtureRequest, database: str
) -> None:
    """From nothing to the first schema and on, in both databases."""
    if database == "sqlite":
        url = str(tmp_path / "ledger.db")
    else:
        server: Postgres = request.getfixturevalue("postgres_server")
        url = server.make_database()
    with closing(open_store(url)) as store, store.writing() as connection:
        tables.metadata.drop_all(connection)
        schema.alembic_version.drop(connection)
        tables.schema_version.create(connection)
        schema.migrate(connection, 0, "hydra")

        assert [] == differences(connection)


def test_marks_of_schema_3_are_kept_without_a_state(tmp_path: Path) -> None:
    """Who read only agents goes on from where it was."""
    path = tmp_path / "ledger.db"
    open_store(str(path)).close()
    with closing(sqlite3.connect(path)) as database:
        for table, column in LATER:
            database.execute(f"ALTER TABLE {table} DROP COLUMN {column}")
        database.execute("DROP TABLE refusals")
        database.execute("INSERT INTO watermarks VALUES ('hydra', 'http://gw0:9838', 'bb', 17)")
        database.execute("UPDATE schema_version SET version = 3")
        database.execute("UPDATE alembic_version SET version_num = '0003'")
        database.commit()

    with closing(open_store(str(path))) as store, store.reading() as connection:
        found = writing.watermarks(connection, "hydra"), differences(connection)

    assert ({"http://gw0:9838": Mark("bb", 17)}, []) == found


@EARLIER
def test_opened_again_nothing_changes(tmp_path: Path, version: int) -> None:
    """A ledger is migrated once."""
    path = made(tmp_path / "ledger.db", version)
    seen = []
    for _ in range(2):
        with closing(open_store(str(path))) as store:
            seen.append(everything(store))

    assert seen[0] == seen[1]


@EARLIER
def test_the_ledger_as_it_was_is_kept(tmp_path: Path, version: int) -> None:
    """In a file beside it, whole, and not for everybody."""
    path = made(tmp_path / "ledger.db", version)
    before = dump(path)

    open_store(str(path)).close()

    kept = tmp_path / f"ledger.db.v{version}-backup"
    assert before == dump(kept)
    assert 0o640 == kept.stat().st_mode & 0o777


def dump(path: Path) -> list[str]:
    with closing(sqlite3.connect(path)) as database:
        return sorted(database.iterdump())


@EARLIER
def test_a_crash_in_the_middle_leaves_the_old_ledger(tmp_path: Path, version: int) -> None:
    """Every step is one transaction; what is opened next begins again."""
    path = made(tmp_path / "ledger.db", version)
    before = dump(path)
    store = Store(engine(path, 1.0, read_only=False), str(path), path)
    with pytest.raises(RuntimeError), store.writing() as connection:
        schema.migrate(connection, version, "hydra")
        raise RuntimeError("power cut")
    store.close()
    after = dump(path)

    with closing(open_store(str(path))) as again:
        kept = everything(again)

    assert before == after
    assert 3 == len(kept["usage"])


def test_without_a_copy_nothing_is_changed(tmp_path: Path) -> None:
    """Where the disk cannot take it."""
    path = made(tmp_path / "ledger.db", 2)
    before = dump(path)
    (tmp_path / "ledger.db.v2-backup").mkdir()

    with pytest.raises(Unavailable, match="cannot be copied"):
        open_store(str(path))

    shutil.rmtree(tmp_path / "ledger.db.v2-backup")
    assert before == dump(path)


@EARLIER
def test_a_reader_says_what_to_do(tmp_path: Path, version: int) -> None:
    """It may not change the file, and does not read half of it."""
    path = made(tmp_path / "ledger.db", version)

    with pytest.raises(
        Unavailable, match=f"schema version {version}; start this gpuwatch's accounting on it first"
    ):
        open_to_read(str(path))


@EARLIER
def test_everything_is_to_be_charged(tmp_path: Path, version: int) -> None:
    """No earlier schema had money or days: the next pass finds every job marked."""
    store = open_store(str(made(tmp_path / "ledger.db", version)))

    marked = [job_id for _, job_id in rows(store, tables.changed)]
    store.close()

    assert sorted(["it's 7", "run-1", *(["7"] if version == 2 else [])]) == sorted(marked)
