"""Figures as the page writes them, from documents of the API: what is not known is a dash. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote, urlencode

from gpuwatch.accounting.amounts import alike, amount, digits, money, split
from gpuwatch.accounting.forecast_words import moment, percent
from gpuwatch.web.page.html import Html, name, tag

BASE = "/ui"
HOURS = "device-hours"
UNKNOWN = "–"
_HOUR = 3600.0

Document = Mapping[str, Any]


def address(room: str, name_in: str = "", **asked: str | None) -> str:
    """Where something of the page is."""
    query = urlencode({key: value for key, value in asked.items() if value}, errors="replace")
    path = f"{BASE}/{room}" + (f"/{quote(name_in, safe='@:', errors='replace')}" if name_in else "")
    return path + (f"?{query}" if query else "")


def link(text: str, room: str, name_in: str) -> Html:
    """A link to something that has a name, called by another."""
    return tag("a", name(text), href=address(room, name_in))


def hours(seconds: float | None) -> str:
    """Device-hours without their unit."""
    return UNKNOWN if seconds is None else digits(seconds / _HOUR)


def of(quantity: str, value: float | None, unit: str = "") -> str:
    """An amount with its unit."""
    return UNKNOWN if value is None else amount(quantity, value, unit)


def interval(quantity: str, low: float | None, high: float | None, unit: str = "") -> str:
    """Two amounts, their unit once where they are alike."""
    if low is None or high is None:
        return UNKNOWN
    one, other = split(quantity, low, unit), split(quantity, high, unit)
    if one == other:
        return " ".join(other).rstrip()
    return f"{one[0] if one[1] == other[1] else ' '.join(one)} to {' '.join(other)}".rstrip()


def brief(text: str) -> str:
    """What an alert says, without why, and how often such was right."""
    return text.partition("; because:")[0].partition("; record:")[0]


def energy(job: Document) -> float | None:
    """Joules of something, None where nobody measured any."""
    return sum(job["energy_joules"].values()) if job["energy_joules"] else None


def costs(document: Document) -> str:
    """Money by currency."""
    return money(document["cost"]) if document["cost"] else UNKNOWN


def ratio(part: float | None) -> str:
    """A part of a whole in percent."""
    return UNKNOWN if part is None else f"{100 * part:.0f} %"


def chance(probability: float | None) -> str:
    """A probability."""
    return UNKNOWN if probability is None else percent(probability)


def span(seconds: float | None) -> str:
    """How long something took or takes."""
    if seconds is None:
        return UNKNOWN
    minutes = round(seconds / 60)
    if minutes < 60:
        return f"{seconds:.0f} s" if seconds < 90 else f"{minutes} min"
    whole, rest = divmod(minutes, 60)
    if whole < 48:
        return f"{whole} h {rest} min" if rest else f"{whole} h"
    return f"{whole // 24} d {whole % 24} h"


def time(seconds: float | None) -> Html | str:
    """A moment in UTC; the script says beside it how long ago that is."""
    if seconds is None:
        return UNKNOWN
    try:
        stamp = datetime.fromtimestamp(seconds, UTC)
    except (ValueError, OverflowError, OSError):
        return UNKNOWN
    return tag("time", moment(seconds), datetime=f"{stamp:%Y-%m-%dT%H:%M:%SZ}")


def projected(forecast: Document | None) -> str:
    """The 80 % interval of what it comes to, in device-hours; of what has ended nothing."""
    quantiles = forecast["quantiles"] if forecast else {}
    low, middle, high = (quantiles.get(each) for each in ("0.1", "0.5", "0.9"))
    if low is None or middle is None or high is None:
        return UNKNOWN
    if digits(low / _HOUR) == digits(high / _HOUR):
        return digits(middle / _HOUR)
    return f"{alike(HOURS, low, high)}–{digits(high / _HOUR)}"
