"""The scripts of both packages: what they have systemd do, and that they fail nowhere."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.integration.debian import binary
from tests.packages.conftest import Unpacked

pytestmark = [pytest.mark.integration, pytest.mark.xdist_group("packages")]

AGENT = "gpuwatch-agent.service"
ACCOUNTING = "gpuwatch-accounting.service"
DEB_SCRIPTS = ("preinst", "postinst", "prerm", "postrm")
RPM_SCRIPTS = {"post": "%{POSTIN}", "preun": "%{PREUN}", "postun": "%{POSTUN}"}
# Writes down what it is asked to do; a unit is active if it is named in $RUNNING, and all are enabled.
SYSTEMCTL = """#!/bin/sh
for unit do :; done
case "$*" in
*is-active*) case " $RUNNING " in *" $unit "*) exit 0 ;; esac; exit 3 ;;
*is-enabled*) [ "$unit" = gpuwatch-agent.service ]; exit ;;
esac
echo "$@" | sed 's/--[a-z-]* //g' >>"$CALLS"
"""


class Machine:
    """Where a script is run: a machine of its own, with systemd or without it."""

    def __init__(self, folder: Path, systemctl: bool = True) -> None:
        self._folder = folder
        self._programs = folder / "bin"
        self._programs.mkdir()
        (folder / "run").mkdir()
        for name in ("sh", "rm", "rmdir", "mkdir", "sed"):
            found = shutil.which(name)
            assert found is not None
            (self._programs / name).symlink_to(found)
        if systemctl:
            self.program("systemctl", SYSTEMCTL)

    def program(self, name: str, text: str) -> None:
        """Put a program there."""
        (self._programs / name).write_text(text)
        (self._programs / name).chmod(0o755)

    def boot(self) -> Machine:
        """Have systemd run."""
        (self._folder / "run/systemd/system").mkdir(parents=True)
        return self

    def run(self, script: str, *arguments: str, running: str = "") -> list[str]:
        """Run a script to its end, and tell what systemctl was asked to do."""
        calls = self._folder / "calls"
        calls.write_text("")
        here = script.replace("/run/", f"{self._folder}/run/").replace("/run ", f"{self._folder}/run ")
        here = here.replace("/etc/", f"{self._folder}/etc/").replace("/var/", f"{self._folder}/var/")
        here = here.replace(" /etc/gpuwatch", f" {self._folder}/etc/gpuwatch")
        done = subprocess.run(
            ["sh", "-c", here, "script", *arguments],
            env={"PATH": str(self._programs), "CALLS": str(calls), "RUNNING": running},
            capture_output=True, text=True, timeout=20, check=False,
        )  # fmt: skip
        assert (0, "") == (done.returncode, done.stderr)
        return calls.read_text().splitlines()


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    """A machine on which systemd runs."""
    return Machine(tmp_path).boot()


@pytest.fixture(scope="module")
def deb_script(unpacked: Unpacked) -> Callable[[str], str]:
    """A script of the deb."""
    return lambda name: (unpacked.control / name).read_text()


@pytest.fixture(scope="module")
def rpm_script(rpm_says: Callable[..., list[str]]) -> Callable[[str], str]:
    """A script of the rpm."""
    return lambda name: "\n".join(rpm_says("--queryformat", RPM_SCRIPTS[name])) + "\n"


def test_first_installation_starts_the_agent_alone(machine: Machine, deb_script: Callable[[str], str]) -> None:
    """The presets decide what is enabled."""
    assert [
        "daemon-reload", f"preset {AGENT}", f"preset {ACCOUNTING}", "daemon-reload", f"start {AGENT}",
    ] == machine.run(deb_script("postinst"), "configure", "")  # fmt: skip


def test_upgrade_restarts_what_runs_and_nothing_else(machine: Machine, deb_script: Callable[[str], str]) -> None:
    """What the administrator enabled or stopped stays as it is; the old daemon was not stopped before."""
    before = machine.run(deb_script("prerm"), "upgrade", "1.1", running=AGENT)
    begun = machine.run(deb_script("preinst"), "upgrade", "0.9", running=AGENT)
    after = machine.run(deb_script("postinst"), "configure", "0.9", running=AGENT)
    removed = machine.run(deb_script("postrm"), "upgrade", "1.1", running=AGENT)

    assert ([], [], ["daemon-reload", f"restart {AGENT}"], []) == (before, begun, after, removed)


def test_removal_ends_what_runs(machine: Machine, deb_script: Callable[[str], str]) -> None:
    """And takes away what starts it at boot."""
    assert [f"stop {AGENT}", f"disable {AGENT}", f"disable {ACCOUNTING}"] == machine.run(
        deb_script("prerm"), "remove", running=AGENT
    )
    assert ["daemon-reload"] == machine.run(deb_script("postrm"), "remove")


def test_installation_after_a_removal_begins_anew(machine: Machine, deb_script: Callable[[str], str]) -> None:
    """dpkg calls postinst as on an upgrade; the upgrade after that is one."""
    machine.run(deb_script("preinst"), "install", "0.9")
    first = machine.run(deb_script("postinst"), "configure", "0.9")
    second = machine.run(deb_script("postinst"), "configure", "1.0")

    assert (f"start {AGENT}", ["daemon-reload"]) == (first[-1], second)


def test_purge_takes_all_but_the_ledger(
    machine: Machine, deb_script: Callable[[str], str], tmp_path: Path
) -> None:
    """Configuration and counters go; the ledger is for ever."""
    for name in ("etc/gpuwatch/conf.d", "var/lib/gpuwatch", "var/lib/gpuwatch-accounting"):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "file").touch()

    machine.run(deb_script("postrm"), "purge")

    left = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("file")}
    assert {"var/lib/gpuwatch-accounting/file"} == left


def test_what_policy_forbids_is_not_started(machine: Machine, deb_script: Callable[[str], str]) -> None:
    """Debian's own program for this is asked, where it is there."""
    machine.program("deb-systemd-invoke", "#!/bin/sh\nexit 0\n")

    assert f"start {AGENT}" not in machine.run(deb_script("postinst"), "configure", "")


def test_image_that_is_being_made_is_prepared_and_starts_nothing(
    tmp_path: Path, deb_script: Callable[[str], str]
) -> None:
    """systemd is installed and does not run."""
    asked = Machine(tmp_path).run(deb_script("postinst"), "configure", "")

    assert [f"preset {AGENT}", f"preset {ACCOUNTING}"] == asked


@pytest.mark.parametrize("name", DEB_SCRIPTS)
def test_machine_without_systemd_fails_nowhere(
    tmp_path: Path, deb_script: Callable[[str], str], name: str
) -> None:
    """A container has none."""
    machine = Machine(tmp_path, systemctl=False)

    for arguments in (("configure", ""), ("configure", "0.9"), ("install",), ("remove",), ("upgrade", "1.1")):
        assert [] == machine.run(deb_script(name), *arguments)


def test_rpm_does_what_the_deb_does(machine: Machine, rpm_script: Callable[[str], str]) -> None:
    """With its own arguments: how many versions there will be."""
    installed = machine.run(rpm_script("post"), "1")
    upgraded = [
        machine.run(rpm_script("post"), "2", running=AGENT),
        machine.run(rpm_script("preun"), "1", running=AGENT),
        machine.run(rpm_script("postun"), "1", running=AGENT),
    ]
    removed = machine.run(rpm_script("preun"), "0", running=AGENT)

    assert [f"preset {AGENT}", f"preset {ACCOUNTING}", "daemon-reload", f"start {AGENT}"] == installed[1:]
    assert [["daemon-reload", f"restart {AGENT}"], [], ["daemon-reload"]] == upgraded
    assert [f"stop {AGENT}", f"disable {AGENT}", f"disable {ACCOUNTING}"] == removed


def test_shellcheck_has_nothing_to_say(deb_script: Callable[[str], str], rpm_script: Callable[[str], str]) -> None:
    """Of any script, for the plainest shell."""
    checker = binary("shellcheck")
    if checker is None:
        pytest.skip("shellcheck is neither installed nor unpacked; `sh tests/integration/packages.sh` says why")
    scripts = [*(deb_script(name) for name in DEB_SCRIPTS), *(rpm_script(name) for name in RPM_SCRIPTS)]

    for script in scripts:
        said = subprocess.run(
            [str(checker), "--shell=dash", "--exclude=SC2317", "-"],
            input=script, capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
        assert "" == said.stdout
