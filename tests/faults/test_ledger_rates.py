"""Rates that break while accounting runs, and restatements that are cut off, repeated, or made beside a pass."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Callable
from datetime import UTC
from pathlib import Path

import pytest

from gpuwatch.accounting.tariffs import SiteTariffs
from gpuwatch.errors import ConfigurationError
from gpuwatch.ledger import tables
from gpuwatch.ledger.charging import Tariffs, catch_up
from gpuwatch.ledger.record_store import post_records
from gpuwatch.ledger.store import Store
from tests.faults.ledgers import CHEAPER, RATES_FILE, check_days, priced, rows, totals
from tests.faults.restating import restated
from tests.ledger.batch import HOUR, T0, record, running

NOW = T0 + 3 * HOUR
FIGURES = (tables.charges, tables.daily, tables.restatements)


def write(path: Path, content: str | bytes) -> None:
    """A new file under the name, as an editor or a deployment makes one."""
    made = path.with_suffix(".new")
    made.write_bytes(content.encode() if isinstance(content, str) else content)
    made.replace(path)


def remove(path: Path) -> None:
    path.unlink()


def make_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


@pytest.mark.parametrize(
    "broken",
    [
        remove,
        make_folder,
        lambda path: write(path, b"\xff\xfe\x00 nonsense"),
        lambda path: write(path, b""),
        lambda path: write(path, RATES_FILE[:-12]),
        lambda path: write(path, RATES_FILE.replace(",2,EUR", ",-2,EUR")),
        lambda path: write(path, RATES_FILE.replace(",2,EUR", ",1e300,EUR")),
        lambda path: write(path, RATES_FILE + "price,,,2021-01-01,,3,EUR,,,\n"),
        lambda path: path.write_bytes(b"\0" * 100_000),
    ],
    ids=["removed", "folder", "binary", "empty", "cut", "negative", "absurd", "overlap", "in place"],
)
def test_rates_that_break_while_it_runs_change_nothing(tmp_path: Path, broken: Callable[[Path], None]) -> None:
    """The old ones stay, and it is said; a file that is right again is taken, by a start at the latest."""
    path = tmp_path / "rates.csv"
    write(path, RATES_FILE)
    site = SiteTariffs(path, UTC)
    good = site.look().rates.version
    broken(path)

    seen = [(site.look().rates.version, site.successful) for _ in range(2)]

    assert [(good, False)] * 2 == seen
    with pytest.raises(ConfigurationError):
        SiteTariffs(path, UTC)
    if path.is_dir():
        path.rmdir()
    write(path, CHEAPER)
    assert (priced(CHEAPER).version, True) == (site.look().rates.version, site.successful)


def fill(store: Store) -> None:
    """Forty jobs that have ended and one that runs, charged by two euros an hour."""
    told = [*(record(str(number)) for number in range(40)), running("100")]
    with store.writing() as connection:
        post_records(connection, told)
    catch_up(store, "default", Tariffs(priced()), NOW)


def money(store: Store) -> float:
    return sum(float(each["cost"].expected) for each in totals(store).values())


@pytest.mark.integration
def test_a_restatement_that_is_killed_leaves_the_old_figures(store: Store) -> None:
    """Whole: neither a new row nor an old one that no longer counts; the next one does all of it."""
    fill(store)
    before = [rows(store, table) for table in FIGURES]
    command = [sys.executable, "-m", "tests.faults.restating", store.where]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=os.environ.copy()) as process:
        assert process.stdout is not None
        said = process.stdout.readline()
        process.kill()

    assert "half\n" == said
    assert before == [rows(store, table) for table in FIGURES]
    with store.writing() as connection:
        assert 41 == restated(connection)
    check_days(store)
    assert pytest.approx(40 * 2 + 1) == money(store)


def test_a_second_restatement_writes_nothing(store: Store) -> None:
    """Not even that it was made."""
    fill(store)
    counts, found = [], []
    for _ in range(3):
        with store.writing() as connection:
            counts.append(restated(connection))
        found.append([rows(store, table) for table in FIGURES])

    assert [41, 0, 0] == counts
    assert found[0] == found[1] == found[2]
    check_days(store)


def test_a_restatement_beside_a_pass_leaves_one_current_figure_of_each(store: Store) -> None:
    """One waits for the other; else hours of one would count beside the money of the other."""
    fill(store)
    with store.writing() as connection:
        post_records(connection, [record("100", ended=T0 + 2 * HOUR, seen=T0 + 2 * HOUR)])
    charging = threading.Thread(target=lambda: catch_up(store, "default", Tariffs(priced()), NOW))
    with store.writing() as connection:
        assert 41 == restated(connection)
        charging.start()
        charging.join(0.3)
        waits = charging.is_alive()
    charging.join(30)

    check_days(store)
    assert waits
    assert pytest.approx(40 * 2 * HOUR + 2 * 2 * HOUR) == sum(
        float(each["charged_seconds"].expected) for each in totals(store).values()
    )
    # What ended after the restatement is charged by accounting's own rates.
    assert pytest.approx(40 * 2 + 8) == money(store)
