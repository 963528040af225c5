"""Files of runs and of their progress, plain or compressed, as runs that can be replayed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from gpuwatch import hygiene
from gpuwatch.cli.files import TextFile
from gpuwatch.errors import Rejected
from gpuwatch.forecast import run_file

if TYPE_CHECKING:
    from gpuwatch.forecast.history import BacktestRun


def read(runs: str, progress: str | None) -> tuple[tuple[BacktestRun, ...], run_file.LeftOut]:
    """The runs of a file, with the progress of another one, and what was left out of both.

    `Unavailable` where a file cannot be read, `Rejected` where it is damaged, lacks a column, or has no run.
    """
    left_out = run_file.LeftOut()
    with TextFile(runs) as text:
        found = run_file.runs(text.lines(), text.name, left_out)
        if not found:
            why = "; ".join(left_out.examples[:1]) or "it has its first line alone"
            raise Rejected(f"{hygiene.log(text.name)}: has no run that can be taken; {hygiene.log(why)}")
    if progress is not None:
        with TextFile(progress) as text:
            found = run_file.with_progress(found, text.lines(), text.name, left_out)
    return tuple(found.values()), left_out


def left_out_lines(left_out: run_file.LeftOut) -> Iterator[str]:
    """What was left out, for people; nothing where nothing was."""
    for reason, number in sorted(left_out.counts.items()):
        rows = "row" if number == 1 else "rows"
        yield f"{number:,} {rows} left out: {run_file.REASONS[reason]}"
    yield from (f"  {hygiene.log(example)}" for example in left_out.examples)
