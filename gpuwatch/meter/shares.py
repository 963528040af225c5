"""Who has how much of a device: claims become shares that sum to the whole of it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from gpuwatch.model import JobKey, RowKey

UNALLOCATED = RowKey("", 0, "unallocated")
UNATTRIBUTED = RowKey("", 0, "unattributed")

Shares = dict[RowKey, float]
"""Who had how much: a row's key, `UNALLOCATED` or `UNATTRIBUTED`, to a share or to share-seconds."""


@dataclass(frozen=True, slots=True)
class Holding:
    """A job, identified, holds `share` of a device, by the reason `basis`."""

    job: JobKey
    device: str
    share: float
    basis: str

    @property
    def row(self) -> RowKey:
        """The key of the counters that this holding feeds."""
        return RowKey(self.job.job_id, self.job.started, self.device)


def shares_of(holdings: Iterable[Holding], unknown: bool, whole: float = 1.0) -> tuple[Shares, float]:
    """Shares that sum to `whole`, and by how much the claims exceeded it (then all shrink alike).

    The whole of a device is 1; that of a slice is its fraction, and what is in no slice is left to the parent.
    """
    shares: Shares = {}
    for holding in holdings:
        if holding.share > 0:
            shares[holding.row] = shares.get(holding.row, 0.0) + holding.share
    claimed = sum(shares.values())
    if claimed > whole:
        shares = {row: share * whole / claimed for row, share in shares.items()} if whole else {}
    elif claimed < whole:
        shares[UNATTRIBUTED if unknown else UNALLOCATED] = whole - claimed
    return shares, max(0.0, claimed - whole)


def shares_over_gap(before: Shares, after: Shares) -> Shares:
    """Who is charged for time nobody watched: what is the same at both ends; the rest is unattributed."""
    shares = {row: min(share, after[row]) for row, share in before.items() if row in after and row != UNATTRIBUTED}
    rest = sum(before.values()) - sum(shares.values())
    return {**shares, UNATTRIBUTED: rest} if rest > 0 else shares


def add(into: Shares, amounts: Mapping[RowKey, float]) -> None:
    if not into:
        into.update(amounts)
        return
    for row, amount in amounts.items():
        into[row] = into.get(row, 0.0) + amount


def unattributed(shares: Mapping[RowKey, float]) -> Shares:
    """As much as these shares are, held by nobody knows whom."""
    whole = sum(shares.values())
    return {UNATTRIBUTED: whole} if whole else {}


def scaled(rate: float, seconds: Mapping[RowKey, float]) -> Shares:
    """What a rate of the whole device comes to for each of these share-seconds."""
    return {row: rate * each for row, each in seconds.items()}


def split(amount: float, weights: Mapping[RowKey, float]) -> Shares:
    if len(weights) == 1:
        return {row: amount for row, weight in weights.items() if weight > 0}
    total = sum(weights.values())
    return {row: amount * weight / total for row, weight in weights.items()} if total > 0 else {}
