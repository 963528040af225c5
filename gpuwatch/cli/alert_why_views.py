"""Why an alert is, and who was told, as text."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from gpuwatch import hygiene
from gpuwatch.cli.alert_views import minute, scope_text, until_text

Document = Mapping[str, Any]

_HOW = {
    "ended": "with what it is about",
    "cleared": "by itself",
    "exceeded": "as the projection came true",
    "floor": "as it became too small to speak of",
}
_ACTED = {
    "cancelled": "its owner cancelled the job",
    "declared": "its owner declared anew",
    "acknowledged": "it was acknowledged",
    "muted": "it was muted",
}
_WIDTH = 9


def why_lines(document: Document) -> Iterator[str]:
    """All alerts of a scope, the active ones first."""
    for number, each in enumerate(document["alerts"]):
        if number:
            yield ""
        yield from map(hygiene.log, _alert_lines(each))
    if document["more"]:
        yield f"and {document['more']:,} before these"


def _alert_lines(each: Document) -> Iterator[str]:
    over = " (over)" if each["resolved"] is not None else ""
    whose = ", ".join(f"{name} {each[name]}" for name in ("user", "account", "partition") if each[name])
    grave = f", {each['severity']}" if each["severity"] != "info" else ""
    yield f"{each['kind']} {scope_text(each)} {each['quantity']}{grave}{over}"
    parts = (
        ("", [each["text"]] if not each["details"] else each["details"]),
        ("whose", [whose + (f" ({each['name']})" if each["name"] else "")] if whose or each["name"] else []),
        ("when", [*_times(each)]),
        ("told", [*_told(each)]),
        ("why", [each["why"]] if each["why"] else []),
        ("muted", [*_muted(each)]),
        ("acted", [*_acted(each)]),
        ("right?", [*_verdict(each)]),
    )
    for title, lines in parts:
        for place, line in enumerate(lines):
            yield f"  {title if place == 0 else '':{_WIDTH}} {line}".rstrip()


def _times(each: Document) -> Iterator[str]:
    yield f"{minute(each['raised'])} raised"
    shown = {"raised": "told from then on", "changed": "rose", "resolved": "ended"}
    for past in each["history"]:
        if past["what"] == "raised" and past["time"] == each["raised"]:
            continue
        if past["what"] != "resolved" or each["resolved"] is None:
            yield f"{minute(past['time'])} {shown[past['what']]}: {past['text']}"
    if each["reopened"]:
        times = "once" if each["reopened"] == 1 else f"{each['reopened']} times"
        yield f"it was over and came back {times} within six hours"
    if each["resolved"] is not None:
        yield f"{minute(each['resolved'])} ended {_HOW.get(each['how'], '')}".rstrip()


def _told(each: Document) -> Iterator[str]:
    """Whom letters told; of channels the ledger knows only who has yet to take something."""
    for told in each["told"]:
        what = "that it is over" if told["over"] else "of it"
        yield f"{minute(told['time'])} {told['recipient']} by {told['notifier']}, {what}"
    for name in each["waiting"]:
        yield f"{name} has not taken it yet; it is tried again with every pass"
    if not each["told"] and each["mode"] != "told":
        yield f"nobody, it is {each['mode']}" if each["resolved"] is None else f"nobody, it was {each['mode']}"
    elif not each["told"] and each["resolved"] is not None:
        yield "whom letters told is not known any more"
    elif not each["told"]:
        yield "by no letter yet: the policy names nobody who gets any, or one waits for its turn"


def _muted(each: Document) -> Iterator[str]:
    mute = each["muted_by"]
    if mute is not None:
        what = f" ({mute['kind']})" if mute["kind"] else ""
        until = f"until {until_text(mute)}" if mute["until"] is not None else "forever"
        yield f"{mute['scope']}{what} by {mute['who']}, {until}: {mute['reason']}"
        yield f"`gpuwatch alerts unmute {mute['number']}` takes it back"


def _acted(each: Document) -> Iterator[str]:
    if each["acknowledged"] is not None:
        yield f"{minute(each['acknowledged'])} acknowledged by {each['acknowledged_by']}"
    if each["acted"] and each["acted"] != "acknowledged":
        yield _ACTED[each["acted"]]


def _verdict(each: Document) -> Iterator[str]:
    if each["verdict"]:
        yield f"this one was {each['verdict']}"
    elif each["resolved"] is not None:
        yield "nobody can tell of this one"
    yield f"of its kind here, in 90 days: {each['record']['words']}"
