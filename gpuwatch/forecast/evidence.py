"""Everything that says where a run will end, side by side: what its like came to, and its own burn-up. Pure.

Each piece of evidence is a class of runs (`forecast.reference`): what they came to beside what was declared
(`ratio`), in all (`total`), or beside what their burn-up projected when they were as far as this one (`burn`). The
nearest class is the user's runs of that name with that declaration, the farthest is shipped. How much each counts
is a share: by how many runs it has at first, then by how well such evidence foretold what runs came to, learned
for runs that were as far and had as many of their like. Nothing is switched on or off.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from math import log
from typing import NamedTuple

import numpy as np

from gpuwatch.forecast import shipped
from gpuwatch.forecast.burnup import BUCKETS, BurnUp, burn_up
from gpuwatch.forecast.outcomes import Outcome
from gpuwatch.forecast.reference import MASS, Array, Going, Member, ReferenceClass, Tail

SHRINK = 20.0
"""So many runs count for as much as all that is less alike, before shares are learned."""

PEOPLE = 3
"""What several people's runs came to is told from so many people on: fewer could be told by it."""

STRENGTH = 3.0
"""What is learned about shares counts from so many runs on."""

FORGET = 0.995
"""What is learned about shares fades by this with every run."""

MOST: Mapping[str, int] = {
    "batch": 200, "like": 100, "name": 100, "user": 200, "account": 200, "called": 200, "cluster": 2000,
}  # fmt: skip
"""The classes, the nearest first, and so many of the latest runs of each count: those that were submitted with it;
the user's runs of that name with that declaration, of that name, all of his; his account's; everybody's of that
name; the cluster's."""

MOST_BATCHES = 5000
"""Of so many batches it is remembered what they came to, those that began last."""

OF_ONE = ("batch", "like", "name", "user")
OF_SEVERAL = ("account", "called", "cluster")
SHIPPED = "shipped"

_FEW_TOGETHER = (1.0, 3.0)
_FEW = (1.0, 3.0, 8.0)
_NEAR, _FAR = 0.03, 0.12
_NEAR_MASS, _FAR_MASS = MASS / _NEAR, 0.3 * MASS / _FAR
_TOTALS_SHARE = 0.15
_SHIPPED_TOTAL, _ENOUGH, _LEAST_SHIPPED = "total shipped", 0.2, 0.02
_OWN_TOTALS = ("batch", "name", "user")
_LEAST = 1e-9

ClassKey = tuple[str, str, tuple[object, ...]]
_TITLES = {(kind, place): f"{kind} {place}" for kind in ("ratio", "total", "burn") for place in MOST}
"""What pieces of evidence are called."""

Context = tuple[int, int, int, bool]
"""How far a run is (the bucket of its burn-up, -1: none), how many were submitted with it and have ended (0 to 2),
how many are like it (0 to 3), whether it declares."""


@dataclass(frozen=True, slots=True)
class Case:
    """What is known of a run that goes on. Amounts are device-seconds; `method` is how its declaration was made.

    `used_at` rises and says what had been used when it was as far as `ratios`; `begun` is how far the whole was
    when it took it up. `limit` is what its time limit leaves room for.
    """

    user: str
    account: str
    name: str
    used: float
    declared: float | None = None
    method: str | None = None
    used_at: Sequence[float] = ()
    ratios: Sequence[float] = ()
    begun: float = 0.0
    limit: float | None = None
    batch: str = ""


class Begun(NamedTuple):
    """A run as it began: it uses `rate` device-seconds a second since `started`, Unix seconds."""

    user: str
    account: str
    name: str
    batch: str
    started: float
    rate: float
    declared: float | None = None


class Piece(NamedTuple):
    """One piece of evidence: `row` is what it says, beside `anchor`; both are logarithms."""

    kind: str
    source: ReferenceClass | None
    row: Array
    anchor: float


@dataclass(frozen=True, slots=True)
class Outlook:
    """All evidence about a run at one time, each piece with its share, which add up to 1."""

    case: Case
    context: Context
    pieces: tuple[Piece, ...]
    shares: tuple[float, ...]
    burn_up: BurnUp | None = None


@dataclass(slots=True)
class Experience:
    """What runs came to, as it is known at some time. It grows by `add`, and learns from forecasts by `learn`."""

    classes: dict[ClassKey, ReferenceClass] = field(default_factory=dict)
    tails: dict[str, Tail] = field(default_factory=dict)
    learned: dict[Context, dict[str, float]] = field(default_factory=dict)
    batches: dict[object, list[ClassKey]] = field(default_factory=dict)

    def add(self, outcome: Outcome) -> None:
        """A run has ended."""
        amount = log(max(outcome.final, _LEAST))
        of = outcome.user, outcome.account, outcome.name, outcome.declared, outcome.batch
        self._add(_keys("total", *of), outcome, amount)
        if outcome.declared:
            self._add(_keys("ratio", *of), outcome, amount - log(outcome.declared))
        for bucket, projected in outcome.projected:
            self._add(_keys("burn", *of, bucket), outcome, amount - log(max(projected, _LEAST)))

    def _add(self, keys: Iterable[ClassKey], outcome: Outcome, amount: float) -> None:
        member = Member(amount, outcome.batch, outcome.user, outcome.cut)
        for key in keys:
            self._class(key).add(member)

    def _class(self, key: ClassKey) -> ReferenceClass:
        found = self.classes.get(key)
        if found is None:
            kind, place, _ = key
            if place == "batch":
                self._remember(key)
            tail = self.tails.setdefault(_TITLES[kind, place], Tail())
            found = ReferenceClass(MOST[place], tail, PEOPLE if place in OF_SEVERAL else 1, place != "batch")
            self.classes[key] = found
        return found

    def _remember(self, key: ClassKey) -> None:
        """Forget the batch that was begun first where there are too many."""
        self.batches.setdefault(key[2][0], []).append(key)
        if len(self.batches) > MOST_BATCHES:
            oldest = next(iter(self.batches))
            for each in self.batches.pop(oldest):
                self.classes.pop(each, None)

    def begin(self, name: str, run: Begun) -> None:
        """A run goes on that is called `name`; it is over once that is said (`over`)."""
        going = Going(run.started, run.rate, 0.0, run.batch, run.user)
        for key in _own_keys("total", run):
            self._class(key).begin(name, going)
        if run.declared:
            beside = going._replace(anchor=log(run.declared))
            for key in _own_keys("ratio", run):
                self._class(key).begin(name, beside)

    def over(self, name: str, run: Begun) -> None:
        """A run goes on no more."""
        for kind in ("total", "ratio"):
            for key in _own_keys(kind, run):
                found = self.classes.get(key)
                if found is not None:
                    found.over(name)

    def outlook(self, case: Case, now: float) -> Outlook:
        """All that is known about where a run will end."""
        declared = case.declared if case.declared else None
        of = case.user, case.account, case.name, declared, case.batch
        seen = burn_up(case.used_at, case.ratios, case.used, case.begun)
        pieces: list[Piece] = []
        parts: list[tuple[float, int]] = []
        if declared is not None:
            anchor = log(declared)
            pieces += self._pieces(_keys("ratio", *of), anchor, now)
            pieces.append(Piece(f"ratio {SHIPPED}", None, shipped.ratio(case.method), anchor))
            parts.append((1.0 - _TOTALS_SHARE, len(pieces)))
        begin = len(pieces)
        totals = _keys("total", *of)
        pieces += self._pieces(totals if declared is None else _own(totals), 0.0, now)
        if declared is None:
            pieces.append(Piece(f"total {SHIPPED}", None, shipped.total(case.limit), 0.0))
        parts.append((_TOTALS_SHARE if declared is not None else 1.0, len(pieces) - begin))
        bucket = -1
        if seen is not None:
            bucket, anchor, begin = seen.bucket, log(max(seen.total, _LEAST)), len(pieces)
            pieces += self._pieces(_keys("burn", *of, bucket), anchor, now)
            pieces.append(Piece(f"burn {SHIPPED}", None, shipped.error(bucket), anchor))
            parts.append((0.0, len(pieces) - begin))
        context = (bucket, *_how_many(pieces), declared is not None)
        return Outlook(case, context, tuple(pieces), self._shares(pieces, parts, context), seen)

    def _pieces(self, keys: Iterable[ClassKey], anchor: float, now: float) -> Iterator[Piece]:
        for key in keys:
            found = self.classes.get(key)
            if found is not None and (row := found.row(now)) is not None:
                yield Piece(_TITLES[key[:2]], found, row, anchor)

    def _shares(
        self, pieces: Sequence[Piece], parts: Sequence[tuple[float, int]], context: Context
    ) -> tuple[float, ...]:
        shares = _by_count(pieces, parts, context[0])
        learned = self.learned.get(context)
        if learned is not None:
            shares = [
                STRENGTH * share + learned.get(piece.kind, 0.0)
                for share, piece in zip(shares, pieces, strict=True)
            ]
        whole = sum(shares)
        return tuple(share / whole for share in shares)

    def learn(self, outlook: Outlook, final: float, weight: float = 1.0) -> None:
        """A run of which there was an outlook came to `final` device-seconds; one of many together weighs less."""
        amount = log(max(final, _LEAST))
        rows = np.concatenate([piece.row for piece in outlook.pieces]).reshape(-1, len(MASS))
        away = np.abs(rows - np.array([amount - piece.anchor for piece in outlook.pieces])[:, None])
        near = (away < _NEAR) @ _NEAR_MASS + (away < _FAR) @ _FAR_MASS + 1e-3
        told = np.array(outlook.shares) * near
        told /= told.sum()
        learned, fading = self.learned.setdefault(outlook.context, {}), FORGET**weight
        for piece, part in zip(outlook.pieces, told.tolist(), strict=True):
            learned[piece.kind] = fading * learned.get(piece.kind, 0.0) + weight * part
            if piece.source is not None:
                piece.source.learn(amount - piece.anchor)


@lru_cache(maxsize=16_384)
def _keys(
    kind: str, user: str, account: str, name: str, declared: float | None, batch: str, bucket: int | None = None
) -> tuple[ClassKey, ...]:
    """The classes of a kind that a run is in, the nearest first."""
    more = () if bucket is None else (bucket,)
    like = ((kind, "like", (user, name, round(log(declared), 2), *more)),) if declared else ()
    theirs = ((kind, "account", (account, *more)),) if account else ()
    together = ((kind, "batch", (batch, name, *more)),) if batch else ()
    return (
        *together, *like, (kind, "name", (user, name, *more)), (kind, "user", (user, *more)), *theirs,
        (kind, "called", (name, *more)), (kind, "cluster", more),
    )  # fmt: skip


def _own_keys(kind: str, run: Begun) -> Iterator[ClassKey]:
    keys = _keys(kind, run.user, run.account, run.name, run.declared, run.batch)
    return (key for key in keys if key[1] in OF_ONE)


def _own(keys: Iterable[ClassKey]) -> Iterator[ClassKey]:
    return (key for key in keys if key[1] in _OWN_TOTALS)


def _how_many(pieces: Sequence[Piece]) -> tuple[int, int]:
    """How many runs there are that were submitted together with it, and how many alike it, by orders; 0: none."""
    together = 0
    for piece in pieces[:2]:
        if piece.source is not None and piece.kind.endswith("batch"):
            together = bisect_right(_FEW_TOGETHER, piece.source.n)
        elif piece.source is not None and piece.kind.endswith(("like", "name")):
            return together, bisect_right(_FEW, piece.source.n)
    return together, 0


def _by_count(pieces: Sequence[Piece], parts: Sequence[tuple[float, int]], bucket: int) -> list[float]:
    """Shares by how many runs each class has: of what is left, n / (n + `SHRINK`), the nearest first."""
    shares: list[float] = []
    for _, count in parts:
        rest = 1.0
        for piece in pieces[len(shares) : len(shares) + count]:
            own = 1.0 if piece.source is None else piece.source.n / (piece.source.n + SHRINK)
            shares.append(rest * own)
            rest *= 1.0 - own
    known = 1.0 - shares[parts[0][1] - 1]
    if pieces[parts[0][1] - 1].kind == _SHIPPED_TOTAL and known > _ENOUGH:
        # Any order of amounts is as likely as another there: where its like is known that says next to nothing.
        shares[parts[0][1] - 1] = min(shares[parts[0][1] - 1], _LEAST_SHIPPED)
    weights = [part for part, _ in parts]
    if bucket >= 0:
        # The farther it is the more its burn-up says; the less is known of its like, the sooner.
        ratio = BUCKETS[bucket]
        weights[-1] = ratio / (ratio + 0.02 + 0.1 * known)
        weights[:-1] = [part * (1.0 - weights[-1]) for part in weights[:-1]]
    spread = [weight for weight, (_, count) in zip(weights, parts, strict=True) for _ in range(count)]
    return [share * weight for share, weight in zip(shares, spread, strict=True)]
