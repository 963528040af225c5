"""What compose.yaml runs, run without an engine: the same commands and files, with ports in place of hosts."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml

from tests.integration.alertmanager import Alertmanager, Hook
from tests.integration.debian import REPOSITORY, Prometheus, free_port, run, stop, wait_until
from tests.integration.time_series import VictoriaMetrics

pytestmark = [pytest.mark.integration, pytest.mark.xdist_group("compose")]

COMPOSE = REPOSITORY / "deploy" / "compose"
NODES = {"gpu01": "127.0.0.2", "gpu02": "127.0.0.3"}
"""The nodes, each at an address of its own: Prometheus calls it by that."""
GPUWATCH = [sys.executable, "-m", "gpuwatch"]
READY_SECONDS = 40.0


class Site:
    """The files of deploy/compose with the ports of this machine, and the commands of compose.yaml."""

    def __init__(self, folder: Path, known: dict[str, str]) -> None:
        self.folder = folder
        self.at = {name: f"{host}:{free_port()}" for name, host in {**NODES, "accounting": "127.0.0.1"}.items()}
        self._places = {
            '["http://gpu[01-02]:9838"]': json.dumps([f"http://{self.at[name]}" for name in NODES]),
            **{f"{name}:9838": self.at[name] for name in NODES},
            "accounting:9839": self.at["accounting"],
            "/etc/gpuwatch/alerts.toml": str(COMPOSE / "alerts.toml"),
            **known,
        }
        self.services = yaml.safe_load((COMPOSE / "compose.yaml").read_text())["services"]
        self._running: list[subprocess.Popen[bytes]] = []

    def text(self, file: str) -> str:
        """A file of deploy/compose with other places."""
        text = (COMPOSE / file).read_text()
        for place, here in self._places.items():
            text = text.replace(place, here)
        return text

    def configuration(self, file: str) -> Path:
        """The same, written."""
        path = self.folder / file
        path.write_text(self.text(file))
        return path

    def _of_node(self, name: str, state: Path) -> Path:
        """The configuration of a node, with the name that it has by its host name in a container."""
        path = state / "gpuwatch.toml"
        path.write_text(f'{self.text("node.toml")}\n[site]\nnode = "{name}"\n')
        return path

    def start(self, name: str) -> None:
        """Start a service of gpuwatch by its command."""
        state = self.folder / name
        state.mkdir()
        places = {
            "/etc/gpuwatch/gpuwatch.toml": str(self._of_node(name, state)),
            "/var/lib/gpuwatch": str(state),
            "=:9838": f"={self.at[name]}",
        }
        words = shlex.join(self.services[name]["command"])
        for place, here in places.items():
            words = words.replace(place, here)
        if name == "accounting":
            own = [f"--listen={self.at[name]}", f"--ledger=sqlite:///{state}/ledger.db"]
            words = shlex.join([words, f"--config={self.configuration('accounting.toml')}", *own])
        else:
            words += f" --accounting-listen=127.0.0.1:{free_port()}"
        with (self.folder / f"{name}.log").open("wb") as log:
            command = [*GPUWATCH, *shlex.split(words)]
            self._running.append(subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log))

    def stop(self) -> None:
        """End all of them; their jobs end with them."""
        for each in self._running:
            stop(each, 15.0)


@pytest.fixture
def site(
    victoria_metrics: VictoriaMetrics,
    alertmanager_server: Callable[..., Alertmanager],
    webhook: Hook,
    tmp_path: Path,
) -> Iterator[Site]:
    """Two nodes that run, with a real Alertmanager, and a store that takes what InfluxDB takes in its place."""
    stores = {"influxdb:8086": victoria_metrics.url, "alertmanager:9093": alertmanager_server(webhook).url}
    made = Site(tmp_path, {name: url.removeprefix("http://") for name, url in stores.items()})
    for name in NODES:
        made.start(name)
    yield made
    made.stop()


def test_the_parts_find_each_other(
    site: Site, prometheus_server: Callable[[str], Prometheus], victoria_metrics: VictoriaMetrics
) -> None:
    """Prometheus scrapes all three, accounting reads both nodes, who have jobs, and points arrive in the store."""
    site.start("accounting")
    rules = str(REPOSITORY / "deploy" / "prometheus") + "/gpuwatch-"
    text = (
        site.text("prometheus.yml").replace("- gpuwatch-", f"- {rules}").replace("15s", "1s").replace("10s", "1s")
    )
    server = prometheus_server(text)

    def healthy() -> bool:
        return [each["health"] for each in server.targets()] == ["up"] * 3

    def told() -> list[tuple[dict[str, str], float]]:
        return server.query('gpuwatch_forecast_quantile{q="0.5"}')

    wait_until(healthy, READY_SECONDS, "all three are scraped")
    wait_until(told, READY_SECONDS, "accounting forecasts what runs on the nodes")

    def stored() -> bool:
        victoria_metrics.flush()
        return bool(victoria_metrics.query('count({__name__=~"gpuwatch_device_.+"})'))

    wait_until(stored, READY_SECONDS, "points arrive")
    assert dict.fromkeys(NODES.values(), 8) == {
        labels["instance"]: int(count)
        for labels, count in server.query("count by (instance) (gpuwatch_device_up)")
    }
    asked = {place.partition(":")[0]: words for place, words in probed(site.configuration("accounting.toml"))}
    assert {
        "ask usage.agents": "cluster demo",
        "ask notifiers.alertmanager": "takes alerts",
    }.items() <= asked.items()


def probed(file: Path) -> list[tuple[str, str]]:
    """What was asked by `gpuwatch check --probe`, and how it answered; clocks are left out."""
    command = [*GPUWATCH, "check", "--probe", "--json", f"--config={file}"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    asked = [each for each in json.loads(done.stdout)["findings"] if each["what"].startswith("ask ")]
    assert {"ok"} == {each["status"] for each in asked}
    words = [(each["what"], re.search("cluster demo|takes alerts", each["detail"])) for each in asked]
    return [(what, found[0]) for what, found in words if found]


def test_promtool_and_amtool_take_the_files(promtool: Path, tmp_path: Path) -> None:
    """As they are, with the rules beside them."""
    for path in [COMPOSE / "prometheus.yml", *(REPOSITORY / "deploy" / "prometheus").glob("*.rules.yml")]:
        shutil.copy(path, tmp_path)

    checked = run(promtool, "check", "config", tmp_path / "prometheus.yml")
    assert (0, "") == (checked.returncode, checked.stderr)
