"""`gpuwatch progress`: how far the job is that this command runs in."""

from __future__ import annotations

import re
from typing import Annotated

import typer

from gpuwatch.cli.declare import Socket, tell
from gpuwatch.errors import DeclarationError

_NUMBER = r"[0-9]+(?:\.[0-9]+)?(?:[eE]\+?[0-9]{1,2})?"
_PROGRESS = re.compile(rf"({_NUMBER})(?:/({_NUMBER}))?")


def progress(
    steps: Annotated[str, typer.Argument(metavar="STEP/TOTAL", help="As 1200/9000; the total is needed once.")],
    socket: Socket = None,
) -> None:
    """Report how far this job is, for its forecast."""
    message: dict[str, object] = {"type": "progress", **parsed(steps)}
    tell(message, socket)


def parsed(steps: str) -> dict[str, float]:
    """`1200/9000` as step and total, `1200` as a step; `DeclarationError` for anything else."""
    match = _PROGRESS.fullmatch(steps)
    if match is None:
        raise DeclarationError(f"progress: {steps!r} is not STEP/TOTAL; write for example 1200/9000")
    known = {"step": float(match[1])}
    return known if match[2] is None else {**known, "total": float(match[2])}
