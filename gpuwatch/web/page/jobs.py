"""The table of jobs: as the API lists them, a page at a time, each with its burn-up."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from gpuwatch.web.page import pictures, words
from gpuwatch.web.page.asking import Asker, Burnups, View
from gpuwatch.web.page.html import Child, Html, joined, name, tag
from gpuwatch.web.page.tables import Cell, Column, table
from gpuwatch.web.page.words import HOURS, UNKNOWN, Document

STATES = ("running", "waiting", "unseen", "ended")
FILTERS = ("state", "user", "account", "partition", "campaign", "since", "until")
LIMIT, FURTHER = "50", "400"
"""So many jobs are on the first page, which is to come at once, and on each after it."""

COLUMNS = (
    Column("Job"),
    Column("User", wide=True, hint="and the account that it is charged to"),
    Column("State"),
    Column("Began", wide=True),
    Column("Devices", number=True, wide=True),
    Column("Used", number=True, hint="device-hours that were allocated, or held where nobody allocates"),
    Column("Declared", number=True, wide=True, hint="device-hours, at most"),
    Column("Projected", number=True, hint="device-hours when it ends, in 8 of 10 cases"),
    Column("Over", number=True, wide=True, roomy=True, hint="probability of more than was declared or expected"),
    Column("Time in states", wide=True, hint="working, spinning, idle, unknown"),
    Column("Energy", number=True, wide=True, roomy=True),
    Column("Burn-up", sorts=False),
)


def view(asker: Asker) -> View | None:
    """Filters, and a page of the jobs that they leave."""
    asked = {key: value for key in FILTERS if (value := asker.given.get(key, "").strip())}
    following = asker.given.get("cursor", "")
    page = {**asked, "limit": FURTHER if following else LIMIT, "cursor": following}
    listed, points = asker.jobs(**page)
    found = listed["jobs"]
    main = joined([
        tag("h1", "Jobs"),
        _filters(asked, asker.now),
        _count(found, listed["next"], following),
        jobs_table("Jobs, those that began last first", found, points) if found else _none(asked),
        _more(asked, listed["next"]),
    ])  # fmt: skip
    return View("Jobs", main)


def jobs_table(caption: str, jobs: Sequence[Document], points: Burnups) -> Html:
    """A table of jobs."""
    rows = [_row(job, points.get((job["cluster"], job["job"]), ())) for job in jobs]
    return table(caption, COLUMNS, rows, class_="jobs", data_table=True)


def _row(job: Document, points: Sequence[Sequence[float]]) -> Sequence[Child | Cell]:
    forecast = job["forecasts"].get(HOURS) if job["state"] != "ended" else None
    declared = job["declared"].get(HOURS)
    median = forecast["quantiles"].get("0.5") if forecast else None
    over = forecast["p_over"] if forecast else None
    joules = words.energy(job)
    return (
        Cell(title(job), job["name"] or job["display"]),
        Cell(_whose(job), job["user"] or ""),
        Cell(state(job), job["state"]),
        Cell(words.time(job["started"]), float(job["started"])),
        Cell(devices(job), job["device_count"]),
        Cell(words.hours(job["device_seconds"]), job["device_seconds"]),
        Cell(words.hours(declared["high"] if declared else None), declared["high"] if declared else None),
        Cell(words.projected(forecast), median),
        Cell(words.chance(over), over),
        Cell(pictures.states(job) or UNKNOWN, working(job)),
        Cell(words.of("energy", joules), joules),
        pictures.burnup(job, points) or UNKNOWN,
    )


def title(job: Document) -> Html:
    """What a job is called, and its number below; both lead to its page."""
    where = words.address("jobs", job["job"])
    if not job["name"]:
        return tag("a", name(job["display"]), href=where)
    return joined(
        [tag("a", name(job["name"], 36), href=where), tag("span", name(job["display"], 24), class_="id")]
    )


def _whose(job: Document) -> Html:
    account = tag("span", name(job["account"], 24), class_="id") if job["account"] else None
    return joined([name(job["user"] or UNKNOWN, 24), account])


def state(job: Document) -> Html:
    """Its state, how it ended, and whether something is to be told of it."""
    ended = job["state"] == "ended"
    word = (job["outcome"] or "ended").lower().replace("_", " ") if ended else job["state"]
    kind = "bad" if ended and word not in ("ended", "completed") else job["state"]
    alerts = [
        tag("span", each["kind"].replace("_", " "), class_=f"alert {each['severity']}", title=each["text"])
        for each in job["alerts"]
    ]
    return joined([tag("span", name(word, 20), class_=f"state {kind}"), *(joined([" ", each]) for each in alerts)])


def devices(job: Document) -> str:
    """How many it has."""
    count = job["device_count"] if job["device_count"] is not None else len(job["devices"]) or None
    return UNKNOWN if count is None else f"{count:g}"


def working(job: Document) -> float | None:
    """The part of held time at work."""
    total = sum(job["state_seconds"].values())
    return job["state_seconds"].get("working", 0.0) / total if total > 0 else None


def _filters(asked: Mapping[str, str], now: float) -> Html:
    def field(label: str, key: str, hint: str = "") -> Html:
        box = tag("input", name=key, value=asked.get(key), placeholder=hint or None, maxlength=256)
        return tag("label", label, box)

    chosen = asked.get("state", "")
    options = [tag("option", "any", value="", selected=not chosen)]
    options += [tag("option", each, value=each, selected=each == chosen) for each in STATES]
    return tag(
        "form",
        tag("label", "State", tag("select", *options, name="state")),
        field("User", "user"),
        field("Account", "account"),
        field("Campaign", "campaign"),
        field("Seen since", "since", "7 days ago"),
        tag("button", "Show", type="submit"),
        method="get", action=words.address("jobs"), class_="filters", aria_label="Which jobs", data_filters=True,
    )  # fmt: skip


def _count(found: Sequence[Document], following: str | None, cursor: str) -> Html:
    # The script writes how many of these a search leaves.
    more = ", and there are more" if following else ""
    first = "" if not cursor else "the next "
    return tag("p", f"{first}{len(found)} jobs{more}".capitalize(), id="count", class_="count")


def _none(asked: Mapping[str, str]) -> Html:
    if asked:
        return tag("p", "No job that you may read is so. Take a filter away, or look further back.", class_="none")
    return tag("p", "No job that you may read was seen in the last 7 days.", class_="none")


def _more(asked: Mapping[str, str], following: str | None) -> Html | None:
    if following is None:
        return None
    where = words.address("jobs", **asked, cursor=following)
    return tag("p", tag("a", "Earlier jobs", href=where, rel="next", data_more=True), class_="more")
