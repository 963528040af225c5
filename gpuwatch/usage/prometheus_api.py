"""The query API that Prometheus, Thanos, Mimir and VictoriaMetrics have in common."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from gpuwatch import hygiene
from gpuwatch.errors import Unavailable
from gpuwatch.http.client import Client, Refused, TooMuch, json_of
from gpuwatch.model import EMPTY

_HARMLESS = ("PromQL info: ", "PromQL warning: ")
"""Remarks on how a query is written; whatever else a server warns of is data that it left out."""

_TOO_MUCH = frozenset({413, 422, 500, 503, 504})
"""Statuses by which servers say that a query loads too many samples, or takes too long (503: Prometheus).

Where that is not what they mean, little is lost by asking for less.
"""


class Sample(NamedTuple):
    """One series of an instant query: its labels and its value, which is finite."""

    labels: Mapping[str, str]
    value: float


class Series(NamedTuple):
    """One series of a range query: its labels, and its times (Unix seconds) and finite values, in order."""

    labels: Mapping[str, str]
    points: Sequence[tuple[float, float]]


class Told(NamedTuple):
    """What a server answered: the data, and its clock where it said it."""

    data: Mapping[str, Any]
    date: float | None


def less_may_do(error: Unavailable) -> bool:
    """Whether the same for a shorter time may well be answered."""
    return isinstance(error, TooMuch) or (isinstance(error, Refused) and error.status in _TOO_MUCH)


class QueryApi:
    """Asks one server. `date` is its clock at its last answer, Unix seconds.

    All raise `errors.Unavailable` with the reason, also where the answer is not whole.
    An answer is not whole where the server warns (Thanos without one of its stores, Mimir without a shard) or
    marks it as partial (a cluster of VictoriaMetrics): what is left out would be taken for what is not there.
    """

    def __init__(self, url: str, client: Client) -> None:
        self._url = f"{url}/api/v1"
        self._client = client
        self.date: float | None = None

    def vector(self, query: str, time: float) -> list[Sample]:
        """The series that a query gives as of `time` (Unix seconds); those that are not finite are left out."""
        return list(_samples(self.ask("query", {"query": query, "time": _text(time)}).data))

    def matrix(self, query: str, start: float, end: float, step_seconds: float) -> list[Series]:
        """The series that a query gives at `start` and every step after it, up to and with `end`."""
        parameters = {"query": query, "start": _text(start), "end": _text(end), "step": _text(step_seconds)}
        return list(_series(self.ask("query_range", parameters).data))

    def samples(self, selector: str, seconds: int, time: float) -> list[Series]:
        """Every sample that is stored, with its own time, of the `seconds` before `time` (Unix seconds).

        Whether one exactly at the beginning is among them differs from server to server.
        """
        parameters = {"query": f"{selector}[{seconds}s]", "time": _text(time)}
        return list(_series(self.ask("query", parameters).data))

    def ask(self, path: str, parameters: Mapping[str, str]) -> Told:
        """The data of an answer that is whole."""
        # VictoriaMetrics' cache does not know of samples that came late; the others do not know the parameter.
        answer = self._client.post(f"{self._url}/{path}", {**parameters, "nocache": "1"})
        self.date = answer.date
        document = json_of(answer.body)
        if not isinstance(document, dict) or document.get("status") != "success":
            raise Unavailable(f"what it answered is no success; {_reason(document)}")
        _check_whole(document)
        data = document.get("data")
        if not isinstance(data, dict):
            raise Unavailable("what it answered has no data")
        return Told(data, answer.date)


def _text(number: float) -> str:
    return f"{number:.3f}".rstrip("0").rstrip(".")


def _reason(document: object) -> str:
    told = document.get("error") if isinstance(document, dict) else None
    return hygiene.log(told[:300]) if isinstance(told, str) else "it does not say why"


def _check_whole(document: Mapping[str, Any]) -> None:
    if document.get("isPartial") is True:
        raise Unavailable("its answer is partial: some of its storage did not answer")
    warnings = document.get("warnings")
    for warning in warnings if isinstance(warnings, list) else ():
        if not str(warning).startswith(_HARMLESS):
            raise Unavailable(f"its answer may not be whole; {hygiene.log(str(warning)[:300])}")


def _result(data: Mapping[str, Any], kind: str) -> Iterator[tuple[Mapping[str, str], Mapping[str, Any]]]:
    """Each series with its labels, which are strings."""
    result = data.get("result")
    if data.get("resultType") != kind or not isinstance(result, list):
        raise Unavailable(f"what it answered is no {kind}")
    for series in result:
        if not isinstance(series, dict):
            raise Unavailable(f"what it answered is no {kind}")
        labels = series.get("metric", EMPTY)
        if not isinstance(labels, dict) or not all(isinstance(value, str) for value in labels.values()):
            raise Unavailable(f"a series of its {kind} has no labels")
        yield labels, series


def _samples(data: Mapping[str, Any]) -> Iterator[Sample]:
    for labels, series in _result(data, "vector"):
        _, value = _point(series.get("value"))
        if math.isfinite(value):
            yield Sample(labels, value)


def _series(data: Mapping[str, Any]) -> Iterator[Series]:
    for labels, series in _result(data, "matrix"):
        values = series.get("values")
        if not isinstance(values, list):
            raise Unavailable("a series of its matrix has no values")
        yield Series(labels, [point for point in map(_point, values) if math.isfinite(point[1])])


def _point(pair: object) -> tuple[float, float]:
    """Time and value, which is text: `NaN` and `+Inf` are none in JSON."""
    if not isinstance(pair, list) or len(pair) != 2:
        raise Unavailable(f"{hygiene.log(repr(pair)[:60])} is no time with a value")
    try:
        found = float(pair[0]), float(pair[1])
    except (TypeError, ValueError, OverflowError) as exc:
        raise Unavailable(f"{hygiene.log(repr(pair)[:60])} is no time with a value") from exc
    if not math.isfinite(found[0]):
        raise Unavailable(f"{hygiene.log(repr(pair)[:60])} is no time with a value")
    return found
