"""The charts of a job: its burn-up with the fan, power and work, and how its forecast moved."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise

from gpuwatch.accounting.forecast_words import percent
from gpuwatch.web.page import words
from gpuwatch.web.page.asking import Asker
from gpuwatch.web.page.charts import chart, thinned
from gpuwatch.web.page.html import Html, prose, tag
from gpuwatch.web.page.tables import Cell, Column, table
from gpuwatch.web.page.words import HOURS, UNKNOWN, Document

_LEVELS = ("0.1", "0.25", "0.5", "0.75", "0.9")
_BURNUP = (
    Column("Time"),
    Column("Device-hours", number=True),
    Column("Energy", number=True),
    Column("Step", number=True),
)
_POWER = (Column("Until"), Column("Mean power", number=True), Column("At work", number=True))
_MOVED = (
    Column("When"), Column("Used", number=True), Column("10 %", number=True), Column("Likely", number=True),
    Column("90 %", number=True), Column("Over", number=True),
)  # fmt: skip
_QUANTITIES = (
    Column("Quantity"), Column("Used", number=True), Column("Declared", number=True),
    Column("Likely", number=True), Column("8 of 10 between", number=True), Column("Over", number=True),
    Column("Used up", wide=True),
)  # fmt: skip
_OF_HOURS = 3600.0


def going(asker: Asker, job: Document) -> Html:
    """The burn-up, and what it comes to in words and figures."""
    return tag(
        "section",
        tag("h2", "Where it ends" if job["state"] != "ended" else "What it came to", id="going"),
        _quantities(job),
        *_why(job),
        _burnup(asker, job),
        aria_labelledby="going",
    )


def _quantities(job: Document) -> Html | None:
    names = dict.fromkeys((*job["forecasts"], *job["declared"]))
    if not names:
        return tag("p", "No forecast yet: the next pass makes it.", class_="none")
    rows = [_quantity(each, job["forecasts"].get(each), job["declared"].get(each)) for each in names]
    return table("Used, declared and projected", _QUANTITIES, rows)


def _quantity(quantity: str, forecast: Document | None, declared: Document | None) -> Sequence[str | Html]:
    unit = declared["unit"] if declared else ""
    quantiles = forecast["quantiles"] if forecast else {}
    low, middle, high = (quantiles.get(each) for each in ("0.1", "0.5", "0.9"))
    over = forecast["p_over"] if forecast else None
    told = words.interval(quantity, declared["low"], declared["high"], unit) if declared else UNKNOWN
    used = words.of(quantity, forecast["used"] if forecast else None, unit)
    amounts = (used, told, words.of(quantity, middle, unit), words.interval(quantity, low, high, unit))
    return (
        quantity,
        # Of device-hours the first column says what they are.
        *(each.removesuffix(f" {HOURS}") for each in amounts),
        UNKNOWN if over is None else percent(over),
        words.time(forecast["crosses_at"] if forecast else None),
    )  # fmt: skip


def _why(job: Document) -> Iterator[Html]:
    forecast = job["forecasts"].get(HOURS)
    if forecast is None or job["state"] == "ended":
        return
    if forecast["p_limit"] is not None and forecast["p_limit"] >= 0.005:
        yield tag("p", f"Its time limit ends it with probability {percent(forecast['p_limit'])}.")
    said = [f"Because of {forecast['basis']}."]
    if forecast["record"]:
        said.append(f"{forecast['record']}.")
    yield tag("p", prose(" ".join(said)), class_="note")


def _burnup(asker: Asker, job: Document) -> Html | None:
    series = asker.ask("/forecasts/{name}", job["job"])
    points = series["burnup"] if series else ()
    if len(points) < 2:
        return tag("p", "How it came to what it used is not kept.", class_="none")
    running = job["state"] != "ended"
    forecast = job["forecasts"].get(HOURS) if running else None
    declared = job["declared"].get(HOURS)
    wall = job["forecasts"].get("wall") if running else None
    ends = wall["quantiles"].get("0.5") if wall else None
    quantiles = [forecast["quantiles"].get(each) for each in _LEVELS] if forecast else []
    fan = ",".join(f"{each / _OF_HOURS:.6g}" for each in quantiles if each is not None)
    rows = [
        (
            Cell(words.time(time), time), Cell(words.hours(used), used / _OF_HOURS),
            Cell(words.of("energy", joules), joules), Cell(UNKNOWN if step is None else f"{step:,.10g}", step),
        )
        for time, used, joules, step, _ in points
    ]  # fmt: skip
    limit = job["limit_seconds"]
    return chart(
        "burnup", "Device-hours used over time, and where they are going", _BURNUP, rows,
        started=float(job["started"]), declared=declared["high"] / _OF_HOURS if declared else None,
        fan=fan if len(quantiles) == len(_LEVELS) and None not in quantiles else None,
        ends=job["started"] + ends if ends else None,
        limit=job["started"] + limit if limit and running else None,
    )  # fmt: skip


def power(asker: Asker, job: Document) -> Html | None:
    """Mean power and the part of time at work, from point to point of its history."""
    history = asker.ask("/history/{name}", job["job"])
    points = thinned(history["points"]) if history else ()
    rows = [
        (
            Cell(words.time(now["time"]), now["time"]),
            Cell(UNKNOWN if watts is None else f"{watts:,.0f} W", watts), Cell(words.ratio(work), work),
        )
        for before, now in pairwise(points)
        for watts, work in [_between(before, now)]
    ]  # fmt: skip
    return (
        chart("power", "Power of its devices, and the part of their time at work", _POWER, rows) if rows else None
    )


def _between(before: Document, now: Document) -> tuple[float | None, float | None]:
    seconds = now["time"] - before["time"]
    held = now["held_device_seconds"] - before["held_device_seconds"]
    known = now["energy_joules"] is not None and before["energy_joules"] is not None and seconds > 0
    watts = (now["energy_joules"] - before["energy_joules"]) / seconds if known else None
    work = (now["working_seconds"] - before["working_seconds"]) / held if held > 0 else None
    return watts, None if work is None else min(1.0, max(0.0, work))


def foretold(asker: Asker, job: Document) -> Html | None:
    """How the forecast of device-hours moved."""
    series = asker.ask("/forecasts/{name}", job["job"])
    points = series["points"].get(HOURS, ()) if series else ()
    told = [each for each in points if {"0.1", "0.5", "0.9"} <= {*each["quantiles"]}]
    if len(told) < 2:
        return None
    declared = job["declared"].get(HOURS)
    rows = [_moved(each) for each in thinned(told)]
    picture = chart(
        "moved", "Device-hours that it was projected to come to, by when that was", _MOVED, rows,
        declared=declared["high"] / _OF_HOURS if declared else None,
    )  # fmt: skip
    return tag("section", tag("h2", "What was forecast", id="foretold"), picture, aria_labelledby="foretold")


def _moved(point: Document) -> Sequence[Cell]:
    amounts = [point["used"], *(point["quantiles"][each] for each in ("0.1", "0.5", "0.9"))]
    return (
        Cell(words.time(point["time"]), point["time"]),
        *(Cell(words.hours(each), each / _OF_HOURS) for each in amounts),
        Cell(words.chance(point["p_over"]), point["p_over"]),
    )
