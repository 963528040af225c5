"""`gpuwatch jobs` and `gpuwatch show`: what jobs used, declared, and will have used, out of the ledger."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gpuwatch.cli.options import ConfigOption, ledger_in, own_directory
from gpuwatch.errors import Unavailable

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from gpuwatch.cli.job_views import JobView
    from gpuwatch.settings import Settings

DAYS = 7.0


class By(StrEnum):
    """What device-hours are added up by."""

    DAY = "day"
    MONTH = "month"
    USER = "user"
    ACCOUNT = "account"
    PARTITION = "partition"
    CAMPAIGN = "campaign"


LedgerOption = Annotated[
    str | None,
    typer.Option(
        metavar="PATH|URL",
        help="The ledger to read (default: the configured one, else that of your `gpuwatch up`).",
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]
ByOption = Annotated[
    By | None, typer.Option(help="Add up device-hours and CPU-hours by this, instead of listing jobs.")
]
FromOption = Annotated[
    str | None, typer.Option("--from", metavar="TIME", help="With --by: only from this day, month or time on.")
]
ToOption = Annotated[
    str | None,
    typer.Option("--to", metavar="TIME", help="With --by: only before this day, month or time (default: now)."),
]
ZoneOption = Annotated[
    str, typer.Option(metavar="ZONE", help="With --by: whose midnight divides days, as in Europe/Berlin.")
]
CsvOption = Annotated[bool, typer.Option("--csv", help="With --by: print CSV.")]


def jobs(
    ledger: LedgerOption = None,
    days: Annotated[float, typer.Option(min=0, help="Jobs seen in so many days.")] = DAYS,
    config_file: ConfigOption = None,
    as_json: JsonOption = False,
    by: ByOption = None,
    since: FromOption = None,
    until: ToOption = None,
    timezone: ZoneOption = "UTC",
    as_csv: CsvOption = False,
) -> None:
    """List jobs: what each one used, declared, and is projected to need. The latest come first.

    With --by: how much was allocated by day, user and so on; what was held where no batch system says it.
    """
    if by is not None:
        from gpuwatch.cli.periods import Asked, print_groups

        if days != DAYS:
            raise typer.BadParameter("is for the list; with --by write --from", param_hint="--days")
        asked = Asked.of(by.value, since, until, timezone, time.time())
        with opened(ledger, config_file) as connection:
            print_groups(connection, asked, as_json, as_csv)
        return
    _only_with_by(since=since, to=until, csv=as_csv, timezone=timezone != "UTC")
    with opened(ledger, config_file) as connection:
        views = _recent(connection, days)
    if as_json:
        print(_compact([view.document() for view in views]))
    else:
        _print_table(views)


def _only_with_by(**given: object) -> None:
    for name, value in given.items():
        if value:
            option = "--from" if name == "since" else f"--{name}"
            raise typer.BadParameter("needs --by", param_hint=option)


def show(
    job: Annotated[str, typer.Argument(help="Job id, attempt (JOB@STARTED) or the name of a run.")],
    ledger: LedgerOption = None,
    config_file: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show everything known about one job; of several runs of one name the latest."""
    from gpuwatch.cli.job_views import detail_lines, history_document, views_named
    from gpuwatch.ledger import alert_store

    now = time.time()
    with opened(ledger, config_file) as connection:
        views = views_named(connection, job, now)
        if not views:
            raise Unavailable(f"job {job!r}: not in the ledger; `gpuwatch jobs` lists what is")
        view, others = views[0], views[1:]
        history = alert_store.history(connection, view.job.scope)
    if as_json:
        document = view.document() | history_document(view, history)
        print(_compact(document | {"others": [each.job.scope.name for each in others]}))
    else:
        print("\n".join(detail_lines(view, history, [each.job.scope.name for each in others], now)))


def print_jobs(ledger: str) -> None:
    """Print the table of recent jobs of a ledger."""
    with opened(ledger, None) as connection:
        views = _recent(connection, DAYS)
    _print_table(views)


def _recent(connection: Connection, days: float) -> list[JobView]:
    from gpuwatch.cli.job_views import views_since

    now = time.time()
    return views_since(connection, now - days * 86_400, now)


@contextmanager
def opened(ledger: str | None, config_file: Path | None) -> Iterator[Connection]:
    """One view of the ledger that is named, else of the configured one, else of this user's `gpuwatch up`."""
    from gpuwatch import config
    from gpuwatch.ledger.store import open_to_read

    store = open_to_read(ledger or usual_ledger(config.load(config_file)))
    try:
        with store.reading() as connection:
            yield connection
    finally:
        store.close()


def usual_ledger(settings: Settings) -> str:
    """The configured ledger; where nothing is configured, that of this user's `gpuwatch up`, if there is one."""
    own = own_directory() / "ledger.db"
    return ledger_in(own.parent) if not settings.files and own.exists() else settings.accounting.ledger


def _compact(document: Any) -> str:
    return json.dumps(document, separators=(",", ":"), allow_nan=False)


def _print_table(views: Sequence[JobView]) -> None:
    from gpuwatch.cli.job_views import HEAD

    if not views:
        print("No job in the ledger yet: a job comes here once it has held a device.")
        return
    rows = [view.cells() for view in views]
    if not sys.stdout.isatty():
        print(aligned([HEAD, *rows]))
        return
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in HEAD:
        table.add_column(name, overflow="fold")
    for view, row in zip(views, rows, strict=True):
        # Text, because markup in a job's name is the job's, not ours.
        table.add_row(*(Text(cell) for cell in row), style="yellow" if view.alerts else None)
    Console().print(table)


def aligned(rows: Sequence[Sequence[str]]) -> str:
    """Rows in columns two blanks apart, for pipes and files."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = ("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows)
    return "\n".join(line.rstrip() for line in lines)
