"""Everything about the alerts of a scope: what was said and when, who was told, or why nobody was."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import Connection

from gpuwatch.accounting.alert_policy import Policy
from gpuwatch.accounting.alert_reasons import why
from gpuwatch.accounting.alert_record import RECORD_SECONDS, Record, Tally, record_of
from gpuwatch.accounting.letters import alert_of
from gpuwatch.ledger import episodes, mutes, quieting
from gpuwatch.ledger.alert_reading import Known, known_of, scopes_called
from gpuwatch.ledger.declaring import Declarer
from gpuwatch.ledger.episodes import Episode
from gpuwatch.ledger.mutes import Mute
from gpuwatch.model import Alert, Scope
from gpuwatch.web import alert_documents as documents
from gpuwatch.web.api_documents import Document

MOST = 50
"""Alerts of a scope, the latest: what is older is a number."""

_OVER: Document = {"why": None, "muted_by": None}


@dataclass(frozen=True, slots=True)
class _Site:
    """What is the same for all alerts; `to_staff` says who reads it."""

    policy: Policy
    quiet: tuple[Mute, ...]
    record: Record
    to_staff: bool
    now: float


def why_document(
    connection: Connection, reader: Declarer, scope: Scope, policy: Policy, now: float
) -> Document | None:
    """The alerts of a scope that a reader may know of, the latest first; None where there are none."""
    cluster = reader.own.cluster
    called = scopes_called(connection, cluster, scope, now)
    found = [
        each
        for one in called
        for each in episodes.of_scope(connection, one, cluster)
        if quieting.may_read(reader, each)
    ]
    if not found:
        return None
    found.sort(key=lambda each: (each.resolved is not None, -each.raised, -each.id))
    site = _Site(
        policy,
        mutes.in_force(connection, cluster, now),
        record_of(episodes.counts(connection, cluster, now - RECORD_SECONDS)),
        reader.readable.everything,
        now,
    )
    known = {one: known_of(connection, cluster, one) for one in {each.key.scope for each in found[:MOST]}}
    shown = [_document(each, known[each.key.scope], site) for each in found[:MOST]]
    return {"scope": str(scope), "cluster": cluster, "alerts": shown, "more": len(found) - len(shown)}


def _document(episode: Episode, known: Known, site: _Site) -> Document:
    is_over = episode.resolved is not None
    standing = None if is_over else known.standing.get(episode.key)
    alert = standing.alert if standing is not None else alert_of(episode)
    until = float("inf") if episode.resolved is None else episode.resolved
    history = [past for past in known.history.get(episode.key, ()) if episode.raised <= past.time <= until]
    details = next((each.change.alert.details for each in reversed(history) if each.change.alert.details), ())
    # Letters keep what was told last of an alert; of the one before it nothing is known any more.
    told = [(to, each) for to, each in known.told.get(episode.key, ()) if episode.raised <= each.time]
    kind = episode.key.kind
    return documents.episode_document(episode, alert.text) | {
        "details": list(alert.details or details),
        "history": [documents.change_document(each) for each in history],
        "told": [documents.told_document(to, each) for to, each in told],
        "waiting": [] if is_over else sorted(known.waiting.get(episode.key, ())),
        **(_OVER if is_over else _reason(episode, alert, site)),
        "record": documents.tally_document(site.record.by_kind.get(kind, Tally()), site.record.words(kind)),
    }


def _reason(episode: Episode, alert: Alert, site: _Site) -> Document:
    muting = next((each for each in site.quiet if each.covers(episode.key, episode.concern)), None)
    return {
        "why": why(site.policy, alert, episode.mode, muting, site.to_staff),
        "muted_by": None if muting is None else documents.mute_document(muting, site.now),
    }
