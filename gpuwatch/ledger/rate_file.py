"""The rates file of a site: CSV as spreadsheets write it; every mistake is told at once, by line."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import UTC, datetime, tzinfo
from io import StringIO
from itertools import groupby
from math import isfinite
from pathlib import Path

from gpuwatch.errors import ConfigurationError, Rejected
from gpuwatch.ledger.rate_rows import KNOWN, NEEDED, Found, read_row
from gpuwatch.ledger.rate_series import Series, read_series
from gpuwatch.ledger.rates import Rates
from gpuwatch.ledger.tabular import table

LARGEST = 64 * 2**20
_NAMES = {"price": "price", "tariff": "tariff", "pue": "PUE", "intensity": "intensity"}


def load_rates(path: Path | None, zone: tzinfo) -> Rates:
    """The rates of a file, whose dates begin at midnight in `zone`; without a file the defaults.

    `ConfigurationError` has every mistake with its line.
    """
    if path is None:
        return Rates.of((), zone_name(zone))
    try:
        text = _text(path)
    except Rejected as exc:
        raise ConfigurationError([str(exc)]) from exc
    return read_rates(StringIO(text, newline=""), str(path), zone, lambda name: _series(path, name, zone))


def read_rates(
    lines: Iterable[str], name: str, zone: tzinfo, series: Callable[[str], Series] | None = None
) -> Rates:
    """The rates of a table called `name`; `series` reads the files of time series that it names."""
    found: list[Found] = []
    mistakes: list[str] = []
    try:
        for number, row in table(lines, NEEDED, KNOWN):
            wrong: list[str] = []
            rate = read_row(row, number, zone, series or _no_series, wrong)
            mistakes += [f"{name}: line {number}: {each}" for each in wrong]
            if rate is not None:
                found.append(rate)
    except Rejected as exc:
        mistakes.append(f"{name}: {exc}")
    mistakes += [f"{name}: {each}" for each in (*_clashes(found, zone), *_currencies(found))]
    if mistakes:
        raise ConfigurationError(mistakes)
    return Rates.of((rate for each in found for rate in each.rates), zone_name(zone))


def zone_name(zone: tzinfo) -> str:
    """The IANA name of a time zone."""
    return "UTC" if zone is UTC else str(zone)


def _text(path: Path) -> str:
    try:
        with path.open("rb") as file:
            data = file.read(LARGEST + 1)
        if len(data) > LARGEST:
            raise Rejected(f"{path}: is longer than {LARGEST // 2**20} MiB")
        return data.decode("utf-8-sig")
    except OSError as exc:
        raise Rejected(f"{path}: cannot be read; {exc.strerror}") from exc
    except UnicodeDecodeError as exc:
        raise Rejected(f"{path}: byte {exc.start} is not UTF-8; save it as CSV UTF-8") from exc


def _series(rates_file: Path, name: str, zone: tzinfo) -> Series:
    path = rates_file.parent / name
    return read_series(StringIO(_text(path), newline=""), str(path), zone)


def _no_series(name: str) -> Series:
    raise Rejected(f"{name!r} is a file, and there is no folder to look for it")


def _clashes(found: Sequence[Found], zone: tzinfo) -> Iterator[str]:
    """Where two lines of one kind, model and partition overlap, or leave time between them."""
    ordered = sorted(found, key=lambda each: (*each.key, each.begins, each.number))
    for _, group in groupby(ordered, key=lambda each: each.key):
        earlier, *others = group
        for later in others:
            lines = f"lines {' and '.join(map(str, sorted((earlier.number, later.number))))}"
            if earlier.ends > later.begins:
                time = _time(later.begins, min(earlier.ends, later.ends), zone)
                remedy = "end the one on the day on which the other begins"
                yield f"{lines}: both say the {_what(later)}{time}; {remedy}"
            elif earlier.ends < later.begins:
                time = _time(earlier.ends, later.begins, zone)
                remedy = "write a line for it, with the value none if it is not known"
                yield f"{lines}: nothing says the {_what(later)}{time}; {remedy}"
            earlier = max(earlier, later, key=lambda each: each.ends)


def _what(found: Found) -> str:
    model = f" of {found.model!r}" if found.model else ""
    partition = f" in partition {found.partition!r}" if found.partition else ""
    return f"{_NAMES[found.kind]}{model}{partition}"


def _time(begins: float, ends: float, zone: tzinfo) -> str:
    first = f" from {_day(begins, zone)}" if isfinite(begins) else ""
    return first + (f" to {_day(ends, zone)}" if isfinite(ends) else " on" if first else " for ever")


def _day(time: float, zone: tzinfo) -> str:
    return f"{datetime.fromtimestamp(time, zone):%Y-%m-%d}"


def _currencies(found: Iterable[Found]) -> Iterator[str]:
    first: dict[str, int] = {}
    for each in found:
        for currency in {rate.unit for rate in each.rates if each.kind in ("price", "tariff") and rate.unit}:
            first.setdefault(currency, each.number)
    if len(first) > 1:
        lines = ", ".join(f"{currency} (line {number})" for currency, number in first.items())
        yield f"prices and tariffs are in {lines}; a ledger has one currency"
