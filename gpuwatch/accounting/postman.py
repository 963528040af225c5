"""Letters to people: who has to hear what is worked out anew in each pass, so that nothing is lost or repeated.

What somebody was told is in the ledger. A letter is written down before it is sent, with the key that it keeps
until it got through: a process that dies in between sends the same letter again, by which its channel can tell.
"""

from __future__ import annotations

import hashlib
import logging
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, replace

from gpuwatch import hygiene
from gpuwatch.accounting import letters
from gpuwatch.accounting.alert_policy import Policy, Telling, telling
from gpuwatch.accounting.letters import News
from gpuwatch.errors import Rejected, Unavailable
from gpuwatch.ledger import episodes, letter_store
from gpuwatch.ledger.episodes import Episode
from gpuwatch.ledger.letter_store import Posted, To, Told
from gpuwatch.ledger.scopes import AlertKey, key_of
from gpuwatch.ledger.store import Store
from gpuwatch.model import Alert
from gpuwatch.notifiers.base import Letter, Personal
from gpuwatch.notifiers.kinds import KINDS

log = logging.getLogger("gpuwatch.accounting")

SENDING_SECONDS = 20.0
"""So long a pass sends letters; the rest goes with the next one."""

GIVE_UP_SECONDS = 86_400.0
MONTH_SECONDS = 31 * 86_400.0
SHARED = ("operators", "channel:", "account:")

Outcomes = Counter[tuple[str, str]]
Concerning = dict[To, dict[AlertKey, Alert]]


@dataclass(frozen=True, slots=True)
class _Due:
    """A letter that may go now."""

    to: To
    news: News
    letter: Posted | None


class Postman:
    """Sends letters by the notifiers that tell people."""

    def __init__(
        self,
        store: Store,
        cluster: str,
        notifiers: Mapping[str, Personal],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store, self._cluster, self._notifiers, self._clock = store, cluster, notifiers, clock

    def deliver(self, told: Collection[Alert], policy: Policy, now: float) -> tuple[dict[str, int], Outcomes]:
        """Write to everybody who has to hear of something: what waits, by notifier, and what became of letters.

        `told` are the active alerts that are told. Raises `Unavailable` for the ledger only.
        """
        if not self._notifiers:
            return {}, Counter()
        with self._store.reading() as connection:
            known = letter_store.told(connection, self._cluster)
            posted = letter_store.letters_since(connection, self._cluster, now - letters.DAY_SECONDS)
            ended = {
                each.key: each
                for each in episodes.ended_since(connection, self._cluster, now - letters.DAY_SECONDS, KINDS)
            }
        active = self._concerning(told, policy)
        gone = self._ended(ended, known, policy)
        waiting: Counter[str] = Counter()
        due = list(self._due(active, gone, known, posted, policy, now, waiting))
        outcomes = self._send(due, policy, now, waiting)
        self._forget(active, known, ended, now)
        return {name: waiting[name] for name in self._notifiers}, outcomes

    def _concerning(self, alerts: Collection[Alert], policy: Policy) -> Concerning:
        found: Concerning = defaultdict(dict)
        for alert in alerts:
            for to in self._recipients(alert, telling(policy, alert)):
                found[to][key_of(alert)] = alert
        return found

    def _recipients(self, alert: Alert, told: Telling) -> Iterator[To]:
        for name, notifier in self._notifiers.items():
            if told.by(name):
                yield from (To(name, each) for each in notifier.recipients(alert, told.to))

    def _ended(
        self, ended: Mapping[AlertKey, Episode], known: Mapping[To, Mapping[AlertKey, Told]], policy: Policy
    ) -> dict[To, dict[AlertKey, Episode]]:
        """What ended, by whom it concerned: those who were told, and those who should have been."""
        found: dict[To, dict[AlertKey, Episode]] = defaultdict(dict)
        for to, its in known.items():
            found[to] |= {key: ended[key] for key in its.keys() & ended.keys()}
        for key, episode in ended.items():
            if letters.is_missed(episode):
                alert = letters.alert_of(episode)
                for to in self._recipients(alert, telling(policy, alert)):
                    found[to][key] = episode
        return found

    def _due(
        self,
        active: Concerning,
        gone: Mapping[To, Mapping[AlertKey, Episode]],
        known: Mapping[To, Mapping[AlertKey, Told]],
        posted: Mapping[To, list[Posted]],
        policy: Policy,
        now: float,
        waiting: Counter[str],
    ) -> Iterator[_Due]:
        for to in sorted(active.keys() | gone.keys()):
            found = letters.news(active.get(to, {}), known.get(to, {}), gone.get(to, {}))
            if not found.changes:
                continue
            its = posted.get(to, [])
            letter = next((each for each in its if each.open), None)
            shared = to.recipient.startswith(SHARED)
            at = letters.may_write_at(its, policy.letters, shared, now) if letter is None else letter.next_try
            if at <= now or _clock_went_back(letter, now):
                yield _Due(to, found, letter)
            elif letter is not None:
                # What waits for its hour is not among them: nothing is wrong with it.
                waiting[to.notifier] += len(found.changes)

    def _send(self, due: list[_Due], policy: Policy, now: float, waiting: Counter[str]) -> Outcomes:
        """Those that were not tried yet go first, so that one that hangs holds up nobody else for long."""
        outcomes: Outcomes = Counter()
        written = self._write([each.to for each in due if each.letter is None], now)
        until = self._clock() + SENDING_SECONDS
        for each in sorted(due, key=lambda each: (each.letter.tries if each.letter else 0, each.to)):
            outcome = "later"
            if self._clock() < until:
                outcome = self._send_one(each, each.letter or written[each.to], policy, now)
            outcomes[each.to.notifier, outcome] += len(each.news.changes)
            if outcome == "later":
                waiting[each.to.notifier] += len(each.news.changes)
        return outcomes

    def _send_one(self, due: _Due, letter: Posted, policy: Policy, now: float) -> str:
        shown = (*due.news.changes, *due.news.besides)[: policy.letters.changes]
        more = len(due.news.changes) + len(due.news.besides) - len(shown)
        outcome = self._hand_over(Letter(letter.key, due.to.recipient, shown, now, more), due.to)
        if outcome == "later":
            letter = letters.tried(letter, now)
            if now - letter.made >= GIVE_UP_SECONDS:
                log.error("letter given up notifier=%s recipient=%s", due.to.notifier, _safe(due.to.recipient))
                outcome = "given_up"
        if outcome != "later":
            letter = replace(letter, tries=letter.tries + (outcome == "sent"), changes=len(due.news.known))
            letter = replace(letter, sent=now) if outcome == "sent" else replace(letter, refused=now)
        with self._store.writing() as connection:
            letter_store.update_letter(connection, letter)
            if not letter.open:
                # What was refused is not tried again with every pass.
                news = letters.told_of(due.news.known, now)
                letter_store.keep_told(connection, self._cluster, due.to, news)
        return outcome

    def _write(self, new: list[To], now: float) -> Mapping[To, Posted]:
        if not new:
            return {}
        with self._store.writing() as connection:
            keys = {to: _key(self._cluster, to, now) for to in new}
            return letter_store.make(connection, self._cluster, keys, now)

    def _hand_over(self, letter: Letter, to: To) -> str:
        try:
            return "sent" if self._notifiers[to.notifier].send(letter) else "later"
        except (Rejected, Unavailable) as exc:
            outcome = "rejected" if isinstance(exc, Rejected) else "later"
            told = "letter not taken notifier=%s recipient=%s outcome=%s reason=%s"
            log.warning(told, to.notifier, _safe(to.recipient), outcome, _safe(str(exc)))
            return outcome

    def _forget(
        self,
        active: Concerning,
        known: Mapping[To, Mapping[AlertKey, Told]],
        ended: Mapping[AlertKey, Episode],
        now: float,
    ) -> None:
        """What has been over for long may be told anew; old letters are nobody's business."""
        over = {
            to: [key for key in its if key not in active.get(to, {}) and _is_past(ended.get(key), now)]
            for to, its in known.items()
        }
        if not any(over.values()):
            return
        with self._store.writing() as connection:
            for to, keys in over.items():
                letter_store.forget_told(connection, self._cluster, to, keys)
            letter_store.thin(connection, self._cluster, now - MONTH_SECONDS)


def _is_past(episode: Episode | None, now: float) -> bool:
    return episode is None or (episode.resolved is not None and now - episode.resolved > letters.DAY_SECONDS)


def _clock_went_back(letter: Posted | None, now: float) -> bool:
    return letter is not None and letter.next_try > now + letters.LAST_RETRY_SECONDS


def _key(cluster: str, to: To, now: float) -> str:
    """A word that no other letter has, and that tells nothing."""
    whole = "\n".join((cluster, *to, repr(now)))
    return hashlib.sha256(whole.encode("utf-8", "replace")).hexdigest()[:32]


def _safe(text: str) -> str:
    return hygiene.log(text)
