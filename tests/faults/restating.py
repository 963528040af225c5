"""Run by `test_ledger_rates.py`: restates a ledger, and is killed in the middle of it.

`python -m tests.faults.restating LEDGER`; prints a line when half of it is done, and then waits for the end.
"""

from __future__ import annotations

import sys
import time
from contextlib import closing

from sqlalchemy import Connection, event

from gpuwatch.ledger.charging import Tariffs
from gpuwatch.ledger.restating import restate
from gpuwatch.ledger.store import open_store
from tests.faults.ledgers import CHEAPER, priced


def main(ledger: str) -> None:
    """Stop for ever once the new figures are written, before the days are added up."""
    with closing(open_store(ledger)) as store, store.writing() as connection:

        def seen(_connection: object, _cursor: object, statement: str, *_: object) -> None:
            if statement.startswith("INSERT INTO restatements"):
                print("half", flush=True)
                time.sleep(60)

        event.listen(connection, "before_cursor_execute", seen)
        restated(connection)


def restated(connection: Connection) -> int:
    """How many rows a restatement by the cheaper rates writes."""
    return restate(connection, "default", (0, 40_000), Tariffs(priced(CHEAPER)), "ada", "test", 1.0).rows


if __name__ == "__main__":
    main(sys.argv[1])
