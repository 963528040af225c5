"""`gpuwatch campaign`: what belongs together, said after the fact, shown, and frozen for a paper."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gpuwatch import hygiene
from gpuwatch.cli.job_words import JobsArgument, ReasonOption, jobs_meant, writing
from gpuwatch.cli.jobs import JsonOption, LedgerOption, ZoneOption, opened
from gpuwatch.cli.options import ConfigOption
from gpuwatch.errors import DeclarationError

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from gpuwatch.ledger.campaign_reading import CampaignView
    from gpuwatch.ledger.campaign_store import Said
    from gpuwatch.model import Forecast

campaign = typer.Typer(
    no_args_is_help=True, help="What belongs together: add jobs, show what they cost, freeze it."
)

NameArgument = Annotated[str, typer.Argument(metavar="NAME", help="The campaign.", show_default=False)]
SomeJobsArgument = Annotated[
    list[str] | None,
    typer.Argument(metavar="[JOBS…]", help="Jobs of yours (default: all, those to come too).", show_default=False),
]


GlobArgument = Annotated[
    str | None,
    typer.Argument(metavar="[GLOB]", help="What job names look like, as 'llama-*'.", show_default=False),
]
SinceOption = Annotated[
    str | None, typer.Option("--from", metavar="TIME", help="Only jobs that began on this day or time, or later.")
]
UntilOption = Annotated[
    str | None, typer.Option("--to", metavar="TIME", help="Only jobs that began before this day or time.")
]


@campaign.command("add")
def add(
    name: NameArgument,
    jobs: JobsArgument,
    reason: ReasonOption = "",
    ledger: LedgerOption = None,
    config_file: ConfigOption = None,
) -> None:
    """Make jobs members of a campaign, whatever they declared; of jobs of others their owners are asked."""
    from gpuwatch.ledger import campaign_store

    now = time.time()
    with writing(ledger, config_file) as (connection, actor):
        meant = jobs_meant(connection, actor, jobs, now)
        said = campaign_store.add(connection, actor, name, meant, now, reason)
    _tell(said, name, "added to")


@campaign.command("remove")
def remove(
    name: NameArgument,
    jobs: JobsArgument,
    reason: ReasonOption = "",
    ledger: LedgerOption = None,
    config_file: ConfigOption = None,
) -> None:
    """Take jobs out of a campaign, also such as declared it or look like its pattern."""
    from gpuwatch.ledger import campaign_store

    now = time.time()
    with writing(ledger, config_file) as (connection, actor):
        meant = jobs_meant(connection, actor, jobs, now)
        campaign_store.remove(connection, actor, name, meant, now, reason)
    print(f"{_count(len(meant))} removed from {name}")


def _tell(said: Sequence[Said], name: str, done: str) -> None:
    asked = [each.job.display for each in said if not each.standing]
    if len(asked) < len(said):
        print(f"{_count(len(said) - len(asked))} {done} {name}")
    if asked:
        shown = ", ".join(map(hygiene.log, asked[:10])) + (", …" if len(asked) > 10 else "")
        until = f"counted once the owner runs `gpuwatch campaign agree {name}`"
        print(f"{_count(len(asked))} asked for: {shown}; {until}")


def _count(number: int) -> str:
    return "1 job" if number == 1 else f"{number:,} jobs"


@campaign.command("agree")
def agree(
    name: NameArgument,
    jobs: SomeJobsArgument = None,
    ledger: LedgerOption = None,
    config_file: ConfigOption = None,
) -> None:
    """Agree that jobs of yours belong to a campaign that others put together."""
    _agree(name, jobs, ledger, config_file, agrees=True)


@campaign.command("disagree")
def disagree(
    name: NameArgument,
    jobs: SomeJobsArgument = None,
    ledger: LedgerOption = None,
    config_file: ConfigOption = None,
) -> None:
    """Take an agreement back, or refuse it: those jobs are no longer counted."""
    _agree(name, jobs, ledger, config_file, agrees=False)


def _agree(name: str, words: list[str] | None, ledger: str | None, config_file: Any, agrees: bool) -> None:
    from gpuwatch.ledger import campaign_store

    now = time.time()
    with writing(ledger, config_file) as (connection, actor):
        meant = jobs_meant(connection, actor, words or (), now)
        campaign_store.agree(connection, actor, name, meant, now, agrees)
    what = _count(len(meant)) if words else "all your jobs"
    print(f"{'agreed' if agrees else 'disagreed'} for {what} in {name}")


@campaign.command("pattern")
def pattern(
    name: NameArgument,
    glob: GlobArgument = None,
    user: Annotated[str | None, typer.Option(help="Only jobs of this user.")] = None,
    account: Annotated[str | None, typer.Option(help="Only jobs of this account.")] = None,
    partition: Annotated[str | None, typer.Option(help="Only jobs of this partition.")] = None,
    since: SinceOption = None,
    until: UntilOption = None,
    timezone: ZoneOption = "UTC",
    drop: Annotated[int | None, typer.Option(metavar="NUMBER", help="Drop the pattern of this number.")] = None,
    ledger: LedgerOption = None,
    config_file: ConfigOption = None,
) -> None:
    """Say what jobs of a campaign look like; without a pattern, list those that it has.

    It matches jobs that you may read, and those whose owners agreed.
    """
    from gpuwatch.cli.campaign_views import pattern_lines
    from gpuwatch.cli.periods import Asked
    from gpuwatch.ledger import campaign_store
    from gpuwatch.ledger.campaigns import Pattern, Person

    now = time.time()
    asked = Asked.of("day", since, until, timezone, float("inf"))
    if glob is None and drop is None:
        with opened(ledger, config_file) as connection:
            print("\n".join(pattern_lines(campaign_store.patterns_of(connection, name))))
        return
    with writing(ledger, config_file) as (connection, actor):
        if drop is not None:
            campaign_store.drop_pattern(connection, actor, name, drop, now)
        if glob is not None:
            bounds = asked.begins if since else None, asked.ends if until else None
            new = Pattern(0, now, name, Person(), "self", glob, user, account, partition, *bounds)
            number = campaign_store.add_pattern(connection, actor, new, now)
    print(
        f"pattern {drop} of {name} dropped" if glob is None else f"pattern {number} of {name}: {hygiene.log(glob)}"
    )


@campaign.command("log")
def log(
    name: NameArgument, ledger: LedgerOption = None, config_file: ConfigOption = None, as_json: JsonOption = False
) -> None:
    """Print everything that was said of a campaign after the fact: who, when, of which job, and why."""
    from gpuwatch.cli.campaign_views import log_documents, log_lines
    from gpuwatch.ledger import campaign_store

    with opened(ledger, config_file) as connection:
        said = campaign_store.log_of(connection, name)
    _print_json(log_documents(said)) if as_json else print("\n".join(log_lines(said)))


@campaign.command("list")
def list_(ledger: LedgerOption = None, config_file: ConfigOption = None, as_json: JsonOption = False) -> None:
    """List campaigns with what they used."""
    from gpuwatch.cli.campaign_views import list_documents, list_lines
    from gpuwatch.ledger import campaign_reading, queries

    now = time.time()
    with opened(ledger, config_file) as connection:
        names = campaign_reading.names(connection)
        found = {each.scope.name: each for each in queries.campaigns_of(connection, names, now)}
    if as_json:
        _print_json(list_documents(names, found))
    else:
        print("\n".join(list_lines(names, found)))


@campaign.command("show")
def show(
    name: Annotated[
        str, typer.Argument(metavar="NAME[#N]", help="The campaign, or a snapshot of it.", show_default=False)
    ],
    by: Annotated[
        str | None,
        typer.Option(metavar="tag:KEY", help="Add up by the values of a tag, as for the rows of a table."),
    ] = None,
    ledger: LedgerOption = None,
    config_file: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show what a campaign used: totals, how its runs ended, its members and why they belong, what may belong too.

    Of a snapshot: what was frozen, and what the ledger says otherwise today.
    """
    from gpuwatch.cli import campaign_views
    from gpuwatch.ledger import campaign_document, campaign_reading, snapshots

    now = time.time()
    base, sign, number = name.partition("#")
    key = None if by is None else _tag_key(by)
    with opened(ledger, config_file) as connection:
        if sign:
            _show_snapshot(connection, base, number, now, as_json)
            return
        seen = campaign_reading.view(connection, base, now)
        possible = campaign_reading.possible(connection, seen, now)
        frozen = snapshots.snapshots_of(connection, base)
        forecasts = _forecasts(connection, seen)
    document = campaign_document.document(seen)
    if key is not None:
        rows = campaign_document.by_tag(seen.members, key)
        _print_json(rows) if as_json else print("\n".join(campaign_views.tag_lines(seen.name, key, rows)))
        return
    _print_whole(document | campaign_views.beside(possible, frozen), forecasts, now, as_json)


def _forecasts(connection: Connection, seen: CampaignView) -> Mapping[str, Forecast] | None:
    """What is forecast of a campaign that goes on; None of one that has ended, which came to what it used."""
    from gpuwatch.accounting.views import campaigns_forecasts

    if seen.scope is None:
        return None
    return campaigns_forecasts(connection, [seen.scope]).get(seen.scope.scope.name)


def _print_whole(
    document: dict[str, Any], forecasts: Mapping[str, Forecast] | None, now: float, as_json: bool
) -> None:
    from gpuwatch.accounting.forecast_words import current_lines
    from gpuwatch.cli.campaign_views import detail_lines
    from gpuwatch.web.api_documents import forecast_document

    if as_json:
        found = {quantity: forecast_document(each) for quantity, each in (forecasts or {}).items()}
        _print_json(document | {"forecasts": found})
        return
    projected = current_lines(forecasts, now) if forecasts is not None else ()
    print("\n".join(detail_lines(document, projected)))


def _tag_key(by: str) -> str:
    from gpuwatch.ledger.tag_store import read_key

    kind, colon, key = by.partition(":")
    if kind != "tag" or not colon or not key:
        raise typer.BadParameter(f"{by!r} is none; write tag:KEY", param_hint="--by")
    return read_key(key)


def _show_snapshot(connection: Any, name: str, number: str, now: float, as_json: bool) -> None:
    from gpuwatch.cli import campaign_views
    from gpuwatch.ledger import campaign_document, campaign_reading, snapshots

    if not (number.isascii() and number.isdigit() and len(number) < 10):
        raise DeclarationError(f"campaign: {number[:20]!r} is no number of a snapshot; write for example {name}#1")
    found = snapshots.snapshot(connection, name, int(number))
    today = campaign_document.document(campaign_reading.view(connection, name, now))
    changes = snapshots.differences(found.document, today)
    if as_json:
        _print_json(campaign_views.snapshot_document(found, changes))
    else:
        print("\n".join(campaign_views.snapshot_lines(found, changes)))


@campaign.command("candidates")
def candidates(
    name: NameArgument, ledger: LedgerOption = None, config_file: ConfigOption = None, as_json: JsonOption = False
) -> None:
    """List jobs that possibly belong: named alike, of its users or accounts, at its time, in no other campaign."""
    from gpuwatch.cli.campaign_views import possible_lines
    from gpuwatch.ledger import campaign_document, campaign_reading

    now = time.time()
    with opened(ledger, config_file) as connection:
        seen = campaign_reading.view(connection, name, now)
        possible = campaign_reading.possible(connection, seen, now)
    found = list(campaign_document.possible_document(possible))
    _print_json(found) if as_json else print("\n".join(possible_lines(found)))


@campaign.command("freeze")
def freeze(
    name: NameArgument,
    label: Annotated[str, typer.Option(metavar="TEXT", help="What it is for, as 'camera-ready'.")] = "",
    ledger: LedgerOption = None,
    config_file: ConfigOption = None,
) -> None:
    """Keep what a campaign comes to today under a number, for a paper: it never changes again."""
    from gpuwatch.ledger import campaign_reading, snapshots

    now = time.time()
    with writing(ledger, config_file) as (connection, actor):
        seen = campaign_reading.view(connection, name, now)
        found = snapshots.freeze(connection, actor, seen, label)
    print(f"{found.name} frozen: {_count(len(seen.members))}, sha256 {found.digest}")


def _print_json(document: Any) -> None:
    print(json.dumps(document, separators=(",", ":"), allow_nan=False))
