"""Alerts from pass to pass: what is found is compared with what stood, written down, and told."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from sqlalchemy import Connection

from gpuwatch.accounting import alerts, verdicts
from gpuwatch.accounting.alert_details import Case, details
from gpuwatch.accounting.alert_metrics import LETTERS_SECONDS
from gpuwatch.accounting.alert_policy import telling
from gpuwatch.accounting.alert_record import RECORD_SECONDS, Record, record_of
from gpuwatch.accounting.alerts import Around, Comparison, Gone
from gpuwatch.accounting.burning import run_of
from gpuwatch.accounting.concerns import concern_of, forget_names
from gpuwatch.accounting.conditions import conditions
from gpuwatch.accounting.outbox import Outbox, Told
from gpuwatch.accounting.overruns import Bounds, overruns
from gpuwatch.accounting.paces import paces
from gpuwatch.accounting.self_check import SelfCheck, State
from gpuwatch.accounting.site_policy import SitePolicy
from gpuwatch.accounting.watched import Watched
from gpuwatch.accounting.watching import Watch
from gpuwatch.ledger import alert_store, charging, episodes, letter_store, mutes
from gpuwatch.ledger.alert_store import Mode, Noted, Standing
from gpuwatch.ledger.burnup_store import RunKey
from gpuwatch.ledger.charging import Cost, JobId
from gpuwatch.ledger.episodes import End, Episode
from gpuwatch.ledger.letter_store import To
from gpuwatch.ledger.mutes import Mute
from gpuwatch.ledger.queries import Campaign, Current, Job
from gpuwatch.ledger.scopes import AlertKey
from gpuwatch.ledger.spending import Spending, spendings
from gpuwatch.ledger.store import Store
from gpuwatch.model import EMPTY, Alert, BurnUp, Forecast, Scope
from gpuwatch.notifiers.base import Change, Notifier, Personal

LOOK_SECONDS = 600.0
"""How often the record of alerts is read anew."""


@dataclass(frozen=True, slots=True)
class Seen:
    """What a pass knows of what runs: forecasts of running scopes, costs, and how jobs came to where they are."""

    current: Current
    forecasts: Sequence[Forecast] = ()
    costs: Mapping[JobId, Cost] = EMPTY
    burnups: Mapping[RunKey, BurnUp] = EMPTY
    taken_up: frozenset[Scope] = frozenset()
    threshold: float = 0.8
    state: State = field(default_factory=State)


@dataclass(frozen=True, slots=True)
class Decided:
    """The alerts that are active now, what changed, and the scopes that they are about."""

    active: Mapping[AlertKey, Standing]
    compared: Comparison
    scopes: Mapping[Scope, Job | Campaign]


class Alerting:
    """The alerts of one cluster; one thread uses it."""

    def __init__(
        self,
        store: Store,
        cluster: str,
        notifiers: Mapping[str, Notifier | Personal],
        bounds: Bounds,
        policy: SitePolicy,
        interval_seconds: float,
        open_ended: Sequence[str] = (),
    ) -> None:
        self._store, self._cluster, self._bounds, self.policy = store, cluster, bounds, policy
        self._channels = tuple(name for name, each in notifiers.items() if not isinstance(each, Personal))
        self._outbox = Outbox(store, cluster, notifiers, interval_seconds)
        self._open_ended = tuple(open_ended)
        self._self_check = SelfCheck(cluster)
        self.record = Record()
        self.letters: Mapping[To, int] = EMPTY
        self.standing: Mapping[AlertKey, Standing] = EMPTY
        self.waiting: Mapping[str, int] = EMPTY
        self.forget()

    def forget(self) -> None:
        """Somebody else may have written: read everything anew when next asked."""
        self._looked = float("-inf")
        self._mutes: tuple[Mute, ...] = ()
        self._spendings: tuple[Spending, ...] = ()
        self._watched = Watched()
        self._thresholds = self.policy.now.thresholds
        self._watch = Watch(self._cluster, self._thresholds, self._open_ended)

    def look(self, connection: Connection, current: Current, burnups: Mapping[RunKey, BurnUp], now: float) -> None:
        """Read what is to be known beside the pass; once in a while budgets, and how right alerts were."""
        if self.policy.look().thresholds != self._thresholds:
            self.forget()
        self._mutes = mutes.in_force(connection, self._cluster, now)
        self._watched = self._watch.look(connection, current, burnups, now)
        if abs(now - self._looked) >= LOOK_SECONDS:
            self._looked = now
            forget_names()
            self.record = record_of(episodes.counts(connection, self._cluster, now - RECORD_SECONDS))
            self.letters = letter_store.sent_by_recipient(connection, self._cluster, now - LETTERS_SECONDS)
            self._spendings = tuple(spendings(connection, self._cluster, now))

    def decide(self, connection: Connection, seen: Seen, now: float) -> Decided:
        """What is active, and what changed; it reads, so that nobody else who writes waits for it."""
        before = alert_store.standing(connection, self._cluster)
        known = {key: each.alert for key, each in before.items()}
        bounds = replace(self._bounds, threshold=seen.threshold)
        over = overruns(seen.forecasts, known, bounds, now, seen.taken_up)
        scopes = {each.scope: each for each in seen.current.scopes}
        running = frozenset(scope for scope, each in scopes.items() if each.state != "ended")
        around = Around(running, over.small)
        all_found = {**over.alerts, **self._beside_forecasts(known, seen, now)}
        found = {key: _concerning(alert, scopes.get(key.scope)) for key, alert in all_found.items()}
        after = alerts.stand(before, found, self._mode_of, around, now)
        compared = alerts.compare(before, after, around)
        after = dict(self._told_in_full(after, before, compared, seen, scopes))
        return Decided(after, alerts.compare(before, after, around), scopes)

    def _beside_forecasts(self, known: Mapping[AlertKey, Alert], seen: Seen, now: float) -> dict[AlertKey, Alert]:
        """The alerts that come from what is measured, from budgets, and from what goes wrong here."""
        thresholds, floor = self._thresholds, self._bounds.floor_device_hours
        return {
            **conditions(self._watched, known, thresholds, floor, now),
            **paces(self._spendings, known, thresholds, now),
            **self._self_check.look(seen.state, now),
        }

    def tell(self, now: float) -> Told:
        """Tell everybody what is news to him. Raises `Unavailable` for the ledger only."""
        told = self._outbox.tell(self.with_mode("told"), self.policy.now, now)
        self.waiting = told.waiting
        return told

    def with_mode(self, mode: Mode) -> tuple[Alert, ...]:
        """The active alerts that are told, observed or muted."""
        return tuple(each.alert for each in self.standing.values() if each.mode == mode)

    def _mode_of(self, alert: Alert) -> Mode:
        if not telling(self.policy.now, alert):
            return "observed"
        return "muted" if any(each.matches(alert) for each in self._mutes) else "told"

    def _told_in_full(
        self,
        after: Mapping[AlertKey, Standing],
        before: Mapping[AlertKey, Standing],
        compared: Comparison,
        seen: Seen,
        scopes: Mapping[Scope, Job | Campaign],
    ) -> Iterator[tuple[AlertKey, Standing]]:
        """Line by line is told what is news; what is not keeps the lines that were told."""
        news = {id(each) for each in (*compared.raised, *compared.risen, *_turned(compared))}
        forecasts: dict[Scope, dict[str, Forecast]] = {}
        for each in seen.forecasts if news else ():
            forecasts.setdefault(each.scope, {})[each.quantity] = each
        for key, standing in after.items():
            lines = standing.alert.details
            if not lines and id(standing) in news and key.scope in scopes:
                case = _case(scopes[key.scope], forecasts.get(key.scope, {}), seen)
                lines = details(standing.alert, case, self.record)
            elif not lines and key in before:
                lines = before[key].alert.details
            if lines is standing.alert.details:
                yield key, standing
            else:
                yield key, Standing(replace(standing.alert, details=lines), standing.mode, standing.found)

    def write(self, connection: Connection, decided: Decided, now: float) -> None:
        """Write down what was decided, in the caller's transaction."""
        compared, scopes = decided.compared, decided.scopes
        changes = [
            Noted(change, mode, self._told_by(change) if mode == "told" else ())
            for change, mode in alerts.changes_of(compared)
        ]
        alert_store.save(connection, self._cluster, decided.active.values(), changes, now)
        if compared.gone:
            began = episodes.opened(connection, self._cluster)
            ends = [_end(gone, began.get(_key(gone)), scopes.get(_key(gone).scope), now) for gone in compared.gone]
            episodes.end(connection, self._cluster, ends, now)
        episodes.begin(connection, self._cluster, [(each.alert, each.mode) for each in compared.raised], now)
        rising = (*compared.risen, *_turned(compared))
        episodes.rise(connection, self._cluster, [(each.alert, each.mode) for each in rising])
        self.standing = decided.active

    def _told_by(self, change: Change) -> tuple[str, ...]:
        found = telling(self.policy.now, change.alert)
        if not found and change.what == "resolved":
            # The policy has changed: whoever was told of it is told that it is over.
            return self._channels
        return tuple(name for name in self._channels if found.by(name))


def _turned(compared: Comparison) -> Iterator[Standing]:
    return (standing for standing, _ in compared.turned)


def _concerning(alert: Alert, scope: Job | Campaign | None) -> Alert:
    return alert if scope is None else replace(alert, concern=concern_of(scope))


def _case(scope: Job | Campaign, forecasts: Mapping[str, Forecast], seen: Seen) -> Case:
    jobs = scope.jobs if isinstance(scope, Campaign) else (scope,)
    burnup = seen.burnups.get(run_of(scope)) if isinstance(scope, Job) else None
    return Case(scope, forecasts, charging.cost_of(jobs, seen.costs), burnup)


def _end(gone: Gone, began: Episode | None, scope: Job | Campaign | None, now: float) -> End:
    did = verdicts.acted(gone, began, scope)
    right = verdicts.verdict(gone, began, scope, began.acted if began and began.acted else did, now)
    return End(_key(gone), gone.how, right, did, gone.change.alert.text)


def _key(gone: Gone) -> AlertKey:
    alert = gone.standing.alert
    return AlertKey(alert.kind, alert.scope, alert.quantity)
