"""The whole mission once, as a newcomer sees it: `gpuwatch up --demo`, scraped by a real Prometheus."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.integration.debian import Prometheus, run, scrape_config, wait_until

pytestmark = [pytest.mark.integration, pytest.mark.xdist_group("demo")]

START_SECONDS = 60.0
STOP_SECONDS = 15.0
ALERT_SECONDS = 180.0
WASTE_SECONDS = 150.0
TOLERANCE = 1e-6


@dataclass(frozen=True)
class Demo:
    """A running demo: its process, what it printed so far, and where it answers."""

    process: subprocess.Popen[bytes]
    log: Path
    directory: Path

    @property
    def output(self) -> str:
        """Everything it printed."""
        return self.log.read_text(encoding="utf-8")

    def address(self, daemon: str) -> str:
        """HOST:PORT of a daemon, from the line it printed; empty until then."""
        if self.process.poll() is not None:
            raise AssertionError(f"the demo ended: {self.output[-3000:]}")
        found = re.search(rf"^{daemon} +http://(\S+)/$", self.output, flags=re.MULTILINE)
        return found[1] if found else ""

    def leftovers(self) -> list[str]:
        """The command lines of living processes that have to do with this demo."""
        lines = []
        for file in Path("/proc").glob("[0-9]*/cmdline"):
            try:
                line = file.read_bytes().replace(b"\0", b" ").decode(errors="replace")
            except OSError:
                continue
            if str(self.directory) in line:
                lines.append(line)
        return lines


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Demo]:
    """`gpuwatch up --demo` on free ports; at the end Ctrl-C: it leaves with 0, in time and without a trace."""
    folder = tmp_path_factory.mktemp("demo")
    options = ["--agent-listen", "127.0.0.1:0", "--accounting-listen", "127.0.0.1:0"]
    options += ["--state-directory", str(folder / "state")]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "gpuwatch", "up", "--demo", *options],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            env={**os.environ, "PYTHONUNBUFFERED": "1"},
        )
    started = Demo(process, folder / "log", folder / "state")
    try:
        for daemon in ("agent", "accounting"):
            wait_until(lambda: started.address(daemon), START_SECONDS, f"{daemon} says its address")  # noqa: B023
        yield started
        os.killpg(process.pid, signal.SIGINT)
        assert 0 == process.wait(STOP_SECONDS), started.output[-3000:]
        assert "Traceback" not in started.output
        assert [] == started.leftovers()
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


@pytest.fixture(scope="module")
def prometheus(demo: Demo, prometheus_server: Callable[[str], Prometheus]) -> Prometheus:
    """A Prometheus that scrapes both daemons of the demo every second."""
    jobs = {f"gpuwatch-{daemon}": [demo.address(daemon)] for daemon in ("agent", "accounting")}
    return prometheus_server(scrape_config(jobs))


@pytest.fixture(scope="module")
def projected(demo: Demo, prometheus: Prometheus) -> str:
    """The id of the job that is projected to overrun its device-hours, once the demo says so."""
    expression = 'gpuwatch_alert_active{kind="projected",scope_kind="job",quantity="device-hours"} == 1'
    active = wait_until(lambda: prometheus.query(expression), ALERT_SECONDS, "a projected overrun", pause=1)
    job: str = active[0][0]["scope"]
    return job


def test_prometheus_scrapes_both_daemons(prometheus: Prometheus) -> None:
    """Both are up, and no scrape had an error."""

    def up() -> dict[str, float]:
        return {metric["job"]: value for metric, value in prometheus.query("up")}

    both = {"gpuwatch-agent": 1.0, "gpuwatch-accounting": 1.0}
    wait_until(lambda: up() == both, 30, "up is 1 for both")
    assert ["", ""] == [target["lastError"] for target in prometheus.targets()]


@pytest.mark.parametrize("daemon", ["agent", "accounting"])
def test_promtool_has_nothing_to_say_to_either_port(
    demo: Demo, projected: str, promtool: Path, daemon: str
) -> None:
    """Also where there are jobs, projections and an alert on the page."""
    page = httpx.get(f"http://{demo.address(daemon)}/metrics").text

    checked = run(promtool, "check", "metrics", stdin=page)

    assert projected in page
    assert (0, "", "") == (checked.returncode, checked.stdout, checked.stderr)


def test_overrun_is_told_before_it_happens(demo: Demo, prometheus: Prometheus, projected: str) -> None:
    """The demo prints the alert while the job has used less than it declared, and Prometheus has the numbers."""
    told = wait_until(
        lambda: re.findall(rf"alert raised .*kind=(\w+) scope=job:{projected} quantity=device-hours", demo.output),
        10,
        "the alert in the output",
    )
    scope = f'scope_kind="job",scope="{projected}",quantity="device-hours"'
    [(_, declared)] = prometheus.query(f"gpuwatch_declared{{{scope}}}")
    [(_, median)] = prometheus.query(f'gpuwatch_forecast_quantile{{{scope},q="0.5"}}')

    assert "projected" == told[0]
    assert declared < median


WASTEFUL = {"notebook", "allreduce-hang"}


def _told(demo: Demo, *command: str) -> Any:
    """What a command says of the demo's ledger, as JSON."""
    ledger = str(demo.directory / "ledger.db")
    told = run(Path(sys.executable), "-m", "gpuwatch", *command, "--json", "--ledger", ledger)
    assert 0 == told.returncode, told.stderr
    return json.loads(told.stdout)


def test_waste_and_idle_name_the_idle_holder_and_the_spinning_one(demo: Demo) -> None:
    """And only them: not the job that waits for input now and then, nor the one on a hot device."""

    def idle() -> dict[str, str]:
        return {each["name"]: each["doing"] for each in _told(demo, "idle", "--since", "30s")}

    def wasted() -> set[str]:
        return {each["title"].partition(" ")[2] for each in _told(demo, "waste")["groups"]}

    wait_until(lambda: idle().keys() == WASTEFUL, WASTE_SECONDS, "both are idle", pause=2)
    assert {"notebook": "idle", "allreduce-hang": "spinning"} == idle()
    # What wasted less than a minute of a device is not named yet.
    wait_until(lambda: wasted() == WASTEFUL, WASTE_SECONDS, "both have wasted enough to be named", pause=2)


def _by_device(found: list[tuple[dict[str, str], float]], name: str) -> dict[str, float]:
    totals: dict[str, float] = defaultdict(float)
    for metric, value in found:
        if metric["__name__"] == name:
            totals[metric["uuid"]] += value
    return totals


def _close(expected: dict[str, float], found: dict[str, float]) -> dict[str, Any]:
    """The devices at which two totals differ by more than rounding."""
    return {
        uuid: (expected[uuid], found.get(uuid, 0.0))
        for uuid in expected
        if abs(expected[uuid] - found.get(uuid, 0.0)) > TOLERANCE * max(1.0, expected[uuid])
    }


def test_conservation_holds_on_what_was_scraped(prometheus: Prometheus, projected: str) -> None:
    """Per device: jobs are what is held, the parts are the whole, and the states of a job are what it held."""
    page = prometheus.query('{__name__=~"gpuwatch_(device|job)_.+_total|gpuwatch_agent_residual_.+"}')
    parts = ("held", "unallocated", "unattributed")

    def of(name: str) -> dict[str, float]:
        return _by_device(page, f"gpuwatch_{name}_total")

    energy = of("device_energy_joules")
    split = {uuid: sum(of(f"device_{part}_energy_joules").get(uuid, 0.0) for part in parts) for uuid in energy}
    seconds = sum(sum(of(f"device_{part}_seconds").values()) for part in parts)
    residuals = {metric["__name__"]: abs(value) for metric, value in page if "residual" in metric["__name__"]}

    assert len(energy) == 8
    assert all(joules > 0 for joules in energy.values())
    assert {} == _close(of("device_held_seconds"), of("job_held_seconds"))
    assert {} == _close(of("device_held_energy_joules"), of("job_energy_joules"))
    assert {} == _close(energy, split)
    assert {} == _close(of("job_held_seconds"), of("job_state_seconds"))
    assert residuals["gpuwatch_agent_residual_seconds"] <= TOLERANCE * seconds
    assert residuals["gpuwatch_agent_residual_joules"] <= TOLERANCE * sum(energy.values())
