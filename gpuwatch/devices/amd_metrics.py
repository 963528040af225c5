"""The `gpu_metrics` file of AMD's driver: a binary table that says its own length and version; pure.

Its layouts are those of `kgd_pp_interface.h` (Linux, and AMD's own driver where it is newer), little-endian and
naturally aligned. A table is read only where version and length are those of a layout here: the length tells apart
what was changed without a new version. Of 1.0 the energy has 32 bits and turns over within minutes, of 1.9 each
value says what it is: neither is read. 2.x and 3.x are those of graphics within a processor. All ones mean that
there is no value.

| version | length | of | gives |
|---|---|---|---|
| 1.1 to 1.3 | 96, 104, 120 | MI100, MI200, Radeon | energy; of 1.3 what holds the clocks down now |
| 1.4, 1.5 | 288, 360 | MI300 | energy, XGMI bytes |
| 1.6 to 1.8 | 1664, 2208, 3872 | MI300, MI350 | energy, how long what held the clocks down, XGMI bytes |
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from struct import Struct

ENERGY_UNIT_JOULES = 2.0**-16
"""A step of the energy counter, which the header gives as 15.259 µJ."""
KILOBYTE = 1024
LINKS = 8
INTEGRATED = frozenset((2, 3))
"""Revisions of the format that only graphics within a processor have."""

_HEADER = Struct("<HBB")
_U64, _RESIDENCIES, _XGMI = Struct("<Q"), Struct("<6I"), Struct(f"<{2 * LINKS}Q")
_NO_32, _NO_64 = 2**32 - 1, 2**64 - 1

# Bits of the status that is the same for all chips (`amdgpu_smu.h`): power, current, temperature, other.
_STATUS_BITS: tuple[tuple[str, int], ...] = (
    ("sw_power_cap", 0x0000_0000_0000_FFFF),
    ("other", 0xFF00_0000_FFFF_0000),
    ("hw_thermal", 0x00FF_FFFF_0000_0000),
)


@dataclass(frozen=True, slots=True)
class _Layout:
    """Where in a table of one version and length each value begins; None where it has none."""

    energy: int
    status: int | None = None
    residencies: int | None = None
    xgmi: int | None = None


_LAYOUTS: Mapping[tuple[int, int], _Layout] = {
    (1, 96): _Layout(energy=24),
    (2, 104): _Layout(energy=24),
    (3, 120): _Layout(energy=24, status=112),
    (4, 288): _Layout(energy=24, xgmi=104),
    (5, 360): _Layout(energy=88, xgmi=176),
    (6, 1664): _Layout(energy=16, residencies=32, xgmi=128),
    (7, 2208): _Layout(energy=24, residencies=40, xgmi=136),
    (8, 3872): _Layout(energy=24, residencies=40, xgmi=136),
}
"""By content revision (of format 1) and length."""


@dataclass(frozen=True, slots=True)
class Residencies:
    """For how many of `cycles` the clocks were held down, by reason of ours; all turn over at 2^32."""

    cycles: int
    by_reason: Mapping[str, tuple[int, ...]]


@dataclass(frozen=True, slots=True)
class Table:
    """What a `gpu_metrics` file says; None where it says nothing of it.

    `energy_joules` counts since the driver was loaded. `throttled` are the reasons for which the clocks are held
    down at this moment. `xgmi_bytes` has a count for each link and direction; None where there is no such link.
    """

    version: str
    energy_joules: float | None = None
    throttled: frozenset[str] | None = None
    residencies: Residencies | None = None
    xgmi_bytes: Mapping[str, tuple[float | None, ...]] | None = None


def is_integrated(blob: bytes) -> bool:
    """Whether the table is one of graphics within a processor."""
    return len(blob) >= _HEADER.size and _HEADER.unpack_from(blob)[1] in INTEGRATED


def version(blob: bytes) -> str:
    """What the table says it is, for who looks at it."""
    if len(blob) < _HEADER.size:
        return "an empty gpu_metrics"
    length, revision, content = _HEADER.unpack_from(blob)
    return f"gpu_metrics {revision}.{content} of {length} bytes"


def parse(blob: bytes) -> Table | None:
    """What the table says; None where it is none, or of a layout that is not known."""
    if len(blob) < _HEADER.size:
        return None
    length, revision, content = _HEADER.unpack_from(blob)
    layout = _LAYOUTS.get((content, length)) if revision == 1 else None
    if layout is None or len(blob) < length:
        return None
    return Table(
        f"{revision}.{content}",
        _energy(blob, layout.energy),
        None if layout.status is None else _throttled(blob, layout.status),
        None if layout.residencies is None else _residencies(blob, layout.residencies),
        None if layout.xgmi is None else _xgmi(blob, layout.xgmi),
    )


def _energy(blob: bytes, at: int) -> float | None:
    """The second die of a module has no counter: its zero is no reading."""
    steps = _U64.unpack_from(blob, at)[0]
    return None if steps in (0, _NO_64, _NO_32) else steps * ENERGY_UNIT_JOULES


def _throttled(blob: bytes, at: int) -> frozenset[str] | None:
    status = _U64.unpack_from(blob, at)[0]
    return None if status == _NO_64 else frozenset(reason for reason, bits in _STATUS_BITS if status & bits)


def _residencies(blob: bytes, at: int) -> Residencies | None:
    """Reasons of heat can hold at the same time, so they are not added up but kept side by side."""
    cycles, hot, power, socket, regulators, memory = _RESIDENCIES.unpack_from(blob, at)
    heat = tuple(each for each in (hot, socket, regulators, memory) if each != _NO_32)
    reasons = {"sw_power_cap": () if power == _NO_32 else (power,), "hw_thermal": heat if len(heat) == 4 else ()}
    known = {reason: counts for reason, counts in reasons.items() if counts}
    return Residencies(cycles, known) if known and cycles != _NO_32 else None


def _xgmi(blob: bytes, at: int) -> Mapping[str, tuple[float | None, ...]] | None:
    counts = [None if each == _NO_64 else float(each) * KILOBYTE for each in _XGMI.unpack_from(blob, at)]
    read, written = tuple(counts[:LINKS]), tuple(counts[LINKS:])
    nothing = (None,) * LINKS
    return None if nothing in (read, written) else {"transmit": written, "receive": read}
