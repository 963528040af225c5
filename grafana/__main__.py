"""`python -m grafana` writes the dashboards; `render` is what a test compares with them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from grafana_foundation_sdk.cog.encoder import JSONEncoder

from grafana.blocks import Page, built
from grafana.estimates import estimates
from grafana.fleet import fleet
from grafana.fleet_influxdb import fleet_influxdb
from grafana.itself import itself
from grafana.job import job
from grafana.job_influxdb import job_influxdb
from grafana.node import node

FOLDER = Path(__file__).parent / "dashboards"
PAGES: Mapping[str, Callable[[], Page]] = {
    "gpuwatch-fleet.json": fleet,
    "gpuwatch-node.json": node,
    "gpuwatch-job.json": job,
    "gpuwatch-estimates.json": estimates,
    "gpuwatch-itself.json": itself,
    "gpuwatch-fleet-influxdb.json": fleet_influxdb,
    "gpuwatch-job-influxdb.json": job_influxdb,
}


def render(name: str) -> str:
    """The JSON of the dashboard in file `name`; the same bytes each time."""
    return JSONEncoder(sort_keys=True, indent=2, ensure_ascii=False).encode(built(PAGES[name]()).build()) + "\n"


if __name__ == "__main__":
    for each in PAGES:
        (FOLDER / each).write_text(render(each), encoding="utf-8")
