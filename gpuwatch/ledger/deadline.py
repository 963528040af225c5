"""A limit in time on what is read, so that one question cannot hold a connection and a core for ever."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import Connection

_LOOKED_AT = 20_000
"""SQLite asks after so many steps of its machine, a millisecond or so."""


@contextmanager
def limited(connection: Connection, seconds: float) -> Iterator[None]:
    """Statements in the block end with the database's error, `Unavailable` to a store's reader, after so long.

    On SQLite for all of them together, on PostgreSQL for each.
    """
    if connection.dialect.name == "postgresql":
        connection.exec_driver_sql(f"SET LOCAL statement_timeout = {int(seconds * 1000)}")
        yield
        return
    driver = connection.connection.driver_connection
    assert driver is not None
    ends = time.monotonic() + seconds
    driver.set_progress_handler(lambda: time.monotonic() > ends, _LOOKED_AT)
    try:
        yield
    finally:
        driver.set_progress_handler(None, 0)
