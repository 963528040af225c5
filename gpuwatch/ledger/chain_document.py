"""A chain in words, and as JSON: base units, null for what is not known. Pure."""

from __future__ import annotations

from typing import Any

from gpuwatch.ledger.chains import Chain
from gpuwatch.model import Progress


def words_of(chain: Chain) -> str:
    """What a chain is, for people: of how many jobs, how far it is, and how much of its work was lost."""
    jobs = f"{len(chain.jobs)} {'job' if len(chain.jobs) == 1 else 'jobs'}"
    runs = f" in {chain.runs} runs" if chain.runs != len(chain.jobs) else ""
    ratio, lost = chain.progress.ratio, chain.lost_work_ratio
    # A total of 1 is a fraction that a time-series store kept, and no count.
    whole = "" if chain.progress.total == 1 else f" of {chain.progress.total:.10g} steps"
    text = f"chain of {jobs}{runs}, {100 * min(ratio, 1.0):.0f} %{whole}"
    if lost is not None and lost > 0:
        text += f", {100 * lost:.0f} % of the work lost"
    return text


def chain_document(chain: Chain) -> dict[str, Any]:
    """Everything of a chain, for JSON. Its jobs are named as members are."""
    progress = chain.progress
    return {
        "jobs": [job.scope.name for job in chain.jobs],
        "silent_jobs": chain.silent,
        "runs": chain.runs,
        "restarts": chain.runs - 1,
        "state": chain.state,
        "finished": chain.finished,
        "started": chain.started,
        "last_seen": chain.last_seen,
        "step": progress.step,
        "total": progress.total,
        "totals": list(chain.totals),
        "start_step": chain.start_step,
        "ratio": progress.ratio,
        "time": progress.time,
        "made_steps": chain.made_steps,
        "skipped_steps": chain.skipped_steps,
        "lost_steps": chain.lost_steps,
        "lost_ratio": chain.lost_work_ratio,
        "lost_device_seconds": chain.lost_device_seconds,
        "device_seconds": chain.device_seconds,
        "gap_seconds": chain.gap_seconds,
    }


def progress_document(progress: Progress | None) -> dict[str, Any] | None:
    """How far a run said it is; `best` and `lost` are null where nobody counted."""
    if progress is None:
        return None
    return {
        "step": progress.step, "total": progress.total, "start_step": progress.start_step,
        "ratio": progress.ratio, "time": progress.time, "best": progress.best, "lost": progress.lost,
        "other_totals": list(progress.other_totals),
    }  # fmt: skip
