"""The tables of a job: amounts, how far they can be trusted, devices, attempts, declarations, past alerts."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from gpuwatch.web.page import pictures, words
from gpuwatch.web.page.html import Child, Html, joined, name, prose, tag
from gpuwatch.web.page.tables import Cell, Column, table
from gpuwatch.web.page.words import UNKNOWN, Document

MOST_DEVICES = 64
MOST_ATTEMPTS = 50
MOST_CHANGES = 50

_AMOUNTS = (Column("Amount"), Column("Value", number=True), Column("How", sorts=False))
_QUALITY = (
    Column("Figure"), Column("Covers", number=True), Column("By method"),
    Column("Longest gap", number=True, wide=True),
    Column("What is missing", wide=True),
)  # fmt: skip
_DEVICES = (
    Column("Device"), Column("Held", number=True), Column("Time in states"),
    Column("Idle", number=True, wide=True),
    Column("Energy", number=True, wide=True), Column("Throttled", number=True, wide=True),
)  # fmt: skip
_ATTEMPTS = (
    Column("Began"), Column("Last seen", wide=True), Column("Ended as"), Column("Device-hours", number=True),
    Column("Progress", number=True),
)  # fmt: skip
_REVISIONS = (
    Column("Quantity"), Column("Amount", number=True), Column("Declared"), Column("By", wide=True),
    Column("Through", wide=True), Column("Counts"),
)  # fmt: skip
_CHANGES = (Column("When"), Column("What"), Column("Kind"), Column("What was said"))


def _section(key: str, heading: str, *body: Child) -> Html:
    return tag("section", tag("h2", heading, id=key), *body, aria_labelledby=key)


def amounts(job: Document) -> Html:
    """What it used, in each currency of use."""
    methods = ", ".join(f"{method} {words.of('energy', each)}" for method, each in job["energy_joules"].items())
    bases = "; ".join(job["bases"])
    rows: list[Sequence[Child]] = [
        ("Device-hours", words.hours(job["device_seconds"]),
         "held, as nodes saw it" if job["allocated_device_seconds"] is None else "allocated by the batch system"),
        ("Device-hours held", words.hours(job["held_device_seconds"]), "as nodes saw it"),
        ("Energy of its devices", words.of("energy", words.energy(job)), prose(methods or "not measured")),
        ("Energy of the host", words.of("energy", job.get("host_energy_joules")), "by its CPU time and memory"),
        ("Energy with host and cooling", words.of("facility-energy", job["facility_joules"]), ""),
        ("Carbon", words.of("carbon", job["carbon_grams"]), prose(bases)),
        ("Cost", words.costs(job),
         prose(f"by rates {', '.join(job['rates'])}") if job["rates"] else "no price is known"),
    ]  # fmt: skip
    return _section("amounts", "What it used", table("Each amount, and how it was come by", _AMOUNTS, rows))


def quality(job: Document) -> Html:
    """How each figure was come by, and what is missing in it."""
    found = job["quality"]
    rows = [_quality(kind, each) for kind, each in found["figures"].items()]
    differs = found["allocation_difference"] if found["allocation_differs"] else None
    return _section(
        "quality", "How far these figures can be trusted",
        table("How each figure was come by", _QUALITY, rows),
        tag("p", "Allocated and held time differ: ", prose(differs), class_="note") if differs else None,
    )  # fmt: skip


def _quality(kind: str, figure: Document) -> Sequence[Child]:
    quantity = "energy" if figure["unit"] == "J" else "device-hours"
    gaps = "; ".join(
        each["why"] + (f" ({words.hours(each['device_seconds'])} h)" if each["device_seconds"] is not None else "")
        for each in figure["missing"]
    )
    methods = ", ".join(f"{method} {words.of(quantity, each)}" for method, each in figure["by_method"].items())
    partial = tag("span", "partial", class_="mode") if figure["partial"] else None
    return (
        joined([kind, " ", partial]),
        words.ratio(figure["coverage_ratio"]),
        prose(methods or UNKNOWN),
        words.span(figure["longest_gap_seconds"]),
        prose(gaps or "nothing"),
    )


def devices(job: Document) -> Html | None:
    """Each device by itself, those that worked least first: the odd one is at the top."""
    found: dict[str, Document] = job["by_device"]
    if not found:
        return None
    foremost = sorted(found.items(), key=lambda each: (_working(each[1]), each[0]))[:MOST_DEVICES]
    rest = len(found) - len(foremost)
    return _section(
        "devices", "Devices",
        table("Each device, those that worked least first", _DEVICES, [_device(*each) for each in foremost],
              data_table=True),
        tag("p", f"and {rest:,} more that worked more", class_="note") if rest > 0 else None,
    )  # fmt: skip


def _working(device: Document) -> float:
    total = sum(device["state_seconds"].values())
    return device["state_seconds"].get("working", 0.0) / total if total > 0 else 1.0


def _device(uuid: str, device: Document) -> Sequence[Child | Cell]:
    joules, idle = words.energy(device), device["state_seconds"].get("idle")
    throttled = sum(device["throttled_seconds"].values())
    return (
        name(uuid, 44),
        Cell(words.hours(device["held_seconds"]), device["held_seconds"]),
        Cell(pictures.states(device) or UNKNOWN, _working(device)),
        Cell(words.hours(idle), idle),
        Cell(words.of("energy", joules), joules),
        Cell(words.span(throttled) if throttled >= 1 else UNKNOWN, throttled),
    )


def attempts(job: Document) -> Html | None:
    """Each of them, where there were several."""
    found = job["attempts"]
    if len(found) < 2:
        return None
    rows = [
        (
            words.time(each["started"]), words.time(each["last_seen"]), name(each["outcome"] or UNKNOWN, 24),
            words.hours(each["device_seconds"]),
            words.ratio(each["progress"]["ratio"] if each["progress"] else None),
        )
        for each in found[-MOST_ATTEMPTS:]
    ]  # fmt: skip
    return _section("attempts", "Attempts", table("Attempts of the job", _ATTEMPTS, rows))


def declarations(job: Document) -> Html:
    """Every revision of what was declared for it."""
    if not job["revisions"]:
        return _section(
            "declared", "Declarations",
            tag("p", "Nothing is declared for it; what is expected is by its like.", class_="none"),
        )  # fmt: skip
    rows = [_revision(each) for each in job["revisions"]]
    return _section("declared", "Declarations", table("What was declared for it", _REVISIONS, rows))


def _revision(revision: Document) -> Sequence[Child]:
    quantity, unit = revision["quantity"], revision["unit"]
    ends = [words.of(quantity, revision[each], unit) for each in ("low", "likely", "high")]
    counts = [each.replace("_", " ") for each in ("in_force", "original", "after_end") if revision[each]]
    return (
        name(revision["quantity"]),
        prose(" .. ".join(dict.fromkeys(ends))),
        words.time(revision["declared_at"]),
        name(revision["declared_by"], 24),
        name(" ".join(each for each in (revision["channel"], revision["basis"]) if each), 24),
        ", ".join(counts) or "replaced",
    )


def past_alerts(job: Document) -> Html | None:
    """What was told of it, the latest first."""
    found = job["alert_history"]
    if not found:
        return None
    rows: Iterable[Sequence[Child]] = [
        (words.time(each["time"]), each["what"], each["kind"].replace("_", " "), prose(each["text"]))
        for each in reversed(found[-MOST_CHANGES:])
    ]
    return _section("history", "Alerts over time", table("Alerts that were raised and ended", _CHANGES, rows))
