"""What the answers of a node's ports mean for its chips; pure.

A runtime numbers devices: of the node, or each process its own. A chip of some generations is two devices; what is
told by device is folded by chip, and is unknown where one of its devices is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from math import isfinite
from operator import is_
from typing import Any

from gpuwatch.devices import tpu_runtime as runtime
from gpuwatch.devices.checks import MOST_BYTES, reason_against
from gpuwatch.devices.tpu_runtime import Answer
from gpuwatch.devices.tpu_wire import Buckets, Sample

QUANTILES = (0.5, 0.9, 0.95, 0.999)
"""Those that Google's client shows."""

TRANSFER_QUANTILES = (0.5, 0.95)
_MOST_SECONDS = 1e9
_MICROSECOND = 1e-6

Positions = Mapping[int, int]
"""A runtime's number of a device, to its place among all devices of the node."""


@dataclass(frozen=True, slots=True)
class Layout:
    """So many chips, of so many devices each; `held` are the places of those that somebody has, None: unknown."""

    chips: int
    devices: int = 1
    by_chip: bool = False
    held: frozenset[int] | None = None


@dataclass(slots=True)
class Values:
    """Arguments of readings by chip, and what was not believed, by reason."""

    chips: list[dict[str, Any]]
    rejected: dict[str, int] = field(default_factory=dict)

    def reject(self, reason: str, count: int = 1) -> None:
        """Count something that was not believed."""
        self.rejected[reason] = self.rejected.get(reason, 0) + count

    def reject_all(self, reasons: Mapping[str, int]) -> None:
        """The same, of several reasons."""
        for reason, count in reasons.items():
            self.reject(reason, count)


@dataclass(frozen=True, slots=True)
class _Column:
    """A metric by device: the field it becomes, what is believed, and how the devices of a chip are folded."""

    field: str
    high: float
    fold: Callable[[list[float]], float]
    scale: float = 1.0


def _mean(values: list[float]) -> float:
    return sum(values) / len(values)


_COLUMNS: Mapping[str, _Column] = {
    runtime.DUTY: _Column("utilization_ratio", 100.0, _mean, 0.01),
    runtime.BANDWIDTH: _Column("dram_activity_ratio", 100.0, _mean, 0.01),
    runtime.TENSOR: _Column("tensor_activity_ratio", 100.0, _mean, 0.01),
    runtime.USED: _Column("memory_used_bytes", MOST_BYTES, sum),
    runtime.TOTAL: _Column("memory_total_bytes", MOST_BYTES, sum),
    runtime.IDLE: _Column("tensor_idle_seconds", _MOST_SECONDS, min),
    runtime.QUEUE: _Column("queued_programs", 1e9, sum),
    runtime.LINKS: _Column("link_health", 10.0, max),
    runtime.THROTTLE: _Column("throttle_ratio", 10.0, max, 0.1),
}


Known = dict[str, tuple[Layout, tuple[Any, ...], Values]]
"""By metric: of which layout what was said, and what that came to."""


def values_of(answers: Sequence[Answer], layout: Layout, known: Known) -> Values:
    """What the ports, in their order, say of each chip.

    What was said once and is `known` is neither worked out nor, where it was not believed, counted again.
    """
    values = Values([{} for _ in range(layout.chips)])
    for answer in answers:
        values.reject_all(answer.rejected)
    for names, fold in _folds(answers):
        said = tuple(answer.samples.get(name) for name in names for answer in answers)
        before = known.get(names[0])
        if before is None or before[0] != layout or not _same(before[1], said):
            own = Values([{} for _ in range(layout.chips)])
            fold(answers, layout, own)
            values.reject_all(own.rejected)
            known[names[0]] = before = layout, said, own
        for chip, found in zip(values.chips, before[2].chips, strict=True):
            chip |= found
    return values


def _same(one: tuple[Any, ...], other: tuple[Any, ...]) -> bool:
    """Whether nothing was said anew; the same said again is."""
    return len(one) == len(other) and all(map(is_, one, other))


def _folds(
    answers: Sequence[Answer],
) -> Iterator[tuple[tuple[str, ...], Callable[[Sequence[Answer], Layout, Values], None]]]:
    """What is worked out, and from what that is said."""
    for name, column in _COLUMNS.items():
        yield (name, runtime.USED), partial(_fold, name, column)
    yield (runtime.PROGRAMS, runtime.USED), _programs
    numbered = next(
        (name for name in (runtime.USED, runtime.DUTY) if any(name in each.samples for each in answers)), ""
    )
    yield (runtime.UPTIME, *runtime.TRANSFERS, numbered), partial(_processes, numbered)


def placed(numbers: Sequence[frozenset[int]], total: int, held: frozenset[int] | None = None) -> list[Positions]:
    """Which device each number means, by port; nothing where that cannot be told.

    Numbers that no two ports share are the node's, perhaps counted on from other nodes'. Numbers that several
    ports share are each process's own: then the ports stand in the order of the devices. A single process that has
    only some of the devices (`held`), and numbers as many, has those.
    """
    said = [each for each in numbers if each]
    union = frozenset().union(*said) if said else frozenset()
    if sum(map(len, said)) > len(union):
        return _own(numbers, total)
    if not union:
        return [{} for _ in numbers]
    base = min(union) // total * total
    fits = max(union) < base + total and min(union) >= 0
    places = {number: number - base for number in union} if fits else {}
    if held is not None and len(said) == 1 and len(held) == len(union) and set(places.values()) != held:
        places = dict(zip(sorted(union), sorted(held), strict=True))
    elif len(said) == 1 < len(numbers) and _ambiguous(numbers, total):
        return [{} for _ in numbers]
    return [{number: places[number] for number in each if number in places} for each in numbers]


def _own(numbers: Sequence[frozenset[int]], total: int) -> list[Positions]:
    each_has, rest = divmod(total, len(numbers))
    if rest or any(not 0 <= number < each_has for own in numbers for number in own):
        return [{} for _ in numbers]
    return [{number: port * each_has + number for number in own} for port, own in enumerate(numbers)]


def _ambiguous(numbers: Sequence[frozenset[int]], total: int) -> bool:
    """The one port that answers is not the first, and may count its own devices or the node's."""
    port = next(place for place, own in enumerate(numbers) if own)
    return port > 0 and max(numbers[port]) < max(1, total // len(numbers))


def _positions(name: str, answers: Sequence[Answer], layout: Layout) -> tuple[list[Positions], int]:
    """Which device each number of a metric means, by port, and how many devices of a chip the metric knows.

    What is said of some devices alone is numbered as memory is, which is said of all.
    """
    numbers = _numbers(name, answers)
    # Told by chip, unless there are more numbers than chips.
    told_by_chip = name in (runtime.LINKS, runtime.THROTTLE) or (name == runtime.DUTY and layout.by_chip)
    if told_by_chip and len(frozenset().union(*numbers)) <= layout.chips:
        return placed(numbers, layout.chips, layout.held), 1
    total = layout.chips * layout.devices
    held = None
    if layout.held is not None:
        held = frozenset(chip * layout.devices + n for chip in layout.held for n in range(layout.devices))
    all_numbers = _numbers(runtime.USED, answers)
    if all(own <= every for own, every in zip(numbers, all_numbers, strict=True)):
        numbers = all_numbers
    return placed(numbers, total, held), layout.devices


def _numbers(name: str, answers: Sequence[Answer]) -> list[frozenset[int]]:
    """The devices of which a metric is said, by port."""
    return [
        frozenset(each.device for each in answer.samples.get(name, ()) if each.device is not None)
        for answer in answers
    ]


def _fold(name: str, column: _Column, answers: Sequence[Answer], layout: Layout, values: Values) -> None:
    positions, per_chip = _positions(name, answers, layout)
    found: list[list[float]] = [[] for _ in range(layout.chips * per_chip)]
    bad: set[int] = set()
    for place, sample in _located(name, answers, positions, values):
        reason = _reason(sample.value, column.high)
        if reason is None:
            found[place].append(float(sample.value))  # type: ignore[arg-type]
        else:
            values.reject(reason)
            bad.add(place // per_chip)
    for chip in range(layout.chips):
        devices = found[chip * per_chip : (chip + 1) * per_chip]
        if chip not in bad and all(devices):
            values.chips[chip][column.field] = (
                column.fold([each for own in devices for each in own]) * column.scale
            )


def _located(
    name: str, answers: Sequence[Answer], positions: list[Positions], values: Values
) -> Iterator[tuple[int, Sample]]:
    """Each sample of a metric with its device's place; those of no device of the node are counted."""
    for port, answer in enumerate(answers):
        for sample in answer.samples.get(name, ()):
            place = positions[port].get(sample.device) if sample.device is not None else None
            if place is None:
                values.reject("strange_device")
            else:
                yield place, sample


def _reason(value: object, high: float) -> str | None:
    if isinstance(value, bool):
        return "not_a_number"
    return reason_against(value, 0.0, high)


def _programs(answers: Sequence[Answer], layout: Layout, values: Values) -> None:
    """How long programs took, all devices of a chip together."""
    positions, per_chip = _positions(runtime.PROGRAMS, answers, layout)
    by_chip: dict[int, list[Buckets]] = {}
    for place, sample in _located(runtime.PROGRAMS, answers, positions, values):
        if isinstance(sample.value, Buckets):
            by_chip.setdefault(place // per_chip, []).append(sample.value)
        else:
            values.reject("not_a_number")
    for chip, told in by_chip.items():
        found = quantiles(told, QUANTILES)
        values.chips[chip]["program_duration_seconds"] = {f"{q:g}": each for q, each in found.items()}


def _processes(numbered: str, answers: Sequence[Answer], layout: Layout, values: Values) -> None:
    """What is told of processes; each has the devices of which its port tells."""
    positions, per_chip = _positions(numbered, answers, layout)
    for answer, own in zip(answers, positions, strict=True):
        _of_process(answer, sorted({place // per_chip for place in own.values()}), values)


def _of_process(answer: Answer, chips: Sequence[int], values: Values) -> None:
    """What is told of a process: its uptime goes to all of its chips, its transfers to the first."""
    if not chips:
        return
    for sample in answer.samples.get(runtime.UPTIME, ())[:1]:
        reason = _reason(sample.value, _MOST_SECONDS)
        if reason is not None:
            values.reject(reason)
            continue
        for chip in chips:
            values.chips[chip]["runtime_uptime_seconds"] = float(sample.value)  # type: ignore[arg-type]
    latencies = {
        (label, f"{q:g}"): each
        for name, label in runtime.TRANSFERS.items()
        for q, each in quantiles(_buckets(answer.samples.get(name, ())), TRANSFER_QUANTILES).items()
    }
    if latencies:
        values.chips[chips[0]]["transfer_latency_seconds"] = latencies


def _buckets(samples: Iterable[Sample]) -> list[Buckets]:
    return [each.value for each in samples if isinstance(each.value, Buckets)]


def quantiles(told: Sequence[Buckets], wanted: Sequence[float]) -> Mapping[float, float]:
    """Quantiles in seconds of durations in microseconds, all distributions with the same buckets together.

    Within a bucket values are taken as spread evenly. Nothing where nothing was counted, or by senseless buckets.
    """
    if not told:
        return {}
    scale, growth, _ = told[0]
    alike = [each.counts for each in told if (each.scale, each.growth) == (scale, growth)]
    sane = isfinite(scale) and isfinite(growth) and scale > 0 and growth > 1
    if not sane or any(count < 0 for counts in alike for count in counts):
        return {}
    counts = [0] * max(map(len, alike))
    for each in alike:
        for place, count in enumerate(each):
            counts[place] += count
    try:
        found = {q: _quantile(counts, q * sum(counts), scale, growth) for q in wanted} if sum(counts) else {}
    except OverflowError:
        return {}
    return {q: each * _MICROSECOND for q, each in found.items() if isfinite(each)}


def _quantile(counts: Sequence[int], rank: float, scale: float, growth: float) -> float:
    below = 0
    for place, count in enumerate(counts):
        if count and below + count >= rank:
            low, high = (0.0, scale) if place == 0 else (scale * growth ** (place - 1), scale * growth**place)
            return low + (high - low) * (rank - below) / count
        below += count
    raise OverflowError("a rank beyond all that was counted")
