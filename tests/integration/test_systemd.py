"""The systemd units: what systemd itself says of them, and that the agent speaks to it."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import stat
import subprocess
import sys
from collections.abc import Iterator
from configparser import RawConfigParser
from contextlib import suppress
from pathlib import Path

import pytest

from tests.integration.debian import REPOSITORY, run, stop, wait_until

UNITS = sorted((REPOSITORY / "systemd").glob("*.service"))
SLICE = REPOSITORY / "systemd" / "gpuwatch.slice"
DROP_INS = sorted((REPOSITORY / "systemd" / "drop-ins").glob("*/*.conf"))
PAGE = REPOSITORY / "docs" / "systemd.md"
WORST_EXPOSURE = 20
"""What `systemd-analyze security` may at most say, times ten; Debian's node exporter has 92."""

START_SECONDS = 20.0


def _copy(unit: Path, folder: Path) -> Path:
    """The unit with a program that is on every machine."""
    text, replaced = re.subn(r"^ExecStart=/usr/bin/gpuwatch", "ExecStart=/bin/true", unit.read_text(), flags=re.M)
    assert 1 == replaced
    copy = folder / unit.name
    copy.write_text(text)
    shutil.copy(SLICE, folder)
    return copy


def _with(drop_in: Path, folder: Path) -> Path:
    """A copy of the unit that a drop-in is for, with it."""
    name = drop_in.parent.name.removesuffix(".d")
    (folder / drop_in.parent.name).mkdir()
    shutil.copy(drop_in, folder / drop_in.parent.name)
    return _copy(REPOSITORY / "systemd" / name, folder)


def _exposure(systemd_analyze: Path, unit: Path) -> str:
    """The score that systemd gives a unit, as in 1.7."""
    scored = run(systemd_analyze, "security", "--offline=true", "--no-pager", unit)
    found = re.search(r"Overall exposure level for \S+: ([0-9.]+)", scored.stdout)
    assert found, scored.stdout + scored.stderr
    return found[1]


def _version(systemd_analyze: Path) -> str:
    return run(systemd_analyze, "--version").stdout.split()[1]


def _said(stderr: str) -> list[str]:
    """What systemd complains of; that units unpacked elsewhere are linked to each other is no complaint."""
    return [line for line in stderr.splitlines() if not line.startswith("Suspicious symlink ")]


def _setting(unit: Path, section: str, key: str) -> str | None:
    parser = RawConfigParser(strict=False, interpolation=None)
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read_string(unit.read_text())
    return parser.get(section, key, fallback=None)


@pytest.mark.integration
@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.name)
def test_systemd_has_nothing_to_say_of_the_unit(unit: Path, systemd_analyze: Path, tmp_path: Path) -> None:
    """The unit verifies, and without a word: systemd only warns of a key that it does not know."""
    verified = run(systemd_analyze, "verify", _copy(unit, tmp_path))

    assert (0, []) == (verified.returncode, _said(verified.stderr))


@pytest.mark.integration
@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.name)
def test_unit_is_hardened(unit: Path, systemd_analyze: Path, tmp_path: Path) -> None:
    """systemd's own score of exposure is at most 2.0."""
    threshold = f"--threshold={WORST_EXPOSURE}"

    scored = run(systemd_analyze, "security", "--offline=true", "--no-pager", threshold, _copy(unit, tmp_path))

    assert 0 == scored.returncode, scored.stdout.splitlines()[-1:]


@pytest.mark.integration
@pytest.mark.parametrize("drop_in", DROP_INS, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_systemd_has_nothing_to_say_of_a_unit_with_a_drop_in(
    drop_in: Path, systemd_analyze: Path, tmp_path: Path
) -> None:
    """Each of those that are shipped can be taken as it is."""
    verified = run(systemd_analyze, "verify", _with(drop_in, tmp_path))

    assert (0, []) == (verified.returncode, _said(verified.stderr))


@pytest.mark.integration
def test_the_page_gives_the_exposure_that_systemd_gives(systemd_analyze: Path, tmp_path: Path) -> None:
    """Its table has both units and every drop-in, with the score of the systemd that it names."""
    if _version(systemd_analyze) != "252":
        pytest.skip(f"the page has the scores of systemd 252, this is {_version(systemd_analyze)}")
    known = {unit.name: _exposure(systemd_analyze, _copy(unit, tmp_path)) for unit in UNITS}
    for number, drop_in in enumerate(DROP_INS):
        (folder := tmp_path / str(number)).mkdir()
        known[f"{drop_in.parent.name}/{drop_in.name}"] = _exposure(systemd_analyze, _with(drop_in, folder))

    told = dict(re.findall(r"^\| `(gpuwatch-\S+)` \|.*\| ([0-9.]+) \|$", PAGE.read_text(), flags=re.M))
    assert known == told


def test_every_drop_in_is_of_a_unit() -> None:
    """The folder has the name that it has below /etc/systemd/system."""
    assert {drop_in.parent.name.removesuffix(".d") for drop_in in DROP_INS} == {unit.name for unit in UNITS}


def test_the_agent_is_enabled_where_it_is_installed_and_accounting_is_not() -> None:
    """By the presets, which a site may overrule."""
    preset = REPOSITORY / "systemd" / "system-preset" / "90-gpuwatch.preset"
    lines = [line for line in preset.read_text().splitlines() if not line.startswith("#")]

    assert ["enable gpuwatch-agent.service", "disable gpuwatch-accounting.service"] == lines


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.name)
@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("Type", "notify"),
        ("WatchdogSec", "60"),
        ("Restart", "on-failure"),
        ("RestartSec", "5"),
        ("TimeoutStopSec", "30"),
        ("RestartForceExitStatus", "75"),
        ("RestartPreventExitStatus", "64 78"),
        ("ExecReload", "/bin/kill -HUP $MAINPID"),
        ("CapabilityBoundingSet", ""),
        ("UMask", "0077"),
        ("Slice", "gpuwatch.slice"),
        ("TasksMax", "256"),
    ],
)
def test_unit_behaves_as_a_service_should(unit: Path, key: str, value: str) -> None:
    """It is restarted where that can help, not where the configuration is wrong, and has no capability."""
    assert value == _setting(unit, "Service", key)


def test_jobs_reach_the_socket_and_the_agent_its_devices() -> None:
    """The agent's unit lets users into its run-time directory and the agent to the driver's nodes, no further."""
    agent = REPOSITORY / "systemd" / "gpuwatch-agent.service"

    settings = {key: _setting(agent, "Service", key) for key in ("RuntimeDirectory", "RuntimeDirectoryMode")}
    assert {"RuntimeDirectory": "gpuwatch", "RuntimeDirectoryMode": "0755"} == settings
    allowed = re.findall(r"^DeviceAllow=(.*)$", agent.read_text(), flags=re.M)
    assert "closed" == _setting(agent, "Service", "DevicePolicy")
    assert ["char-nvidia* rw", "char-195 rw", "char-accel r", "char-vfio r", "char-226 rw"] == allowed
    assert _setting(agent, "Service", "PrivateDevices") is None


@pytest.mark.integration
def test_each_unit_has_a_user_of_its_own(systemd_sysusers: Path, tmp_path: Path) -> None:
    """systemd-sysusers makes the users that the units run as, none of which can log in."""
    (tmp_path / "etc").mkdir()

    made = run(systemd_sysusers, f"--root={tmp_path}", REPOSITORY / "systemd" / "sysusers.d" / "gpuwatch.conf")

    assert 0 == made.returncode, made.stderr
    lines = [line.split(":") for line in (tmp_path / "etc" / "passwd").read_text().splitlines()]
    shells = {fields[0]: fields[6] for fields in lines}
    assert {_setting(unit, "Service", "User") for unit in UNITS} == set(shells)
    assert {"/usr/sbin/nologin"} == set(shells.values())


@pytest.mark.integration
@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make folders that belong to root")
def test_folders_of_the_configuration_are_made(systemd_tmpfiles: Path, tmp_path: Path) -> None:
    """systemd-tmpfiles makes /etc/gpuwatch and conf.d, which everybody may read, and the place of secrets."""
    made = run(
        systemd_tmpfiles, f"--root={tmp_path}", "--create", REPOSITORY / "systemd" / "tmpfiles.d" / "gpuwatch.conf"
    )

    assert 0 == made.returncode, made.stderr
    folders = ["etc/gpuwatch", "etc/gpuwatch/conf.d", "etc/credstore"]
    assert [0o755, 0o755, 0o700] == [stat.S_IMODE((tmp_path / folder).stat().st_mode) for folder in folders]


class Manager:
    """The end of sd_notify at which systemd would be."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.lines: list[str] = []
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(path))
        self._socket.settimeout(0.2)

    def hears(self, prefix: str, times: int = 1) -> bool:
        """Whether a line that begins so has come often enough, after listening for a moment."""
        with suppress(TimeoutError):
            self.lines += self._socket.recv(8192).decode().splitlines()
        return sum(line.startswith(prefix) for line in self.lines) >= times

    def close(self) -> None:
        """Stop listening."""
        self._socket.close()


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[Manager]:
    """A listener as systemd is one."""
    listener = Manager(tmp_path / "notify")
    yield listener
    listener.close()


@pytest.fixture
def agent(manager: Manager, tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """`gpuwatch agent` as the unit starts it, on simulated devices."""
    (tmp_path / "gpuwatch.toml").write_text(
        f"""
        [agent]
        devices = ["demo"]
        listen = "127.0.0.1:0"
        state_directory = "{tmp_path / "state"}"
        socket = "{tmp_path / "agent.sock"}"
        [devices.demo]
        devices = 2
        driver_directory = "{tmp_path / "driver"}"
        """
    )
    (tmp_path / "state").mkdir(mode=0o750)
    with (tmp_path / "agent.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "gpuwatch", "agent", "--config", str(tmp_path / "gpuwatch.toml")],
            env={**os.environ, "NOTIFY_SOCKET": str(manager.path), "WATCHDOG_USEC": "60000000"},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            umask=0o077,
        )
    yield process
    stop(process)


@pytest.mark.integration
def test_agent_tells_systemd_how_it_fares(
    agent: subprocess.Popen[bytes], manager: Manager, tmp_path: Path
) -> None:
    """READY once, then WATCHDOG with each tick, STATUS in words, STOPPING at the end; SIGHUP does not end it."""

    def heard(prefix: str, times: int = 1) -> bool:
        assert agent.poll() is None, (tmp_path / "agent.log").read_text()
        return manager.hears(prefix, times)

    wait_until(lambda: heard("READY=1"), START_SECONDS, "READY", pause=0)
    agent.send_signal(signal.SIGHUP)
    wait_until(lambda: heard("WATCHDOG=1", times=3), 10, "WATCHDOG after SIGHUP", pause=0)
    agent.send_signal(signal.SIGTERM)
    ended = agent.wait(10)
    wait_until(lambda: manager.hears("STOPPING=1"), 5, "STOPPING", pause=0)

    status = [line.removeprefix("STATUS=") for line in manager.lines if line.startswith("STATUS=")]
    assert 0 == ended
    assert 1 == manager.lines.count("READY=1")
    assert all(status)


@pytest.mark.integration
def test_socket_is_open_to_all_users_whatever_the_mask(
    agent: subprocess.Popen[bytes], manager: Manager, tmp_path: Path
) -> None:
    """With the unit's UMask a job of any user still reaches the socket, and nobody else the state."""
    wait_until(lambda: manager.hears("READY=1"), START_SECONDS, "READY", pause=0)

    assert 0o666 == stat.S_IMODE((tmp_path / "agent.sock").stat().st_mode)
    assert all(0 == path.stat().st_mode & 0o077 for path in (tmp_path / "state").rglob("*") if path.is_file())
