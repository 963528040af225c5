"""The page of one job: where it is going, what it did with its devices, how far to trust that, what to type."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

from gpuwatch.accounting.amounts import digits
from gpuwatch.web.page import job_charts, job_figures, pictures, words
from gpuwatch.web.page.asking import Asker, View
from gpuwatch.web.page.html import Child, Html, joined, name, prose, tag
from gpuwatch.web.page.jobs import devices, state
from gpuwatch.web.page.tables import facts
from gpuwatch.web.page.words import HOURS, UNKNOWN, Document

MOST_NODES = 12


def view(asker: Asker) -> View | None:
    """Everything of a job; None where there is none, or it is another's."""
    job = asker.ask("/jobs/{name}", asker.name)
    if job is None:
        return None
    called = job["name"] or job["display"]
    main = joined([
        tag("p", tag("a", "Jobs", href=words.address("jobs")), class_="up"),
        tag("h1", name(called, 80), " ", state({**job, "alerts": ()})),
        _others(job),
        _facts(job),
        asker.part("Alerts", lambda: _alerts(asker, job)),
        asker.part("Burn-up", lambda: job_charts.going(asker, job)),
        asker.part("Use of devices", lambda: _use(asker, job)),
        _advice(job),
        job_figures.amounts(job),
        job_figures.quality(job),
        job_figures.devices(job),
        job_figures.attempts(job),
        job_figures.declarations(job),
        asker.part("What was forecast", lambda: job_charts.foretold(asker, job)),
        job_figures.past_alerts(job),
        _to_type(job),
    ])  # fmt: skip
    return View(called if called == job["display"] else f"{called} {job['display']}", main)


def _others(job: Document) -> Html | None:
    if not job["others"]:
        return None
    links: list[Child] = [joined([" ", words.link(each, "jobs", each)]) for each in job["others"][:10]]
    return tag("p", "Others of that name:", *links, class_="note")


def _facts(job: Document) -> Html:
    progress = job["progress"]
    limit = job["limit_seconds"]
    return facts([
        ("Job", joined([name(job["display"]), " on ", name(job["cluster"])])),
        ("User", joined([name(job["user"] or (f"uid {job['uid']}" if job["uid"] is not None else UNKNOWN)),
                         joined([" for account ", name(job["account"])]) if job["account"] else None])),
        ("Partition", name(job["partition"]) if job["partition"] else None),
        ("Devices", joined([devices(job), joined([" × ", name(", ".join(job["models"]), 60)])
                            if job["models"] else None])),
        ("Nodes", _nodes(job["nodes"]) if job["nodes"] else None),
        ("Began", words.time(job["started"])),
        ("Ended" if job["state"] == "ended" else "Last seen", words.time(job["last_seen"])),
        ("Ran", words.span(job["wall_seconds"]) + (f" of at most {words.span(limit)}" if limit else "")),
        ("Progress", f"{words.ratio(progress['ratio'])}, step {progress['step']:,.10g} of"
         f" {progress['total']:,.10g}" if progress else None),
        ("Campaign", words.link(job["campaign"], "campaigns", job["campaign"]) if job["campaign"] else None),
        ("Tags", name(", ".join(f"{key}:{value}" for key, value in job["tags"].items()), 120)
         if job["tags"] else None),
        ("Exit code", f"{job['exit_code']}" if job["exit_code"] is not None else None),
    ])  # fmt: skip


def _nodes(nodes: Sequence[str]) -> Html:
    rest = len(nodes) - MOST_NODES
    return joined([name(", ".join(nodes[:MOST_NODES]), 200), f" and {rest} more" if rest > 0 else None])


def _advice(job: Document) -> Html | None:
    told = job.get("advice") or ()
    if not told:
        return None
    return tag(
        "section", tag("h2", "Advice", id="advice"),
        tag("ul", *(tag("li", prose(each["text"])) for each in told), class_="advice"), aria_labelledby="advice",
    )  # fmt: skip


def _alerts(asker: Asker, job: Document) -> Html | None:
    if not job["alerts"]:
        return None
    found = asker.ask("/alerts/{name}", f"job:{job['job']}")
    active = [each for each in (found["alerts"] if found else ()) if each["resolved"] is None]
    # What is active by the job itself is told even where the record of alerts has nothing of it yet.
    parts = [_alert(each) for each in active] or [_plain(each) for each in job["alerts"]]
    return tag("section", tag("h2", "Alerts", id="alerts"), *parts, aria_labelledby="alerts")


def _alert(alert: Document) -> Html:
    told = [f"{each['notifier']} to {each['recipient']}" for each in alert["told"]]
    known = alert["acknowledged_by"]
    return tag(
        "article",
        tag("p", _badge(alert), " ", prose(words.brief(alert["text"])), class_="said"),
        tag(
            "details", tag("summary", "In detail"),
            tag("ul", *(tag("li", prose(each)) for each in alert["details"])),
        ) if alert["details"] else None,
        tag(
            "p", "Since ", words.time(alert["raised"]), ". ",
            prose(f"{alert['why']}. ") if alert["why"] else None,
            prose(f"Told by {', '.join(told)}. ") if told else None,
            prose(f"Known to {known}. ") if known else None,
            prose(f"Alerts of this kind: {alert['record']['words']}."),
            class_="note",
        ),
        class_=f"one {alert['severity']}",
    )  # fmt: skip


def _plain(alert: Document) -> Html:
    return tag("article", tag("p", _badge(alert), " ", prose(alert["text"])), class_=f"one {alert['severity']}")


def _badge(alert: Document) -> Html:
    return tag("span", alert["kind"].replace("_", " "), class_=f"alert {alert['severity']}")


def _use(asker: Asker, job: Document) -> Html | None:
    bar = pictures.states(job)
    if bar is None:
        return tag(
            "section", tag("h2", "Use of devices", id="use"),
            tag("p", "Nobody measured what its devices did.", class_="none"), aria_labelledby="use",
        )  # fmt: skip
    seconds, total = job["state_seconds"], sum(job["state_seconds"].values())
    legend = [
        tag("li", tag("span", class_=f"key {each}"), f"{each} {words.hours(seconds[each])} h,"
            f" {words.ratio(seconds[each] / total)}")
        for each in pictures.STATES if seconds.get(each)
    ]  # fmt: skip
    throttled = [f"{reason} {words.span(each)}" for reason, each in job["throttled_seconds"].items() if each >= 1]
    return tag(
        "section",
        tag("h2", "Use of devices", id="use"),
        tag("div", bar, class_="large"),
        tag("ul", *legend, class_="legend"),
        tag("p", "Clocks held down: ", prose(", ".join(throttled)), class_="note") if throttled else None,
        job_charts.power(asker, job),
        aria_labelledby="use",
    )


def _to_type(job: Document) -> Html:
    scope = shlex.quote(f"job:{job['job']}")
    lines = [("Look at it in a terminal", f"gpuwatch show {shlex.quote(job['job'])}")]
    if job["state"] != "ended":
        lines.append(("Declare what it will need", f"gpuwatch declare --for {scope} --device-hours {_needs(job)}"))
        if job["progress"] is None:
            lines.append(("Say how far it is, in the job: forecasts become sharp", "gpuwatch progress 120/9000"))
    if job["alerts"]:
        lines.append(("Keep its alerts quiet", f"gpuwatch alerts mute {scope} --for 7d --reason 'waits for data'"))
    return tag(
        "section", tag("h2", "What to type", id="type"), *(command(*each) for each in lines),
        aria_labelledby="type",
    )  # fmt: skip


def command(what: str, line: str) -> Html:
    """A line to paste, with what it is for; the script adds a button that copies it."""
    return tag(
        "div", tag("p", what), tag("pre", tag("code", tag("bdi", line), tabindex="0"), data_copy=True),
        class_="command",
    )  # fmt: skip


def _needs(job: Document) -> str:
    forecast = job["forecasts"].get(HOURS)
    quantiles = forecast["quantiles"] if forecast else {}
    ends = [quantiles.get(each) for each in ("0.1", "0.5", "0.9")]
    known = [digits(each / 3600.0).replace(",", "") for each in ends if each is not None]
    if len(known) < len(ends):
        return "N"
    return "..".join(known) if len({*known}) > 1 else known[0]
