"""What is around every view: head, navigation, who is looking, how old the figures are."""

from __future__ import annotations

from dataclasses import dataclass

from gpuwatch import __version__
from gpuwatch.web.page.asking import View
from gpuwatch.web.page.assets import Assets
from gpuwatch.web.page.html import Child, Html, name, tag
from gpuwatch.web.page.words import BASE, time
from gpuwatch.web.roles import Viewer

ROOMS = (
    ("", "Overview"), ("jobs", "Jobs"), ("campaigns", "Campaigns and budgets"), ("outcomes", "Track record"),
    ("estimate", "Plan a run"),
)  # fmt: skip
"""What the navigation leads to: path below the page's own, and words."""


@dataclass(frozen=True, slots=True)
class Passed:
    """Passes so far, and when the last one ended that did not fail; None: none has."""

    number: float = 0.0
    time: float | None = None
    interval_seconds: float = 60.0


def whole(view: View, assets: Assets, cluster: str, room: str, viewer: Viewer | None, passed: Passed) -> Html:
    """The whole document."""
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", name="color-scheme", content="light dark"),
        tag("title", f"{view.title} · gpuwatch {cluster}"),
        tag("link", rel="icon", href=assets.address("icon.svg"), type="image/svg+xml"),
        tag("link", rel="stylesheet", href=assets.address("page.css")),
        tag("script", type="module", src=assets.address("page.js")),
    )
    body = tag(
        "body",
        tag("a", "Skip to the figures", href="#main", class_="skip"),
        _header(cluster, room, viewer),
        _age(passed) if viewer is not None else None,
        tag("main", view.main, id="main", tabindex="-1"),
        tag("p", id="told", role="status", aria_live="polite", class_="told"),
        _footer(),
    )
    return Html("<!DOCTYPE html>\n" + tag("html", head, body, lang="en"))


def _header(cluster: str, room: str, viewer: Viewer | None) -> Html:
    items = [
        tag(
            "li",
            tag("a", words, href=f"{BASE}/{path}", aria_current="page" if path == room else None),
        )
        for path, words in ROOMS
    ]
    return tag(
        "header",
        tag("p", tag("a", tag("b", "gpuwatch"), " ", name(cluster), href=f"{BASE}/"), class_="brand"),
        tag("nav", tag("ul", *items), aria_label="Views"),
        tag("p", *_who(viewer), class_="who") if viewer is not None else None,
        class_="top",
    )


def _who(viewer: Viewer) -> list[Child]:
    if viewer.staff:
        return [name(viewer.name), f" ({viewer.staff}) sees all jobs"]
    if viewer.accounts:
        return [name(viewer.name), f" sees own jobs and those of {len(viewer.accounts)} accounts"]
    return [name(viewer.name), " sees own jobs"]


def _age(passed: Passed) -> Html:
    """Figures are those of the last pass, however long ago; the script counts on from there."""
    attributes = {
        "data_pass": passed.time, "data_number": passed.number, "data_interval": passed.interval_seconds,
    }  # fmt: skip
    words: list[Child] = (
        ["No pass has ended yet."] if passed.time is None else ["Figures as of ", time(passed.time)]
    )
    told = tag("p", *words, tag("span", id="since"), id="age", class_="age", **attributes)
    return tag("aside", told, aria_label="How old these figures are")


def _footer() -> Html:
    return tag(
        "footer",
        tag(
            "p", "gpuwatch ", __version__, " · ", tag("a", "API", href="/api/v1/openapi.json"), " · ",
            tag("a", "Metrics", href="/metrics"), " · times in UTC",
        ),
    )  # fmt: skip
