"""Telling notifiers: what changed, until they took it, and to those who ask for it all that is active."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from gpuwatch import hygiene
from gpuwatch.accounting.alert_policy import Policy, telling
from gpuwatch.accounting.postman import Postman
from gpuwatch.errors import Rejected, Unavailable
from gpuwatch.ledger import alert_store
from gpuwatch.ledger.store import Store
from gpuwatch.model import Alert
from gpuwatch.notifiers.base import Notifier, Personal, Renewing

log = logging.getLogger("gpuwatch.accounting")

OUTBOX_SECONDS = 86_400.0
"""How long a notification is tried; who was not reached by then is told by /metrics alone."""

PASSES_HELD = 4.0
LEAST_HELD_SECONDS = 60.0
"""What is active holds for four passes, and at least for so long: a pass may take longer than its interval."""


@dataclass(frozen=True, slots=True)
class Told:
    """What telling came to: by notifier how much is `waiting`, by notifier and outcome how often it was so."""

    waiting: Mapping[str, int]
    outcomes: Mapping[tuple[str, str], int]
    everybody: bool


class Outbox:
    """Tells the notifiers of a cluster. What each channel has yet to be told is in the ledger."""

    def __init__(
        self, store: Store, cluster: str, notifiers: Mapping[str, Notifier | Personal], interval_seconds: float
    ) -> None:
        self._store, self._cluster = store, cluster
        people = {name: each for name, each in notifiers.items() if isinstance(each, Personal)}
        self._channels = {name: each for name, each in notifiers.items() if not isinstance(each, Personal)}
        self._postman = Postman(store, cluster, people)
        self._held = max(PASSES_HELD * interval_seconds, LEAST_HELD_SECONDS)

    def tell(self, told: Sequence[Alert], policy: Policy, now: float) -> Told:
        """Tell everybody; whoever does not answer stays alone. Raises `Unavailable` for the ledger only.

        `told` are the active alerts that are neither observed nor muted.
        """
        outcomes: Counter[tuple[str, str]] = Counter()
        with self._store.writing() as connection:
            given_up = alert_store.forget_before(connection, self._cluster, now - OUTBOX_SECONDS)
        if given_up:
            log.error("notifications given up count=%d", given_up)
            outcomes["", "given_up"] += given_up
        unwell = False
        for name, notifier in self._channels.items():
            if isinstance(notifier, Renewing):
                its = [alert for alert in told if telling(policy, alert).by(name)]
                wrong = notifier.renew(its, now, now + self._held)
                outcomes.update({(name, what): count for what, count in wrong.items()})
                unwell = unwell or any(wrong.values())
        waiting = {name: self._tell(name, notifier, outcomes) for name, notifier in self._channels.items()}
        unsent, sent = self._postman.deliver(told, policy, now)
        unwell = unwell or any(waiting.values()) or any(outcome != "sent" for _, outcome in sent)
        return Told({**waiting, **unsent}, dict(outcomes + sent), not unwell)

    def _tell(self, name: str, notifier: Notifier, outcomes: Counter[tuple[str, str]]) -> int:
        """Tell a notifier what it does not know yet; how much of it is left for another try."""
        with self._store.reading() as connection:
            waiting = alert_store.waiting(connection, self._cluster, name)
        if not waiting:
            return 0
        try:
            outcome = "sent" if notifier.notify([each.change for each in waiting]) else "later"
        except Rejected as exc:
            log.error("notification rejected notifier=%s reason=%s", name, hygiene.log(str(exc)))
            outcome = "rejected"
        except Unavailable as exc:
            log.warning("notifier unavailable notifier=%s reason=%s", name, hygiene.log(str(exc)))
            outcome = "later"
        outcomes[name, outcome] += len(waiting)
        if outcome == "later":
            return len(waiting)
        with self._store.writing() as connection:
            alert_store.taken(connection, name, waiting)
        return 0
