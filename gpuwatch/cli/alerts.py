"""`gpuwatch alerts`: which alerts there are, why each is told or not, and keeping some from being told."""

from __future__ import annotations

import json
import os
import shutil
import sys
import time
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gpuwatch.cli import alert_quieting, alert_would_have
from gpuwatch.cli.jobs import ApiOption, JsonOption, LedgerOption, client_for, opened
from gpuwatch.cli.options import ConfigOption
from gpuwatch.errors import Unavailable

if TYPE_CHECKING:
    from gpuwatch.ledger.declaring import Declarer

Document = dict[str, Any]

DAYS = 7.0
_DAY = 86_400.0


class Mode(StrEnum):
    """How alerts are told."""

    TOLD = "told"
    OBSERVED = "observed"
    MUTED = "muted"


group = typer.Typer(
    help="Which alerts there are, why each is told or not; mute and acknowledge them. Alone it lists those that"
    " are told, the gravest first.",
)

KindOption = Annotated[str | None, typer.Option(help="Only of this kind, as exceeded, projected or idle.")]
UserOption = Annotated[str | None, typer.Option(help="Only of this user's jobs.")]
AccountOption = Annotated[str | None, typer.Option(help="Only of this account and its jobs.")]
ModeOption = Annotated[Mode | None, typer.Option(help="Only those that are told, observed or muted.")]
AllOption = Annotated[
    bool, typer.Option("--all", help="Also those that are observed, told to nobody, and those that have ended.")
]
DaysOption = Annotated[float, typer.Option(min=0, help="With --all: those that ended in so many days.")]
WouldHaveOption = Annotated[
    str | None,
    typer.Option(
        metavar="DURATION",
        help="Say who would have been told what in so long a time, as 30d; see `gpuwatch alerts would-have`.",
    ),
]
PolicyOption = Annotated[
    Path | None,
    typer.Option(
        "--policy",
        metavar="FILE",
        help="With --would-have: had this policy file been in force (default: all told).",
    ),
]


@group.callback(invoke_without_command=True)
def alerts(
    context: typer.Context,
    kind: KindOption = None,
    user: UserOption = None,
    account: AccountOption = None,
    mode: ModeOption = None,
    all_: AllOption = False,
    days: DaysOption = DAYS,
    would_have: WouldHaveOption = None,
    policy: PolicyOption = None,
    ledger: LedgerOption = None,
    config_file: ConfigOption = None,
    as_json: JsonOption = False,
    api: ApiOption = None,
) -> None:
    """List the alerts that are active, the gravest first; without --all those that are told or muted."""
    if context.invoked_subcommand is not None:
        _nothing_before(context)
        return
    if would_have is not None:
        alert_would_have.print_would_have(would_have, policy, ledger, config_file, as_json)
        return
    if policy is not None:
        raise typer.BadParameter("needs --would-have", param_hint="--policy")
    list_(kind, user, account, mode, all_, days, ledger, config_file, as_json, api)


def _nothing_before(context: typer.Context) -> None:
    """What stands before a command of the group would be ignored."""
    for option in context.command.params:
        source = context.get_parameter_source(option.name or "")
        if source is not None and source.name == "COMMANDLINE":
            raise typer.BadParameter(f"write it behind `{context.invoked_subcommand}`", param_hint=option.opts[0])


@group.command("list")
def list_(
    kind: KindOption = None,
    user: UserOption = None,
    account: AccountOption = None,
    mode: ModeOption = None,
    all_: AllOption = False,
    days: DaysOption = DAYS,
    ledger: LedgerOption = None,
    config_file: ConfigOption = None,
    as_json: JsonOption = False,
    api: ApiOption = None,
) -> None:
    """List the alerts that are active, the gravest first; without --all those that are told or muted."""
    wanted = {"kind": known_kind(kind), "user": user, "account": account}
    since = time.time() - days * _DAY if all_ and days else None
    found = _listed(since, wanted, ledger, config_file, api)
    there = [each for each in found if mode is None or each["mode"] == mode.value]
    hidden = not all_ and mode is None
    shown = [each for each in there if not (hidden and each["mode"] == Mode.OBSERVED.value)]
    if as_json:
        print_json(shown)
        return
    _print(shown, [each for each in there if each["resolved"] is None], not hidden)


def _print(shown: list[Document], active: list[Document], all_: bool) -> None:
    from gpuwatch.cli.alert_views import alert_lines, summary

    if shown:
        is_terminal = sys.stdout.isatty()
        columns = shutil.get_terminal_size().columns if is_terminal else None
        print("\n".join(alert_lines(shown, columns, is_terminal and "NO_COLOR" not in os.environ)))
    words = summary(active, len(shown), all_)
    if words:
        print(words)


def _listed(
    since: float | None,
    wanted: dict[str, str | None],
    ledger: str | None,
    config_file: Path | None,
    api: str | None,
) -> list[Document]:
    client = client_for(api, ledger, config_file)
    if client is not None:
        at = None if since is None else f"{max(0.0, since):.0f}"
        return list(client.pages("/alerts", "alerts", since=at, **wanted))
    from gpuwatch.web.alerts import documents_of, listed

    who = reader(config_file)
    with opened(ledger, config_file) as connection:
        found = listed(connection, who, since, wanted)
        return documents_of(connection, who.own.cluster, found)


@group.command("why")
def why(
    scope: Annotated[
        str,
        typer.Argument(metavar="SCOPE", help="A job's id or name, or campaign:NAME, account:NAME, array:ID."),
    ],
    kind: KindOption = None,
    ledger: LedgerOption = None,
    config_file: ConfigOption = None,
    as_json: JsonOption = False,
    api: ApiOption = None,
) -> None:
    """Say all about the alerts of a job, campaign or account: what is so, since when, who was told, or why nobody
    was, and how often such alerts were right here.
    """
    from gpuwatch.cli.alert_why_views import why_lines

    wanted = known_kind(kind)
    document = _explained(scope, ledger, config_file, api)
    document["alerts"] = [each for each in document["alerts"] if wanted in (None, each["kind"])]
    if as_json:
        print_json(document)
    elif not document["alerts"]:
        print(f"No alert of the kind {wanted}.")
    else:
        print("\n".join(why_lines(document)))


def _explained(scope: str, ledger: str | None, config_file: Path | None, api: str | None) -> Document:
    client = client_for(api, ledger, config_file)
    if client is not None:
        return client.get(f"/alerts/{scope}")
    from gpuwatch import config
    from gpuwatch.accounting.alert_policy import load_policy
    from gpuwatch.ledger.quieting import scope_of
    from gpuwatch.web.alert_why import why_document

    settings = config.load(config_file)
    policy = load_policy(settings.alerts.policy_file, settings.alerts.tell)
    with opened(ledger, config_file) as connection:
        found = why_document(connection, reader(config_file), scope_of(scope), policy, time.time())
    if found is None:
        raise Unavailable(
            f"{scope}: has no alert, and had none; `gpuwatch alerts --all` lists those that there are"
        )
    return found


def known_kind(kind: str | None) -> str | None:
    """A kind of alert, as it is typed; a usage error where there is none."""
    from gpuwatch.notifiers.kinds import KINDS

    if kind is not None and kind not in KINDS:
        raise typer.BadParameter(f"{kind!r} is none; there is: {', '.join(KINDS)}", param_hint="--kind")
    return kind


def reader(config_file: Path | None) -> Declarer:
    """Who may read the ledger itself may read all that is in it."""
    from gpuwatch import config
    from gpuwatch.ledger.audience import EVERYTHING, Audience
    from gpuwatch.ledger.declaring import Declarer

    own = Audience(cluster=config.load(config_file).site.cluster)
    return Declarer("", os.getuid(), "file", own, EVERYTHING)


def print_json(document: Any) -> None:
    """A document as one line."""
    print(json.dumps(document, separators=(",", ":"), allow_nan=False))


alert_quieting.add_to(group)
alert_would_have.add_to(group)
