"""Where a job's device-seconds went: at work, spinning, idle, lost to failures and restarts, or not known. Pure.

The parts of a job add up to what it is charged. What agents measured is applied to what was charged: held time in
excess of it is scaled down, and charged time that no agent saw is unknown.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from gpuwatch.ledger.device_times import DeviceTime, by_device
from gpuwatch.ledger.jobs import Job, Run
from gpuwatch.ledger.lost_work import Loss, losses
from gpuwatch.model import EMPTY, Usage

Costs = Mapping[tuple[str, str], Mapping[str, float]]
"""What jobs cost, by (cluster, job id) and currency."""

By = Literal["user", "account", "partition", "campaign", "job"]


@dataclass(frozen=True, slots=True)
class Parts:
    """Device-seconds by what became of them; adds up, and `Parts()` is its zero.

    The first five exclude each other and sum to what was charged. The others lie within them, and are None where
    nobody measured: `bounded` is what is lost at most, as nobody reported progress; `before_use` and `after_use`
    are idle before the first and after the last work; `throttled` had its clocks held down, at work or not.
    """

    working: float = 0.0
    spinning: float = 0.0
    idle: float = 0.0
    lost: float = 0.0
    unknown: float = 0.0
    bounded: float = 0.0
    before_use: float | None = None
    after_use: float | None = None
    throttled: float | None = None

    def __add__(self, other: Parts) -> Parts:
        return Parts(
            self.working + other.working,
            self.spinning + other.spinning,
            self.idle + other.idle,
            self.lost + other.lost,
            self.unknown + other.unknown,
            self.bounded + other.bounded,
            _sum(self.before_use, other.before_use),
            _sum(self.after_use, other.after_use),
            _sum(self.throttled, other.throttled),
        )

    @property
    def total(self) -> float:
        """What was charged."""
        return self.working + self.spinning + self.idle + self.lost + self.unknown

    @property
    def wasted(self) -> float:
        """What could have been saved, at most: spinning, idle and lost."""
        return self.spinning + self.idle + self.lost

    @property
    def wasted_ratio(self) -> float:
        """That of the total; 0 where nothing was charged."""
        return self.wasted / self.total if self.total > 0 else 0.0

    @property
    def edges(self) -> float | None:
        """Idle before the first and after the last work; None where nobody measured it."""
        return _sum(self.before_use, self.after_use)

    def times(self, factor: float) -> Parts:
        """All of them, multiplied."""
        return Parts(
            self.working * factor,
            self.spinning * factor,
            self.idle * factor,
            self.lost * factor,
            self.unknown * factor,
            self.bounded * factor,
            _times(self.before_use, factor),
            _times(self.after_use, factor),
            _times(self.throttled, factor),
        )


def _sum(left: float | None, right: float | None) -> float | None:
    if left is None or right is None:
        return right if left is None else left
    return left + right


def _times(value: float | None, factor: float) -> float | None:
    return None if value is None else value * factor


def waste_of(job: Job, begins: float = float("-inf"), ends: float = float("inf")) -> Parts:
    """Where the job's device-seconds in [begins, ends) went; a run that reaches beyond counts at an even rate."""
    runs = job.runs or (Run(job.started, job.last_seen, job.usage),)
    total = Parts()
    for run, loss in zip(runs, losses(job, runs), strict=True):
        inside = _inside(run, begins, ends)
        if inside > 0:
            parts = parts_of(run, loss)
            total += parts if inside == 1 else parts.times(inside)
    return total


def _inside(run: Run, begins: float, ends: float) -> float:
    """The fraction of a run that lies in [begins, ends)."""
    if run.last_seen <= run.started:
        return float(begins <= run.started < ends)
    inside = min(ends, run.last_seen) - max(begins, run.started)
    return max(0.0, inside) / (run.last_seen - run.started)


def parts_of(run: Run, loss: Loss | None) -> Parts:
    """Where the device-seconds that a run is charged went."""
    times = by_device(run.lines) or (_as_device(run),)
    measured = sum((_of_device(each, loss) for each in times), Parts())
    charged, held = run.device_seconds, measured.total
    if held > charged:
        return measured.times(charged / held)
    return measured + _unseen(run, charged - held, loss)


def _as_device(run: Run) -> DeviceTime:
    """A run of which nobody says anything by device."""
    span = run.last_seen - run.started
    share = run.usage.held_seconds / span if span > 0 else 1.0
    return DeviceTime("", "", "", share, run.started, run.last_seen, run.usage, False)


def _of_device(each: DeviceTime, loss: Loss | None) -> Parts:
    working, spinning, idle = _states(each.usage)
    unknown = max(0.0, each.usage.held_seconds - working - spinning - idle)
    lost_work = _lost(working, each, loss, each.last_working)
    lost_unknown = _lost(unknown, each, loss, each.usage.last_in_state.get("unknown"))
    before, after = _edges(each, idle)
    return Parts(
        working - lost_work,
        spinning,
        idle,
        lost_work + lost_unknown,
        unknown - lost_unknown,
        lost_work + lost_unknown if loss is not None and loss.bounded else 0.0,
        before,
        after,
        _throttled(each.usage),
    )


def _states(usage: Usage) -> tuple[float, float, float]:
    """Time at work, spinning and idle, never more than what was held."""
    found = [usage.state_seconds.get(state, 0.0) for state in ("working", "spinning", "idle")]
    fit = min(1.0, usage.held_seconds / sum(found)) if sum(found) > 0 else 1.0
    return found[0] * fit, found[1] * fit, found[2] * fit


def _lost(seconds: float, each: DeviceTime, loss: Loss | None, last: float | None) -> float:
    """What of the time in a state is lost at most: all of it that can lie after the work that was kept."""
    if loss is None:
        return 0.0
    if loss.bounded:
        return seconds
    until = each.last_seen if last is None else min(last, each.last_seen)
    return min(seconds, each.share * max(0.0, until - max(loss.since, each.started)))


def _edges(each: DeviceTime, idle: float) -> tuple[float | None, float | None]:
    """Idle before the first and after the last work; all of it before, where there never was any."""
    if each.never_worked:
        return idle, 0.0
    first, last = each.usage.first_working, each.last_working
    if first is None or last is None:
        return None, None
    before = min(idle, each.share * max(0.0, first - each.started))
    return before, min(idle - before, each.share * max(0.0, each.last_seen - last))


def _throttled(usage: Usage) -> float | None:
    """Time with clocks held down for any reason, at most: several reasons may hold at once."""
    return min(usage.held_seconds, sum(usage.throttled_seconds.values())) if usage.throttled_seconds else None


def _unseen(run: Run, seconds: float, loss: Loss | None) -> Parts:
    """Charged time that no agent saw, at an even rate."""
    if loss is None:
        return Parts(unknown=seconds)
    span = run.last_seen - run.started
    lost = seconds if loss.bounded or span <= 0 else seconds * max(0.0, run.last_seen - loss.since) / span
    lost = min(seconds, lost)
    return Parts(lost=lost, unknown=seconds - lost, bounded=lost if loss.bounded else 0.0)


@dataclass(frozen=True, slots=True)
class Group:
    """Where the device-seconds of some jobs went; `name` is None for jobs that have none.

    `cost` is what the wasted part cost, by currency, at the mean price of each job; at most, as that part is.
    `unknown_jobs` are those of which nobody knows how many devices they had: they are in `jobs`, not in `parts`.
    """

    name: str | None
    parts: Parts
    jobs: tuple[Job, ...]
    unknown_jobs: int = 0
    cost: Mapping[str, float] = EMPTY


@dataclass(frozen=True, slots=True)
class Wasted:
    """The groups that wasted much, the most first, the others together, and everything."""

    named: tuple[Group, ...]
    others: Group
    other_groups: int
    total: Group


def wasted(
    jobs: Iterable[Job],
    by: By,
    begins: float = float("-inf"),
    ends: float = float("inf"),
    least: float = 0.0,
    top: int | None = None,
    floor_seconds: float = 0.0,
    costs: Costs = EMPTY,
) -> Wasted:
    """Named are groups that wasted the ratio `least` or more of what they were charged in [begins, ends).

    They have to have wasted `floor_seconds` device-seconds too: a job that begins is idle for a moment.
    """
    members: dict[str | None, list[tuple[Job, Parts]]] = defaultdict(list)
    for job in jobs:
        if job.started < ends and job.last_seen >= begins:
            members[_NAMES[by](job) or None].append((job, waste_of(job, begins, ends)))
    groups = sorted((_group(name, those, costs) for name, those in members.items()), key=_most_first)
    much = [each for each in groups if each.parts.wasted > 0 and each.parts.wasted >= floor_seconds]
    named = [each for each in much if each.parts.wasted_ratio >= least][:top]
    chosen = {each.name for each in named}
    others = [each for each in groups if each.name not in chosen]
    return Wasted(tuple(named), _together(others), len(others), _together(groups))


def user_of(job: Job) -> str | None:
    """Whose job it is: by the batch system's word, by its id, or by who began it; None where nobody knows."""
    if job.record is not None and job.record.facts.user:
        return job.record.facts.user
    if job.job_id.startswith(_USER):
        return job.job_id.removeprefix(_USER)
    return f"uid:{job.uid}" if job.uid is not None else None


_USER = "user:"
_NAMES: Mapping[By, Callable[[Job], str | None]] = {
    "user": user_of,
    "account": lambda job: job.record.facts.account if job.record is not None else None,
    "partition": lambda job: job.record.facts.partition if job.record is not None else None,
    "campaign": lambda job: job.campaign,
    "job": lambda job: job.scope.name,
}


def _group(name: str | None, those: Sequence[tuple[Job, Parts]], costs: Costs) -> Group:
    unknown = sum(_is_unknown(job) for job, _ in those)
    money: dict[str, float] = {}
    for job, parts in those if costs else ():
        for currency, value in _wasted_cost(job, parts, costs):
            money[currency] = money.get(currency, 0.0) + value
    jobs = tuple(job for job, _ in those)
    return Group(name, sum((parts for _, parts in those), Parts()), jobs, unknown, money)


def _wasted_cost(job: Job, parts: Parts, costs: Costs) -> Iterator[tuple[str, float]]:
    whole = job.device_seconds
    for job_id in job.job_ids if whole > 0 else ():
        for currency, value in costs.get((job.cluster, job_id), EMPTY).items():
            yield currency, value * parts.wasted / whole


def _is_unknown(job: Job) -> bool:
    return job.record is not None and job.allocated_seconds is None and job.usage.held_seconds == 0


def _together(groups: Sequence[Group]) -> Group:
    jobs = tuple(job for each in groups for job in each.jobs)
    unknown = sum(each.unknown_jobs for each in groups)
    money: dict[str, float] = {}
    for currency, value in (item for each in groups for item in each.cost.items()):
        money[currency] = money.get(currency, 0.0) + value
    return Group(None, sum((each.parts for each in groups), Parts()), jobs, unknown, money)


def _most_first(group: Group) -> tuple[float, float, str]:
    return -group.parts.wasted, -group.parts.total, group.name or ""
