"""Who holds devices right now and does nothing with them. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

from gpuwatch.ledger.device_times import DeviceTime, by_device
from gpuwatch.ledger.jobs import UNSEEN_SECONDS, Job

Doing = Literal["idle", "spinning"]

_DOING: tuple[Doing, ...] = ("idle", "spinning")


@dataclass(frozen=True, slots=True)
class Holder:
    """Devices that a job holds on a node and does not work on; `share` is the sum of its shares of them.

    `seconds` is for how long at least, by the device that worked last; `lost_seconds` the device-seconds that were
    measured as idle or spinning since each of them worked last, at most. `worked`: whether any of them ever did.
    `watts` is the mean power of what never worked, by share; None where that is not known.
    """

    job: Job
    node: str
    devices: tuple[str, ...]
    doing: Doing
    seconds: float
    lost_seconds: float
    share: float
    worked: bool
    watts: float | None = None


class _Rest(NamedTuple):
    device: DeviceTime
    doing: Doing
    seconds: float

    @property
    def lost_seconds(self) -> float:
        """Device-seconds that were idle or spinning since it worked last, at most."""
        states = self.device.usage.state_seconds
        return min(self.device.share * self.seconds, sum(states.get(each, 0.0) for each in _DOING))


def holders(jobs: Iterable[Job], now: float, since_seconds: float) -> tuple[Holder, ...]:
    """Who holds devices that did not work for `since_seconds`, as far as agents say; the most lost comes first."""
    found = (holder for job in jobs for holder in _holders_of(job, now, since_seconds))
    return tuple(sorted(found, key=lambda each: (-each.lost_seconds, each.job.scope.name, each.node)))


def _holders_of(job: Job, now: float, since_seconds: float) -> Iterator[Holder]:
    if job.state == "ended" or not job.runs:
        return
    resting: dict[tuple[str, Doing], list[_Rest]] = defaultdict(list)
    for device in by_device(job.runs[-1].lines):
        rest = _rest(device, now)
        if rest is not None and rest.seconds >= since_seconds:
            resting[device.node, rest.doing].append(rest)
    for (node, doing), those in resting.items():
        yield Holder(
            job,
            node,
            tuple(each.device.uuid for each in those),
            doing,
            min(each.seconds for each in those),
            sum(each.lost_seconds for each in those),
            sum(each.device.share for each in those),
            any(not each.device.never_worked for each in those),
            _watts([each.device for each in those]),
        )


def _rest(device: DeviceTime, now: float) -> _Rest | None:
    """For how long a device has not worked; None where it does, or where nobody can say now."""
    last = device.usage.last_in_state
    seen: dict[Doing, float] = {state: last[state] for state in _DOING if state in last}
    if not device.live or device.last_seen < now - UNSEEN_SECONDS or not seen:
        return None
    doing = max(seen, key=lambda state: seen[state])
    worked = device.last_working
    # What was last seen idle long ago, and could not be read since, may work by now.
    if seen[doing] < device.last_seen - UNSEEN_SECONDS or (worked is not None and worked >= seen[doing]):
        return None
    since = device.started if worked is None else worked
    return _Rest(device, doing, max(0.0, device.last_seen - since))


def _watts(devices: Sequence[DeviceTime]) -> float | None:
    """The mean power of devices that never worked: what it is now is not kept, but they did nothing else."""
    total = 0.0
    for device in devices:
        seconds = device.usage.held_seconds - device.usage.energy_unmeasured_seconds
        if not (device.never_worked and device.usage.energy_joules and seconds > 0):
            return None
        total += device.share * device.usage.joules / seconds
    return total
