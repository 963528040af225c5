"""Run on a small disk by `test_ledger_disk.py`: passes until it is full, meanwhile, and afterwards.

`python -m tests.faults.full_disk DISK` prints a JSON object of what became of them.
"""

from __future__ import annotations

import json
import sys
from contextlib import closing, suppress
from datetime import UTC
from pathlib import Path
from typing import Any

from gpuwatch.accounting.accountant import Accountant
from gpuwatch.accounting.overruns import Bounds
from gpuwatch.accounting.tariffs import SiteTariffs
from gpuwatch.accounting.upkeep import Upkeep
from gpuwatch.errors import Unavailable
from gpuwatch.ledger import tables
from gpuwatch.ledger.store import Store, open_store
from gpuwatch.settings import AccountingSettings
from tests.accounting.fakes import FakeSource
from tests.faults.ledgers import check_days, rows, totals
from tests.ledger.deliveries import T0, delivery, row

FULL, WITH_PLACE = 12, 4


class Passes:
    """An accounting that looks after its disk, and an agent that keeps what is not acknowledged."""

    def __init__(self, store: Store) -> None:
        self._store, self._source = store, FakeSource()
        self._upkeep = Upkeep(store, AccountingSettings())
        self._accountant = Accountant(
            store, {"fake": self._source}, {}, Bounds(0.1, 0.0), tariffs=SiteTariffs(None, UTC)
        )

    def run(self, number: int) -> str:
        """A pass in which 200 more jobs have ended."""
        told = [
            row(f"run-{job}", seq=job + 1, open=False, held_seconds=float(job))
            for job in range(200 * (number + 1))
        ]
        self._source.answers = [delivery(told, seq=1 + len(told), now=T0 + 60.0 * number)]
        self._upkeep.before_pass(T0 + 60.0 * number)
        try:
            return self._accountant.run_pass(T0 + 60.0 * number).outcome
        except Unavailable:
            return "failed"


def figures(store: Store) -> list[Any]:
    """What there is to compare."""
    check_days(store)
    return [rows(store, tables.usage), totals(store), rows(store, tables.daily), rows(store, tables.changed)]


def main(disk: Path) -> None:
    """Fill the disk, go on for a while, make place."""
    told: dict[str, Any] = {}
    with closing(open_store(str(disk / "ledger.db"), reserve_bytes=2**20)) as store:
        passes = Passes(store)
        told["at first"] = passes.run(0)
        assert store.reserve is not None
        reserves = [store.reserve.size()]
        with suppress(OSError), (disk / "others").open("wb", buffering=0) as file:
            while file.write(b"x" * 1024):
                pass
        told["full"] = [passes.run(number) for number in range(1, FULL)]
        reserves.append(store.reserve.size())
        (disk / "others").unlink()
        told["with place"] = [passes.run(number) for number in range(FULL, FULL + WITH_PLACE)]
        reserves.append(store.reserve.size())
        with closing(open_store(str(disk.parent / "undisturbed.db"))) as other:
            Passes(other).run(FULL + WITH_PLACE - 1)
            told["the same"] = figures(store) == figures(other)
    print(json.dumps({**told, "reserves": reserves}))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
