"""`gpuwatch jobs` and `gpuwatch show`: what jobs used, declared, and will have used, out of the ledger."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gpuwatch.cli.options import ConfigOption, ledger_in, own_directory
from gpuwatch.cli.waiting import waiting
from gpuwatch.errors import Unavailable

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from gpuwatch.accounting.advice import Advice
    from gpuwatch.accounting.views import JobView
    from gpuwatch.cli.api_client import ApiClient
    from gpuwatch.ledger.alert_store import PastChange
    from gpuwatch.ledger.store import Store
    from gpuwatch.settings import Settings

    Shown = tuple[JobView, Sequence[PastChange], Sequence[str], Sequence[Advice]]

DAYS = 7.0
_BELOW = " " * 15


class By(StrEnum):
    """What device-hours are added up by."""

    DAY = "day"
    MONTH = "month"
    USER = "user"
    ACCOUNT = "account"
    PARTITION = "partition"
    CAMPAIGN = "campaign"
    GROUP = "group"


class Drawn(StrEnum):
    """What a burn-up is drawn of."""

    DEVICE_HOURS = "device-hours"
    ENERGY = "energy"
    WALL = "wall"


LedgerOption = Annotated[
    str | None,
    typer.Option(
        metavar="PATH|URL",
        help="The ledger to read (default: the configured one, else that of your `gpuwatch up`).",
    ),
]
ApiOption = Annotated[
    str | None,
    typer.Option(
        metavar="URL|SOCKET",
        help="Ask accounting instead of reading the ledger (default: its socket, where the ledger is not yours to"
        " read).",
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
SiteZoneOption = Annotated[
    str | None,
    typer.Option(
        metavar="ZONE",
        help="With --by: whose midnight divides days, as in Europe/Berlin (default: accounting.timezone).",
    ),
]
EditionOption = Annotated[
    int | None,
    typer.Option(min=0, help="With --by: figures as they were before later restatements; 0: as first charged."),
]
CsvOption = Annotated[bool, typer.Option("--csv", help="With --by: print CSV.")]
QuantityOption = Annotated[
    Drawn | None,
    typer.Option(help="What the chart is of (default: what is declared, device-hours before others)."),
]
DevicesOption = Annotated[
    bool, typer.Option("--devices", help="List its devices instead, those unlike the others first.")
]
RunningOption = Annotated[
    bool, typer.Option("--running", help="Only jobs that run, those that are likeliest to overrun first.")
]
ChartOption = Annotated[
    bool | None,
    typer.Option(
        "--chart/--no-chart", help="Draw burn-up, forecast and declaration (default: where it is a terminal)."
    ),
]


def jobs(
    ledger: LedgerOption = None,
    days: Annotated[float, typer.Option(min=0, help="Jobs seen in so many days.")] = DAYS,
    config_file: ConfigOption = None,
    as_json: JsonOption = False,
    by: ByOption = None,
    since: FromOption = None,
    until: ToOption = None,
    timezone: SiteZoneOption = None,
    as_csv: CsvOption = False,
    edition: EditionOption = None,
    api: ApiOption = None,
    running: RunningOption = False,
) -> None:
    """List jobs: what each one used, declared, and is projected to need. The latest come first.

    With --by: how much was allocated by day, user and so on; what was held where no batch system says it.
    """
    if by is not None:
        if days != DAYS:
            raise typer.BadParameter("is for the list; with --by write --from", param_hint="--days")
        zone = timezone or _own_zone(config_file)
        _print_by(by, (since, until, zone), ledger, config_file, api, edition, as_json, as_csv)
        return
    _only_with_by(since=since, to=until, csv=as_csv, timezone=timezone, edition=edition is not None)
    client = client_for(api, ledger, config_file)
    if client is not None:
        _print_asked(client, days, as_json, running)
        return
    with opened(ledger, config_file) as connection:
        views = _recent(connection, days, running)
    if as_json:
        from gpuwatch.web.api_documents import job_document

        print(_compact([job_document(view) for view in views]))
    else:
        _print_table(views, running)


def _print_by(
    by: By, time_asked: tuple[str | None, str | None, str], ledger: str | None, config_file: Path | None,
    api: str | None, edition: int | None, as_json: bool, as_csv: bool,
) -> None:  # fmt: skip
    from gpuwatch.cli.periods import Asked, asked_groups, print_groups, read_groups

    asked = Asked.of(by.value, *time_asked, time.time())
    client = client_for(api, ledger, config_file)
    if client is not None and edition is not None:
        raise typer.BadParameter("needs the ledger itself, not its API", param_hint="--edition")
    found = asked_groups(client, asked) if client else read_groups(ledger, config_file, asked, edition)
    print_groups(found, asked, as_json, as_csv)


def _own_zone(config_file: Path | None) -> str:
    from gpuwatch import config

    return config.load(config_file).accounting.timezone


def _print_asked(client: ApiClient, days: float, as_json: bool, running: bool) -> None:
    from gpuwatch.cli.api_views import view_of

    since = max(0, int(time.time() - days * 86_400))
    documents = list(client.pages("/jobs", "jobs", since=since, state="running" if running else None))
    if as_json:
        print(_compact(documents))
    else:
        _print_table([view_of(each) for each in documents], running)


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
    api: ApiOption = None,
    quantity: QuantityOption = None,
    chart: ChartOption = None,
    devices: DevicesOption = False,
) -> None:
    """Show everything known about one job; of several runs of one name the latest.

    With --devices: each device of its latest run, those unlike the others first, with what they differ in.
    """
    from gpuwatch.cli.burnup_print import print_chart
    from gpuwatch.cli.device_views import device_lines
    from gpuwatch.cli.job_views import detail_lines
    from gpuwatch.cli.text import filled, terminal_width

    now = time.time()
    client = client_for(api, ledger, config_file)
    shown = _asked(client, job, not as_json) if client else _read(ledger, config_file, job, now)
    view, history, others, advice = shown
    if as_json:
        from gpuwatch.web.api_documents import history_document, job_document

        print(_compact(job_document(view) | history_document(view, history, advice) | {"others": others}))
    elif devices:
        print("\n".join(device_lines(view.job, terminal_width())))
    else:
        for line in detail_lines(view, history, others, now, advice):
            print("\n".join(filled(line, terminal_width(), _BELOW)))
        print_chart(view, quantity.value if quantity else None, now, chart)


def _read(ledger: str | None, config_file: Path | None, job: str, now: float) -> Shown:
    from gpuwatch.accounting.advice import advice_on
    from gpuwatch.accounting.views import views_named, with_bases, with_burnup
    from gpuwatch.ledger import alert_store

    with opened(ledger, config_file) as connection:
        views = views_named(connection, job, now)
        if not views:
            raise Unavailable(f"job {job!r}: not in the ledger; `gpuwatch jobs` lists what is")
        history = alert_store.history(connection, views[0].job.cluster, views[0].job.scope)
        view = with_burnup(connection, with_bases(connection, views[0]))
    return view, history, [each.job.scope.name for each in views[1:]], advice_on(view)


def _asked(client: ApiClient, job: str, with_past: bool) -> Shown:
    from dataclasses import replace

    from gpuwatch.cli.api_views import advice_of, history_of, series_of, view_of

    document = client.get(f"/jobs/{job}")
    view = view_of(document)
    if with_past:
        view = replace(view, burnup=series_of(client.get(f"/forecasts/{document['job']}")))
    return view, history_of(document), document["others"], advice_of(document)


def print_jobs(ledger: str) -> None:
    """Print the table of recent jobs of a ledger."""
    with opened(ledger, None) as connection:
        views = _recent(connection, DAYS)
    _print_table(views)


def _recent(connection: Connection, days: float, running: bool = False) -> list[JobView]:
    from gpuwatch.accounting.views import views_of, views_since
    from gpuwatch.ledger import queries

    now = time.time()
    if running:
        current = queries.current(connection, now)
        return views_of(connection, [job for job in current.jobs if job.state == "running"], now)
    return views_since(connection, now - days * 86_400, now)


def client_for(api: str | None, ledger: str | None, config_file: Path | None) -> ApiClient | None:
    """Whom to ask: the API that is named; its socket where no ledger is, and the usual one may not be read.

    None: the ledger is to be read.
    """
    from gpuwatch.cli.api_client import ApiClient, usable_socket

    if api is not None and ledger is not None:
        raise typer.BadParameter("stands beside --ledger; write one of them", param_hint="--api")
    if api is not None or ledger is not None:
        return ApiClient(api) if api is not None else None
    from gpuwatch import config
    from gpuwatch.ledger.store import path_of

    settings = config.load(config_file)
    socket, path = settings.accounting.socket, path_of(usual_ledger(settings))
    is_ours = path is None or os.access(path, os.R_OK)
    return ApiClient(socket) if not is_ours and usable_socket(socket) else None


@contextmanager
def opened(ledger: str | None, config_file: Path | None) -> Iterator[Connection]:
    """One view of the ledger that is named, else of the configured one, else of this user's `gpuwatch up`."""
    store = open_usual(ledger, config_file)
    try:
        with store.reading() as connection, waiting("reading the ledger"):
            yield connection
    finally:
        store.close()


def open_usual(ledger: str | None, config_file: Path | None) -> Store:
    """The ledger that is named, else the configured one, else that of this user's `gpuwatch up`, to read."""
    from gpuwatch import config
    from gpuwatch.ledger.store import open_to_read

    if ledger is not None:
        return open_to_read(ledger)
    settings = config.load(config_file)
    return open_to_read(usual_ledger(settings), password_file=settings.accounting.ledger_password_file)


def usual_ledger(settings: Settings) -> str:
    """The configured ledger; where nothing is configured, that of this user's `gpuwatch up`, if there is one."""
    own = own_directory() / "ledger.db"
    return ledger_in(own.parent) if not settings.files and own.exists() else settings.accounting.ledger


def _compact(document: Any) -> str:
    return json.dumps(document, separators=(",", ":"), allow_nan=False)


def _print_table(views: Sequence[JobView], running: bool = False) -> None:
    from gpuwatch.cli import job_views

    if not views:
        none = (
            "No job runs now."
            if running
            else "No job in the ledger yet: a job comes here once it has held a device."
        )
        print(none)
        return
    views, head, cells = views, job_views.HEAD, job_views.cells
    if running:
        views, head, cells = job_views.likeliest_first(views), job_views.RUNNING_HEAD, job_views.running_cells
    rows = [cells(view) for view in views]
    if not sys.stdout.isatty():
        print(aligned([head, *rows]))
        return
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in head:
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
