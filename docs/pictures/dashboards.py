"""Makes gpuwatch-*.png: every dashboard, drawn with Grafana's own components over the data of a simulated cluster.

It takes about ten minutes: the record of forecasts begins when a hundred of them are over, and the job that is
looked at has to be well on its way. Needs Prometheus, InfluxDB, Chromium, Node.js and what grafana/render needs.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
RENDER = ROOT / "grafana" / "render"
WIDTH = 1440
SCRAPE_SECONDS = 5
RECORD_SECONDS, JOB_SECONDS = 1200.0, 900.0
MOST_BYTES = 250_000
SCRAPE = """\
global: {{scrape_interval: {seconds}s, scrape_timeout: {timeout}s}}
scrape_configs:
  - job_name: gpuwatch-agent
    static_configs: {agents}
  - job_name: gpuwatch-accounting
    static_configs: [{{targets: ["127.0.0.1:{accounting}"], labels: {{instance: accounting}}}}]
"""
SHOWN_JOB = """\
max by (job_id) (gpuwatch_job_progress_ratio{instance="gpu01"} > 0.5 < 0.9)
and on (job_id) max by (job_id) (gpuwatch_job_declared{quantity="energy",bound="likely"} == 180000)
and on (job_id) count by (job_id) (gpuwatch_device_job_share{instance="gpu01"}) == 2
"""
"""The job of two devices that overruns, past the middle of its run."""


@dataclass(frozen=True)
class Stores:
    """What is asked: a Prometheus and an InfluxDB."""

    prometheus: Any
    influxdb: Any
    database: str = "gpuwatch"


def tools() -> dict[str, Path] | None:
    """What it takes; None, and what is missing said, where something is."""
    from tests.integration.debian import binary

    found = {name: binary(name) for name in ("prometheus", "influxd", "node", "chromium")}
    missing = [name for name, place in found.items() if place is None]
    if not (RENDER / "node_modules" / "@grafana" / "ui").is_dir():
        missing.append("grafana/render/node_modules (npm ci)")
    if missing:
        print(f"no pictures of the dashboards: there is no {', no '.join(missing)}", file=sys.stderr)
        return None
    return {name: place for name, place in found.items() if place is not None}


@contextmanager
def cluster(places: Mapping[str, Path], folder: Path) -> Iterator[Stores]:
    """A simulated cluster that is scraped, and that pushes to InfluxDB."""
    from docs.pictures.fleet import NODES, fleet
    from tests.integration.debian import Prometheus, free_port
    from tests.integration.time_series import Adapter, InfluxDB

    ports = [free_port() for _ in (*NODES, "accounting")]
    influxdb = InfluxDB(places["influxd"], folder / "influxdb")
    influxdb.create("gpuwatch")
    adapter = Adapter(influxdb)
    (folder / "token").write_text(adapter.token)
    pushed = {"url": adapter.url, "bucket": "gpuwatch", "token_file": str(folder / "token")}
    agents = [
        {"targets": [f"127.0.0.1:{port}"], "labels": {"instance": node}}
        for node, port in zip(NODES, ports, strict=False)
    ]
    times = {"seconds": SCRAPE_SECONDS, "timeout": SCRAPE_SECONDS - 1}
    scraped = SCRAPE.format(agents=json.dumps(agents), accounting=ports[-1], **times)
    prometheus = Prometheus(places["prometheus"], folder / "prometheus", scraped)
    try:
        with fleet(folder / "fleet", ports, pushed):
            yield Stores(prometheus, influxdb)
    finally:
        prometheus.stop()
        adapter.stop()
        influxdb.stop()


def when(stores: Stores) -> tuple[str, float]:
    """The job to look at and since when it runs, once there is one and the record has begun."""
    from tests.integration.debian import wait_until

    def asked(expression: str) -> Any:
        return stores.prometheus.query(expression)

    for what in ("gpuwatch_forecast_coverage_ratio", "gpuwatch_alert_judged"):
        wait_until(lambda: asked(what), RECORD_SECONDS, f"a record: {what}", 2.0)  # noqa: B023
    found = wait_until(lambda: asked(SHOWN_JOB), JOB_SECONDS, "a job past its middle", 1.0)
    job = found[0][0]["job_id"]
    time.sleep(4 * SCRAPE_SECONDS)
    [(labels, _), *_] = asked(f'gpuwatch_job_progress_ratio{{job_id="{job}"}}')
    return job, float(labels["started"])


def shots(folder: Path, job: str, started: float, now: float) -> Sequence[Mapping[str, object]]:
    """What is drawn of each dashboard: of which time, with what chosen."""
    everything = dict.fromkeys(("cluster", "node", "accounting", "scope_kind", "uuid"), ".*")
    ranges = {"gpuwatch-job": now - started + 20, "gpuwatch-job-influxdb": now - started + 20}
    chosen = {"gpuwatch-node": {"node": "gpu01"}}
    of_job = {"job_id": job, "uuid": "demo:0|demo:1"}
    found = []
    for file in sorted((ROOT / "grafana" / "dashboards").glob("*.json")):
        own = {**(of_job if "-job" in file.stem else {}), **chosen.get(file.stem, {})}
        if file.stem == "gpuwatch-job-influxdb":
            own["node"] = "gpu01"
        settings = {
            "width": WIDTH, "scrape": SCRAPE_SECONDS,
            "from": int(now - ranges.get(file.stem, 600)), "to": int(now),
            "variables": {**everything, **own}, "shown": {"cluster": "demo", **own}, "database": "gpuwatch",
        }  # fmt: skip
        found.append({"dashboard": str(file), "picture": str(folder / f"{file.stem}.png"), "settings": settings})
    return found


def drawn(places: Mapping[str, Path], stores: Stores, asked: Sequence[Mapping[str, object]], folder: Path) -> None:
    """Have the page drawn and photographed; fails where a panel said that something is wrong."""
    subprocess.run([places["node"], "build.mjs"], cwd=RENDER, check=True, timeout=120)
    order = folder / "shots.json"
    addresses = {"prometheus": stores.prometheus.url, "influxdb": stores.influxdb.url}
    order.write_text(json.dumps({"browser": str(places["chromium"]), **addresses, "shots": list(asked)}))
    said = subprocess.run(
        [places["node"], "shot.mjs", str(order)], cwd=RENDER, check=True, timeout=300, stdout=subprocess.PIPE
    )
    for each in json.loads(said.stdout):
        if each["errors"] or each["bytes"] > MOST_BYTES:
            raise RuntimeError(f"{each['picture']}: {each['bytes']} bytes, {each['errors']}")


def make(folder: Path) -> list[Path]:
    """Write the pictures into a folder; none where something is missing that they need."""
    places = tools()
    if places is None:
        return []
    with (
        tempfile.TemporaryDirectory(prefix="gpuwatch-pictures-") as name,
        cluster(places, Path(name)) as stores,
    ):
        job, started = when(stores)
        asked = shots(folder, job, started, time.time() - SCRAPE_SECONDS)
        drawn(places, stores, asked, Path(name))
    return [Path(str(each["picture"])) for each in asked]


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))
    print(*make(Path(__file__).parent))
