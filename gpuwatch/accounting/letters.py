"""What is news to a person, and when he may be written to again. Pure.

News is the difference between what is active and what he was told last. What became of an alert by itself is told
together with other news, and never by a letter of its own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from gpuwatch.accounting.alert_policy import LetterLimits
from gpuwatch.accounting.alerts import is_worse, rank_of
from gpuwatch.accounting.overruns import EXCEEDED, PROJECTED
from gpuwatch.ledger.episodes import Episode
from gpuwatch.ledger.letter_store import Posted, Told
from gpuwatch.ledger.scopes import AlertKey, key_of
from gpuwatch.model import EMPTY, Alert
from gpuwatch.notifiers.base import Change
from gpuwatch.notifiers.kinds import KINDS, kind_of

DAY_SECONDS = 86_400.0
LONGER = 8.0
"""Each letter of a day waits so many times longer after the one before than that did."""

SHARED_A_DAY = 24
"""What several people read gets a letter an hour."""

FIRST_RETRY_SECONDS, LAST_RETRY_SECONDS = 30.0, 3600.0

_ORDER = {kind: place for place, kind in enumerate(KINDS)}


@dataclass(frozen=True, slots=True)
class News:
    """What somebody has to hear (`changes`, the most urgent first), and what he may hear beside it."""

    changes: tuple[Change, ...] = ()
    besides: tuple[Change, ...] = ()

    @property
    def known(self) -> dict[AlertKey, Change]:
        """All of it by alert: what he knows once he was told."""
        return {key_of(each.alert): each for each in (*self.besides, *self.changes)}


def news(
    active: Mapping[AlertKey, Alert], told: Mapping[AlertKey, Told], ended: Mapping[AlertKey, Episode] = EMPTY
) -> News:
    """`active` are the alerts that concern him, `ended` those that did and ended within a day."""
    changes = [*_worse_or_new(active, told, ended), *_missed(active, told, ended)]
    besides = [
        Change("resolved", alert_of(ended[key]))
        for key, was in told.items()
        if not was.over and key in ended and key not in active and not _gave_way(key, active, ended)
    ]
    return News(tuple(sorted(changes, key=_urgency)), tuple(sorted(besides, key=_urgency)))


def _worse_or_new(
    active: Mapping[AlertKey, Alert], told: Mapping[AlertKey, Told], ended: Mapping[AlertKey, Episode]
) -> list[Change]:
    """What ended and came back at once did not end, and is not among what did."""
    found = []
    for key, alert in active.items():
        was = told.get(key)
        if was is None or was.over or _ended_since(was, ended.get(key)):
            found.append(Change("raised", alert))
        elif is_worse(alert.severity, alert.level, was.severity, was.level):
            found.append(Change("changed", alert))
    return found


def _ended_since(was: Told, episode: Episode | None) -> bool:
    return episode is not None and episode.resolved is not None and episode.resolved > was.time


def _missed(
    active: Mapping[AlertKey, Alert], told: Mapping[AlertKey, Told], ended: Mapping[AlertKey, Episode]
) -> list[Change]:
    """What came true before anybody could be told: that it is over makes it no less worth knowing."""
    return [
        Change("resolved", alert_of(episode))
        for key, episode in ended.items()
        if key not in told and key not in active and is_missed(episode)
    ]


def is_missed(episode: Episode) -> bool:
    """Whether it is told although it is over: what its owner should know to do better the next time."""
    lasting = episode.how == "ended" and episode.verdict == "right"
    return lasting and episode.mode == "told" and kind_of(episode.key.kind).audience == "owner"


def _gave_way(key: AlertKey, active: Mapping[AlertKey, Alert], ended: Mapping[AlertKey, Episode]) -> bool:
    """A projection that came true is told of by the fact."""
    return key.kind == PROJECTED and (key._replace(kind=EXCEEDED) in active or ended[key].how == "exceeded")


def alert_of(episode: Episode) -> Alert:
    """The alert that an episode was, as it was told last."""
    return Alert(
        *episode.key, episode.severity, episode.raised, episode.value, episode.declared, episode.last_text,
        level=episode.level, concern=episode.concern,
    )  # fmt: skip


def _urgency(change: Change) -> tuple[int, int, float, AlertKey]:
    alert = change.alert
    return -rank_of(alert), _ORDER.get(alert.kind, len(_ORDER)), -_excess(alert), key_of(alert)


def _excess(alert: Alert) -> float:
    return alert.value / alert.declared if alert.declared > 0 else alert.value


def may_write_at(sent: Sequence[Posted], limits: LetterLimits, shared: bool, now: float) -> float:
    """From when on somebody may be written to, who got (or refused) the letters `sent`; Unix seconds.

    The first letter of a day goes at once, and each one after it waits longer. A clock that was ahead holds up
    nobody.
    """
    done = (each.sent if each.sent is not None else each.refused for each in sent)
    times = sorted(time for time in done if time is not None and now - DAY_SECONDS < time <= now)
    most = SHARED_A_DAY if shared else limits.a_day
    if not times:
        return now
    if len(times) >= most:
        return times[-most] + DAY_SECONDS
    longer = 1.0 if shared else LONGER ** (len(times) - 1)
    return min(times[-1] + limits.second_after_seconds * longer, times[0] + DAY_SECONDS)


def tried(letter: Posted, now: float) -> Posted:
    """A letter that did not get through: when it is tried again."""
    wait = min(FIRST_RETRY_SECONDS * 2.0 ** min(letter.tries, 10), LAST_RETRY_SECONDS)
    return replace(letter, tries=letter.tries + 1, next_try=now + wait)


def told_of(changes: Mapping[AlertKey, Change], now: float) -> dict[AlertKey, Told]:
    """What somebody knows who was told of them."""
    return {
        key: Told(now, each.what == "resolved", each.alert.severity, each.alert.level)
        for key, each in changes.items()
    }
