"""Alerts that are raised and end in a ledger, as passes of accounting have them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from gpuwatch.ledger import alert_store, episodes
from gpuwatch.ledger.alert_store import Mode, Noted, Standing
from gpuwatch.ledger.episodes import Acted, End, Episode, How, Verdict
from gpuwatch.ledger.scopes import AlertKey, key_of
from gpuwatch.ledger.store import Store
from gpuwatch.model import Alert, Concern, Scope
from gpuwatch.notifiers.base import Change

ADA = Concern("ada", "ml", "gpu", "train")
BOB = Concern("bob", "vision", "gpu", "look")


def alert(scope: str = "job:7", kind: str = "projected", concern: Concern = ADA, **changed: Any) -> Alert:
    """An alert of a job of ada's."""
    kind_of_scope, _, name = scope.partition(":")
    quantity = changed.pop("quantity", "device-hours")
    text = changed.pop("text", f"{scope} is {kind}")
    made = Alert(kind, Scope(kind_of_scope, name), quantity, "warning", 0.0, 7200.0, 3600.0, text, concern=concern)
    return replace(made, **changed)


def raised(
    store: Store, alerts: Sequence[tuple[Alert, Mode]], now: float, cluster: str = "default", channels: Any = ()
) -> None:
    """A pass finds these beside those that stand."""
    with store.writing() as connection:
        before = alert_store.standing(connection, cluster)
        new = {key_of(each): Standing(replace(each, since=now), mode, now) for each, mode in alerts}
        changes = [Noted(Change("raised", each.alert), each.mode, channels) for each in new.values()]
        alert_store.save(connection, cluster, ({**before, **new}).values(), changes, now)
        episodes.begin(connection, cluster, [(each.alert, each.mode) for each in new.values()], now)


def ended(
    store: Store, key: AlertKey, now: float, how: How = "ended", verdict: Verdict = "right", acted: Acted = ""
) -> None:
    """A pass finds one no more."""
    with store.writing() as connection:
        before = alert_store.standing(connection, "default")
        gone = before.pop(key)
        over = Change("resolved", replace(gone.alert, text=f"it is over: {gone.alert.text}"))
        alert_store.save(connection, "default", before.values(), [Noted(over, gone.mode)], now)
        episodes.end(connection, "default", [End(key, how, verdict, acted, over.alert.text)], now)


def episode(
    number: int = 1, kind: str = "idle", began: float = 0.0, over: float | None = None, **more: Any
) -> Episode:
    """One as it is read: of a job of its own of ada's."""
    made = alert(f"job:{number}", kind)
    values: dict[str, Any] = {
        "severity": "warning", "level": 0, "mode": "observed", "concern": ADA, "value": 2.0, "declared": 1.0,
        "text": made.text, "last_text": made.text, **more,
    }  # fmt: skip
    return Episode(number, "default", key_of(made), began, over, **values)
