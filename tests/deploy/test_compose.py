"""The compose file and what it mounts: parts that fit together, as far as no engine is needed to see it."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from gpuwatch import config, plugins
from tests.deploy.chart import REPOSITORY

COMPOSE = REPOSITORY / "deploy" / "compose"
FILE = COMPOSE / "compose.yaml"
DOCUMENT = yaml.safe_load(FILE.read_text())
SERVICES: dict[str, dict[str, Any]] = DOCUMENT["services"]
EVERY = pytest.mark.parametrize("name", SERVICES)
PORTS = {"gpu01": 9838, "gpu02": 9838, "accounting": 9839, "prometheus": 9090, "alertmanager": 9093,
         "influxdb": 8086, "grafana": 3000}  # fmt: skip
_SECONDS = 60


def addresses(text: str) -> set[tuple[str, int]]:
    """The hosts and ports in a text, but for loopback; ranges are written out."""
    found = re.findall(r"\b([a-z][a-z0-9]*(?:\[01-02\])?):(\d{4})\b", text)
    return {(each.replace("[01-02]", n), int(port)) for each, port in found for n in ("01", "02")}


@EVERY
def test_no_service_has_more_rights_than_it_needs(name: str) -> None:
    """Not root, no capability, nothing to write but volumes and memory; reached from this machine alone."""
    service = SERVICES[name]

    assert (True, ["ALL"], ["no-new-privileges:true"]) == (
        service["read_only"], service["cap_drop"], service["security_opt"]
    )  # fmt: skip
    assert service["user"].partition(":")[0] not in ("", "0", "root")
    assert all(port.startswith("127.0.0.1:") for port in service.get("ports", []))
    assert service["healthcheck"]["test"][0] == "CMD"


@EVERY
def test_every_image_is_pinned_or_built_here(name: str) -> None:
    """By its whole version."""
    service = SERVICES[name]

    assert "build" in service or re.fullmatch(r"docker\.io/[a-z]+/[a-z]+:v?\d+\.\d+\.\d+", service["image"])


@EVERY
def test_what_is_mounted_is_there(name: str) -> None:
    """Files read-only; volumes are declared, and each is used."""
    mounts = [mount.split(":") for mount in SERVICES[name].get("volumes", [])]
    used = {mount.split(":")[0] for service in SERVICES.values() for mount in service.get("volumes", [])}

    for source, _, *mode in mounts:
        if source.startswith("."):
            assert (COMPOSE / source).exists() and mode == ["ro"]
        else:
            assert source in DOCUMENT["volumes"]
    assert set(DOCUMENT["volumes"]) == {each for each in used if not each.startswith(".")}


@pytest.mark.parametrize("file", ["node.toml", "accounting.toml"])
def test_the_configurations_load(file: str, tmp_path: Path) -> None:
    """With all plugins that they name."""
    settings = config.load(COMPOSE / file, {}, plugins.ROOMS)

    assert [COMPOSE / file] == list(settings.files)


def test_every_address_is_a_service_on_its_port() -> None:
    """In the configurations of gpuwatch, Prometheus and Grafana."""
    files = ("node.toml", "accounting.toml", "prometheus.yml", "grafana-datasources.yaml")
    named = set.union(*(addresses((COMPOSE / file).read_text()) for file in files))

    assert set(PORTS.items()) - {("grafana", 3000)} == named


def test_data_sources_are_those_of_grafana_with_other_hosts() -> None:
    """The dashboards find them by their uid."""
    shipped = (REPOSITORY / "grafana/provisioning/datasources/gpuwatch.yaml").read_text()
    ours = yaml.safe_load((COMPOSE / "grafana-datasources.yaml").read_text())
    for each in ours["datasources"]:
        each["url"] = each["url"].replace("prometheus", "127.0.0.1").replace("influxdb", "127.0.0.1")
        each["isDefault"] = False

    assert yaml.safe_load(shipped) == ours


def test_dashboards_are_where_their_provider_looks() -> None:
    """And the first page is one of them."""
    provider = yaml.safe_load((REPOSITORY / "grafana/provisioning/dashboards/gpuwatch.yaml").read_text())[
        "providers"
    ][0]
    mounts = dict(mount.split(":")[:2] for mount in SERVICES["grafana"]["volumes"])
    home = Path(SERVICES["grafana"]["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"])

    assert provider["options"]["path"] == mounts["../../grafana/dashboards"] == str(home.parent)
    assert (REPOSITORY / "grafana" / "dashboards" / home.name).is_file()


def test_prometheus_reads_what_the_example_reads() -> None:
    """The same jobs, limits and rules as deploy/prometheus/prometheus.yml."""
    ours = yaml.safe_load((COMPOSE / "prometheus.yml").read_text())
    example = yaml.safe_load((REPOSITORY / "deploy/prometheus/prometheus.yml").read_text())
    for document in (ours, example):
        document.pop("alerting", None)
        for job in document["scrape_configs"]:
            job.pop("static_configs")

    assert example == ours


@pytest.mark.integration
def test_the_parser_of_docker_compose_takes_it() -> None:
    """compose-go, which `make charts` builds, or Docker with its plugin: schema, merges and references."""
    built = REPOSITORY / ".cache" / "compose" / "cmd"
    docker = shutil.which("docker")
    plugin = (
        docker and not subprocess.run([docker, "compose", "version"], capture_output=True, timeout=20).returncode
    )
    if built.exists():
        command = [str(built), "-format", "json", str(FILE)]
    elif plugin and docker:
        command = [docker, "compose", "-f", str(FILE), "config", "--format", "json"]
    else:
        pytest.skip(
            "neither compose-go nor docker compose: the file was NOT parsed by them; `make charts` builds it"
        )
    done = subprocess.run(command, capture_output=True, text=True, timeout=_SECONDS, check=False)

    assert 0 == done.returncode, done.stderr
    assert set(SERVICES) == set(json.loads(done.stdout)["services"])
