"""Answers the few forms of queries that `promql` asks, over samples in memory, as a real server would."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from itertools import pairwise

from tests.usage.agent_pages import Scraped
from tests.usage.fake_prometheus import Answer, Query, refused, success

_QUERY = re.compile(
    r"(?P<by>max|min) by \((?P<labels>[^)]*)\) \((?:timestamp\(\w+\{[^}]*\}\) or )?(?P<function>\w+)\("
    r"(?P<times>timestamp\()?(?P<name>\w+)\{(?P<matchers>[^}]*)\}\)?\[(?P<seconds>\d+)s(?::\d+s)?\]\)(?: or .*)?\)"
)
_MATCHER = re.compile(r'(\w+)(=~|!~|!=|=)"([^"]*)"')
_HOLDS = {
    "=": lambda value, wanted: value == wanted,
    "!=": lambda value, wanted: value != wanted,
    "=~": lambda value, wanted: re.fullmatch(wanted, value) is not None,
    "!~": lambda value, wanted: re.fullmatch(wanted, value) is None,
}
_FUNCTIONS = {
    "max_over_time": max,
    "min_over_time": min,
    "last_over_time": lambda values: values[-1],
    "changes": lambda values: sum(a != b for a, b in pairwise(values)),
}


class SmallPromql:
    """Samples and what is asked of them. `most` is how many samples of a series a query may load."""

    def __init__(self, samples: Iterable[Scraped], most: int = 10**9) -> None:
        self.most = most
        self._series: dict[tuple[str, frozenset[tuple[str, str]]], list[tuple[float, float]]] = defaultdict(list)
        self.add(samples)

    def add(self, samples: Iterable[Scraped]) -> None:
        """More of them, in any order."""
        for name, labels, time, value in samples:
            self._series[name, frozenset(labels.items())].append((time, value))
        for points in self._series.values():
            points.sort()

    def answer(self, query: Query) -> Answer:
        """The answer to an instant query."""
        if query.parameters["query"] == "vector(1)":
            return success([{"metric": {}, "value": [0, "1"]}])
        match = _QUERY.fullmatch(query.parameters["query"])
        assert match, query.parameters["query"]
        at = float(query.parameters["time"])
        seconds = int(match["seconds"])
        found: dict[tuple[tuple[str, str], ...], float] = {}
        for labels, points in self._selected(match["name"], match["matchers"]):
            within = [point for point in points if at - seconds < point[0] <= at]
            if len(within) > self.most:
                return refused(422, "query processing would load too many samples")
            if within:
                value = _FUNCTIONS[match["function"]]([point[0 if match["times"] else 1] for point in within])
                kept = tuple((name, labels[name]) for name in match["labels"].split(",") if labels.get(name))
                found[kept] = {"max": max, "min": min}[match["by"]](value, found.get(kept, value))
        return success([{"metric": dict(kept), "value": [at, repr(value)]} for kept, value in found.items()])

    def _selected(self, name: str, matchers: str) -> Iterable[tuple[Mapping[str, str], list[tuple[float, float]]]]:
        wanted = _MATCHER.findall(matchers)
        for (series, pairs), points in list(self._series.items()):
            labels = dict(pairs)
            if series == name and all(_HOLDS[op](labels.get(label, ""), value) for label, op, value in wanted):
                yield labels, points
