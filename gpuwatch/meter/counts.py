"""What the hardware counts beside energy: time with clocks held down, bytes over the links, errors."""

from __future__ import annotations

from collections.abc import Mapping

from gpuwatch.meter.booking import Booking, of
from gpuwatch.meter.device import DeviceMeter
from gpuwatch.meter.shares import Shares, add, split
from gpuwatch.meter.signals import Counter
from gpuwatch.model import EMPTY, LINKS, Labels, Reading, RowKey

# Bytes in a second over all links of a device, ten times what any has; errors may come in floods.
MOST_BYTES = 1e13
MOST_ERRORS = 1e9


def book_counts(
    now: float, meter: DeviceMeter, reading: Reading | None, held: Shares, booked: dict[RowKey, Booking]
) -> None:
    """What has been counted since the last look, to those who held the device meanwhile."""
    _book_throttles(now, meter, reading, held, booked)
    _book_links(now, meter, reading, held, booked)
    _book_errors(now, meter, reading, held, booked)


def _book_throttles(
    now: float, meter: DeviceMeter, reading: Reading | None, held: Shares, booked: dict[RowKey, Booking]
) -> None:
    add(meter.throttle_since, held)
    if reading is None:
        return
    since, meter.throttle_since = meter.throttle_since, {}
    for reason, value in reading.throttle_seconds.items():
        rise = meter.throttle.setdefault(str(reason), Counter()).rise(now, value, fastest=1.5)
        if rise:
            _book_throttle(reason, rise * meter.whole, since, booked)


def _book_links(
    now: float, meter: DeviceMeter, reading: Reading | None, held: Shares, booked: dict[RowKey, Booking]
) -> None:
    told = EMPTY if reading is None else links_of(reading)
    rises, since = meter.links.advance(now, told, held, MOST_BYTES)
    if rises:
        _book_rises({label: rise * meter.whole for label, rise in rises.items()}, since, booked)


def _book_errors(
    now: float, meter: DeviceMeter, reading: Reading | None, held: Shares, booked: dict[RowKey, Booking]
) -> None:
    rises, since = meter.ecc.advance(now, EMPTY if reading is None else ecc_of(reading), held, MOST_ERRORS)
    for name, count in rises.items():
        _book_error(name.partition(" ")[0], count, since, booked)
    if reading is not None:
        # XIDs are told as they come, and where there were none there is no counter: 0 cannot be told from unknown.
        count = meter.xids.rise(now, float(sum(reading.xid_errors.values())), MOST_ERRORS) or 0.0
        if count:
            _book_error("xid", count, held, booked)


def _book_throttle(reason: Labels, seconds: float, since: Shares, booked: dict[RowKey, Booking]) -> None:
    """Time with clocks held down, to those who held the device meanwhile."""
    for row, amount in split(seconds, since).items():
        booking = of(booked, row)
        booking.throttled_seconds = {**booking.throttled_seconds, reason: amount}


def _book_rises(rises: Mapping[str, float], since: Shares, booked: dict[RowKey, Booking]) -> None:
    """Bytes over the links, divided among those who held the device meanwhile."""
    for label, rise in rises.items():
        for row, amount in split(rise, since).items():
            booking = of(booked, row)
            booking.link_bytes = {**booking.link_bytes, label: amount}


def _book_error(label: str, count: float, since: Shares, booked: dict[RowKey, Booking]) -> None:
    """Errors of the device, whole to each who held it meanwhile: an error strikes everybody alike."""
    for row in since:
        booking = of(booked, row)
        booking.errors = {**booking.errors, label: count}


def links_of(reading: Reading) -> dict[str, float]:
    """What has gone over the links of a device so far, by one of `LINKS`."""
    told = (("pcie", reading.pcie_bytes), ("nvlink", reading.nvlink_bytes), ("xgmi", reading.xgmi_bytes))
    named = {f"{link}_{direction}": float(count) for link, counts in told for direction, count in counts.items()}
    return {label: count for label, count in named.items() if label in LINKS} if named else named


def ecc_of(reading: Reading) -> dict[str, float]:
    """Memory errors so far, by label and scope: those since driver load where the device counts them.

    Those of its whole life stand in only where it has no others; they are another counter, and have another name.
    """
    counts = reading.ecc_errors
    found = {}
    for kind in ("corrected", "uncorrected"):
        scope = next((each for each in ("volatile", "aggregate") if (kind, each) in counts), None)
        if scope is not None:
            found[f"ecc_{kind} {scope}"] = float(counts[kind, scope])
    return found
