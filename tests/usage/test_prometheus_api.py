"""The query API: what is asked, what is taken of an answer, and which answers are none."""

from __future__ import annotations

import json
from typing import Any

import pytest

from gpuwatch.errors import Unavailable
from gpuwatch.http.client import Client, Refused, ServerSettings, TooMuch
from gpuwatch.usage.prometheus_api import QueryApi, Sample, Series, less_may_do
from tests.usage.fake_prometheus import Answer, FakePrometheus, refused, success


def api(fake: FakePrometheus, path: str = "", **settings: Any) -> QueryApi:
    return QueryApi(fake.url + path, Client(ServerSettings(**{"timeout_seconds": 2.0, **settings})))


def failure(answer: Answer) -> Unavailable:
    """What an answer to an instant query fails with."""
    with FakePrometheus(lambda _: answer) as fake, pytest.raises(Unavailable) as failed:
        api(fake).vector("up", 1.0)
    return failed.value


def test_an_instant_query_gives_labels_and_values() -> None:
    """What is not finite is no value."""
    result = [
        {"metric": {"a": "1"}, "value": [1.5, "2.25"]},
        {"metric": {"a": "2"}, "value": [1.5, "NaN"]},
        {"metric": {}, "value": [1.5, "+Inf"]},
    ]
    with FakePrometheus(lambda _: success(result)) as fake:
        found = api(fake, "/prometheus").vector("sum(up)", 1_764_000_000.25)

    assert [Sample({"a": "1"}, 2.25)] == found
    (query,) = fake.asked
    assert "/prometheus/api/v1/query" == query.path
    assert {"query": "sum(up)", "time": "1764000000.25", "nocache": "1"} == query.parameters


def test_a_range_query_gives_points() -> None:
    """In order, without those that are not finite."""
    result = [{"metric": {"a": "1"}, "values": [[1, "2"], [2, "NaN"], [3, "4e3"]]}]
    with FakePrometheus(lambda _: success(result, "matrix")) as fake:
        found = api(fake).matrix("up", 1, 3, 1)

    assert [Series({"a": "1"}, [(1.0, 2.0), (3.0, 4000.0)])] == found
    (query,) = fake.asked
    assert ("/api/v1/query_range", "1", "3", "1") == (
        query.path, query.parameters["start"], query.parameters["end"], query.parameters["step"]
    )  # fmt: skip


@pytest.mark.parametrize(
    ("more", "why"),
    [
        ({"warnings": ["No StoreAPIs matched"]}, "its answer may not be whole; No StoreAPIs matched"),
        ({"isPartial": True}, "its answer is partial: some of its storage did not answer"),
    ],
)
def test_an_answer_that_leaves_something_out_is_a_failure(more: dict[str, Any], why: str) -> None:
    """What is left out would be taken for what is not there."""
    assert why == str(failure(success([], **more)))


def test_a_remark_on_the_query_is_no_failure() -> None:
    """Nor a list of warnings that is empty."""
    more: dict[str, Any] = {"warnings": ["PromQL info: metric might not be a counter"], "isPartial": False}
    with FakePrometheus(lambda _: success([], **more)) as fake:
        assert [] == api(fake).vector("up", 1.0)


@pytest.mark.parametrize(
    ("document", "why"),
    [
        ({"status": "error", "error": "parse \x1b error"}, "what it answered is no success; parse \\x1b error"),
        ([], "what it answered is no success; it does not say why"),
        ({"status": "success"}, "what it answered has no data"),
        (
            {"status": "success", "data": {"resultType": "scalar", "result": [1, "1"]}},
            "what it answered is no vector",
        ),
        ({"status": "success", "data": {"resultType": "vector", "result": [1]}}, "what it answered is no vector"),
    ],
)
def test_an_answer_of_another_shape_is_a_failure(document: object, why: str) -> None:
    """It says what is wrong with it."""
    assert why == str(failure((200, {}, json.dumps(document).encode())))


@pytest.mark.parametrize(
    "series",
    [
        {"metric": {"a": 1}, "value": [1, "1"]},
        {"metric": "a", "value": [1, "1"]},
        {"metric": {}},
        {"metric": {}, "value": [1]},
        {"metric": {}, "value": [1, "one"]},
        {"metric": {}, "value": [1, None]},
        {"metric": {}, "value": ["NaN", "1"]},
        {"metric": {}, "values": [[1, "1"]]},
    ],
)
def test_a_series_of_another_shape_is_a_failure(series: object) -> None:
    """Nothing of the answer is taken."""
    assert failure(success([series]))


@pytest.mark.parametrize(
    ("answer", "less"),
    [
        (refused(422, "query processing would load too many samples into memory"), True),
        (refused(500, "internal"), True),
        (refused(503, "query timed out in expression evaluation"), True),
        (refused(504, "gateway"), True),
        (refused(400, "parse error"), False),
        (refused(401, "unauthorized"), False),
        (refused(502, "no server"), False),
    ],
)
def test_a_refusal_says_why_and_whether_less_may_do(answer: Answer, less: bool) -> None:
    """A server that is overwhelmed is asked for less, one that refuses for another reason is not."""
    error = failure(answer)

    assert isinstance(error, Refused)
    assert str(error).endswith(json.loads(answer[2])["error"])
    assert less == less_may_do(error)


def test_less_may_do_where_it_took_too_long() -> None:
    """A slow server is asked for less, one that is not there is not."""
    assert (True, False) == (less_may_do(TooMuch("timed out")), less_may_do(Unavailable("refused")))
