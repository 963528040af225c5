"""`gpuwatch rates`: what hours and joules cost now, in money and carbon, and whether the rates file is right."""

from __future__ import annotations

import json
import time
from datetime import date, tzinfo
from typing import Annotated

import typer

from gpuwatch.cli.options import ConfigOption

JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]
AtOption = Annotated[
    str | None, typer.Option("--at", metavar="DATE", help="What is in force on this day (default: now).")
]


def rates(at: AtOption = None, as_json: JsonOption = False, config_file: ConfigOption = None) -> None:
    """Show the prices, PUE and grid intensity in force, with version, source and age; defaults are called that.

    Checks the rates file as accounting does: exit code 78 with every mistake and its line.
    """
    from gpuwatch import config
    from gpuwatch.ledger.rate_file import load_rates
    from gpuwatch.ledger.rate_words import document, words

    accounting = config.load(config_file).accounting
    loaded = load_rates(accounting.rates_file, accounting.zone)
    moment = time.time() if at is None else _day(at, accounting.zone)
    file = None if accounting.rates_file is None else str(accounting.rates_file)
    if as_json:
        print(json.dumps({"file": file, **document(loaded, moment)}, separators=(",", ":"), allow_nan=False))
    else:
        print(
            "\n".join([*words(loaded, moment, accounting.zone), f"file: {file or 'none, so the defaults hold'}"])
        )


def _day(text: str, zone: tzinfo) -> float:
    from gpuwatch.ledger.periods import midnight
    from gpuwatch.ledger.rate_series import YEARS

    try:
        day = date.fromisoformat(text)
        if day.year not in YEARS:
            raise ValueError(day)
        return midnight(day, zone)
    except (ValueError, OverflowError) as exc:
        raise typer.BadParameter(f"{text[:40]!r} is no day; write 2026-11-25", param_hint="--at") from exc
