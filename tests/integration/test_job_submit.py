"""The job_submit example of deploy/slurm in a real slurmctld: who is told, who is refused; no job is changed."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.debian import wait_until
from tests.integration.slurm import DEPLOY, START_SECONDS, Slurm, missing

pytestmark = [pytest.mark.integration, pytest.mark.xdist_group("slurm")]

SCRIPT = DEPLOY / "job_submit.lua"
LARGE = ("--time=2-0", "--gres=gpu:4", "--nodes=2")
TOLD = (
    "sbatch: gpuwatch: this job may take 384 device-hours and declares nothing. Say what you expect, as in"
    " --comment='gpuwatch: device-hours=N'; `gpuwatch estimate` helps\n"
)


@pytest.fixture(scope="module")
def slurm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Slurm]:
    """A running Slurm whose controller has the script; its nodes run none of the jobs."""
    if why := missing():
        pytest.skip(f"no Slurm here: {why}")
    with Slurm(tmp_path_factory.mktemp("slurm"), f"gj{os.getpid():x}n") as running:
        with (running.folder / "slurm.conf").open("a") as file:
            file.write("JobSubmitPlugins=lua\n")
        shutil.copy(SCRIPT, running.folder)
        running.stop("slurmctld")
        running.start("slurmctld")
        wait_until(lambda: running.answers("scontrol", "ping"), START_SECONDS, "the controller answers")
        yield running


@pytest.fixture
def refusing(slurm: Slurm) -> Iterator[Slurm]:
    """The same with the script as a site writes it that refuses; Slurm reads it again because it changed."""
    script = slurm.folder / "job_submit.lua"
    script.write_text(SCRIPT.read_text().replace("REFUSE = false", "REFUSE = true"))
    _date(script, 3600)
    yield slurm
    shutil.copy(SCRIPT, script)
    _date(script, 7200)


def _date(script: Path, seconds: float) -> None:
    """Make a file newer than it is: within a second Slurm would not notice that it changed."""
    os.utime(script, (time.time() + seconds,) * 2)


def submit(slurm: Slurm, *options: str) -> subprocess.CompletedProcess[str]:
    """A job that waits for ever, with these options."""
    command = [str(slurm.folder / "bin" / "sbatch"), "--parsable", "--hold", "--output=/dev/null", *options]
    return subprocess.run(
        command, input="#!/bin/sh\ntrue\n", capture_output=True, text=True, timeout=30, check=False
    )


def test_a_large_job_is_told_and_taken(slurm: Slurm) -> None:
    """One line on its user's terminal; what it asked for is what it has."""
    told = submit(slurm, *LARGE, "--comment=mine")

    assert (0, TOLD) == (told.returncode, told.stderr)
    shown = slurm.says("scontrol", "show", "job", told.stdout.strip())
    assert all(
        each in shown
        for each in ("TimeLimit=2-00:00:00", "NumNodes=2-2", "TresPerNode=gres:gpu:4", "Comment=mine")
    )


@pytest.mark.parametrize(
    "options",
    [
        ("--time=10", "--gres=gpu:1"),
        ("--time=100:0:0",),
        (*LARGE, "--comment=gpuwatch: device-hours=300 campaign=llama"),
    ],
)
def test_others_hear_nothing(slurm: Slurm, options: tuple[str, ...]) -> None:
    """Small ones, those without devices, and those that declare something."""
    told = submit(slurm, *options)

    assert (0, "") == (told.returncode, told.stderr)


@pytest.mark.parametrize(
    ("hours", "options"),
    [
        (192, ("--time=2-0", "--gpus=4")),
        (192, ("--time=2-0", "--gres=tpu:v5e:4")),
        (144, ("--time=2-0", "--gpus-per-task=h100:1", "--ntasks=3")),
        (400, ("--time=1:0:0", "--gpus-per-node=4", "--nodes=1", "--array=0-99%4")),
    ],
)
def test_every_way_to_ask_for_devices_counts(slurm: Slurm, hours: int, options: tuple[str, ...]) -> None:
    """As this version of Slurm hands it to the script."""
    assert f"may take {hours} device-hours" in submit(slurm, *options).stderr


def test_a_mistake_in_a_declaration_is_told_when_it_is_made(slurm: Slurm) -> None:
    """Whatever the size of the job, which is taken."""
    told = submit(slurm, "--time=10", "--gres=gpu:1", "--comment=gpuwatch: device-hour=3")

    assert 0 == told.returncode
    assert "sbatch: gpuwatch: device-hour=3 in --comment is not understood: docs/declaring.md\n" == told.stderr


def test_a_site_may_refuse(refusing: Slurm) -> None:
    """The user reads why; a job that declares something is taken."""
    refused = submit(refusing, *LARGE)
    taken = submit(refusing, *LARGE, "--comment=gpuwatch: device-hours=300")

    assert (1, "") == (refused.returncode, refused.stdout)
    assert TOLD.replace("sbatch: ", "sbatch: error: ") in refused.stderr
    assert (0, "") == (taken.returncode, taken.stderr)
