"""Which alerts are active, and what changed: decided once and here, for every channel. Pure.

What was found is compared with what stood before. A projection that is found no more stays for a while, so that
one that goes to and fro is one alert; what is ended, or gave way to a fact, does not. Each alert is told, observed
or muted; what comes to be told although it was active before is raised at that moment.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, replace

from gpuwatch.accounting.overruns import EXCEEDED, LIMIT, PROJECTED
from gpuwatch.ledger.alert_store import Mode, Standing
from gpuwatch.ledger.episodes import How
from gpuwatch.ledger.scopes import AlertKey
from gpuwatch.model import Alert, Scope
from gpuwatch.notifiers.base import Change

HOLD_SECONDS = 600.0
"""A projection has to be unlikely for so long before it is over."""

_HELD = frozenset({PROJECTED, LIMIT})
_ENDING = frozenset({"job", "campaign", "array"})
_RANKS = {"info": 0, "warning": 1, "critical": 2}
_WORDS: Mapping[How, str] = {
    "exceeded": "no longer a projection, the declared amount is exceeded",
    "floor": "below what alerts are for",
}


@dataclass(frozen=True, slots=True)
class Around:
    """What there is beside the alerts: the scopes that run, and those of them that are too small to speak of."""

    running: Collection[Scope]
    small: Collection[Scope] = ()


@dataclass(frozen=True, slots=True)
class Gone:
    """An alert that is over, and how that came about."""

    standing: Standing
    how: How

    @property
    def change(self) -> Change:
        """The same, told; the text says why."""
        alert = self.standing.alert
        return Change("resolved", replace(alert, text=f"{_why(alert, self.how)}: {alert.text}"))


@dataclass(frozen=True, slots=True)
class Comparison:
    """What changed: alerts `raised` and `gone`, that rose, and `turned`, with how these were told before."""

    raised: tuple[Standing, ...] = ()
    risen: tuple[Standing, ...] = ()
    turned: tuple[tuple[Standing, Mode], ...] = ()
    gone: tuple[Gone, ...] = ()


def stand(
    before: Mapping[AlertKey, Standing],
    found: Mapping[AlertKey, Alert],
    mode_of: Callable[[Alert], Mode],
    around: Around,
    now: float,
) -> dict[AlertKey, Standing]:
    """All that is active now: what was found, and what was found a moment ago and may come back."""
    active = {key: Standing(alert, mode_of(alert), now) for key, alert in found.items()}
    for key, standing in before.items():
        if key not in active and _is_held(key, standing, found, around, now):
            active[key] = replace(standing, mode=mode_of(standing.alert))
    return active


def _is_held(
    key: AlertKey, standing: Standing, found: Mapping[AlertKey, Alert], around: Around, now: float
) -> bool:
    if key.kind not in _HELD or standing.found is None or how_gone(key, found, around) != "cleared":
        return False
    return 0.0 <= now - standing.found < HOLD_SECONDS


def compare(before: Mapping[AlertKey, Standing], after: Mapping[AlertKey, Standing], around: Around) -> Comparison:
    """What changed from one pass to the next."""
    raised, risen, turned = [], [], []
    for key, standing in after.items():
        was = before.get(key)
        if was is None:
            raised.append(standing)
        elif was.mode != standing.mode:
            turned.append((standing, was.mode))
        elif _is_worse(standing.alert, was.alert):
            risen.append(standing)
    found = {key: each.alert for key, each in after.items()}
    gone = tuple(Gone(each, how_gone(key, found, around)) for key, each in before.items() if key not in after)
    return Comparison(tuple(raised), tuple(risen), tuple(turned), gone)


def how_gone(key: AlertKey, found: Mapping[AlertKey, Alert], around: Around) -> How:
    """How an alert ended that is not found any more."""
    if key.kind == PROJECTED and key._replace(kind=EXCEEDED) in found:
        return "exceeded"
    if key.scope.kind in _ENDING and key.scope not in around.running:
        return "ended"
    return "floor" if key.scope in around.small else "cleared"


def changes_of(compared: Comparison) -> Iterator[tuple[Change, Mode]]:
    """What channels are told: ends first. Whoever hears of an alert for the first time hears that it is raised."""
    for gone in compared.gone:
        yield gone.change, gone.standing.mode
    for standing in compared.raised:
        yield Change("raised", standing.alert), standing.mode
    for standing, was in compared.turned:
        if standing.mode == "told":
            yield Change("raised", standing.alert), "told"
        elif was == "told":
            text = f"{standing.mode} from now on: {standing.alert.text}"
            yield Change("resolved", replace(standing.alert, text=text)), "told"
    for standing in compared.risen:
        yield Change("changed", standing.alert), standing.mode


def is_worse(severity: str, level: int, than_severity: str, than_level: int) -> bool:
    """Whether it rose, in severity or to the next mark."""
    rank, before = _RANKS.get(severity, 1), _RANKS.get(than_severity, 1)
    return rank > before or level > than_level


def rank_of(alert: Alert) -> int:
    """How grave it is; more is graver."""
    return _RANKS.get(alert.severity, 1)


def _is_worse(alert: Alert, than: Alert) -> bool:
    return is_worse(alert.severity, alert.level, than.severity, than.level)


def _why(alert: Alert, how: How) -> str:
    if how == "ended":
        return f"the {alert.scope.kind} ended"
    if how in _WORDS:
        return _WORDS[how]
    if alert.kind == EXCEEDED:
        return "back within what is declared"
    return "no longer likely" if alert.kind in _HELD else "no longer so"
