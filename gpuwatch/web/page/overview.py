"""The first view: what runs, what will overrun, who holds idle devices, alerts, and budgets at a glance."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from datetime import UTC, datetime

from gpuwatch.notifiers.kinds import KINDS
from gpuwatch.web.page import words
from gpuwatch.web.page.asking import Asker, View
from gpuwatch.web.page.campaigns import budgets_table
from gpuwatch.web.page.html import Child, Html, joined, name, tag
from gpuwatch.web.page.jobs import jobs_table
from gpuwatch.web.page.tables import Cell, Column, table
from gpuwatch.web.page.words import Document

LISTED = 100
RUNNING = 50
SHOWN = 8
BUDGET_SECONDS = 0.2
"""With thousands of running jobs budgets take long: the overview does not wait for them."""

_OVER = ("projected", "exceeded", "limit")
_RESTING = ("idle", "hung", "no_start", "stalled_progress")

_COLUMNS = (
    Column("What"), Column("Kind", wide=True), Column("Whose", wide=True), Column("What is so"),
    Column("Since", wide=True),
)  # fmt: skip


def view(asker: Asker) -> View | None:
    """All of it; each part by itself, so that a slow one holds up no other."""
    hasty = replace(asker, seconds=BUDGET_SECONDS)
    main = joined([
        tag("h1", "Overview"),
        asker.part("This month", lambda: _tiles(asker)),
        asker.part("Alerts", lambda: _alerts(asker)),
        asker.part("Running jobs", lambda: _running(asker)),
        asker.part(
            "Budgets", lambda: _budgets(hasty), words.address("campaigns"), "budgets"
        ),
    ])  # fmt: skip
    return View("Overview", main)


def _tiles(asker: Asker) -> Html:
    month = datetime.fromtimestamp(asker.now, UTC)
    total = asker.said("/usage", by="month", **{"from": f"{month:%Y-%m}"})["total"]
    tiles = [
        ("Device-hours", words.hours(total["device_seconds"])),
        ("Jobs", f"{total['jobs']:,}"),
        ("Energy of devices", words.of("energy", total["energy_joules"])),
        ("Cost", words.costs(total)),
        ("Carbon", words.of("carbon", total["carbon_grams"])),
    ]
    drawn = [tag("div", tag("dt", head), tag("dd", figure)) for head, figure in tiles]
    return tag(
        "section", tag("h2", f"{month:%B %Y}", id="month"), tag("dl", *drawn, class_="tiles"),
        aria_labelledby="month",
    )  # fmt: skip


def _alerts(asker: Asker) -> Html:
    found = asker.said("/alerts", limit=str(LISTED))
    alerts = found["alerts"]
    others = [each for each in KINDS if each not in (*_OVER, *_RESTING)]
    parts = [
        _group("over", "What will overrun", "No job is over what was declared for it, or on its way there.",
               alerts, _OVER),
        _group("resting", "Devices that are held and do nothing", "No device is held and idle for long.",
               alerts, _RESTING),
        _group("others", "Other alerts", "", alerts, others),
    ]  # fmt: skip
    if found["next"]:
        parts.append(tag("p", f"The gravest {LISTED} are looked at; `gpuwatch alerts` lists all.", class_="note"))
    return joined(parts)


def _group(key: str, heading: str, none: str, alerts: Sequence[Document], kinds: Collection[str]) -> Html | None:
    mine = [each for each in alerts if each["kind"] in kinds]
    if not mine and not none:
        return None
    body: Child = tag("p", none, class_="none")
    if mine:
        body = table(heading, _COLUMNS, [_row(each) for each in mine[:SHOWN]], class_="alerts", data_table=True)
    rest = len(mine) - SHOWN
    return tag(
        "section",
        tag("h2", heading, " ", tag("span", str(len(mine)), class_="number") if mine else None, id=key),
        body,
        tag("p", f"and {rest} more", class_="note") if rest > 0 else None,
        aria_labelledby=key,
    )


def _row(alert: Document) -> Sequence[Child | Cell]:
    kind = KINDS.get(alert["kind"])
    muted = tag("span", alert["mode"], class_="mode") if alert["mode"] != "told" else None
    whose = alert["user"] or alert["account"] or words.UNKNOWN
    return (
        Cell(scope_link(alert), alert["scope"]),
        joined([
            tag("span", kind.heading if kind else alert["kind"], class_=f"alert {alert['severity']}"), " ", muted,
        ]),
        name(whose, 24),
        _brief(alert),
        Cell(words.time(alert["raised"]), float(alert["raised"])),
    )  # fmt: skip


def _brief(alert: Document) -> Html:
    """What is so, without what it is about (beside it), why, and how often such was right (on its own page)."""
    first = words.brief(alert["text"]).removeprefix(f"{alert['scope_kind']} {alert['scope']} ")
    return tag("bdi", first, title=alert["text"])


def scope_link(alert: Document) -> Html:
    """What an alert is about, with a link where the page has something of it."""
    kind, scope = alert["scope_kind"], alert["scope"]
    room = {"job": "jobs", "campaign": "campaigns", "account": "budgets"}.get(kind)
    called = joined([f"{kind} ", name(scope, 30)])
    linked = tag("a", called, href=words.address(room, scope)) if room else called
    named = tag("span", name(alert["name"], 30), class_="id") if alert["name"] else None
    return joined([linked, named])


def _running(asker: Asker) -> Html:
    found, points = asker.jobs(state="running", limit=str(RUNNING))
    jobs = found["jobs"]
    foremost = sorted(jobs, key=lambda job: (-len(job["alerts"]), -(job["device_count"] or 0), -job["started"]))
    heading = tag(
        "h2", "Running jobs ", tag("span", f"{len(jobs)}{'+' if found['next'] else ''}", class_="number"),
        id="running",
    )  # fmt: skip
    if not jobs:
        return tag("section", heading, tag("p", "No job that you may read runs.", class_="none"))
    return tag(
        "section",
        heading,
        jobs_table("Running jobs, those with alerts and most devices first", foremost[:SHOWN], points),
        tag("p", tag("a", "All running jobs", href=words.address("jobs", state="running")), class_="more"),
        aria_labelledby="running",
    )


def _budgets(asker: Asker) -> Html | None:
    found = asker.said("/budgets")["budgets"]
    if not found:
        return None
    tightest = sorted(found, key=lambda each: -(each["over_probability"] or 0.0))
    return tag(
        "section",
        tag("h2", "Budgets ", tag("span", str(len(found)), class_="number"), id="budgets"),
        budgets_table(tightest[:SHOWN]),
        tag("p", tag("a", "All budgets", href=words.address("campaigns")), class_="more"),
        aria_labelledby="budgets",
    )
