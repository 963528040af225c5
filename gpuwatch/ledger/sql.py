"""Words that SQLite and PostgreSQL have different ones for, and statements whose text is made once.

SQLAlchemy compiles an upsert anew each time, which takes longer than it runs. Hence `run_many`: the statement is
built by a function, its text kept for each database, and the rows go to the driver as they are.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache
from typing import Any, cast

from sqlalchemy import BigInteger, ColumnElement, Connection, Integer, String, Text, bindparam, case, func
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement

from gpuwatch.ledger import copying

_POSTGRESQL: Any = postgresql.dialect

Rows = Sequence[Sequence[object]] | Sequence[Mapping[str, object]]

# Order is by code point everywhere, as Python's and SQLite's is; PostgreSQL would sort as the country does.
WORDS = String().with_variant(String(collation="C"), "postgresql")
TEXT = Text().with_variant(Text(collation="C"), "postgresql")
WHOLE = BigInteger().with_variant(Integer(), "sqlite")


class _Listed(FunctionElement[Any]):
    """The strings of a JSON list, as a subquery."""

    name = "listed"
    inherit_cache = True


@compiles(_Listed, "sqlite")
def _listed_sqlite(element: _Listed, compiler: SQLCompiler, **kw: Any) -> str:
    return f"(SELECT value FROM json_each({compiler.process(element.clauses, **kw)}))"


@compiles(_Listed, "postgresql")
def _listed_postgresql(element: _Listed, compiler: SQLCompiler, **kw: Any) -> str:
    return f"(SELECT json_array_elements_text(CAST({compiler.process(element.clauses, **kw)} AS json)))"


def among(column: ColumnElement[Any], values: Iterable[str]) -> ColumnElement[bool]:
    """Whether a column has one of many values: one parameter, where `IN (?, ?, …)` has one for each.

    A statement with thousands of them takes longer to write than to run, and SQLite before 3.32 takes 999.
    """
    return column.op("IN", is_comparison=True)(_Listed(json.dumps(list(values))))


def greatest(there: Any, new: Any) -> ColumnElement[Any]:
    """The greater of two; where one is null, the other."""
    return case((there >= new, there), else_=func.coalesce(new, there))


def least(there: Any, new: Any) -> ColumnElement[Any]:
    """The lesser of two; where one is null, the other."""
    return case((there <= new, there), else_=func.coalesce(new, there))


def insert_for(dialect: str) -> Callable[..., Any]:
    """`insert` with the `ON CONFLICT` of a database: `sqlite` or `postgresql`; both have the same words for it."""
    return postgresql.insert if dialect == "postgresql" else sqlite.insert


def inserting(connection: Connection, table: Any) -> Any:
    """An insert into a table that may go on with `on_conflict_do_update`."""
    return insert_for(connection.dialect.name)(table)


Insert = Callable[..., Any]
Statement = Callable[[Insert], Any]


def run_many(connection: Connection, statement: Statement, rows: Rows) -> int:
    """Run a statement for each of the rows; how many rows it changed.

    `statement` is given `insert` and is a module's function, as what it builds is kept. `rows` have their values
    by position, in the order of the table's columns, or by the names of the statement's parameters.
    """
    if not rows:
        return 0
    named = isinstance(rows[0], Mapping)
    if not named and len(rows) >= copying.FEWEST and connection.dialect.name == "postgresql":
        changed = copying.copied(connection, statement, cast("Sequence[Sequence[object]]", rows))
        if changed is not None:
            return changed
    text = _text(statement, connection.dialect.name, named)
    return connection.exec_driver_sql(text, list(rows)).rowcount


@cache
def _text(statement: Statement, dialect: str, named: bool) -> str:
    """The statement's text as the driver wants it."""
    built = statement(insert_for(dialect))
    if dialect == "postgresql":
        return str(built.compile(dialect=_POSTGRESQL(paramstyle="pyformat" if named else "format")))
    return str(built.compile(dialect=sqlite.dialect(paramstyle="named" if named else "qmark")))


def numbered(table: Any, insert: Insert) -> Any:
    """An insert of rows by name into a table whose `id` the database gives."""
    return insert(table).values({each.name: bindparam(each.name) for each in table.c if each.name != "id"})


def chosen(condition: ColumnElement[bool], new: Any, there: Any) -> ColumnElement[Any]:
    """The new value where the condition holds, else the one there."""
    return case((condition, new), else_=there)
