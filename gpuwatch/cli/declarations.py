"""`gpuwatch declarations`: every revision of what is declared for a scope, and what was refused."""

from __future__ import annotations

import json
import os
import time
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
    ledger: LedgerOption = None,
    config_file: ConfigOption = None,
    as_json: JsonOption = False,
    api: ApiOption = None,
) -> None:
    """List all that was declared for a job, campaign, account or array: what, who, when, through what.

    The latest comes first; which one counts, which is the original, and which came after the end is said.
    """
    if refused == (scope is not None):
        raise typer.BadParameter("write one of the two, a scope or --refused", param_hint="SCOPE")
    if scope is None:
        found = _refused(ledger, config_file, api)
        print(json.dumps(found, separators=(",", ":")) if as_json else "\n".join(map(_refusal_line, found)))
        return
    declaration.scope(scope)
    document = _declared(scope, ledger, config_file, api)
    print(json.dumps(document, separators=(",", ":")) if as_json else _text(document))


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
