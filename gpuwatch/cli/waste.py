"""`gpuwatch waste` and `gpuwatch idle`: where device-hours were lost, and who holds idle devices right now."""

from __future__ import annotations

import time
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from gpuwatch.cli.jobs import CsvOption, JsonOption, LedgerOption, ZoneOption, opened
from gpuwatch.cli.options import ConfigOption, seconds_of

if TYPE_CHECKING:
    from gpuwatch.cli.periods import Asked

DAYS = 7.0
LEAST = 0.25
FLOOR_SECONDS = 60.0
_DAY = 86_400.0


class By(StrEnum):
    """What wasted device-hours are added up by."""

    JOB = "job"
    USER = "user"
    ACCOUNT = "account"
    PARTITION = "partition"
    CAMPAIGN = "campaign"


class Holding(StrEnum):
    """What idle devices are added up by."""

    JOB = "job"
    USER = "user"
    ACCOUNT = "account"


def waste(
    by: Annotated[By, typer.Option(help="Add up by this.")] = By.JOB,
    days: Annotated[float | None, typer.Option(min=0, help=f"The last so many days (default: {DAYS:g}).")] = None,
    since: Annotated[
        str | None, typer.Option("--from", metavar="TIME", help="From this day, month or time on.")
    ] = None,
    until: Annotated[
        str | None, typer.Option("--to", metavar="TIME", help="Before this day, month or time (default: now).")
    ] = None,
    timezone: ZoneOption = "UTC",
    least: Annotated[
        float,
        typer.Option(
            min=0, max=1, help="Name those that wasted at least this part of their time, and a minute; 0: all."
        ),
    ] = LEAST,
    top: Annotated[int | None, typer.Option(min=1, help="Name no more than so many.")] = None,
    ledger: LedgerOption = None,
    config_file: ConfigOption = None,
    as_json: JsonOption = False,
    as_csv: CsvOption = False,
) -> None:
    """Say where device-hours went: idle, spinning, lost to failures and restarts, or not measured.

    The most wasted come first; those that wasted little are one line, so that everything adds up.
    """
    from gpuwatch.cli.waste_views import print_wasted
    from gpuwatch.ledger import charging, queries
    from gpuwatch.ledger.waste import wasted

    if as_json and as_csv:
        raise typer.BadParameter("stands beside --json; write one of them", param_hint="--csv")
    asked = _asked(days, since, until, timezone, time.time())
    with opened(ledger, config_file) as connection:
        jobs = queries.jobs_since(connection, asked.begins, asked.now)
        keys = {(job.cluster, each) for job in jobs for each in job.job_ids}
        costs = {key: each.cost for key, each in charging.costs_of(connection, keys).items()}
    floor = FLOOR_SECONDS if least > 0 else 0.0
    found = wasted(jobs, by.value, asked.begins, asked.ends, least, top, floor, costs)
    print_wasted(asked, by.value, found, as_json, as_csv)


def _asked(days: float | None, since: str | None, until: str | None, timezone: str, now: float) -> Asked:
    from dataclasses import replace

    from gpuwatch.cli.periods import Asked

    if days is not None and since is not None:
        raise typer.BadParameter("stands beside --from; write one of them", param_hint="--days")
    if since is not None:
        return Asked.of("day", since, until, timezone, now)
    asked = Asked.of("day", None, until, timezone, now)
    return replace(asked, begins=asked.ends - (DAYS if days is None else days) * _DAY)


def idle(
    since: Annotated[
        str, typer.Option(metavar="TIME", help="Devices that did not work for so long, as 90s, 30m, 2h or 1d.")
    ] = "30m",
    by: Annotated[Holding, typer.Option(help="Add up by this.")] = Holding.JOB,
    ledger: LedgerOption = None,
    config_file: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Say who is holding idle devices right now: those that are held, measured, and not at work."""
    from gpuwatch.cli.waste_views import print_holders
    from gpuwatch.ledger import queries
    from gpuwatch.ledger.idle import holders
    from gpuwatch.ledger.jobs import UNSEEN_SECONDS

    seconds, now = seconds_of(since, "--since"), time.time()
    with opened(ledger, config_file) as connection:
        jobs = queries.jobs_since(connection, now - UNSEEN_SECONDS, now)
    print_holders(holders(jobs, now, seconds), by.value, seconds, as_json)
