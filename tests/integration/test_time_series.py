"""The servers that the tests of InfluxDB drive are real, and the adapter passes on what they say."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest

from tests.integration.time_series import Adapter, InfluxDB, VictoriaMetrics

pytestmark = pytest.mark.integration


@pytest.fixture
def adapter(influxdb: InfluxDB) -> Iterator[Adapter]:
    """An adapter in front of the database `points`."""
    influxdb.create("points")
    adapter = Adapter(influxdb)
    yield adapter
    adapter.stop()


def write(adapter: Adapter, lines: bytes, token: str = "tok") -> httpx.Response:
    return httpx.post(
        f"{adapter.url}/api/v2/write",
        params={"bucket": "points", "precision": "ns"},
        content=lines,
        headers={"Authorization": f"Token {token}"},
        timeout=10.0,
    )


def test_adapter_passes_lines_on_to_the_real_parser(adapter: Adapter, influxdb: InfluxDB) -> None:
    """A good line is stored; of a bad one its parser says why."""
    good = write(adapter, b"weather,place=a warm=1.5 1700000000000000000")
    bad = write(adapter, b"weather,place=a")

    assert (204, 1) == (good.status_code, influxdb.count("points", "weather", "warm"))
    assert (400, True) == (bad.status_code, "unable to parse" in bad.text)


def test_adapter_asks_for_the_token(adapter: Adapter) -> None:
    """As InfluxDB 1.8 and later do."""
    assert 401 == write(adapter, b"weather warm=1", token="wrong").status_code


def test_victoria_metrics_takes_lines_and_answers_promql(victoria_metrics: VictoriaMetrics) -> None:
    """A field becomes a series named after measurement and field."""
    body = b"weather,place=a warm=1.5 1790000000000000000"
    httpx.post(f"{victoria_metrics.url}/api/v2/write?precision=ns", content=body, timeout=10.0).raise_for_status()
    victoria_metrics.flush()

    assert [({"__name__": "weather_warm", "place": "a"}, 1.5)] == victoria_metrics.query(
        "weather_warm", 1790000001.0
    )
