"""Alerts and mutes as the API answers them, and `--json` prints them (docs/api.md)."""

from __future__ import annotations

from collections.abc import Sequence

from gpuwatch.accounting.alert_record import Tally
from gpuwatch.ledger.alert_store import PastChange
from gpuwatch.ledger.episodes import Episode
from gpuwatch.ledger.letter_store import To, Told
from gpuwatch.ledger.mutes import Mute
from gpuwatch.web.api_documents import Document


def episode_document(episode: Episode, text: str = "") -> Document:
    """One alert from when it was raised to when it was over; `text` is what is so now, where that is known."""
    scope, concern = episode.key.scope, episode.concern
    return {
        "id": episode.id,
        "cluster": episode.cluster,
        "kind": episode.key.kind,
        "scope_kind": scope.kind,
        "scope": scope.name,
        "quantity": episode.key.quantity,
        "severity": episode.severity,
        "level": episode.level,
        "mode": episode.mode,
        "raised": episode.raised,
        "resolved": episode.resolved,
        "reopened": episode.reopened,
        "value": episode.value,
        "declared": episode.declared,
        "text": text or episode.last_text,
        "user": concern.user or None,
        "account": concern.account or None,
        "partition": concern.partition or None,
        "name": concern.name or None,
        "how": episode.how or None,
        "verdict": episode.verdict or None,
        "acted": episode.acted or None,
        "acknowledged_by": episode.acked_by or None,
        "acknowledged": episode.acked,
    }


def change_document(past: PastChange) -> Document:
    """When it was raised, rose or ended, and how that was told."""
    alert = past.change.alert
    return {
        "time": past.time, "what": past.change.what, "mode": past.mode, "severity": alert.severity,
        "text": alert.text,
    }  # fmt: skip


def told_document(to: To, told: Told) -> Document:
    """What somebody was told last."""
    return {"notifier": to.notifier, "recipient": to.recipient, "time": told.time, "over": told.over}


def tally_document(tally: Tally, words: str) -> Document:
    """How often alerts of a kind were right here."""
    return {"raised": tally.raised, "right": tally.right, "wrong": tally.wrong, "words": words}


def mute_document(mute: Mute, now: float) -> Document:
    """Who does not want to hear of what."""
    return {
        "number": mute.id, "scope": str(mute.scope), "kind": mute.kind or None, "quantity": mute.quantity or None,
        "reason": mute.reason, "who": mute.who, "made": mute.made, "until": mute.until, "lifted": mute.lifted,
        "lifted_by": mute.lifted_by or None, "in_force": mute.holds(now),
    }  # fmt: skip


def quieted_document(scope: str, alerts: Sequence[Episode], mute: Document | None = None) -> Document:
    """What became muted or acknowledged."""
    found = {"scope": scope, "alerts": [episode_document(each) for each in alerts]}
    return found if mute is None else {**found, "mute": mute}
