"""Estimates against outcomes: what jobs came to beside what they declared, and whether forecasts hold."""

from __future__ import annotations

from collections.abc import Sequence

from gpuwatch.web.page import words
from gpuwatch.web.page.asking import Asker, View
from gpuwatch.web.page.charts import chart
from gpuwatch.web.page.html import Child, Html, joined, name, tag
from gpuwatch.web.page.tables import Cell, Column
from gpuwatch.web.page.words import Document

FILTERS = ("user", "account", "campaign", "since")
LIMIT = "400"
_HOUR = 3600.0
_OUTCOMES = (
    Column("Job"), Column("User", wide=True), Column("Ended", wide=True), Column("Declared", number=True),
    Column("Used", number=True), Column("Used by declared", number=True),
)  # fmt: skip
_RECORD = (
    Column("Made when"), Column("Promised", number=True), Column("Held", number=True),
    Column("Forecasts", number=True),
)  # fmt: skip
_STAGES = {
    None: "at any time", "submit": "at the start", "0.1": "10 % used", "0.25": "25 % used", "0.5": "half used",
    "0.75": "75 % used",
}  # fmt: skip


def view(asker: Asker) -> View | None:
    """Both."""
    parts = [
        asker.part("Estimates against outcomes", lambda: _outcomes(asker)),
        asker.part("Forecasts", lambda: _record(asker)),
    ]
    main = joined([tag("h1", "Track record"), tag("div", *parts, class_="pair")])
    return View("Track record", main)


def _outcomes(asker: Asker) -> Html:
    asked = {key: value for key in FILTERS if (value := asker.given.get(key, "").strip())}
    found = asker.said("/outcomes", limit=LIMIT, **asked)
    told = found["outcomes"]
    body: list[Child] = [
        tag("p", f"None of the {found['jobs']:,} jobs that came to their end since ", words.time(found["since"]),
            " and that you may read declared device-hours before it was far.", class_="none"),
    ]  # fmt: skip
    if told:
        body = [
            tag("p", _sentence(told)),
            chart(
                "scatter", "Device-hours that jobs came to, by what was declared for them", _OUTCOMES,
                [_row(each) for each in told],
                "On the line a declaration is right; above it the job needed more.",
            ),
        ]  # fmt: skip
    return tag(
        "section", tag("h2", "Estimates against outcomes", id="outcomes"), _filters(asked), *body,
        aria_labelledby="outcomes",
    )  # fmt: skip


def _sentence(told: Sequence[Document]) -> str:
    ratios = sorted(each["device_seconds"] / each["declared_device_seconds"] for each in told)
    middle = ratios[len(ratios) // 2]
    over = sum(each > 1 for each in ratios)
    return (
        f"Of {len(told):,} jobs {over:,} came to more than was declared. Half of them came to more than"
        f" {middle:.2g} times their declaration."
    )


def _row(outcome: Document) -> Sequence[Cell]:
    declared, used = outcome["declared_device_seconds"], outcome["device_seconds"]
    ratio = used / declared
    return (
        Cell(words.link(outcome["name"] or outcome["display"], "jobs", outcome["job"]), outcome["display"]),
        Cell(name(outcome["user"] or words.UNKNOWN, 24), outcome["user"] or ""),
        Cell(words.time(outcome["ended"]), outcome["ended"]),
        Cell(words.hours(declared), declared / _HOUR),
        Cell(words.hours(used), used / _HOUR),
        Cell(f"{ratio:.2g}", ratio),
    )


def _filters(asked: dict[str, str]) -> Html:
    fields = [
        tag("label", label, tag("input", name=key, value=asked.get(key), placeholder=hint or None, maxlength=256))
        for label, key, hint in (
            ("User", "user", ""), ("Account", "account", ""), ("Campaign", "campaign", ""),
            ("Ended since", "since", "90 days ago"),
        )
    ]  # fmt: skip
    return tag(
        "form", *fields, tag("button", "Show", type="submit"), method="get", action=words.address("outcomes"),
        class_="filters", aria_label="Which jobs", data_filters=True,
    )  # fmt: skip


def _record(asker: Asker) -> Html:
    found = asker.said("/record")
    rows = [_interval(each) for each in found["intervals"] if each["forecasts"]]
    body: Child = tag(
        "p", "No forecast of a job that has ended is kept yet: the record begins with the first.", class_="none"
    )
    if rows:
        body = chart(
            "calibration", "Intervals that held what jobs came to, by what they promised", _RECORD, rows,
            f"Of {found['forecasts']:,} forecasts at this site, of everybody's jobs. On the line they keep their"
            " word; below it they are too narrow.",
        )  # fmt: skip
    return tag("section", tag("h2", "Do forecasts keep their word?", id="record"), body, aria_labelledby="record")


def _interval(interval: Document) -> Sequence[Cell]:
    stage = _STAGES.get(interval["stage"], str(interval["stage"]))
    return (
        Cell(stage, stage), Cell(words.ratio(interval["promised"]), interval["promised"]),
        Cell(words.ratio(interval["held"]), interval["held"]),
        Cell(f"{interval['forecasts']:,}", float(interval["forecasts"])),
    )  # fmt: skip
