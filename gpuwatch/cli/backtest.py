"""`gpuwatch backtest`: would the forecasts have been right? A history replayed as if it were today."""

from __future__ import annotations

import gc
import json
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gpuwatch.cli.jobs import JsonOption, LedgerOption, opened
from gpuwatch.cli.options import ConfigOption
from gpuwatch.cli.waiting import waiting

if TYPE_CHECKING:
    from gpuwatch.forecast.history import BacktestRun
    from gpuwatch.forecast.run_file import LeftOut
    from gpuwatch.forecast.scoring import Replayed

TOLERANCE = 0.1
_MOST = 1000

RunsOption = Annotated[
    str | None,
    typer.Option(
        metavar="FILE",
        help="Replay these runs instead of the ledger's: CSV with job_id, user, start_s, end_s, num_devices and,"
        " where known, account, job_name, submit_s, num_nodes, requested_s, declared_device_hours, state;"
        " also compressed with gzip; - is standard input.",
    ),
]
ProgressOption = Annotated[
    str | None,
    typer.Option(metavar="FILE", help="What those runs reported: CSV with job_id, time_s, fraction."),
]
ToleranceOption = Annotated[
    float,
    typer.Option(min=0, max=_MOST, help="An overrun is more than this part above what was declared."),
]
ChainOption = Annotated[
    int | None,
    typer.Option(
        min=2,
        max=_MOST,
        help="Cut each run into so many jobs, one after the other with work lost between, and forecast the chain.",
    ),
]


def backtest(
    runs: RunsOption = None,
    progress: ProgressOption = None,
    tolerance: ToleranceOption = TOLERANCE,
    chain: ChainOption = None,
    ledger: LedgerOption = None,
    config_file: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Replay past runs in the order of time, and score what would have been forecast of each.

    At each moment only what had ended by then is known. Intervals, overruns called and simpler rules are compared
    with what the runs came to, each run alike and by device-hours.
    """
    _check(runs, progress, tolerance, ledger)
    with _uncollected():
        history, left_out = _history(runs, progress, ledger, config_file)
        if chain is not None:
            from gpuwatch.forecast.chains_cut import cut

            history = cut(history, chain)
        from gpuwatch.forecast.backtest import replayed

        with waiting(f"replaying {len(history):,} runs") as told:
            replay = replayed(history, tolerance, told)
        print_replay(replay, len(history), tolerance, left_out, as_json)


def print_replay(replay: Replayed, runs: int, tolerance: float, left_out: LeftOut | None, as_json: bool) -> None:
    """Print what a replay of so many runs came to, and what of their files was left out."""
    from gpuwatch.cli.backtest_views import lines
    from gpuwatch.cli.run_files import left_out_lines
    from gpuwatch.forecast.scoring import document, supported

    told = document(replay, tolerance)
    if as_json:
        skipped = {} if left_out is None else dict(left_out.counts)
        whole = {"runs": runs, "left_out": skipped, "supported": supported(told), **told}
        print(json.dumps(whole, separators=(",", ":"), allow_nan=False))
        return
    if left_out is not None:
        for line in left_out_lines(left_out):
            print(line)
    print("\n".join(lines(told, runs)))


def _check(runs: str | None, progress: str | None, tolerance: float, ledger: str | None) -> None:
    if not isfinite(tolerance):
        raise typer.BadParameter("is a number, as 0.1 for 10 %", param_hint="--tolerance")
    if runs is None and progress is not None:
        raise typer.BadParameter("belongs to --runs; say which file has the runs", param_hint="--progress")
    if runs is not None and ledger is not None:
        raise typer.BadParameter("stands beside --ledger; replay one of them", param_hint="--runs")
    if runs == progress == "-":
        raise typer.BadParameter("and --runs cannot both be standard input", param_hint="--progress")


def _history(
    runs: str | None, progress: str | None, ledger: str | None, config_file: Path | None
) -> tuple[Sequence[BacktestRun], LeftOut | None]:
    if runs is not None:
        from gpuwatch.cli.run_files import read

        with waiting("reading runs" if progress is None else "reading runs and progress"):
            return read(runs, progress)
    from gpuwatch.accounting.past_runs import past_runs

    with opened(ledger, config_file) as connection:
        return past_runs(connection, time.time()), None


@contextmanager
def _uncollected() -> Iterator[None]:
    """No search for cycles: a replay makes millions of small values without any, and looking takes a fifth."""
    was = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was:
            gc.enable()
