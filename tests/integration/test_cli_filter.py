"""The CLI filter of deploy/slurm in a real Slurm: it tells what jobs like one came to, and never fails one.

The submitting side alone knows of it: sbatch has a configuration of its own, beside a controller without plugins.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from gpuwatch.ledger.record_store import post_records
from gpuwatch.ledger.store import open_store
from tests.integration.debian import REPOSITORY, binary
from tests.integration.slurm import Slurm, missing
from tests.ledger.batch import HOUR, record

pytestmark = [pytest.mark.integration, pytest.mark.xdist_group("slurm")]

SCRIPT = REPOSITORY / "deploy" / "slurm" / "cli_filter.lua"


@dataclass(frozen=True)
class Login:
    """A login node: a folder with the commands that its users find first, and the Slurm that it submits to."""

    slurm: Slurm
    folder: Path

    def command(self, text: str) -> None:
        """Make `gpuwatch` be this shell script."""
        file = self.folder / "bin" / "gpuwatch"
        file.write_text(f"#!/bin/sh\n{text}\n")
        file.chmod(0o755)

    def submit(self, *options: str, script: str = "") -> subprocess.CompletedProcess[str]:
        """Submit a job that does nothing, from stdin or as a script of that name."""
        variables = {
            **self.slurm.variables,
            "SLURM_CONF": str(self.folder / "slurm.conf"),
            "PATH": f"{self.folder / 'bin'}:{os.environ['PATH']}",
            "USER": "ada",
        }
        sbatch = binary("sbatch")
        assert sbatch is not None
        command = [str(sbatch), "--parsable", "--output=/dev/null", "--chdir=/", "--time=10", *options]
        if script:
            (self.folder / script).write_text("#!/bin/sh\ntrue\n")
            command.append(str(self.folder / script))
        return subprocess.run(
            command,
            input="#!/bin/sh\ntrue\n",
            env=variables,
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )


@pytest.fixture(scope="module")
def login(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Login]:
    """A running Slurm, and a login node with the filter."""
    if why := missing():
        pytest.skip(f"no Slurm here: {why}")
    folder = tmp_path_factory.mktemp("login")
    (folder / "bin").mkdir()
    shutil.copy(SCRIPT, folder / "cli_filter.lua")
    with Slurm(tmp_path_factory.mktemp("slurm"), f"gc{os.getpid():x}n") as slurm:
        configuration = (slurm.folder / "slurm.conf").read_text()
        (folder / "slurm.conf").write_text(f"{configuration}CliFilterPlugins=cli_filter/lua\n")
        yield Login(slurm, folder)


def test_a_line_is_told_and_the_job_is_submitted(login: Login, tmp_path: Path) -> None:
    """By the real command on a real ledger: twenty runs of the name took one to three device-hours."""
    store = open_store(str(tmp_path / "ledger.db"))
    now = time.time()
    with store.writing() as connection:
        for n in range(20):
            began = now - (30 - n) * 24 * HOUR
            times = {"submitted": int(began), "started": began, "ended": began + HOUR * (1 + n / 10), "seen": now}
            post_records(connection, [record(str(n), name=f"train-{n}", devices=1.0, **times)])
    store.close()
    python = f"{sys.executable} -c 'from gpuwatch.cli import main; main()'"
    login.command(f'PYTHONPATH={REPOSITORY} exec {python} "$@" --ledger {store.path}')
    shutil.copy(SCRIPT, login.folder / "cli_filter.lua")
    script = SCRIPT.read_text().replace('SECONDS = "1"', 'SECONDS = "20"')  # a busy machine may take its time
    (login.folder / "cli_filter.lua").write_text(script)

    told = login.submit("--job-name=train-77")
    shutil.copy(SCRIPT, login.folder / "cli_filter.lua")
    assert (0, True) == (told.returncode, told.stdout.strip().isdigit())
    assert "gpuwatch: jobs like this took 1.1 to 2.8 device-hours (n=20)\n" == told.stderr


@pytest.mark.parametrize(
    ("name", "asked"),
    [
        ("train", "--user=ada --name=train"),
        ("a b", "--user=ada --name=a b"),
        ('it\'s $(reboot) `x` "q"', '--user=ada --name=it\'s $(reboot) `x` "q"'),
        ("a*[b", "--user=ada --name=a??b"),
    ],
)
def test_names_are_words_whatever_is_in_them(login: Login, name: str, asked: str, tmp_path: Path) -> None:
    """Nothing in a name is taken for a command, or for a pattern."""
    login.command(f'printf "%s\\n" "$*" > {tmp_path}/asked; echo told')

    told = login.submit(f"--job-name={name}")
    assert (0, "gpuwatch: told\n") == (told.returncode, told.stderr)
    assert f"estimate like --brief {asked}\n" == (tmp_path / "asked").read_text()


def test_a_job_without_a_name_is_called_by_its_script(login: Login, tmp_path: Path) -> None:
    """As the batch system calls it."""
    login.command(f'printf "%s\\n" "$*" > {tmp_path}/asked')

    assert 0 == login.submit(script="fit 7.sh").returncode
    assert (tmp_path / "asked").read_text().endswith("--name=fit 7.sh\n")


def test_quiet_is_quiet(login: Login) -> None:
    """Whoever asks for less is told nothing."""
    login.command("echo told")

    assert "" == login.submit("--quiet", "--job-name=x").stderr


def test_what_the_comment_declares_is_held_against_what_declarations_came_to(login: Login, tmp_path: Path) -> None:
    """The device-hours, as they stand in it."""
    login.command(f'printf "%s\\n" "$*" > {tmp_path}/asked')

    told = login.submit("--job-name=x", "--comment=mine; gpuwatch: energy=3kWh device-hours=500..640..900; more")
    assert (0, "") == (told.returncode, told.stderr)
    assert (tmp_path / "asked").read_text().endswith("--name=x --declared=500..640..900\n")


@pytest.mark.parametrize("text", ["sleep 60; echo late", "sleep 60 & sleep 60", "exit 69", "kill -9 $$", "yes"])
def test_a_command_that_fails_or_hangs_costs_a_second_and_no_job(login: Login, text: str) -> None:
    """Whatever it does, the job is submitted, and sbatch ends well."""
    login.command(text)

    began = time.monotonic()
    told = login.submit("--job-name=x")
    assert (0, True) == (told.returncode, told.stdout.strip().isdigit())
    assert time.monotonic() - began < 10.0


def test_without_the_command_nothing_is_said(login: Login) -> None:
    """On a node on which there is none."""
    (login.folder / "bin" / "gpuwatch").unlink(missing_ok=True)
    login.command("exec /nowhere/gpuwatch")

    told = login.submit("--job-name=x")
    assert (0, "") == (told.returncode, told.stderr)
