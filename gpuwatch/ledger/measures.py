"""What is measured of a job on a device, and how two tellings and two epochs of it come together. Pure.

Of most measures the greatest ever told counts, and they add up over epochs. `LATEST` and `FIRST` are times and
spans: of them the greatest, or the least, counts over epochs as well.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from gpuwatch.model import EMPTY, ERRORS, LINKS, METHODS, STATES, THROTTLES, Labels, Usage

Measures = tuple[float | None, ...]
"""A value for each of `MEASURES`; None: never told."""

NEEDED = ("held_seconds", "energy_unmeasured_seconds")
"""Measures that are 0 where nothing was told."""

OPTIONAL = (
    "busy_seconds", "memory_byte_seconds", "tensor_seconds", "clock_cycles", "clock_seconds",
    "storage_wait_seconds", "host_energy_joules", "host_energy_measured_seconds",
)  # fmt: skip

LABELLED: Mapping[str, tuple[str, ...]] = {
    "state_seconds": STATES,
    "energy_joules": METHODS,
    "throttled_seconds": THROTTLES,
    "link_bytes": LINKS,
    "errors": ERRORS,
}
"""Counters that have a label, and its values."""

COUNTERS = (*NEEDED, *OPTIONAL, *(f"{name}_{label}" for name, labels in LABELLED.items() for label in labels))
LATEST = ("energy_gap_seconds", *(f"last_{state}" for state in STATES))
FIRST = ("first_working",)

MEASURES = (*COUNTERS, *LATEST, *FIRST)
"""All of them, in the order of the ledger's columns."""

PLACES: Mapping[str, int] = {name: place for place, name in enumerate(MEASURES)}

_SUMMED = len(COUNTERS)
_LEAST = len(COUNTERS) + len(LATEST)


def merged(left: Measures, right: Measures) -> Measures:
    """What counts of two tellings of one row."""
    return tuple(_merged(place, *pair) for place, pair in enumerate(zip(left, right, strict=True)))


def summed(rows: Iterable[Measures]) -> Measures:
    """Rows of several epochs, devices or nodes together."""
    found = list(rows)
    if len(found) == 1:
        return found[0]
    return tuple(_summed(place, column) for place, column in enumerate(zip(*found, strict=True)))


def _merged(place: int, left: float | None, right: float | None) -> float | None:
    if left is None or right is None:
        return right if left is None else left
    return min(left, right) if place >= _LEAST else max(left, right)


def _summed(place: int, column: Sequence[float | None]) -> float | None:
    known = [value for value in column if value is not None]
    if not known:
        return None
    if place < _SUMMED:
        return sum(known)
    return min(known) if place >= _LEAST else max(known)


_LABELS: Mapping[str, tuple[tuple[int, str], ...]] = {
    name: tuple((PLACES[f"{name}_{label}"], label) for label in labels) for name, labels in LABELLED.items()
}
_LAST = tuple((PLACES[f"last_{state}"], state) for state in STATES)
_BUSY, _MEMORY, _TENSOR, _CYCLES, _CLOCK, _STORAGE, _HOST, _HOST_SECONDS = (PLACES[name] for name in OPTIONAL)
_GAP, _WORKING = PLACES["energy_gap_seconds"], PLACES["first_working"]


def usage_of(values: Sequence[float | None]) -> Usage:
    """The usage that measures are; one that was never told stays unknown."""
    return Usage(
        held_seconds=values[0] or 0.0,
        busy_seconds=values[_BUSY],
        memory_byte_seconds=values[_MEMORY],
        tensor_seconds=values[_TENSOR],
        energy_unmeasured_seconds=values[1] or 0.0,
        state_seconds=_labelled(values, _LABELS["state_seconds"]),
        energy_joules=_labelled(values, _LABELS["energy_joules"]),
        throttled_seconds=_labelled(values, _LABELS["throttled_seconds"]),
        clock_cycles=values[_CYCLES],
        clock_seconds=values[_CLOCK],
        storage_wait_seconds=values[_STORAGE],
        link_bytes=_labelled(values, _LABELS["link_bytes"]),
        errors=_labelled(values, _LABELS["errors"]),
        energy_gap_seconds=values[_GAP] or 0.0,
        first_working=values[_WORKING],
        last_in_state=_labelled(values, _LAST),
        host_energy_joules=values[_HOST],
        host_energy_measured_seconds=values[_HOST_SECONDS],
    )


def _labelled(values: Sequence[float | None], places: Iterable[tuple[int, str]]) -> Mapping[Labels, float]:
    found: dict[Labels, float] = {label: value for place, label in places if (value := values[place]) is not None}
    return found or EMPTY
