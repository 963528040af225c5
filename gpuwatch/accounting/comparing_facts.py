"""What else differs of two jobs: within a part of the difference, or beside it; and what is not known. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from gpuwatch import specs
from gpuwatch.accounting.amounts import digits
from gpuwatch.accounting.comparing_sides import Difference, Side
from gpuwatch.accounting.condition_words import percent, power
from gpuwatch.accounting.odd_devices import odd_devices
from gpuwatch.model import ERRORS, LINKS, THROTTLES

POINTS = 0.02
"""Shares that differ by less are alike."""

FAR = 0.1
"""Means and amounts that differ by a smaller part are alike."""

_SCALES = ((1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"), (1.0, ""))
_LISTED = 4
_LINK_NAMES = {"pcie": "PCIe", "nvlink": "NVLink", "xgmi": "XGMI"}
_PRECISIONS = ("bf16", "fp16", "tf32", "fp32")
_REASONS = {
    "sw_power_cap": "its power limit", "sw_thermal": "heat (driver)", "hw_thermal": "heat (hardware)",
    "hw_power_brake": "the power brake", "sync_boost": "the clock of others", "other": "something else",
}  # fmt: skip


def throttles(one: Side, two: Side, explains: float) -> Iterator[Difference]:
    """Time with clocks held down, by reason: no more than what the clock explains."""
    for reason in THROTTLES if one.throttled and two.throttled else ():
        first, second = one.throttled.get(reason, 0.0), two.throttled.get(reason, 0.0)
        shares = one.share(first), two.share(second)
        if abs(shares[0] - shares[1]) >= POINTS:
            label = f"clocks held down by {_REASONS[reason]}"
            at_most = _within(first - second, explains)
            words = percent(shares[0]), percent(shares[1])
            yield Difference(reason, label, *words, at_most, True, first, second)


def storage(one: Side, two: Side, explains: float) -> Difference | None:
    """Time in which all processes waited for storage: no more than what idle time explains."""
    if one.storage_wait is None or two.storage_wait is None:
        return None
    shares = one.share(one.storage_wait), two.share(two.storage_wait)
    if abs(shares[0] - shares[1]) < POINTS:
        return None
    at_most = _within(one.storage_wait - two.storage_wait, explains)
    words = percent(shares[0]), percent(shares[1])
    values = one.storage_wait, two.storage_wait
    return Difference("storage_wait", "waited for storage", *words, at_most, True, *values)


def models(one: Side, two: Side, explains: float) -> Iterator[Difference]:
    """Devices of other models: no more than their peak rates differ, where those are known."""
    if one.job.models == two.job.models or not one.job.models or not two.job.models:
        return
    peaks = _peak(one), _peak(two)
    expected = one.working * (1.0 - peaks[0] / peaks[1]) if peaks[0] and peaks[1] else None
    at_most = None if expected is None else _within(expected, explains)
    yield Difference(
        "model", "device", ", ".join(one.job.models), ", ".join(two.job.models), at_most, True, *peaks
    )


def _within(wanted: float, whole: float) -> float:
    """As much of the whole as is wanted, and nothing where it points the other way."""
    if wanted * whole <= 0:
        return 0.0
    return min(wanted, whole) if whole > 0 else max(wanted, whole)


def _peak(side: Side) -> float | None:
    """The peak rate of its devices in the best precision that is known of them."""
    spec = specs.lookup(side.job.models[0]) if len(side.job.models) == 1 else None
    if spec is None:
        return None
    rate = next((spec.peak_flops[each] for each in _PRECISIONS if each in spec.peak_flops), None)
    return rate / max(1, spec.devices) if rate is not None else None


def beside(one: Side, two: Side) -> Iterator[Difference]:
    """What differs, and explains nobody knows how much."""
    if one.devices != two.devices:
        counts = one.devices, two.devices
        yield Difference("devices", "devices", digits(counts[0]), digits(counts[1]), None, False, *counts)
    if one.job.nodes != two.job.nodes:
        yield Difference("nodes", "nodes", _nodes(one.job.nodes), _nodes(two.job.nodes))
    yield from _odd(one, two)
    yield from _errors(one, two)
    yield from _links(one, two)
    yield from _apart("watts", "mean power of a device", one.watts, two.watts, power)
    yield from _apart("tensor", "tensor units active", one.tensor, two.tensor, percent)
    yield from _apart("memory", "device memory used", one.memory_bytes, two.memory_bytes, _bytes)


def _odd(one: Side, two: Side) -> Iterator[Difference]:
    found = [odd_devices(side.job) for side in (one, two)]
    if any(found):
        words = [each[0].text if each else "none" for each in found]
        yield Difference("odd_device", "device unlike its others", words[0], words[1])


def _errors(one: Side, two: Side) -> Iterator[Difference]:
    names = {
        "ecc_corrected": "memory errors, corrected",
        "ecc_uncorrected": "memory errors",
        "xid": "driver errors",
    }
    for kind in ERRORS if one.errors and two.errors else ():
        counts = one.errors.get(kind, 0.0), two.errors.get(kind, 0.0)
        if counts[0] != counts[1]:
            words = f"{counts[0]:,.0f}", f"{counts[1]:,.0f}"
            yield Difference(kind, names[kind], *words, None, False, *counts)


def _links(one: Side, two: Side) -> Iterator[Difference]:
    for link in LINKS:
        name, _, way = link.partition("_")
        label = f"{_LINK_NAMES[name]} {'received' if way == 'receive' else 'sent'}"
        yield from _apart(link, label, one.link_bytes.get(link), two.link_bytes.get(link), _bytes)


def unmeasured(one: Side, two: Side) -> Iterator[str]:
    """What cannot be compared, and of which job it is not known."""
    known: Sequence[tuple[str, object, object]] = (
        ("clocks at work", one.clock, two.clock), ("throttling", one.throttled, two.throttled),
        ("waiting for storage", one.storage_wait, two.storage_wait), ("links", one.link_bytes, two.link_bytes),
        ("device errors", one.errors, two.errors), ("power", one.watts, two.watts),
        ("memory", one.memory_bytes, two.memory_bytes), ("steps", one.steps, two.steps),
    )  # fmt: skip
    for name, first, second in known:
        missing = [
            side.job.display for side, value in ((one, first), (two, second)) if value is None or value == {}
        ]
        if missing:
            yield f"{name} (of {'both' if len(missing) == 2 else f'job {missing[0]}'})"
    yield "power limits as they were set, errors of the network and the job's own code are not kept"


def _apart(
    kind: str, label: str, first: float | None, second: float | None, words: Callable[[float], str]
) -> Iterator[Difference]:
    """A mean or an amount, where both are known and differ by much."""
    if first is None or second is None or abs(first - second) <= FAR * max(abs(first), abs(second)):
        return
    yield Difference(kind, label, words(first), words(second), None, False, first, second)


def _nodes(names: Sequence[str]) -> str:
    more = f" and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
    return ", ".join(names[:_LISTED]) + more


def taken(seconds: float) -> str:
    """Device-seconds, or device-hours, as they are shown."""
    return (
        f"{digits(seconds / 3600)} device-hours" if abs(seconds) >= 3600 else f"{digits(seconds)} device-seconds"
    )


def counted(number: float) -> str:
    """`1.2 T`: a large number with its scale."""
    size, name = next((each for each in _SCALES if abs(number) >= each[0]), _SCALES[-1])
    return f"{digits(number / size)} {name}".rstrip()


def _bytes(number: float) -> str:
    return f"{counted(number)}B" if abs(number) >= 1e3 else f"{digits(number)} B"
