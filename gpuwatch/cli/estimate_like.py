"""`gpuwatch estimate like`: what jobs like this one came to, out of the ledger."""

from __future__ import annotations

import json
import re
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gpuwatch import declaration
from gpuwatch.cli.jobs import ApiOption, JsonOption, LedgerOption, client_for, opened
from gpuwatch.cli.like_brief import brief_line
from gpuwatch.cli.options import ConfigOption
from gpuwatch.errors import DeclarationError

if TYPE_CHECKING:
    from gpuwatch.ledger.past import Kind

_PERIODS = {"d": 86_400.0, "w": 7 * 86_400.0, "y": 365 * 86_400.0}
_PERIOD = re.compile(r"(\d{1,6})(d|w|y)", re.ASCII)


NameOption = Annotated[
    str | None,
    typer.Option(
        metavar="PATTERN", help="Jobs of this name, whatever its digits are; or of those like it, as 'llama-*'."
    ),
]
DeclaredOption = Annotated[
    str | None,
    typer.Option(metavar="HOURS", help="What declarations of so many device-hours came to, by used / declared."),
]
SinceOption = Annotated[str, typer.Option(metavar="PERIOD", help="Jobs seen in so long, as 90d, 12w or 1y.")]
BriefOption = Annotated[
    bool, typer.Option("--brief", help="Print one line, and nothing where too little is known.")
]


def like(
    user: Annotated[str | None, typer.Option(help="Jobs of this user.")] = None,
    account: Annotated[str | None, typer.Option(help="Jobs of this account.")] = None,
    campaign: Annotated[str | None, typer.Option(help="Jobs of this campaign.")] = None,
    name: NameOption = None,
    partition: Annotated[str | None, typer.Option(help="Jobs in this partition.")] = None,
    declared: DeclaredOption = None,
    since: SinceOption = "1y",
    brief: BriefOption = False,
    as_json: JsonOption = False,
    ledger: LedgerOption = None,
    config_file: ConfigOption = None,
    api: ApiOption = None,
) -> None:
    """Say what jobs like this one came to: device-hours, energy and wall time, with intervals.

    Failed and cancelled jobs stand apart; jobs that hit their time limit, or run, count as cut short.
    """
    asked = {"user": user, "account": account, "partition": partition, "campaign": campaign, "name": name}
    if not any(asked.values()):
        wanted = "say which jobs: --user, --account, --campaign, --name or --partition"
        raise typer.BadParameter(wanted, param_hint="like")
    hours = _hours(declared)
    begins = max(0.0, time.time() - _period(since))
    client = client_for(api, ledger, config_file)
    if client is not None:
        told = client.get("/expectations", **asked, since=int(begins), declared=hours and f"{hours:.9f}")
    else:
        told = _read(asked, begins, hours, ledger, config_file)
    if brief:
        print(brief_line(told), end="")
        return
    from gpuwatch.cli.like_views import document_of, lines

    if as_json:
        print(json.dumps(document_of(told), separators=(",", ":"), allow_nan=False))
    else:
        print("\n".join(lines(told, asked)))


def _read(
    asked: dict[str, str | None], begins: float, hours: float | None, ledger: str | None, config_file: Path | None
) -> dict[str, Any]:
    from gpuwatch.estimates.history import likeness
    from gpuwatch.ledger.audience import EVERYTHING
    from gpuwatch.ledger.past import Kind, past_jobs, with_details
    from gpuwatch.web.expectation_documents import likeness_document

    kind: Kind = Kind(**asked, since=begins, uid=_uid(asked["user"]))
    with opened(ledger, config_file) as connection:
        found = past_jobs(connection, EVERYTHING, kind, time.time())
        jobs = with_details(connection, found)
    told = likeness(jobs, kind.name, None if hours is None else hours * 3600.0)
    return {"since": begins, **likeness_document(told)}


def _uid(user: str | None) -> int | None:
    """The number by which a user's jobs outside of a batch system are known; None where there is none."""
    import pwd

    if user is None:
        return None
    try:
        return pwd.getpwnam(user).pw_uid
    except (KeyError, ValueError):
        return None


def _hours(declared: str | None) -> float | None:
    """Device-hours as they would be declared; of a range the likely amount."""
    if declared is None:
        return None
    try:
        read = declaration.parse(declaration.from_options(device_hours=declared))
    except DeclarationError as exc:
        raise typer.BadParameter(str(exc), param_hint="--declared") from exc
    return read.amounts[0].likely / 3600.0


def _period(text: str) -> float:
    found = _PERIOD.fullmatch(text.strip())
    if found is None:
        raise typer.BadParameter(f"{text!r} is no period; write 90d, 12w or 1y", param_hint="--since")
    return float(found[1]) * _PERIODS[found[2]]
