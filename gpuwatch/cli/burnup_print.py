"""The chart of a job, as the terminal can show it."""

from __future__ import annotations

import os
import shutil
import sys

from gpuwatch.accounting.views import JobView
from gpuwatch.cli.burnup_chart import MOST_WIDTH, chart_lines
from gpuwatch.cli.burnup_series import chart_of, chosen
from gpuwatch.cli.chart_frame import UNICODE

_WIDTH = 80


def print_chart(view: JobView, quantity: str | None, now: float, wanted: bool | None) -> None:
    """Print the chart where it is `wanted`; None: where there is one, and a terminal to see it on."""
    is_terminal = sys.stdout.isatty()
    if wanted is False or (wanted is None and not is_terminal):
        return
    drawn = quantity or chosen(view)
    chart = chart_of(view, drawn, now)
    if chart is None:
        if wanted or quantity:
            print(f"\nNo burn-up of {drawn} yet.")
        return
    width = shutil.get_terminal_size((_WIDTH, 24)).columns - 1 if is_terminal else _WIDTH
    colour = is_terminal and not os.environ.get("NO_COLOR")
    print("", *chart_lines(chart, min(MOST_WIDTH, width), colour=colour, ascii_only=not _is_encodable()), sep="\n")


def _is_encodable() -> bool:
    try:
        "".join(UNICODE).encode(sys.stdout.encoding or "ascii")
    except (UnicodeEncodeError, LookupError):
        return False
    return True
