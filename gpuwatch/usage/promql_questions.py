"""What `promql` asks for each window, and the matchers that an operator adds. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import NamedTuple

from gpuwatch.model import Metric, Usage, metrics_of
from gpuwatch.usage.prometheus_api import Sample
from gpuwatch.usage.windows import Window

Vector = Callable[[str, float], list[Sample]]

JOB = ("job_id", "started")
ROW = (*JOB, "uuid", "epoch")
TARGET = ("job", "instance")
"""What Prometheus calls a place that it scrapes; other labels may differ between two that scrape the same."""

COUNTERS: tuple[tuple[str, Metric], ...] = tuple(metrics_of(Usage))
"""The measures of a row that /metrics has, by the names of the usage API."""

REACH_SECONDS = 1200
"""How much further back shares are looked for: an ended job is shown for 15 minutes without one."""

SILENT_SECONDS = 3600
"""How much further back agents are looked for, to see who fell silent."""

STEP_SECONDS = 15
"""The times of samples are looked for at this distance; more often than most scrape there is nothing new."""

CHANGE_SECONDS = 120
"""Progress changes between two samples, the first of which may be this old when the window begins."""

_MATCHER = re.compile(r'\s*([a-zA-Z_][a-zA-Z0-9_]*)\s*(=~|!~|!=|=)\s*("(?:[^"\\\n]|\\.)*")\s*(?:,|$)')


@dataclass(frozen=True, slots=True)
class Matchers:
    """Conditions that are added to every selector: label, operator, quoted value."""

    each: tuple[tuple[str, str, str], ...] = ()

    def __str__(self) -> str:
        return ",".join("".join(matcher) for matcher in self.each)

    @property
    def name_cluster(self) -> bool:
        """Whether they say which cluster is meant."""
        return any(label == "cluster" for label, _, _ in self.each)

    def without_cluster(self) -> Matchers:
        """The others: agents name their cluster, and then an external label of that name is not added."""
        return replace(self, each=tuple(matcher for matcher in self.each if matcher[0] != "cluster"))


def matchers(text: str) -> Matchers:
    """Read `cluster="eu1",job=~"gpuwatch.*"`; raises `ValueError` where it is something else."""
    found: list[tuple[str, str, str]] = []
    at = 0
    while text[at:].strip():
        match = _MATCHER.match(text, at)
        if match is None or match[1] == "__name__":
            raise ValueError('must be matchers as in cluster="eu1",job=~"gpuwatch.*"')
        found.append((match[1], match[2], match[3]))
        at = match.end()
    return Matchers(tuple(found))


class Lives(NamedTuple):
    """The lives of agents, with the times of their last samples, and which epochs the matchers mean.

    `ours` is None where the matchers do not say which cluster is meant. `dropped` is where a page was cut.
    """

    agents: list[Sample]
    ours: frozenset[str] | None
    dropped: list[Sample]


class Found(NamedTuple):
    """What the queries of a window gave. Values of `*_at` and `*_since` are times of last and first samples."""

    lives: Lives
    counters: Mapping[str, list[Sample]]
    rows_at: list[Sample]
    shares: list[Sample]
    shares_at: list[Sample]
    devices: list[Sample]
    declared: list[Sample]
    declared_since: list[Sample]
    progress: list[Sample]
    progress_start: list[Sample]
    progress_at: list[Sample]
    progress_since: list[Sample]
    progress_changes: list[Sample]


@dataclass(frozen=True, slots=True)
class Questions:
    """The queries of one window, as of its end, that reach `overlap` seconds further back than it does."""

    vector: Vector
    matchers: Matchers
    window: Window
    overlap: int

    def ask(self) -> Found:
        """All of them; raises what `vector` does."""
        declared = "gpuwatch_job_declared"
        bounds = (*JOB, *TARGET, "quantity", "bound")
        share, share_labels = "gpuwatch_device_job_share", ("uuid", *JOB, *TARGET, "basis")
        back = self._range + REACH_SECONDS
        return Found(
            self.lives(),
            dict(self._counters()),
            self._last_at("gpuwatch_job_held_seconds_total", (*ROW, *TARGET), self._range),
            self._value("last", share, share_labels, back),
            self._last_at(share, share_labels, back),
            self._value("max", "gpuwatch_device_info", ("uuid", "model", *TARGET), back),
            self._value("last", declared, bounds, self._range),
            self._first_at(declared, bounds, self._range),
            *self._progress(),
        )

    def lives(self) -> Lives:
        """Whose series these are."""
        return Lives(self._agents(), self._ours(), self._dropped())

    @property
    def begin(self) -> int:
        """Where what is read begins (Unix seconds)."""
        return self.window.start - self.overlap

    @property
    def _range(self) -> int:
        return self.window.seconds + self.overlap

    def _counters(self) -> Iterator[tuple[str, list[Sample]]]:
        """Of a counter of one epoch, which only grows, the greatest value is the last, whoever scraped it."""
        for name, metric in COUNTERS:
            yield name, self._value("max", metric.name, (*ROW, *metric.labels, *TARGET), self._range)

    def _progress(self) -> Iterator[list[Sample]]:
        labels, seconds = (*JOB, *TARGET), self.window.seconds + CHANGE_SECONDS
        ratio = "gpuwatch_job_progress_ratio"
        yield self._value("last", ratio, labels, seconds)
        yield self._value("last", "gpuwatch_job_progress_start_ratio", labels, seconds)
        yield self._last_at(ratio, labels, seconds)
        yield self._first_at(ratio, labels, seconds)
        yield self._changes(ratio, labels, seconds)

    def _dropped(self) -> list[Sample]:
        """Where rows may be missing though they are open: the page had more series than its limit."""
        name = "gpuwatch_sink_dropped_total"
        changes = self._changes(name, ("sink", "reason", *TARGET), self._range)
        return [each for each in changes if each.value and each.labels.get("reason") == "series_limit"]

    def _agents(self) -> list[Sample]:
        labels = ("nodename", "cluster", "exported_cluster", "epoch", *TARGET)
        selector = f"gpuwatch_agent_info{{{self.matchers.without_cluster()}}}"
        seconds = self._range + SILENT_SECONDS
        # One that lived between two steps is there, too: it is known to have been when the window begins.
        lived = f"max_over_time({selector}[{self._range}s]) * 0 + {self.begin + 1}"
        return self._query("max", labels, f"{self._last(selector, seconds)} or {lived}")

    def _ours(self) -> frozenset[str] | None:
        """The epochs of the agents that the matchers mean, where it is they that tell the cluster."""
        if not self.matchers.name_cluster:
            return None
        found = self._value("max", "gpuwatch_device_held_seconds_total", ("epoch",), self._range)
        return frozenset(sample.labels.get("epoch", "") for sample in found)

    def _value(self, which: str, name: str, labels: tuple[str, ...], seconds: int) -> list[Sample]:
        return self._query("max", labels, f"{which}_over_time({self._selector(name)}[{seconds}s])")

    def _last_at(self, name: str, labels: tuple[str, ...], seconds: int) -> list[Sample]:
        return self._query("max", labels, self._last(self._selector(name), seconds))

    def _first_at(self, name: str, labels: tuple[str, ...], seconds: int) -> list[Sample]:
        selector = self._selector(name)
        return self._query("min", labels, f"{self._times('min', selector, seconds)} or timestamp({selector})")

    def _last(self, selector: str, seconds: int) -> str:
        """The time of the last sample: exactly where it is a recent one, else by steps."""
        return f"timestamp({selector}) or {self._times('max', selector, seconds)}"

    def _changes(self, name: str, labels: tuple[str, ...], seconds: int) -> list[Sample]:
        return self._query("max", labels, f"changes({self._selector(name)}[{seconds}s])")

    def _times(self, which: str, selector: str, seconds: int) -> str:
        return f"{which}_over_time(timestamp({selector})[{seconds}s:{STEP_SECONDS}s])"

    def _selector(self, name: str) -> str:
        return f"{name}{{{self.matchers}}}"

    def _query(self, which: str, labels: tuple[str, ...], expression: str) -> list[Sample]:
        return self.vector(f"{which} by ({','.join(labels)}) ({expression})", self.window.end)
