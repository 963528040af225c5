"""`gpuwatch restate`: money and carbon by the rates of today beside what was charged before."""

from __future__ import annotations

import json
import time
from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from gpuwatch import hygiene
from gpuwatch.cli.jobs import JsonOption
from gpuwatch.cli.options import ConfigOption
from gpuwatch.cli.waiting import waiting

if TYPE_CHECKING:
    from pathlib import Path

    from gpuwatch.ledger.restating import Past, Restatement, Totals

FromOption = Annotated[
    str | None, typer.Option("--from", metavar="DAY", help="The first day, or month, to be reckoned again.")
]
ToOption = Annotated[
    str | None, typer.Option("--to", metavar="DAY", help="Before this day or month (default: up to today).")
]
LedgerOption = Annotated[
    str | None, typer.Option(metavar="PATH|URL", help="The ledger (default: the configured one).")
]


def restate(
    since: FromOption = None,
    until: ToOption = None,
    reason: Annotated[str, typer.Option(metavar="TEXT", help="Why; it is kept with the figures.")] = "",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would change, and change nothing.")] = False,
    listed: Annotated[bool, typer.Option("--list", help="Print the restatements there were.")] = False,
    cluster: Annotated[
        str | None, typer.Option(metavar="NAME", help="The cluster (default: the configured one).")
    ] = None,
    ledger: LedgerOption = None,
    config_file: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Reckon money and carbon of past days by the rates file of today; what was charged before stays beside it.

    Hours and joules are not touched. `gpuwatch jobs --by month --edition 0` still prints the figures as they were
    first charged.
    """
    if listed:
        _print_past(ledger, config_file, cluster, as_json)
        return
    if since is None:
        raise typer.BadParameter("is needed; write the first day, as in --from 2026-01-01", param_hint="--from")
    done = _restate(since, until, reason, dry_run, cluster, ledger, config_file)
    if as_json:
        print(json.dumps({"dry_run": dry_run, **asdict(done)}, separators=(",", ":"), allow_nan=False))
    else:
        print("\n".join(_lines(done, dry_run)))


class _Undone(Exception):
    """Takes a transaction back."""


def _restate(
    since: str, until: str | None, reason: str, dry_run: bool, cluster: str | None, ledger: str | None,
    config_file: Path | None,
) -> Restatement:  # fmt: skip
    from gpuwatch import config
    from gpuwatch.cli.imports import tariffs_of
    from gpuwatch.cli.job_words import writing
    from gpuwatch.cli.periods import Asked
    from gpuwatch.ledger.campaigns import name_of
    from gpuwatch.ledger.charges import days_between
    from gpuwatch.ledger.restating import restate as restated

    settings = config.load(config_file)
    now, tariffs = time.time(), tariffs_of(settings)
    asked = Asked.of("day", since, until, settings.accounting.timezone, now)
    first, last = (days_between(each, each, tariffs.zone)[0].number for each in (asked.begins, asked.ends))
    days = first, last if until is not None else last + 1
    done: list[Restatement] = []
    try:
        with waiting("restating") as told, writing(ledger, config_file) as (connection, actor):
            by = hygiene.label(name_of(actor.person))
            of = cluster or settings.site.cluster
            done.append(restated(connection, of, days, tariffs, by, hygiene.log(reason), now, told))
            if dry_run:
                raise _Undone
    except _Undone:
        pass
    return done[0]


def _lines(done: Restatement, dry_run: bool) -> list[str]:
    if done.edition is None:
        return [f"Nothing changes: every figure is what rates {done.rates} make it."]
    rows = "1 row" if done.rows == 1 else f"{done.rows:,} rows"
    jobs = "1 job" if done.jobs == 1 else f"{done.jobs:,} jobs"
    word = "Would restate" if dry_run else f"Edition {done.edition}: restated"
    return [
        f"{word} {rows} of {jobs} by rates {done.rates}.",
        f"  before  {_totals(done.before)}",
        f"  after   {_totals(done.after)}",
    ]


def _totals(totals: Totals) -> str:
    from gpuwatch.accounting.amounts import amount, money

    cost = money(totals.cost) if totals.cost else "cost not known"
    carbon = "carbon not known" if totals.carbon_grams is None else f"{amount('carbon', totals.carbon_grams)} CO2e"
    return f"{cost}, {carbon}"


def _print_past(ledger: str | None, config_file: Path | None, cluster: str | None, as_json: bool) -> None:
    from gpuwatch.cli.jobs import opened
    from gpuwatch.ledger.restating import past

    with opened(ledger, config_file) as connection:
        found = past(connection, cluster)
    if as_json:
        print(json.dumps([_document(each) for each in found], separators=(",", ":"), allow_nan=False))
    elif not found:
        print("Nothing was restated yet.")
    else:
        print("\n".join(_line(each) for each in found))


def _document(each: Past) -> dict[str, object]:
    return {**asdict(each), "begins": _day(each.begins), "ends": _day(each.ends)}


def _line(each: Past) -> str:
    when = f"{datetime.fromtimestamp(each.time, UTC):%Y-%m-%d %H:%M}Z"
    why = f": {hygiene.log(each.reason)}" if each.reason else ""
    days = f"days {_day(each.begins)} to before {_day(each.ends)}"
    rows = "1 row" if each.rows == 1 else f"{each.rows:,} rows"
    return f"edition {each.edition}  {when} by {hygiene.label(each.by)}, {days}, {rows}, rates {each.rates}{why}"


def _day(number: int) -> str:
    from gpuwatch.ledger.charges import date_of

    return str(date_of(number))
