"""The chains of a campaign as text: how far each is, how often it was taken up, and what was lost."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from gpuwatch.accounting.amounts import amount, digits

_SHOWN = 10

Document = Mapping[str, Any]


def chain_lines(chains: Sequence[Document]) -> Iterator[str]:
    """The chains of several runs, those that were seen last first; of single runs nothing is said."""
    several = sorted((each for each in chains if each["runs"] > 1), key=lambda each: -each["last_seen"])
    for each in several[:_SHOWN]:
        yield from _chain_lines(each)
    if len(several) > _SHOWN:
        yield f"and {len(several) - _SHOWN:,} more; --json has all"


def _chain_lines(chain: Document) -> Iterator[str]:
    jobs = chain["jobs"]
    named = jobs[0] if len(jobs) == 1 else f"{jobs[0]} to {jobs[-1]}"
    yield f"{_count(len(jobs), 'job')}, {named}: {_progress(chain)}{_taken_up(chain)}"
    lost = chain["lost_ratio"]
    if lost:
        hours = amount("device-hours", chain["lost_device_seconds"])
        yield f"lost {digits(chain['lost_steps'])} steps ({100 * lost:.0f} % of those done), {hours} of work"
    if len(chain["totals"]) > 1:
        former = ", ".join(digits(total) for total in chain["totals"][:-1])
        yield f"the total was {former} before and is {digits(chain['total'])} now"
    if chain["start_step"] > 0:
        yield f"began at step {digits(chain['start_step'])}: what was before is not in this campaign"
    if chain["skipped_steps"] > 0:
        yield f"{digits(chain['skipped_steps'])} steps were done by jobs that are not in this campaign"
    if chain["silent_jobs"]:
        yield f"{_count(chain['silent_jobs'], 'job')} of it never said how far"


def _progress(chain: Document) -> str:
    ratio = f"{100 * min(chain['ratio'], 1.0):.0f} %"
    return ratio if chain["total"] == 1 else f"step {digits(chain['step'])} of {digits(chain['total'])} ({ratio})"


def _taken_up(chain: Document) -> str:
    times = chain["restarts"]
    gaps = f", {amount('wall', chain['gap_seconds'])} between runs" if chain["gap_seconds"] > 0 else ""
    return f", taken up {'once' if times == 1 else f'{times:,} times'}{gaps}"


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"
