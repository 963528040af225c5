"""Which devices of a job are unlike its others, by what was measured of its latest run. Pure.

A device is told of by its clock at work, the time that it works, faults that hold down its clock, and its errors.
Devices of one model are compared; where those that differ are many they are a kind of their own, and none is odd.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from statistics import median
from typing import NamedTuple

from gpuwatch.accounting.condition_words import clock, percent, power, short
from gpuwatch.accounting.outliers import LEAST_CLOCK_SECONDS, Doing, outliers
from gpuwatch.accounting.watched import FAULTS
from gpuwatch.ledger.device_times import DeviceTime, by_device
from gpuwatch.ledger.jobs import Job

FAR = 0.1
"""So far below the others is odd, of clock and power."""

WORKS_LESS = 0.5
"""A device that works less than this part of what the others do is odd, where those work a quarter of the time."""

HELD_DOWN = 0.05
_LEAST_WORK = 0.25
_PART = 4


class OddDevice(NamedTuple):
    """A device, how far it is from the others (1: nothing of what they do), and in what, the farthest first."""

    node: str
    uuid: str
    far: float
    texts: tuple[str, ...]

    @property
    def text(self) -> str:
        """`GPU-3 on gw1: runs at 1.20 GHz, its 7 others at 1.98 GHz; …`."""
        on = f" on {self.node}" if self.node else ""
        return f"{short(self.uuid)}{on}: {'; '.join(self.texts)}"


class _Finding(NamedTuple):
    device: DeviceTime
    far: float
    text: str


def odd_devices(job: Job) -> tuple[OddDevice, ...]:
    """The devices of the job's latest run that are unlike the others, the farthest first."""
    devices = devices_of_run(job)
    if len(devices) < 2 or len({each.model for each in devices}) > 1:
        return ()
    looks = (_slow, _working_less, _held_back, _with_driver_errors, _with_memory_errors)
    told = (each for look in looks for each in _few(look(devices), len(devices)))
    found = sorted(told, key=lambda each: -each.far)
    by_uuid: dict[tuple[str, str], list[_Finding]] = {}
    for each in found:
        by_uuid.setdefault((each.device.node, each.device.uuid), []).append(each)
    return tuple(
        OddDevice(node, uuid, those[0].far, tuple(each.text for each in those))
        for (node, uuid), those in by_uuid.items()
    )


def devices_of_run(job: Job) -> tuple[DeviceTime, ...]:
    """What the latest run held, device by device; all runs together where they are not told apart."""
    times = by_device(job.runs[-1].lines) if job.runs else ()
    if times and times[0].uuid:
        return times
    model = job.models[0] if len(job.models) == 1 else ""
    return tuple(
        DeviceTime("", uuid, model, 1.0, job.started, job.last_seen, usage, job.state != "ended")
        for uuid, usage in job.by_device.items()
    )


def work_of(each: DeviceTime) -> float | None:
    """What part of the held time it worked; None where that was not measured."""
    states, held = each.usage.state_seconds, each.usage.held_seconds
    if held <= 0 or states.get("unknown", 0.0) > 0.1 * held or not states:
        return None
    return states.get("working", 0.0) / held


def clock_of(each: DeviceTime) -> float | None:
    """Its mean clock at work, Hz; None where it worked too little to say."""
    usage = each.usage
    if usage.clock_cycles is None or not usage.clock_seconds or usage.clock_seconds < LEAST_CLOCK_SECONDS:
        return None
    return usage.clock_cycles / usage.clock_seconds


def watts_of(each: DeviceTime) -> float | None:
    """Its mean power; None where that is not measured."""
    usage = each.usage
    seconds = usage.held_seconds - usage.energy_unmeasured_seconds
    known = usage.energy_joules.keys() & {"counter", "integrated"}
    return usage.joules / seconds if known and seconds >= 0.5 * usage.held_seconds > 0 else None


def _slow(devices: Sequence[DeviceTime]) -> Iterator[_Finding]:
    places = {(each.node, each.uuid): each for each in devices}
    doing = [Doing(each.node, each.uuid, clock_of(each), watts_of(each), work_of(each) or 0.0) for each in devices]
    for each in outliers(doing, FAR, 0.0):
        text = f"runs at {clock(each.clock)}, its {_called(each.others)} at {clock(each.others_clock)}"
        if each.watts is not None and each.others_watts is not None and each.watts < (1 - FAR) * each.others_watts:
            text += f", and draws {power(each.watts)} beside {power(each.others_watts)}"
        yield _Finding(places[each.node, each.uuid], each.far, text)


def _working_less(devices: Sequence[DeviceTime]) -> Iterator[_Finding]:
    for each, work, usual, others in _beside(devices, work_of):
        if usual >= _LEAST_WORK and work < WORKS_LESS * usual:
            text = f"works {percent(work)} of the time, its {others} {percent(usual)}"
            yield _Finding(each, 1 - work / usual, text)


def _held_back(devices: Sequence[DeviceTime]) -> Iterator[_Finding]:
    for each, share, usual, others in _beside(devices, _held_down):
        if share >= HELD_DOWN and usual < share / 4:
            beside = f"its {others} {percent(usual)}"
            yield _Finding(
                each, min(1.0, share), f"has its clocks held down {percent(share)} of the time, {beside}"
            )


def _with_driver_errors(devices: Sequence[DeviceTime]) -> Iterator[_Finding]:
    return _with_errors(devices, "xid", "driver errors (XID)")


def _with_memory_errors(devices: Sequence[DeviceTime]) -> Iterator[_Finding]:
    return _with_errors(devices, "ecc_uncorrected", "uncorrectable memory errors")


def _with_errors(devices: Sequence[DeviceTime], kind: str, words: str) -> Iterator[_Finding]:
    for each, count, usual, others in _beside(devices, lambda device: _errors(device)(kind)):
        if count >= 1 and usual == 0:
            yield _Finding(each, 0.0, f"had {count:,.0f} {words}, its {others} none")


def _held_down(each: DeviceTime) -> float | None:
    throttled, held = each.usage.throttled_seconds, each.usage.held_seconds
    return max(throttled.get(reason, 0.0) for reason in FAULTS) / held if throttled and held > 0 else None


def _errors(each: DeviceTime) -> Callable[[str], float | None]:
    return {str(kind): count for kind, count in each.usage.errors.items()}.get


def _beside(
    devices: Sequence[DeviceTime], measure: Callable[[DeviceTime], float | None]
) -> Iterator[tuple[DeviceTime, float, float, str]]:
    """Each device with its measure, the usual one, and how its others are called; nothing unless all are known."""
    known = [value for each in devices if (value := measure(each)) is not None]
    if len(known) < len(devices):
        return
    others = _called(len(devices) - 1)
    middle = median(known)
    for place, each in enumerate(devices):
        yield each, known[place], middle if len(known) > 2 else known[1 - place], others


def _called(others: int) -> str:
    return "other" if others == 1 else f"{others} others"


def _few(found: Iterable[_Finding], devices: int) -> list[_Finding]:
    """What was found of single devices; more than a quarter of all are a kind of their own."""
    told = list(found)
    return told if len(told) <= max(1, devices // _PART) else []
