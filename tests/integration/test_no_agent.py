"""A site with Slurm and Prometheus, and no agent of ours: one accounting process gives hours, budgets and energy.

Real are Slurm with its database, Prometheus, and `gpuwatch accounting` with a configuration of a few lines; what
is scraped is a page in dcgm-exporter's format whose counters rise.
"""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from gpuwatch.accounting.views import views_since
from gpuwatch.ledger.store import open_to_read
from gpuwatch.web.api_documents import job_document
from tests.cli.command import environment, gpuwatch, start
from tests.integration.debian import Prometheus, stop, wait_until
from tests.integration.exporters import WATTS, Exporter
from tests.integration.slurm import Slurm, missing

pytestmark = [pytest.mark.integration, pytest.mark.xdist_group("slurm")]

SECONDS_TO_SETTLE = 40.0

CONFIGURATION = """\
[site]
cluster = "gwtest"
[accounting]
listen = "127.0.0.1:0"
socket = ""
ledger = "sqlite:///{ledger}"
interval_seconds = 1.0
schedulers = ["slurm"]
usage = ["{usage}"]
[schedulers.slurm]
{commands}
"""

EXPORTER = """\
[usage.exporter]
url = "{url}"
node_label = "nodename"
window_seconds = 60
first_seconds = 60
lag_seconds = 3
"""


@pytest.fixture(scope="module")
def slurm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Slurm]:
    """A running Slurm whose accounts have a budget, and whose nodes are named for this run alone."""
    if why := missing():
        pytest.skip(f"no Slurm here: {why}")
    with Slurm(tmp_path_factory.mktemp("slurm"), f"gwx{os.getpid():x}n") as started:
        for account in ("vision", "speech"):
            started.says("sacctmgr", "-i", "add", "account", account)
            started.says("sacctmgr", "-i", "add", "user", "root", f"account={account}")
            started.says("sacctmgr", "-i", "modify", "account", account, "set", "GrpTRESMins=gres/gpu=6000")
        yield started


@contextmanager
def accounting(slurm: Slurm, folder: Path, usage: str, more: str = "") -> Iterator[tuple[Path, Path]]:
    """The process, and where its ledger and its log are."""
    folder.mkdir()
    ledger, log, configuration = folder / "ledger.db", folder / "log", folder / "gpuwatch.toml"
    names = ("sacct", "sacctmgr", "scontrol", "sreport", "squeue", "sshare")
    commands = "\n".join(f'{name} = "{slurm.folder / "bin" / name}"' for name in names)
    configuration.write_text(CONFIGURATION.format(ledger=ledger, usage=usage, commands=commands) + more)
    with log.open("wb") as file:
        arguments = ("accounting", "--config", str(configuration))
        process = start(*arguments, env=environment(), stdout=file, stderr=subprocess.STDOUT)
    try:
        wait_until(ledger.exists, SECONDS_TO_SETTLE, f"accounting has a ledger: {log.read_text()}")
        yield ledger, log
    finally:
        stop(process)


def says(ledger: Path, *command: str) -> Any:
    """What a command of ours says of a ledger, out of JSON."""
    done = gpuwatch(*command, "--json", "--ledger", str(ledger))
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def elapsed(slurm: Slurm, job: str) -> int:
    """How long a job ran, by Slurm's own accounting."""

    def ended() -> int:
        line = slurm.says("sacct", "-nXP", "-j", job, "--format=ElapsedRaw,End").strip()
        seconds, _, end = line.partition("|")
        return int(seconds) if seconds and end not in ("", "Unknown") else 0

    found: int = wait_until(ended, SECONDS_TO_SETTLE, f"sacct has the end of job {job}", 0.5)
    return found


def job_of(ledger: Path, job: str) -> dict[str, Any]:
    """What the ledger says of a job; empty where it does not know it."""
    now = time.time()
    store = open_to_read(f"sqlite:///{ledger}")
    try:
        with store.reading() as connection:
            views = views_since(connection, now - 3600.0, now)
            return next((job_document(view) for view in views if view.job.job_id == job), {})
    finally:
        store.close()


def test_hours_budgets_and_energy_without_an_agent(
    slurm: Slurm, prometheus_server: Callable[[str], Prometheus], tmp_path: Path
) -> None:
    """Two boards of a node for some seconds: Slurm's hours, and the energy that was counted meanwhile."""
    node = slurm.nodes[0]
    exporter = Exporter("dcgm-exporter.prom")
    try:
        server = prometheus_server(
            "global: {scrape_interval: 1s}\nscrape_configs:\n  - job_name: dcgm\n    static_configs:\n"
            f"      - targets: [{exporter.address}]\n        labels: {{nodename: {node}}}\n"
        )
        with accounting(slurm, tmp_path / "exporter", "exporter", EXPORTER.format(url=server.url)) as (
            ledger,
            log,
        ):
            scraped = 'count_over_time(up{job="dcgm"}[1m]) >= 3'
            wait_until(lambda: server.query(scraped), SECONDS_TO_SETTLE, "Prometheus scrapes the exporter", 0.2)
            job = slurm.submit("sleep 6", "--gres=gpu:2", f"--nodelist={node}", "--account=vision")
            seconds = elapsed(slurm, job)

            def measured() -> bool:
                told = job_of(ledger, job)
                joules = sum(told.get("energy_joules", {}).values())
                # A window may end shortly before the job does.
                return joules >= 0.96 * seconds * sum(WATTS) and told["held_device_seconds"] > 2 * seconds - 1e-3

            try:
                wait_until(measured, SECONDS_TO_SETTLE, "the job's energy is known", 0.5)
            except AssertionError as exc:
                raise AssertionError(f"{exc}: {job_of(ledger, job)}; {log.read_text()[-3000:]}") from exc
            found = job_of(ledger, job)
            budget = says(ledger, "budget", "vision")
    finally:
        exporter.stop()

    assert found["allocated_device_seconds"] == pytest.approx(2 * seconds)
    assert found["held_device_seconds"] == pytest.approx(2 * seconds)
    assert sum(found["energy_joules"].values()) == pytest.approx(seconds * sum(WATTS), rel=0.05)
    assert "counter" in found["energy_joules"]
    assert found["nodes"] == [node]
    assert (budget["granted_hours"], budget["recorded_hours"]) == (100.0, pytest.approx(2 * seconds / 3600))


def test_hours_and_budgets_with_the_batch_system_alone(slurm: Slurm, tmp_path: Path) -> None:
    """No measurement, no energy: what was allocated, and what is left of it."""
    with accounting(slurm, tmp_path / "none", "none") as (ledger, _):
        job = slurm.submit("sleep 3", "--gres=gpu:2", "--account=speech")
        seconds = elapsed(slurm, job)
        wait_until(
            lambda: job_of(ledger, job).get("state") == "ended", SECONDS_TO_SETTLE, "the ledger has the job", 0.5
        )
        found = job_of(ledger, job)
        budget = says(ledger, "budget", "speech")

    assert found["allocated_device_seconds"] == pytest.approx(2 * seconds)
    assert not found["energy_joules"]
    assert budget["granted_hours"] == 100.0
    assert budget["recorded_hours"] == pytest.approx(2 * seconds / 3600)
