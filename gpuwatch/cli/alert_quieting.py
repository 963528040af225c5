"""`gpuwatch alerts mute`, `unmute`, `mutes` and `ack`: who does not want to hear of what, and who knows of it."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gpuwatch import hygiene
from gpuwatch.cli.jobs import ApiOption, JsonOption, LedgerOption, client_for, opened, usual_ledger
from gpuwatch.cli.options import ConfigOption
from gpuwatch.errors import Unavailable

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from gpuwatch.cli.api_client import ApiClient
    from gpuwatch.ledger.campaigns import Actor
    from gpuwatch.ledger.declaring import Declarer
    from gpuwatch.ledger.mutes import Mute
    from gpuwatch.model import Scope

Document = dict[str, Any]
Act = Callable[["Connection", "Declarer"], Document]

ScopeArgument = Annotated[
    str,
    typer.Argument(
        metavar="SCOPE",
        help="A job's id or name, or campaign:NAME, account:NAME, user:NAME, partition:NAME, array:ID.",
        show_default=False,
    ),
]
KindOption = Annotated[str | None, typer.Option(help="Only alerts of this kind (default: of each).")]


def add_to(group: typer.Typer) -> None:
    """Make them commands of the group."""
    for name, command in (("mute", mute), ("mutes", mutes), ("unmute", unmute), ("ack", ack)):
        group.command(name)(command)


def mute(
    scope: ScopeArgument,
    reason: Annotated[
        str, typer.Option(metavar="TEXT", help="Why nobody is to hear of it; it is kept, and shown to others.")
    ],
    kind: KindOption = None,
    quantity: Annotated[
        str | None, typer.Option(metavar="NAME", help="Only alerts about this quantity, as energy.")
    ] = None,
    for_: Annotated[
        str, typer.Option("--for", metavar="TIME", help="So long: 30m, 2h, 7d, 2w or forever.")
    ] = "7d",
    ledger: LedgerOption = None,
    config_file: ConfigOption = None,
    as_json: JsonOption = False,
    api: ApiOption = None,
) -> None:
    """Tell nobody of some alerts for a while, and say why. They are recorded all the same.

    Yours to mute are your own jobs, and accounts that you coordinate; admins may mute anything. It counts from the
    next pass on.
    """
    from gpuwatch.cli.alerts import known_kind, print_json

    now, kind = time.time(), known_kind(kind) or ""
    wanted = _wanted(scope, kind, quantity or "", for_, reason, now)
    said = {"scope": scope, "kind": kind, "quantity": wanted.quantity, "for": for_, "reason": reason}
    document = _done(partial(_mute, wanted=wanted, now=now), "/mutes", said, ledger, config_file, api)
    if as_json:
        print_json(document)
    else:
        print(hygiene.log(_muted(document)))


def _wanted(scope: str, kind: str, quantity: str, for_: str, reason: str, now: float) -> Mute:
    from gpuwatch.errors import Rejected
    from gpuwatch.ledger import quieting
    from gpuwatch.ledger.mutes import Mute

    try:
        until = quieting.until_of(for_, now)
        return quieting.checked(Mute(quieting.scope_of(scope), now, until, "", reason, kind, quantity))
    except Rejected as exc:
        raise typer.BadParameter(str(exc)) from exc


def _mute(connection: Connection, who: Declarer, wanted: Mute, now: float) -> Document:
    from gpuwatch.ledger import quieting
    from gpuwatch.web.alert_documents import mute_document, quieted_document

    scope = _found(quieting.meant(connection, who, wanted.scope, now), wanted.scope)
    its = replace(wanted, scope=scope)
    done = quieting.mute(connection, who, its, now)
    return quieted_document(str(done.scope), done.alerts, mute_document(done.mute or its, now))


def _muted(document: Document) -> str:
    from gpuwatch.cli.alert_views import until_text

    made = document["mute"]
    quantity = f", {made['quantity']} alone" if made["quantity"] else ""
    until = "forever" if made["until"] is None else f"until {until_text(made)}"
    what = f"{made['kind'] or 'all kinds'} of {made['scope']}{quantity}"
    return f"mute {made['number']}: {what}, {until}; {_count(document['alerts'])} active"


def unmute(
    number: Annotated[int, typer.Argument(min=1, help="The number of the mute, as `mutes` lists it.")],
    ledger: LedgerOption = None,
    config_file: ConfigOption = None,
    as_json: JsonOption = False,
    api: ApiOption = None,
) -> None:
    """Take a mute back: what it kept quiet is told from the next pass on."""
    from gpuwatch.cli.alerts import print_json
    from gpuwatch.ledger import quieting
    from gpuwatch.web.alert_documents import mute_document

    now = time.time()

    def act(connection: Connection, who: Declarer) -> Document:
        lifted = quieting.lift(connection, who, number, now)
        if lifted is None:
            raise Unavailable(f"mute {number}: there is none; `gpuwatch alerts mutes --all` has all that were")
        return mute_document(lifted, now)

    document = _done(act, "/unmutes", {"number": str(number)}, ledger, config_file, api)
    if as_json:
        print_json(document)
    else:
        print(hygiene.log(f"mute {number} of {document['scope']} lifted"))


def mutes(
    all_: Annotated[bool, typer.Option("--all", help="Also those that are over, or were taken back.")] = False,
    ledger: LedgerOption = None,
    config_file: ConfigOption = None,
    as_json: JsonOption = False,
    api: ApiOption = None,
) -> None:
    """List what is muted: by whom, until when, and why."""
    from gpuwatch.cli.alert_views import mute_lines
    from gpuwatch.cli.alerts import print_json, reader

    client = client_for(api, ledger, config_file)
    if client is not None:
        found = client.get("/mutes", which="all" if all_ else "in-force")["mutes"]
    else:
        from gpuwatch.ledger.quieting import readable_mutes
        from gpuwatch.web.alert_documents import mute_document

        now = time.time()
        with opened(ledger, config_file) as connection:
            there = readable_mutes(connection, reader(config_file), all_, now)
        found = [mute_document(each, now) for each in there]
    print_json(found) if as_json else print("\n".join(mute_lines(found, all_)))


def ack(
    scope: ScopeArgument,
    kind: KindOption = None,
    ledger: LedgerOption = None,
    config_file: ConfigOption = None,
    as_json: JsonOption = False,
    api: ApiOption = None,
) -> None:
    """Say that you know of the active alerts of a job, campaign or account; others see that in the list.

    They are told as before: to hear no more of them, mute them.
    """
    from gpuwatch.cli.alerts import known_kind, print_json
    from gpuwatch.errors import Rejected
    from gpuwatch.ledger import quieting
    from gpuwatch.web.alert_documents import quieted_document

    now, kind = time.time(), known_kind(kind) or ""
    try:
        wanted = quieting.scope_of(scope)
    except Rejected as exc:
        raise typer.BadParameter(str(exc)) from exc

    def act(connection: Connection, who: Declarer) -> Document:
        its = _found(quieting.meant(connection, who, wanted, now), wanted)
        done = quieting.acknowledge(connection, who, its, kind, now)
        return quieted_document(str(done.scope), done.alerts)

    document = _done(act, "/acknowledgements", {"scope": scope, "kind": kind}, ledger, config_file, api)
    if as_json:
        print_json(document)
    elif not document["alerts"]:
        print(hygiene.log(f"{document['scope']} has no active alert{f' of the kind {kind}' if kind else ''}"))
    else:
        print(hygiene.log(f"{_count(document['alerts'])} of {document['scope']} acknowledged"))


def _found(scope: Scope | None, asked: Scope) -> Scope:
    if scope is None:
        raise Unavailable(f"{asked}: not in the ledger; `gpuwatch alerts --all` lists what has alerts")
    return scope


def _done(
    act: Act, path: str, said: dict[str, str], ledger: str | None, config_file: Path | None, api: str | None
) -> Document:
    """Do it in the ledger where that may be written, else have accounting do it."""
    from gpuwatch.cli.job_words import writing

    client = _client(api, ledger, config_file)
    if client is not None:
        return client.post(path, **said)
    with writing(ledger, config_file) as (connection, actor):
        return act(connection, _who(actor, config_file))


def _client(api: str | None, ledger: str | None, config_file: Path | None) -> ApiClient | None:
    """Whom to ask: as for reading, and also where the ledger may be read and not written."""
    from gpuwatch import config
    from gpuwatch.cli.api_client import ApiClient, usual_socket
    from gpuwatch.ledger.store import path_of

    client = client_for(api, ledger, config_file)
    if client is not None or ledger is not None:
        return client
    settings = config.load(config_file)
    path, socket = path_of(usual_ledger(settings)), usual_socket(settings)
    may_write = path is None or (os.access(path, os.W_OK) and os.access(path.parent, os.W_OK))
    return ApiClient(socket) if not may_write and socket is not None else None


def _who(actor: Actor, config_file: Path | None) -> Declarer:
    """Who runs this, by the kernel's word and the batch system's; the ledger's owner is its administrator."""
    from gpuwatch import config
    from gpuwatch.ledger.audience import EVERYTHING, Audience
    from gpuwatch.ledger.declaring import Declarer

    cluster = config.load(config_file).site.cluster
    accounts = frozenset(account for its, account in actor.coordinates if its == cluster)
    own = Audience(False, cluster, actor.person.user, actor.person.uid, accounts)
    return Declarer(actor.person.user, actor.person.uid, "file", own, EVERYTHING, actor.role == "admin")


def _count(alerts: list[Any]) -> str:
    return "1 alert" if len(alerts) == 1 else f"{len(alerts):,} alerts"
