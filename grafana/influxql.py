"""What is asked of InfluxDB 1.x, or of a later one through its 1.x query API: InfluxQL."""

from __future__ import annotations

from typing import Any

from grafana_foundation_sdk.cog.builder import Builder
from grafana_foundation_sdk.cog.variants import Dataquery

from grafana.blocks import Queries, store

KIND = "influxdb"
REFS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
NODES = '"cluster" =~ /^$cluster$/ AND "node" =~ /^$node$/ AND $timeFilter'
EACH_DEVICE = '"node", "uuid"'
EACH_ROW = '"node", "job_id", "started", "uuid", "epoch"'
BUCKET = "time($__interval)"


class Asked(Dataquery, Builder[Any]):
    """One query; the SDK has no builder for this data source."""

    def __init__(self, query: str, alias: str, ref: str, result: str) -> None:
        self._made = {
            "query": query, "rawQuery": True, "resultFormat": result, "refId": ref, "datasource": store(KIND),
            "policy": "default", "tags": [], "measurement": "", "groupBy": [], "select": [],
        } | ({"alias": alias} if alias else {})  # fmt: skip

    def build(self) -> Asked:
        """Itself: it has nothing to be set afterwards."""
        return self

    def to_json(self) -> dict[str, Any]:
        """As Grafana keeps it."""
        return self._made


def lines(*asked: tuple[str, str]) -> Queries:
    """Names ($tag_… and $col are filled in) and queries, over the dashboard's time range."""
    return [Asked(query, name, ref, "time_series") for ref, (name, query) in zip(REFS, asked, strict=False)]


def columns(*queries: str) -> Queries:
    """Queries whose tags and columns become those of a table."""
    return [Asked(query, "", ref, "table") for ref, query in zip(REFS, queries, strict=False)]


def grown(measurement: str, field: str, where: str, each: str) -> str:
    """By how much a counter has grown in the time range, over all of its series; restarts are no growth."""
    inner = f'SELECT spread("{field}") AS "grown" FROM "{measurement}" WHERE {where} GROUP BY {each}'
    return f'SELECT sum("grown") FROM ({inner})'


def pace(measurement: str, field: str, where: str, each: str) -> str:
    """The mean, over all series, of how fast a counter grows a second: where it counts seconds, a part of them."""
    inner = (
        f'SELECT non_negative_derivative("{field}", 1s) AS "pace" FROM "{measurement}" WHERE {where} GROUP '
        f"BY {each}"
    )
    return f'SELECT mean("pace") FROM ({inner}) WHERE $timeFilter GROUP BY {BUCKET} fill(none)'


def total(measurement: str, field: str, where: str, each: str) -> str:
    """The sum over all series of the mean of a gauge."""
    inner = (
        f'SELECT mean("{field}") AS "mean" FROM "{measurement}" WHERE {where} GROUP BY {BUCKET}, {each} fill(none)'
    )
    return f'SELECT sum("mean") FROM ({inner}) WHERE $timeFilter GROUP BY {BUCKET} fill(none)'


class Annotation(Builder[Any]):
    """Events, drawn over every graph of the page."""

    def __init__(self, name: str, query: str, text: str, colour: str) -> None:
        self._made = {
            "name": name, "enable": True, "hide": False, "iconColor": colour, "datasource": store(KIND),
            "target": {
                "query": query, "rawQuery": True, "textEditor": True, "fromAnnotations": True, "refId": "Anno",
                "textColumn": text, "tagsColumn": "uuid", "titleColumn": "", "timeEndColumn": "", "name": name,
            },
        }  # fmt: skip

    def build(self) -> dict[str, Any]:
        """As Grafana's annotations of InfluxDB are written."""
        return self._made


def to_job() -> str:
    """The address of a job's page, from a cell that names the job."""
    page = "/d/gpuwatch-job-influxdb/gpuwatch-job-influxdb"
    return f"{page}?var-job_id=${{__value.raw}}&var-datasource=${{datasource}}&${{__url_time_range}}"
