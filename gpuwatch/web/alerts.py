"""Alerts over the API: those that are active or were, why each was told or not, muting and acknowledging them."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC

from sqlalchemy import Connection

from gpuwatch import hygiene
from gpuwatch.errors import Forbidden
from gpuwatch.ledger import alert_store, episodes, quieting
from gpuwatch.ledger.deadline import limited
from gpuwatch.ledger.declaring import Declarer
from gpuwatch.ledger.episodes import Episode
from gpuwatch.ledger.mutes import Mute
from gpuwatch.ledger.scopes import AlertKey
from gpuwatch.model import Scope
from gpuwatch.notifiers.kinds import KINDS
from gpuwatch.web.alert_documents import episode_document, mute_document, quieted_document
from gpuwatch.web.alert_why import why_document
from gpuwatch.web.api_documents import Document
from gpuwatch.web.cursors import cursor, numbers
from gpuwatch.web.declarations import READ_SECONDS, WRITE_SECONDS, declarer_of
from gpuwatch.web.operations import Question, Request
from gpuwatch.web.parameters import time_of

log = logging.getLogger("gpuwatch.web")

_RANKS = {"info": 0, "warning": 1, "critical": 2}
_ORDER = {kind: place for place, kind in enumerate(KINDS)}
_PLACE = 4


def alerts(question: Question) -> Document:
    """A page of the alerts that are active, the gravest first; with `since` those behind them that ended since."""
    values, who = question.values, declarer_of(question.viewer)
    since = time_of("since", values["since"], UTC) if values["since"] is not None else None
    wanted = {name: values[name] for name in ("kind", "mode", "user", "account")}
    found = listed(question.connection, who, since, wanted)
    if values["cursor"]:
        after = numbers(values["cursor"], _PLACE)
        found = [each for each in found if _place(each) > after]
    page = found[: values["limit"]]
    return {
        "alerts": documents_of(question.connection, who.own.cluster, page),
        "next": cursor(*_place(page[-1])) if len(found) > len(page) else None,
    }


def listed(
    connection: Connection, who: Declarer, since: float | None, wanted: Mapping[str, str | None]
) -> list[Episode]:
    """The alerts that somebody may know of, the gravest first; behind them what is over, the latest first."""
    cluster = who.own.cluster
    if since is None:
        there = list(episodes.opened(connection, cluster).values())
    else:
        there = episodes.lately(connection, cluster, since, who.readable)
    found = (each for each in there if quieting.may_read(who, each) and _is_wanted(each, wanted))
    return sorted(found, key=_place)


def documents_of(connection: Connection, cluster: str, page: list[Episode]) -> list[Document]:
    """They as documents, with what is so now."""
    standing = alert_store.standing(connection, cluster)

    def text(episode: Episode) -> str:
        known = standing.get(episode.key) if episode.resolved is None else None
        return known.alert.text if known is not None else ""

    return [episode_document(each, text(each)) for each in page]


def _is_wanted(episode: Episode, wanted: Mapping[str, str | None]) -> bool:
    is_so = {
        "kind": episode.key.kind, "mode": episode.mode, "user": episode.concern.user,
        "account": quieting.owner_in(episode.cluster, episode.key, episode.concern).account,
    }  # fmt: skip
    return all(value is None or is_so[name] == value for name, value in wanted.items())


def _place(episode: Episode) -> tuple[int, ...]:
    """Where it stands in a list; numbers alone, as a cursor keeps it."""
    if episode.resolved is not None:
        return 1, 0, 0, -episode.id
    key: AlertKey = episode.key
    return 0, -_RANKS.get(episode.severity, 1), _ORDER.get(key.kind, len(_ORDER)), -episode.id


def one(question: Question) -> Document | None:
    """Everything about the alerts of a scope, as far as the viewer may know of them."""
    who, scope = declarer_of(question.viewer), quieting.scope_of(question.name)
    return why_document(question.connection, who, scope, question.policy, question.now)


def all_mutes(question: Question) -> Document:
    """The mutes that the viewer may know of, the latest first."""
    who, every = declarer_of(question.viewer), question.values["which"] == "all"
    found = quieting.readable_mutes(question.connection, who, every, question.now)
    return {"mutes": [mute_document(each, question.now) for each in found]}


def mute(request: Request) -> Document | None:
    """Keep others from hearing of something; who may not is told who may."""
    who, body, now = declarer_of(request.viewer), request.body, request.now
    scope = quieting.scope_of(body["scope"])
    until = quieting.until_of(body["for"], now)
    wanted = quieting.checked(Mute(scope, now, until, "", body["reason"], body["kind"], body["quantity"]))
    scope_meant = _meant(request, who, scope)
    if scope_meant is None:
        return None
    with request.store.writing(fenced=False) as connection, limited(connection, WRITE_SECONDS):
        done = quieting.mute(connection, who, replace(wanted, scope=scope_meant), now)
    made = done.mute or wanted
    log.info("alerts muted who=%s scope=%s until=%s", *map(hygiene.log, (made.who, str(made.scope), body["for"])))
    return quieted_document(str(made.scope), done.alerts, mute_document(made, now))


def unmute(request: Request) -> Document | None:
    """Take a mute back."""
    who, now = declarer_of(request.viewer), request.now
    number = quieting.number_of(request.body["number"])
    with request.store.writing(fenced=False) as connection, limited(connection, READ_SECONDS):
        lifted = quieting.lift(connection, who, number, now)
    return None if lifted is None else mute_document(lifted, now)


def acknowledge(request: Request) -> Document | None:
    """Say that active alerts are known of."""
    who, now = declarer_of(request.viewer), request.now
    scope, kind = quieting.scope_of(request.body["scope"]), quieting.kind_in(request.body["kind"])
    scope_meant = _meant(request, who, scope)
    if scope_meant is None:
        return None
    with request.store.writing(fenced=False) as connection, limited(connection, WRITE_SECONDS):
        done = quieting.acknowledge(connection, who, scope_meant, kind, now)
    return quieted_document(str(done.scope), done.alerts)


def _meant(request: Request, who: Declarer, scope: Scope) -> Scope | None:
    """Apart from the writing after it, so that whoever else writes waits for next to nothing."""
    try:
        with request.store.reading() as connection, limited(connection, READ_SECONDS):
            return quieting.meant(connection, who, scope, request.now)
    except Forbidden as exc:
        log.warning("not quieted who=%s reason=%s", hygiene.log(request.viewer.name), hygiene.log(str(exc)))
        raise
