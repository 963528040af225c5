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
    if lost > 0:
        basis += f"; no report for {silence / 60:.0f} min, the later part of it counted as lost"
    return {MEDIAN: max(total, evidence.used)}, basis


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
