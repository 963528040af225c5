"""The slow look at jobs' devices one by one: which is unlike the others, and which do nothing. Memory is bounded.

Of each device six numbers are kept, of at most two times: judged is what came since the older one, which is one to
two windows ago. Until there is an older one it is the whole run, where that is as long as a window.
"""

from __future__ import annotations

from array import array
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from sqlalchemy import Connection

from gpuwatch.accounting.alert_policy import Thresholds
from gpuwatch.accounting.cases import SKEW_SECONDS
from gpuwatch.accounting.outliers import LEAST_CLOCK_SECONDS, Doing, outliers
from gpuwatch.accounting.watched import DeviceLook, Outlier, RestingDevice, run_key
from gpuwatch.ledger.burnup_store import RunKey
from gpuwatch.ledger.device_rows import DeviceRow, device_rows
from gpuwatch.ledger.jobs import UNSEEN_SECONDS, Job

_AT_ONCE = 2500
_NUMBERS = 6
_AGAIN_SECONDS = 120.0
"""A device that rested works again when it worked for so long since."""


class _Kept(NamedTuple):
    """The numbers of a run's devices in order, and by what its devices are known to be the same."""

    devices: int
    numbers: array[float]


_Look = dict[RunKey, _Kept]


class DeviceLooks:
    """Compares devices over time; `found` has what the last look found, `looked` the runs it read, `compared`
    those that it could compare."""

    def __init__(self, cluster: str, thresholds: Thresholds) -> None:
        self._cluster, self._thresholds = cluster, thresholds
        self.forget()

    def forget(self) -> None:
        """Begin anew."""
        self.found: dict[RunKey, DeviceLook] = {}
        self.looked: set[RunKey] = set()
        self.compared: set[RunKey] = set()
        self._older: _Look = {}
        self._newer: _Look = {}
        self._made = float("-inf")
        self._worked: dict[tuple[RunKey, str, str], float] = {}

    def look(self, connection: Connection, jobs: Iterable[Job], now: float) -> None:
        """Read the devices of running jobs, and judge them."""
        self.found, self.looked, self.compared = {}, set(), set()
        # By a clock that may jump.
        due = abs(now - self._made) >= self._thresholds.window_seconds
        if due:
            self._older, self._newer, self._made = self._newer, {}, now
        worked: dict[tuple[RunKey, str, str], float] = {}
        for key, rows in self._rows(connection, jobs, now):
            self.looked.add(key)
            kept = _kept(rows)
            if due or key not in self._newer:
                self._newer[key] = kept
            look = DeviceLook(self._outliers(key, rows, kept), self._resting(key, rows, worked), len(rows))
            if look.outliers or look.resting:
                self.found[key] = look
        self._worked = worked
        for look_before in (self._older, self._newer):
            for key in look_before.keys() - self.looked:
                del look_before[key]

    def _rows(
        self, connection: Connection, jobs: Iterable[Job], now: float
    ) -> Iterator[tuple[RunKey, list[DeviceRow]]]:
        """The devices of each job that has several."""
        since, until = now - UNSEEN_SECONDS, now + SKEW_SECONDS
        for owners in _portions(jobs):
            by_run: dict[RunKey, list[DeviceRow]] = defaultdict(list)
            for row in device_rows(connection, self._cluster, list(owners), since, until):
                by_run[owners[row[0]]].append(row)
            yield from ((key, rows) for key, rows in by_run.items() if len(rows) > 1)

    def _outliers(self, key: RunKey, rows: Sequence[DeviceRow], kept: _Kept) -> tuple[Outlier, ...]:
        limits = self._thresholds
        if len(rows) < limits.outlier_devices or any(row[4] != rows[0][4] for row in rows):
            return ()
        before = self._older.get(key)
        first = before.numbers if before is not None and before.devices == kept.devices else None
        doing, seconds = _doing(rows, kept.numbers, first)
        if len(doing) < len(rows) or seconds < limits.window_seconds:
            return ()
        self.compared.add(key)
        return outliers(doing, limits.outlier_ratio, seconds)

    def _resting(
        self, key: RunKey, rows: Sequence[DeviceRow], worked: dict[tuple[RunKey, str, str], float]
    ) -> tuple[RestingDevice, ...]:
        """Devices that did not work for long, where others did."""
        limit = self._thresholds.idle_seconds
        # Most jobs have none, and there are many devices.
        slack = [row[6] - (row[15] if row[15] is not None else row[5]) for row in rows]
        if max(slack) < limit and not self._worked:
            return ()
        # Devices that stop one after the other are not at rest beside others that work.
        others_work = min(slack) < limit / 2
        found = []
        for row, seconds in zip(rows, slack, strict=True):
            each = (key, row[1], row[3])
            before = self._worked.get(each)
            goes_on = before is not None and row[11] - before < _AGAIN_SECONDS * min(1.0, row[7])
            if goes_on or (others_work and seconds >= limit and _is_at_rest(row, limit)):
                worked[each] = before if before is not None and goes_on else row[11]
                rested = max(0.0, min(seconds, row[12] / row[7])) if row[7] > 0.0 else 0.0
                found.append(RestingDevice(row[1], row[3], rested, rested * row[7]))
        return tuple(found) if len(found) < len(rows) else ()


def _is_at_rest(row: DeviceRow, limit: float) -> bool:
    """Whether it was measured to be at rest for so long, and was so lately."""
    rests_at = row[16]
    if rests_at is None or rests_at < row[6] - UNSEEN_SECONDS or row[7] <= 0.0:
        return False
    return (row[15] is not None or row[11] == 0.0) and row[12] / row[7] >= limit


def _portions(jobs: Iterable[Job]) -> Iterator[dict[str, RunKey]]:
    """The job ids of running jobs, with their runs; the parts of a job stay together."""
    owners: dict[str, RunKey] = {}
    for job in jobs:
        key = run_key(job)
        if job.state == "running" and key is not None:
            owners |= dict.fromkeys(job.job_ids or (job.job_id,), key)
        if len(owners) >= _AT_ONCE:
            yield owners
            owners = {}
    if owners:
        yield owners


def _kept(rows: Sequence[DeviceRow]) -> _Kept:
    numbers = array("d")
    for row in rows:
        numbers.extend(row[8:12])
        numbers.extend(row[13:15])
    return _Kept(hash(tuple([(row[1], row[2], row[3]) for row in rows])), numbers)


def _doing(rows: Sequence[DeviceRow], now: array[float], before: array[float] | None) -> tuple[list[Doing], float]:
    """What devices did since `before`, and in how long; what did not hold anything since is not among them."""
    found = []
    longest = 0.0
    for place, row in enumerate(rows):
        first = _NUMBERS * place
        values: Sequence[float] = now[first : first + _NUMBERS]
        if before is not None:
            values = [after - was for after, was in zip(values, before[first : first + _NUMBERS], strict=True)]
        held, energy_seconds, joules, working, cycles, clock_seconds = values
        share = row[7]
        if held <= 0.0 or share <= 0.0:
            continue
        longest = max(longest, held / share)
        clock = cycles / clock_seconds if clock_seconds >= LEAST_CLOCK_SECONDS * min(1.0, share) else None
        watts = joules / energy_seconds if energy_seconds >= 0.5 * held and joules > 0.0 else None
        found.append(Doing(row[1], row[3], clock, watts, working / held))
    return found, longest
