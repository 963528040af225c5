"""`gpuwatch declarations`: every revision of what is declared for a scope, and what was refused."""

from __future__ import annotations

import json
import os
import time
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gpuwatch import declaration
from gpuwatch.cli.jobs import ApiOption, JsonOption, LedgerOption, client_for, opened
from gpuwatch.cli.options import ConfigOption
from gpuwatch.errors import Unavailable

if TYPE_CHECKING:
    from gpuwatch.ledger.declaring import Declarer

REFUSED_SHOWN = 100
MOST_JOBS = 100_000
"""So many jobs are looked at for the record, the latest."""


class By(StrEnum):
    """Whose declarations are judged together."""

    USER = "user"
    ACCOUNT = "account"
    PARTITION = "partition"
    NAME = "name"


def declarations(
    scope: Annotated[
        str | None,
        typer.Argument(
            metavar="SCOPE", help="job:ID, campaign:NAME, account:NAME or array:ID.", show_default=False
        ),
    ] = None,
    refused: Annotated[
        bool, typer.Option("--refused", help="List declarations that were refused, and why, instead.")
    ] = False,
    record: Annotated[
        bool, typer.Option("--record", help="Say instead whose declarations come true, and by what factor not.")
    ] = False,
    by: Annotated[By, typer.Option(help="With --record: whose.")] = By.USER,
    days: Annotated[float, typer.Option(min=0, help="With --record: by jobs seen in so many days.")] = 365.0,
    ledger: LedgerOption = None,
    config_file: ConfigOption = None,
    as_json: JsonOption = False,
    api: ApiOption = None,
) -> None:
    """List all that was declared for a job, campaign, account or array: what, who, when, through what.

    The latest comes first; which one counts, which is the original, and which came after the end is said.
    """
    if sum((refused, record, scope is not None)) != 1:
        raise typer.BadParameter("write one of the three: a scope, --refused or --record", param_hint="SCOPE")
    if record:
        _print_record(by, days, ledger, config_file, as_json, api)
        return
    if scope is None:
        found = _refused(ledger, config_file, api)
        none = "No declaration was refused."
        print(
            json.dumps(found, separators=(",", ":")) if as_json else "\n".join(map(_refusal_line, found)) or none
        )
        return
    declaration.scope(scope)
    document = _declared(scope, ledger, config_file, api)
    print(json.dumps(document, separators=(",", ":")) if as_json else _text(document))


def _print_record(
    by: By, days: float, ledger: str | None, config_file: Path | None, as_json: bool, api: str | None
) -> None:
    from gpuwatch.cli.declaring_views import record_document, record_lines
    from gpuwatch.cli.text import terminal_width
    from gpuwatch.ledger.audience import EVERYTHING
    from gpuwatch.ledger.declaring_record import declaring_record
    from gpuwatch.ledger.past import Kind, past_jobs, with_details

    if api is not None:
        raise typer.BadParameter("--record needs the ledger itself", param_hint="--api")
    now = time.time()
    with opened(ledger, config_file) as connection:
        jobs = past_jobs(connection, EVERYTHING, Kind(since=max(0.0, now - days * 86_400)), now, MOST_JOBS)
        found = declaring_record(with_details(connection, jobs), by.value)
    if as_json:
        print(json.dumps(record_document(found, by.value), separators=(",", ":"), allow_nan=False))
    else:
        print("\n".join(record_lines(found, by.value, terminal_width())))


def _declared(scope: str, ledger: str | None, config_file: Path | None, api: str | None) -> dict[str, Any]:
    client = client_for(api, ledger, config_file)
    if client is not None:
        return client.get("/declarations", scope=scope)
    from gpuwatch.ledger.declaring import declared_for
    from gpuwatch.web.declarations import scope_document

    with opened(ledger, config_file) as connection:
        found = declared_for(connection, _reader(config_file), declaration.scope(scope), time.time())
    if found is None:
        raise Unavailable(f"{scope}: is not in the ledger, and nothing is declared for it")
    return scope_document(found)


def _refused(ledger: str | None, config_file: Path | None, api: str | None) -> list[dict[str, Any]]:
    client = client_for(api, ledger, config_file)
    if client is not None:
        told: list[dict[str, Any]] = client.get("/refusals", limit=REFUSED_SHOWN)["refusals"]
        return told
    from gpuwatch.ledger.refusals import refusals
    from gpuwatch.web.declarations import refusal_document

    with opened(ledger, config_file) as connection:
        found = refusals(connection, _cluster(config_file), REFUSED_SHOWN)
    return [refusal_document(each) for each in found]


def _reader(config_file: Path | None) -> Declarer:
    """Who may read the ledger itself may read all that is in it."""
    from gpuwatch.ledger.audience import EVERYTHING, Audience
    from gpuwatch.ledger.declaring import Declarer

    return Declarer("", os.getuid(), "file", Audience(cluster=_cluster(config_file)), EVERYTHING)


def _cluster(config_file: Path | None) -> str:
    from gpuwatch import config

    return config.load(config_file).site.cluster


def _text(document: dict[str, Any]) -> str:
    from gpuwatch import hygiene
    from gpuwatch.cli.api_views import revision_of
    from gpuwatch.cli.job_views import revision_lines

    scope = declaration.scope(document["scope"])
    lines = revision_lines([revision_of(scope, each) for each in document["declarations"]])
    return "\n".join([hygiene.log(document["scope"]), *(f"  {hygiene.log(line)}" for line in lines)])


def _refusal_line(each: dict[str, Any]) -> str:
    from gpuwatch import hygiene
    from gpuwatch.cli.job_views import moment

    return hygiene.log(
        f"{moment(each['time'])}  {each['who']} via {each['identified_by']}: {each['text']}: {each['reason']}"
    )
