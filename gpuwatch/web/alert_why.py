"""Everything about the alerts of a scope: what was said and when, who was told, or why nobody was."""

from __future__ import annotations

from collections.abc import Callable

from sqlalchemy import Connection

from gpuwatch.accounting.alert_policy import Policy
from gpuwatch.accounting.alert_reasons import why
from gpuwatch.accounting.alert_record import RECORD_SECONDS, Record, Tally, record_of
from gpuwatch.accounting.letters import alert_of
from gpuwatch.ledger import episodes, mutes
from gpuwatch.ledger.alert_reading import Known, known_of, scopes_called
from gpuwatch.ledger.episodes import Episode
from gpuwatch.ledger.mutes import Mute
from gpuwatch.model import EMPTY, Scope
from gpuwatch.web import alert_documents as documents
from gpuwatch.web.api_documents import Document

MOST = 50
"""Alerts of a scope, the latest: what is older is a number."""

_NOTHING = Known(EMPTY, EMPTY, EMPTY, EMPTY)


def why_document(
    connection: Connection,
    cluster: str,
    scope: Scope,
    admits: Callable[[Episode], bool],
    policy: Policy,
    now: float,
) -> Document | None:
    """The alerts of a scope that the reader is admitted to, the latest first; None where there are none."""
    called = scopes_called(connection, cluster, scope, now)
    found = [each for one in called for each in episodes.of_scope(connection, one, cluster) if admits(each)]
    if not found:
        return None
    found.sort(key=lambda each: (each.resolved is not None, -each.raised, -each.id))
    record = record_of(episodes.counts(connection, cluster, now - RECORD_SECONDS))
    quiet = mutes.in_force(connection, cluster, now)
    known = {one: known_of(connection, cluster, one) for one in {each.key.scope for each in found}}
    shown = [
        _document(each, known.get(each.key.scope, _NOTHING), policy, quiet, record, now) for each in found[:MOST]
    ]
    return {"scope": str(scope), "cluster": cluster, "alerts": shown, "more": len(found) - len(shown)}


def _document(
    episode: Episode, known: Known, policy: Policy, quiet: tuple[Mute, ...], record: Record, now: float
) -> Document:
    standing = known.standing.get(episode.key) if episode.resolved is None else None
    alert = standing.alert if standing is not None else alert_of(episode)
    until = float("inf") if episode.resolved is None else episode.resolved
    history = [past for past in known.history.get(episode.key, ()) if episode.raised <= past.time <= until]
    details = next((each.change.alert.details for each in reversed(history) if each.change.alert.details), ())
    muting = next((each for each in quiet if each.covers(episode.key, episode.concern)), None)
    is_over = episode.resolved is not None
    kind = episode.key.kind
    # Letters keep what was told last of an alert; of the one before it nothing is known any more.
    told = [(to, each) for to, each in known.told.get(episode.key, ()) if episode.raised <= each.time]
    return documents.episode_document(episode, alert.text) | {
        "details": list(alert.details or details),
        "history": [documents.change_document(each) for each in history],
        "told": [documents.told_document(to, each) for to, each in told],
        "waiting": [] if is_over else sorted(known.waiting.get(episode.key, ())),
        "why": None if is_over else why(policy, alert, episode.mode, muting),
        "muted_by": documents.mute_document(muting, now) if muting is not None and not is_over else None,
        "record": documents.tally_document(record.by_kind.get(kind, Tally()), record.words(kind)),
    }
