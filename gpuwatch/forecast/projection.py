"""Where a scope will end, from what it used and how far it says it is. Pure.

The thin form: an attempt that did the part p - p0 of the whole with what it used needs (1 - p0) / (p - p0) times
that for its own part (p0 is where it began, after a checkpoint say). Never less than what is used already; no
projection without a progress report, or before the attempt did 1 % of the whole.

Usage is newer than the last report. What the report was made with is taken as the part of the usage that
belongs to the time until the report, at an even rate; between reports progress is taken to go on at that rate,
for as long as may lie between two reports: as long as it took to get there, for the first report may have been
the only one, and at least `PATIENCE_SECONDS`. What is used after that without a report is added in full: it did
not bring the end nearer. An attempt that hangs is thereby projected ever higher, and one that reports again
comes back.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from gpuwatch.model import EMPTY, Estimate, Forecast, Progress, Scope

QUANTITIES = ("device-hours", "energy", "wall")
"""What is projected here, in the base units s, J and s."""

LEAST_INCREMENT = 0.01
PATIENCE_SECONDS = 600.0
MEDIAN = 0.5
ENDED = "ended"


@dataclass(frozen=True, slots=True)
class Evidence:
    """What is known of a scope and a quantity. `started` to `seen` is the time in which `used` was used."""

    scope: Scope
    quantity: str
    used: float
    started: float
    seen: float
    state: Literal["running", "waiting", "unseen", "ended"]
    declared: Estimate | None = None
    progress: Progress | None = None
    gaps: float = 0.0
    """Fraction of the held time in which the quantity was not measured."""
    before: float = 0.0
    """The part of `used` that earlier attempts used: it is spent, and what is left does not depend on it."""
    after: float = 0.0
    """The part of a chain's `used` that its progress does not tell of: it is added as it is."""


def project(evidence: Evidence, now: float) -> Forecast:
    """The forecast of one attempt; `quantiles` is empty where nothing can be said yet."""
    if evidence.before > 0:
        quantiles, basis = _projection(replace(evidence, used=evidence.used - evidence.before))
        quantiles = {q: value + evidence.before for q, value in quantiles.items()}
        basis += "; earlier attempts included"
    else:
        quantiles, basis = _projection(evidence)
    if evidence.gaps > 0.005:
        basis += f"; not measured for {evidence.gaps:.0%} of the held time".replace("%", " %")
    return Forecast(evidence.scope, evidence.quantity, evidence.used, quantiles, evidence.declared, basis, now)


def project_sum(evidence: Evidence, parts: Sequence[Forecast], now: float) -> Forecast:
    """The forecast of a campaign: what its jobs used, and what those that run are projected to use yet.

    A lower bound, as nobody knows what will be submitted tomorrow. Of wall time, which does not add up, see
    `project_span`.
    """
    known = [part for part in parts if part.quantiles]
    rest = sum(part.quantiles[MEDIAN] - part.used for part in known)
    running = sum(part.basis != ENDED for part in known)
    basis = f"sum of {len(parts)} {'job' if len(parts) == 1 else 'jobs'}"
    basis += f", {running} of them projected" if running else ""
    basis += f", {len(parts) - len(known)} without a projection" if len(known) < len(parts) else ""
    return _composed(evidence, evidence.used + rest, bool(known), basis, now)


def project_span(evidence: Evidence, ends: Sequence[float], now: float) -> Forecast:
    """The wall time of a campaign: from its first start to the latest of its jobs' projected `ends`."""
    latest = max(ends, default=evidence.started)
    basis = "first start to last projected end"
    return _composed(evidence, latest - evidence.started, bool(ends), basis, now)


def project_chain(evidence: Evidence, words: str, now: float) -> Forecast:
    """The forecast of a chain: what its attempts used, with work that was lost, by what they did that was kept.

    Work is taken to be lost, and taken up again, at the rate at which it was until now. `started` and `seen` are
    those of the latest attempt that reported, which used what is neither `before` nor `after`.
    """
    quantiles, basis = _chain_projection(evidence, words)
    return Forecast(evidence.scope, evidence.quantity, evidence.used, quantiles, None, basis, now)


def _chain_projection(evidence: Evidence, words: str) -> tuple[Mapping[float, float], str]:
    if evidence.state == "ended":
        return {MEDIAN: evidence.used}, f"{words}, {ENDED}"
    if evidence.progress is None:
        return EMPTY, f"{words}, no progress reported"
    progress = evidence.progress
    made, to_come = progress.ratio - progress.start_ratio, max(0.0, 1.0 - progress.ratio)
    if made < LEAST_INCREMENT and to_come > 0:
        return EMPTY, f"{words}; too little to project from"
    own = evidence.used - evidence.before - evidence.after
    at_report, lost, silence = _split(replace(evidence, used=own), progress)
    at_report += evidence.before
    total = at_report * (1.0 + (to_come / made if to_come > 0 else 0.0)) + lost + evidence.after
    return {MEDIAN: max(total, evidence.used)}, words + _hanging(lost, silence)


def project_chains(
    evidence: Evidence, chains: Sequence[Forecast], others: Sequence[Forecast], words: str, now: float
) -> Forecast:
    """The forecast of a campaign with chains: what they and the jobs beside them used and will use yet."""
    known = [part for part in (*chains, *others) if part.quantiles]
    rest = sum(part.quantiles[MEDIAN] - part.used for part in known)
    basis = words
    basis += f"; {len(others)} {'job' if len(others) == 1 else 'jobs'} beside" if others else ""
    unknown = len(chains) + len(others) - len(known)
    basis += f"; {unknown} without a projection" if unknown else ""
    return _composed(evidence, evidence.used + rest, bool(known), basis, now)


def _composed(evidence: Evidence, total: float, known: bool, basis: str, now: float) -> Forecast:
    quantiles: Mapping[float, float] = {MEDIAN: max(total, evidence.used)} if known else EMPTY
    return Forecast(
        evidence.scope, evidence.quantity, evidence.used, quantiles, evidence.declared,
        basis if known else "nothing to project from", now,
    )  # fmt: skip


def _projection(evidence: Evidence) -> tuple[Mapping[float, float], str]:
    if evidence.state == "ended":
        return {MEDIAN: evidence.used}, ENDED
    if evidence.progress is None:
        return EMPTY, "no progress reported"
    progress = evidence.progress
    start, done = min(progress.start_ratio, 1.0), min(progress.ratio, 1.0)
    if done - start < LEAST_INCREMENT:
        return EMPTY, f"{_done(progress)}; too little to project from"
    at_report, lost, silence = _split(evidence, progress)
    total = at_report * (1.0 - start) / (done - start) + lost
    basis = f"used / progress, {_done(progress)}"
    return {MEDIAN: max(total, evidence.used)}, basis + _hanging(lost, silence)


def _hanging(lost: float, silence: float) -> str:
    if lost <= 0:
        return ""
    return f"; no report for {silence / 60:.0f} min, the later part of it counted as lost"


def _done(progress: Progress) -> str:
    total = f"{progress.total:.10g}"
    return f"{100 * min(progress.ratio, 1.0):.0f} % of {total} steps"


def _split(evidence: Evidence, progress: Progress) -> tuple[float, float, float]:
    """What was used until the report, what was used after patience ran out, and how long ago the report was."""
    elapsed = evidence.seen - evidence.started
    until_report = min(max(progress.time - evidence.started, 0.0), elapsed)
    if elapsed <= 0 or until_report <= 0:
        return evidence.used, 0.0, 0.0
    silence = elapsed - until_report
    patience = max(PATIENCE_SECONDS, until_report)
    rate = evidence.used / elapsed
    return rate * until_report, rate * max(0.0, silence - patience), silence
