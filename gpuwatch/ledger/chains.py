"""Long training is many jobs: which jobs of a campaign go on with one another's work, and how far they came. Pure.

Jobs that say how far they are continue a chain where they began after all of it ended. Of the jobs before, by
`total` and by the step that a job first reported:

- a job that overlaps a chain is not of it: runs side by side are different ones;
- one that begins below, or a little above, what a chain had reached continues it; what lies between was lost;
- one that begins far above it does so too where it has the chain's name and total: another, of which nobody
  knows how far it was, did what lies between;
- one that begins anew, near step 0, does so only where it has the chain's name and total, and the job before
  neither reached its end nor ended well: all its work was lost;
- another total is taken for a change of plan where the job goes on with the work, else for another run.

Where several chains fit, one of the same total goes first, then one of the same name, then the one that had
reached what is nearest. The runs of one job, as requeues make them, are always one chain.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from gpuwatch.ledger.attempts import TOLERANCE_SECONDS
from gpuwatch.ledger.jobs import Job, Run, State
from gpuwatch.ledger.lost_work import lost_ratio, outcome_of
from gpuwatch.model import Progress

NEAR_RATIO = 0.05
"""What part of the whole two steps may differ by and still be taken for the same: reports are some steps apart."""

PAUSE_SECONDS = 7 * 86_400.0
"""For how long a chain that did not reach its end is taken to go on though none of its jobs runs."""


@dataclass(frozen=True, slots=True)
class Link:
    """One run of a chain's job that said how far it was, and the fraction of its time that was lost."""

    job: Job
    run: Run
    progress: Progress
    lost_ratio: float = 0.0


@dataclass(frozen=True, slots=True)
class Chain:
    """Jobs that did one thing, one after the other. `jobs` are in the order in which they began.

    `silent` of them never said how far they were: they ran between others. `links` are the runs that did; there is
    at least one. `left` is a chain that a later job began anew.
    """

    jobs: tuple[Job, ...]
    links: tuple[Link, ...]
    silent: int = 0
    left: bool = False

    @property
    def started(self) -> int:
        """When its first job began."""
        return self.jobs[0].started

    @property
    def last_seen(self) -> float:
        """When the last of it was seen."""
        return max(job.last_seen for job in self.jobs)

    @property
    def runs(self) -> int:
        """How many times it was begun or taken up."""
        return sum(max(1, len(job.runs)) for job in self.jobs)

    @property
    def progress(self) -> Progress:
        """The latest report. Its step is the farthest that was kept: what is beyond was lost by going back."""
        return self.links[-1].progress

    @property
    def start_step(self) -> float:
        """Where it began, as far as its jobs are known."""
        return self.links[0].progress.start_step

    @property
    def totals(self) -> tuple[float, ...]:
        """The steps that were meant to be done, each time they changed; the last is in force."""
        said = (link.progress for link in self.links)
        found = [total for each in said for total in (*each.other_totals, each.total)]
        return (found[0], *(after for before, after in pairwise(found) if after != before))

    @property
    def lost_steps(self) -> float:
        """Steps that were done in vain: where a run went back, and where the next began below it."""
        between = (max(0.0, a.progress.step - b.progress.start_step) for a, b in pairwise(self.links))
        return sum(link.progress.gone_back for link in self.links) + sum(between)

    @property
    def skipped_steps(self) -> float:
        """Steps that none of its jobs did: a job that is not known here did them."""
        silent = sorted(run.started for job in self.jobs for run in _runs(job) if run.progress is None)
        return sum(_skipped(silent, before, after) for before, after in pairwise(self.links))

    @property
    def made_steps(self) -> float:
        """Steps that its jobs did and that were kept."""
        return max(0.0, self.progress.step - self.start_step - self.skipped_steps)

    @property
    def lost_work_ratio(self) -> float | None:
        """What part of the steps that were done was lost; None where none was done."""
        done = self.made_steps + self.lost_steps
        return self.lost_steps / done if done > 0 else None

    @property
    def lost_device_seconds(self) -> float:
        """Device-seconds of the work that was lost, at each run's even rate, as `lost_work` has it."""
        return sum(link.run.device_seconds * link.lost_ratio for link in self.links)

    @property
    def device_seconds(self) -> float:
        """What its jobs are charged."""
        return sum(job.device_seconds for job in self.jobs)

    @property
    def gap_seconds(self) -> float:
        """Time between its runs in which none of them ran."""
        runs = sorted((run for job in self.jobs for run in _runs(job)), key=lambda run: run.started)
        gaps, end = 0.0, float(runs[0].started)
        for run in runs:
            gaps += max(0.0, run.started - end)
            end = max(end, run.last_seen)
        return gaps

    @property
    def state(self) -> State:
        """That of its last job."""
        return self.jobs[-1].state

    @property
    def finished(self) -> bool:
        """Whether it reached its end, or ended well near it."""
        return _finished(self.links[-1])

    def goes_on(self, now: float) -> bool:
        """Whether more of it is to come."""
        if self.state != "ended":
            return True
        return not self.finished and not self.left and now - self.last_seen <= PAUSE_SECONDS


def chains_of(jobs: Iterable[Job]) -> tuple[Chain, ...]:
    """The chains among a campaign's jobs, also those of one job, in the order in which they began."""
    found: list[_Growing] = []
    by_least: list[_Growing] = []
    silent: list[Job] = []
    for job in sorted(jobs, key=_by_start):
        links = _links([job])
        if not links:
            silent.append(job)
            continue
        grown = _continued(by_least, job, links[0])
        if grown is None:
            found.append(grown := _Growing([job], links[0], links[-1], job.last_seen))
        else:
            by_least.remove(grown)
            grown.append(job, links[-1])
        insort(by_least, grown, key=_least)
    for job in silent:
        fitting = [each for each in found if each.has_between(job)]
        if len(fitting) == 1:
            fitting[0].silent.append(job)
    return tuple(_chain(each, found) for each in found)


def _by_start(job: Job) -> tuple[float, str, str]:
    return job.started, job.cluster, job.scope.name


@dataclass(slots=True, eq=False)
class _Growing:
    """A chain while its jobs are put together: those that said how far they were, and those that did not."""

    jobs: list[Job]
    first: Link
    last: Link
    end: float
    silent: list[Job] = field(default_factory=list)

    @property
    def least(self) -> float:
        """The first step below which no job continues it: a sweep is long, and few of its runs are looked at."""
        if _finished(self.last):
            return self.last.progress.farthest - NEAR_RATIO * self.last.progress.total
        return _anew_until(self.last) if _ended_well(self.last) else 0.0

    def append(self, job: Job, last: Link) -> None:
        """Let a job go on with it."""
        self.jobs.append(job)
        self.last, self.end = last, max(self.end, job.last_seen)

    def has_between(self, job: Job) -> bool:
        """Whether a job that said nothing ran between jobs of its name, and beside none of them."""
        return (
            self.jobs[0].started < job.started < self.jobs[-1].started
            and _is_alike(self.jobs[0], job)
            and all(
                job.last_seen <= each.started + TOLERANCE_SECONDS
                or job.started >= each.last_seen - TOLERANCE_SECONDS
                for each in (*self.jobs, *self.silent)
            )
        )

    def is_begun_anew(self, other: _Growing) -> bool:
        """Whether another chain of its name and total began after it, at the beginning."""
        return (
            other is not self
            and other.first.job.started >= self.end - TOLERANCE_SECONDS
            and _is_alike(self.last.job, other.first.job)
            and self.last.progress.total == other.first.progress.total
            and _is_anew(self.last, other.first)
        )


def _chain(grown: _Growing, found: Sequence[_Growing]) -> Chain:
    jobs = tuple(sorted((*grown.jobs, *grown.silent), key=_by_start))
    left = len(jobs) > 1 and any(map(grown.is_begun_anew, found))
    return Chain(jobs, _links(jobs), len(grown.silent), left)


def _runs(job: Job) -> tuple[Run, ...]:
    return job.runs or (Run(job.started, job.last_seen, job.usage, progress=job.progress),)


def _links(jobs: Sequence[Job]) -> tuple[Link, ...]:
    """The runs that said how far they were, each with what it lost by the one that followed."""
    told = [
        (job, run, run.progress, outcome_of(job, run, run is runs[-1]))
        for job in jobs
        for runs in (_runs(job),)
        for run in runs
        if run.progress is not None
    ]
    following = [*(progress for _, _, progress, _ in told[1:]), None][: len(told)]
    return tuple(
        Link(job, run, progress, lost_ratio(run, progress, after, outcome))
        for (job, run, progress, outcome), after in zip(told, following, strict=True)
    )


def _least(grown: _Growing) -> float:
    return grown.least


def _continued(by_least: Sequence[_Growing], job: Job, first: Link) -> _Growing | None:
    """The chain that a job continues; the chains are in the order of their least steps."""
    fitting = by_least[: bisect_right(by_least, first.progress.start_step, key=_least)]
    ended = [each for each in fitting if each.end <= job.started + TOLERANCE_SECONDS]
    found = [(fit, place) for place, each in enumerate(ended) if (fit := _fit(each, first)) is not None]
    return ended[min(found)[1]] if found else None


def _fit(grown: _Growing, first: Link) -> tuple[bool, bool, float, float, str] | None:
    """How well a run continues a chain, the less the better; None where it does not."""
    last = grown.last
    begin, reached = first.progress.start_step, last.progress.farthest
    near = NEAR_RATIO * first.progress.total
    same_total, alike = last.progress.total == first.progress.total, _is_alike(last.job, first.job)
    if _is_anew(last, first):
        fits = same_total and alike and not _finished(last) and not _ended_well(last)
    else:
        fits = begin <= reached + near or (same_total and alike and not _finished(last))
    return (not same_total, not alike, abs(reached - begin), -grown.end, last.job.scope.name) if fits else None


def _is_anew(last: Link, first: Link) -> bool:
    """Whether a run begins at the beginning, and not where a short one before it had come to."""
    return first.progress.start_step <= _anew_until(last)


def _anew_until(last: Link) -> float:
    return min(NEAR_RATIO * last.progress.total, last.progress.farthest / 2)


def _is_alike(one: Job, other: Job) -> bool:
    return not one.name or not other.name or one.name == other.name


def _ended_well(link: Link) -> bool:
    return outcome_of(link.job, link.run).partition(" ")[0] == "COMPLETED"


def _finished(link: Link) -> bool:
    ratio = link.progress.ratio
    return ratio >= 1 or (ratio >= 1 - NEAR_RATIO and _ended_well(link))


def _skipped(silent: Sequence[int], before: Link, after: Link) -> float:
    """Steps between two links that nobody did; none where a run that said nothing began between them."""
    steps = after.progress.start_step - before.progress.step
    if steps <= NEAR_RATIO * after.progress.total:
        return 0.0
    is_between = bisect_right(silent, before.run.started) < bisect_left(silent, after.run.started)
    return 0.0 if is_between else steps
