"""The chains of a campaign as they are printed."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from gpuwatch.cli import campaign as commands
from gpuwatch.cli.chain_views import chain_lines
from gpuwatch.ledger.chain_document import chain_document
from gpuwatch.ledger.chains import chains_of
from gpuwatch.ledger.posting import read
from gpuwatch.ledger.store import open_store
from gpuwatch.ledger.writing import post
from tests.accounting.forecasting import forecast
from tests.ledger.deliveries import T0, declared, delivery, progress, row
from tests.ledger.test_chains import silent, told


@pytest.fixture
def ledger(tmp_path: Path) -> str:
    """Two runs of one campaign; the second went on at step 250 of what the first had done until 300."""
    return filled(tmp_path, T0)


def filled(tmp_path: Path, began: int) -> str:
    """A ledger of two runs, of which the second runs 1100 s after they began."""
    first, again = began + 1000, {"started": began + 1000, "last_seen": began + 1100.0}
    found = delivery(
        [row("run-1", started=began, last_seen=began + 100.0, open=False), row("run-2", **again)],
        [
            declared("campaign=llama", "run-1", started=began, time=began + 1.0),
            declared("campaign=llama", "run-2", seq=7, started=first, time=first + 1.0),
        ],
        [
            progress(300, started=began, time=began + 100.0),
            progress(450, job_id="run-2", started=first, start_step=250, time=began + 1100.0),
        ],
        now=began + 1100.0,
    )
    store = open_store(str(tmp_path / "ledger.db"))
    with store.writing() as connection:
        post(connection, read(found), found.origin)
    forecast(store, began + 1100.0)
    store.close()
    return f"sqlite:///{tmp_path / 'ledger.db'}"


def test_a_campaign_is_shown_with_its_chain(ledger: str, capsys: pytest.CaptureFixture[str]) -> None:
    """How far it is, how often it was taken up, and what was lost."""
    commands.show("llama", ledger=ledger)

    lines = [line.strip() for line in capsys.readouterr().out.splitlines()]
    assert (
        "chains     2 jobs, run-1 to run-2: step 450 of 1,000 (45 %), taken up once, 15 min between runs" in lines
    )
    assert "lost 50 steps (10 % of those done), 0.0046 device-hours of work" in lines


def test_what_is_forecast_of_a_campaign_is_said_while_it_goes_on(
    tmp_path: Path, ledger: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of one that has ended it is known what it came to."""
    commands.show("llama", ledger=ledger)
    ended = capsys.readouterr().out
    folder = tmp_path / "running"
    folder.mkdir()
    commands.show("llama", ledger=filled(folder, int(time.time()) - 1100))
    running = capsys.readouterr().out

    assert "projected" not in ended
    assert "  projected  device-hours: 80 % between " in running


def test_a_chain_is_a_document(ledger: str, capsys: pytest.CaptureFixture[str]) -> None:
    """The same for programs."""
    commands.show("llama", ledger=ledger, as_json=True)

    (chain,) = json.loads(capsys.readouterr().out)["chains"]
    assert (["run-1", "run-2"], 450.0, 1000.0, 50.0, 0.1, 900.0) == (
        chain["jobs"], chain["step"], chain["total"], chain["lost_steps"], chain["lost_ratio"],
        chain["gap_seconds"],
    )  # fmt: skip


def test_what_is_odd_about_a_chain_is_said() -> None:
    """It began before the campaign, its total changed, and some of it is not known."""
    jobs = (
        told("2", 3000, 4000, 0), silent("3", 2), told("4", 5000, 6000, 4), told("6", 8000, 8500, 6),
        told("7", 8500, 9000, 8, total=12_000),
    )  # fmt: skip

    lines = list(chain_lines([chain_document(each) for each in chains_of(jobs)]))

    assert [
        "5 jobs, 2 to 7: step 9,000 of 12,000 (75 %), taken up 4 times, 4 h between runs",
        "the total was 9,000 before and is 12,000 now",
        "began at step 3,000: what was before is not in this campaign",
        "2,000 steps were done by jobs that are not in this campaign",
        "1 job of it never said how far",
    ] == lines


def test_of_single_runs_nothing_is_said() -> None:
    """A sweep has no chain; and many chains are cut short."""
    single = [told(f"{each}", 0, 100, 0) for each in range(3)]
    names = [f"n{each}" for each in range(12)]
    pairs = [told(f"a{each}", 0, 1000, 0, called=each) for each in names]
    pairs += [told(f"b{each}", 1000, 2000, 2, called=each) for each in names]

    assert [] == list(chain_lines([chain_document(each) for each in chains_of(single)]))
    assert "and 2 more; --json has all" == list(chain_lines([chain_document(e) for e in chains_of(pairs)]))[-1]
