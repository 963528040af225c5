"""From points in InfluxDB back to the documents of the agents' usage API: what is asked, and what is made of it.

Of a row of counters the database is asked for two points in a span of time, which mostly are one: the latest, and
that with the greatest `seq`, which grows with every change. The latest is not the last where a clock was set back,
the greatest is not where an agent crashed and went on from what it had saved. Which jobs wrote at all is asked
before: a server looks into all of a shard for each field that is wanted, and of most jobs of a week there is
nothing in a minute. Pure.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeGuard

from gpuwatch import hygiene
from gpuwatch.model import points
from gpuwatch.usage.base import Delivery
from gpuwatch.usage.influxdb_api import Series, identifier, string

UNKNOWN_EPOCH = "unknown"
"""Where what happened is told without an epoch, and the node's is not known either."""

NANOSECONDS = 10**9
_DERIVED_SEQ = 2**52
_EXIT_CODE = re.compile(r"(?:^| )exit_code=(-?\d{1,9})(?: |$)")


class _Field(NamedTuple):
    """A field of a row, and where it goes in the row's document."""

    room: str
    label: str | None
    name: str


_ROW_FIELDS = (
    _Field("seq", None, points.ROW_NUMBERS["seq"]),
    *(_Field(room, None, name) for room, name in points.ROW_NUMBERS.items() if room != "seq"),
    _Field("open", None, points.ROW_OPEN),
    *(_Field(word, None, word) for word in points.ROW_WORDS),
    *(
        _Field(room, label, points.labelled(name, label))
        for room, (name, labels) in points.ROW_LABELLED.items()
        for label in labels
    ),
)
_SEQ = identifier(_ROW_FIELDS[0].name)
_ROW_TAGS = tuple(tag for tag in points.JOB_TAGS if tag != "cluster")
_EVENT_FIELDS = (*points.EVENT_WORDS, *points.EVENT_NUMBERS)
_EVENT_TAGS = tuple(tag for tag in points.EVENT_TAGS if tag != "cluster")
# A server that sends a series by itself repeats its columns: their names are short.
ROW_COLUMNS = ("time", *(f"f{number}" for number in range(len(_ROW_FIELDS))))
ONE_COLUMN = ("time", "f0")
EVENT_COLUMNS = ("time", *_EVENT_FIELDS)


class Span(NamedTuple):
    """From `start` until just before `end`, Unix seconds; of these nodes alone where any are named."""

    start: float
    end: float
    nodes: tuple[str, ...] = ()


class Row(NamedTuple):
    """A row of counters as a node wrote it at `time`; `document` is as in the usage API."""

    node: str
    epoch: str
    time: float
    document: dict[str, Any]

    @property
    def point(self) -> tuple[str, str, float, str, Any, str]:
        """What no other point has in common with it."""
        its = self.document
        return self.node, self.epoch, self.time, its["job_id"], its["started"], its["uuid"]


class Event(NamedTuple):
    """Something that was said or happened on a node; `facts` are those of its fields that it has."""

    node: str
    kind: str
    time: float
    facts: Mapping[str, Any]


class Late(NamedTuple):
    """A node said at `time` that its points from `since` until just before `until` came late."""

    time: float
    node: str
    since: int
    until: int


def jobs_query(cluster: str, span: Span) -> str:
    """What is asked for the jobs of a cluster that wrote in a span of time."""
    return _query(points.JOB, (f"max({_SEQ}) AS {identifier('f0')}",), cluster, span, ("job_id",))


SELECTORS = ("max", "last")
"""What selects the points of a row, by their `seq`."""


def rows_query(cluster: str, span: Span, jobs: Sequence[str], selector: str) -> str:
    """What is asked for the rows of some jobs of a cluster in a span of time, by one of `SELECTORS`."""
    others = (identifier(each.name) for each in _ROW_FIELDS[1:])
    fields = (
        f"{each} AS {identifier(column)}"
        for each, column in zip((f"{selector}({_SEQ})", *others), ROW_COLUMNS[1:], strict=True)
    )
    return _query(points.JOB, fields, cluster, span, _ROW_TAGS, _among("job_id", jobs))


def events_query(cluster: str, span: Span) -> str:
    """What is asked for the events of a cluster in a span of time."""
    fields = (f"{identifier(name)} AS {identifier(name)}" for name in _EVENT_FIELDS)
    return _query(points.EVENT, fields, cluster, span, _EVENT_TAGS)


def nodes_query(cluster: str, span: Span) -> str:
    """What is asked for the nodes of a cluster that wrote of their devices in a span of time."""
    name = "held_seconds_total"
    fields = (f"last({identifier(name)}) AS {identifier('f0')}",)
    return _query(points.DEVICE, fields, cluster, span, ("node",))


def _query(
    measurement: str, fields: Iterable[str], cluster: str, span: Span, tags: Sequence[str], *further: str
) -> str:
    conditions = (
        f"time >= {nanoseconds(span.start)}",
        f"time < {nanoseconds(span.end)}",
        # As agents write it.
        f"{identifier('cluster')} = {string(hygiene.label(cluster))}",
        *((_among("node", span.nodes),) if span.nodes else ()),
        *further,
    )
    return (
        f"SELECT {', '.join(fields)} FROM {identifier(measurement)} WHERE {' AND '.join(conditions)}"
        f" GROUP BY {', '.join(map(identifier, tags))}"
    )


def _among(tag: str, values: Sequence[str]) -> str:
    return f"({' OR '.join(f'{identifier(tag)} = {string(value)}' for value in values)})"


def nanoseconds(seconds: float) -> int:
    """Unix seconds as InfluxDB counts them, to whole milliseconds as points have them."""
    return round(seconds * 1000) * 10**6


def rows_of(found: Iterable[Series]) -> Iterator[Row]:
    """The rows that the answer to `rows_query` has."""
    for series in found:
        tags = series.tags
        for values in series.rows:
            yield Row(tags.get("node", ""), tags.get("epoch", ""), _seconds(values[0]), _row(tags, values))


def _row(tags: Mapping[str, str], values: Sequence[Any]) -> dict[str, Any]:
    document: dict[str, Any] = {
        "job_id": tags.get("job_id", ""), "started": _whole(tags.get("started")), "uuid": tags.get("uuid", ""),
        **{room: {} for room in points.ROW_LABELLED},
    }  # fmt: skip
    for (room, label, _), value in zip(_ROW_FIELDS, values[1:], strict=True):
        if label is None:
            document[room] = _plain(value)
        elif value is not None:
            document[room][label] = _plain(value)
    document["seq"] = _whole(document["seq"])
    # A row that is told closed is closed for good: where it is not said, it is not.
    document["open"] = document["open"] != 0
    document["model"] = document["model"] or ""
    return document


def _plain(value: Any) -> Any:
    """Numbers are floats, whatever JSON made of them; what else there is, is for the ledger to judge."""
    return float(value) if type(value) is int and abs(value) < 2**63 else value


def _whole(value: Any) -> Any:
    try:
        return int(value)
    except (TypeError, ValueError, OverflowError):
        return value


def events_of(found: Iterable[Series]) -> Iterator[Event]:
    """The events that the answer to `events_query` has."""
    for series in found:
        node, kind = series.tags.get("node", ""), series.tags.get("kind", "")
        for time, *values in series.rows:
            facts = {name: value for name, value in zip(_EVENT_FIELDS, values, strict=True) if value is not None}
            yield Event(node, kind, _seconds(time), facts)


def _seconds(time: Any) -> float:
    # By way of whole milliseconds, of which a float has the nearest value there is.
    return time // 10**6 / 1000 if type(time) is int else 0.0


def came_late(event: Event) -> Late | None:
    """What an event says of points that came late; None where it says no such thing."""
    since, until = event.facts.get("since"), event.facts.get("until")
    if event.kind != points.REPLAYED or not _time(since) or not _time(until) or until < since:
        return None
    return Late(event.time, event.node, math.floor(since), math.floor(until) + 1)


def _time(value: Any) -> TypeGuard[float]:
    return isinstance(value, int | float) and 0 <= value < 2**33


@dataclass(slots=True)
class _Told:
    """What one node said in one epoch, and the last time at which it was there."""

    rows: list[dict[str, Any]] = field(default_factory=list)
    declarations: list[dict[str, Any]] = field(default_factory=list)
    events: list[dict[str, Any]] = field(default_factory=list)
    seen: float = 0.0


def deliveries(
    cluster: str, origin: str, rows: Iterable[Row], events: Iterable[Event], end: float
) -> Iterator[Delivery]:
    """What was found in a span of time that ends at `end`: a delivery for each node and epoch.

    The latest epoch of a node has been seen until then. One that it left has not: its rows count as closed.
    """
    told: dict[tuple[str, str], _Told] = defaultdict(_Told)
    latest: dict[str, tuple[float, str]] = {}
    for row in rows:
        if row.node and row.epoch:
            its = told[row.node, row.epoch]
            its.rows.append(row.document)
            its.seen = max(its.seen, row.time)
            latest[row.node] = max(latest.get(row.node, (0.0, "")), (its.seen, row.epoch))
    for event in events:
        if event.node and event.kind != points.REPLAYED:
            _tell(told, event, latest.get(event.node, (0.0, UNKNOWN_EPOCH))[1])
    for (node, epoch), its in told.items():
        now = end if latest.get(node, (0.0, ""))[1] == epoch else its.seen
        yield Delivery(cluster, node, epoch, None, now, its.rows, its.declarations, its.events, f"{origin} {node}")


def _tell(told: dict[tuple[str, str], _Told], event: Event, current: str) -> None:
    if event.kind == points.DECLARATION:
        # An entry of the journal is known by its epoch: which that is must not depend on what else was found.
        its = told[event.node, str(event.facts.get("epoch") or UNKNOWN_EPOCH)]
        its.declarations.append(_declaration(event))
    else:
        told[event.node, current].events.append(_event(event))


def _declaration(event: Event) -> dict[str, Any]:
    facts = event.facts
    seq = facts.get("seq")
    return {
        "seq": _derived(event) if seq is None else _whole(seq), "time": event.time, "job_id": facts.get("job_id"),
        "started": _whole(facts.get("started")), "channel": facts.get("channel"), "uid": None, "pid": None,
        "text": facts.get("text"),
    }  # fmt: skip


def _derived(event: Event) -> int:
    """A number for a declaration that has none, always the same one."""
    named = repr((event.node, event.time, event.facts.get("job_id"), event.facts.get("text")))
    digest = hashlib.sha256(named.encode(errors="replace")).digest()
    return _DERIVED_SEQ + int.from_bytes(digest[:6])


def _event(event: Event) -> dict[str, Any]:
    facts = {name: value for name, value in event.facts.items() if name != "epoch"}
    facts |= {name: _whole(facts[name]) for name in ("seq", "started") if name in facts}
    if event.kind == "run_ended" and (code := _EXIT_CODE.search(str(facts.get("text", "")))):
        facts["exit_code"] = int(code[1])
    return {**facts, "time": event.time, "kind": event.kind}
