"""Fixtures of the integration tests; where a program is missing, its tests are skipped and say why."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.integration.alertmanager import Alertmanager, Hook, at_home, hook
from tests.integration.debian import Prometheus, binary
from tests.integration.guest import Guest, Guests, NoGuest
from tests.integration.guest_root import Debs, Image, image_of, requirements, rootfs
from tests.integration.time_series import InfluxDB, VictoriaMetrics
from tests.packages.built import built


def _required(name: str) -> Path:
    found = binary(name)
    if found is None:
        pytest.skip(f"{name} is neither installed nor unpacked; `sh tests/integration/packages.sh` says why")
    return found


@pytest.fixture(scope="session")
def promtool() -> Path:
    """Prometheus' own checker."""
    return _required("promtool")


@pytest.fixture(scope="session")
def amtool() -> Path:
    """Alertmanager's own checker."""
    return _required("amtool")


@pytest.fixture(scope="session")
def systemd_analyze() -> Path:
    """systemd's own checker of units; it needs no running systemd."""
    return _required("systemd-analyze")


@pytest.fixture(scope="session")
def systemd_sysusers() -> Path:
    """What makes system users from sysusers.d."""
    return _required("systemd-sysusers")


@pytest.fixture(scope="session")
def systemd_tmpfiles() -> Path:
    """What makes folders from tmpfiles.d."""
    return _required("systemd-tmpfiles")


@pytest.fixture(scope="module")
def prometheus_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], Prometheus]]:
    """Starts Prometheus servers with the given configuration; they end with the module's tests."""
    program = _required("prometheus")
    started: list[Prometheus] = []

    def start(config: str) -> Prometheus:
        started.append(Prometheus(program, tmp_path_factory.mktemp("prometheus"), config))
        return started[-1]

    yield start
    for server in started:
        server.stop()


@pytest.fixture(scope="module")
def influxdb(tmp_path_factory: pytest.TempPathFactory) -> Iterator[InfluxDB]:
    """A real InfluxDB 1.6 without a database."""
    server = InfluxDB(_required("influxd"), tmp_path_factory.mktemp("influxdb"))
    yield server
    server.stop()


@pytest.fixture(scope="module")
def victoria_metrics(tmp_path_factory: pytest.TempPathFactory) -> Iterator[VictoriaMetrics]:
    """A real VictoriaMetrics, empty."""
    server = VictoriaMetrics(_required("victoria-metrics"), tmp_path_factory.mktemp("victoria-metrics"))
    yield server
    server.stop()


@pytest.fixture
def webhook() -> Iterator[Hook]:
    """Whom an Alertmanager tells."""
    with hook() as listening:
        yield listening


@pytest.fixture(scope="session")
def alertmanager(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Alertmanager itself."""
    return at_home(_required("prometheus-alertmanager"), tmp_path_factory.mktemp("alertmanager"))


@pytest.fixture
def alertmanager_server(alertmanager: Path, tmp_path: Path) -> Iterator[Callable[..., Alertmanager]]:
    """Starts Alertmanagers that tell a webhook; they end with the test."""
    started: list[Alertmanager] = []

    def start(told: Hook, **options: Any) -> Alertmanager:
        folder = tmp_path / f"alertmanager-{len(started)}"
        started.append(Alertmanager(alertmanager, folder, told.url, **options))
        return started[-1]

    yield start
    for server in started:
        server.stop()


@pytest.fixture(scope="session")
def bare_root() -> tuple[Path, Path]:
    """systemd-nspawn, and the root of a Debian without Python that has been seen to boot in it."""
    try:
        nspawn, mmdebstrap = requirements(binary)
        return nspawn, rootfs(mmdebstrap)
    except NoGuest as exc:
        pytest.skip(f"no guest: {exc}")


@pytest.fixture(scope="session")
def guests(bare_root: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guests]:
    """Starts guests; skips where not even a bare one boots."""
    nspawn, root = bare_root
    started: list[Guest] = []
    folder = tmp_path_factory.mktemp("guests")

    def start(
        lower: Path = root,
        name: str = "node",
        private_network: bool = True,
        files: Mapping[str, str] | None = None,
    ) -> Guest:
        started.append(Guest(nspawn, lower, folder, name, private_network, files))
        return started[-1]

    try:
        start(name="probe").stop()
    except NoGuest as exc:
        pytest.skip(f"no guest: {exc}")
    yield start
    for each in started:
        each.stop()


@pytest.fixture(scope="session")
def debs(tmp_path_factory: pytest.TempPathFactory) -> Debs:
    """The package of this checkout, and the same as a later version."""
    folder = tmp_path_factory.mktemp("debs")
    # A copy: where the checkout changes meanwhile, another's tests replace what is kept.
    first, second = (Path(shutil.copy(built("deb", version), folder)) for version in ("1.0.0", "1.1.0"))
    return Debs(first, second)


@pytest.fixture(scope="session")
def image(bare_root: tuple[Path, Path], debs: Debs) -> Image:
    """A root in which the package was installed while no systemd ran there; its devices are simulated."""
    return image_of(bare_root[1], debs.first)
