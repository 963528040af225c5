"""Run on a small disk by `test_reserve.py`: fills it, and says what becomes of a ledger there."""

from __future__ import annotations

import sys
from contextlib import suppress
from pathlib import Path

from gpuwatch.errors import Unavailable
from gpuwatch.ledger.store import open_store
from tests.ledger.deliveries import delivery, row
from tests.ledger.test_store import post


def main(disk: Path) -> None:
    """Print each step."""
    store = open_store(str(disk / "ledger.db"), reserve_bytes=2**20)
    reserve = store.reserve
    assert reserve is not None
    reserve.keep()
    print("reserve", reserve.size())
    with suppress(OSError), (disk / "others").open("wb", buffering=0) as file:
        while file.write(b"x" * 1024):
            pass
    number = 0
    try:
        for number in range(1000):
            post(store, [delivery([row(f"run-{number}-{each}") for each in range(50)])])
    except Unavailable:
        print("full")
    print("reserve", reserve.size())
    post(store, [delivery([row(f"run-{number}-{each}") for each in range(50)])])
    print("written")
    (disk / "others").unlink()
    reserve.keep()
    print("reserve", reserve.size())
    store.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
