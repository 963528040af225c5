"""The prolog and epilog for Slurm, run by a real shell: they write what the agent reads, and never fail a job."""

from __future__ import annotations

import os
import socket
import subprocess
import time
from pathlib import Path

import pytest

from gpuwatch.agent.messages import Declare
from gpuwatch.jobs.slurm_maps import MapDirectory, Mapped, own
from tests.agent.listener import eventually, listening

SCRIPTS = Path(__file__).parent.parent.parent / "deploy" / "slurm"
JOB = {"SLURM_JOB_ID": "12", "SLURMD_NODENAME": "gw0"}


def run(script: str, directory: Path, **environ: str) -> None:
    """Run one as slurmd does: without a search path, and with a limit on its time."""
    told = subprocess.run(
        ["/bin/sh", SCRIPTS / f"{script}.sh"],
        env={"GPUWATCH_MAP_DIRECTORY": str(directory), **environ},
        stdin=subprocess.DEVNULL, capture_output=True, timeout=20, check=False,
    )  # fmt: skip
    assert (0, b"", b"") == (told.returncode, told.stdout, told.stderr)


def read(directory: Path) -> list[Mapped]:
    """What the agent of gw0 makes of it."""
    return list(own(MapDirectory(str(directory)).read(), "gw0"))


def test_prolog_writes_what_the_agent_reads_and_epilog_removes_it(tmp_path: Path) -> None:
    """Each of this job and this node alone."""
    variables = {
        "SLURM_JOB_UID": "1000",
        "SLURM_JOB_SLUID": "s8FXKTA79XAR00",
        "SLURM_JOB_GPUS": "0,2-3",
        "CUDA_VISIBLE_DEVICES": "GPU-0b5ac3e5,MIG-1",
        "SLURM_GPUS_ON_NODE": "3",
        "SLURM_SHARDS_ON_NODE": "2",
        "CUDA_MPS_ACTIVE_THREAD_PERCENTAGE": "12.5",
    }
    maps = tmp_path / "run" / "maps"
    run("prolog", maps, **JOB, **variables, SLURM_JOB_COMMENT="is not noted")

    (found,) = read(maps)
    started = found.variables["STARTED"]
    assert JOB | variables | {"STARTED": started} == found.variables
    assert (found.sluid, started.isdigit()) == ("s8FXKTA79XAR00", True)
    run("epilog", maps, SLURM_JOB_ID="12", SLURMD_NODENAME="gw1")
    run("epilog", maps, SLURM_JOB_ID="1", SLURMD_NODENAME="gw0")
    assert os.listdir(maps) == ["12.gw0"]
    run("epilog", maps, **JOB)
    assert os.listdir(maps) == []


def test_job_without_devices_is_noted_too(tmp_path: Path) -> None:
    """So that it is known to have none."""
    run("prolog", tmp_path, **JOB)

    (found,) = read(tmp_path)
    assert {"SLURM_JOB_ID", "SLURMD_NODENAME", "STARTED"} == set(found.variables)


@pytest.mark.parametrize(
    "value",
    [
        "$(touch HERE)",
        "`touch HERE`",
        "0\nSLURM_JOB_ID=13",
        "0;touch HERE",
        "0 1",
        "é",
        "0,\t1",
        "0," * 3000,
        "*",
        "%s%n",
    ],
    ids=range(10),
)
def test_hostile_value_is_noted_as_not_known(tmp_path: Path, value: str) -> None:
    """Nothing of it is run or passed on."""
    here = tmp_path / "here"
    run("prolog", tmp_path / "maps", **JOB, SLURM_JOB_GPUS=value.replace("HERE", str(here)), SLURM_JOB_UID="1000")

    (found,) = read(tmp_path / "maps")
    assert ("?", "1000") == (found.variables["SLURM_JOB_GPUS"], found.variables["SLURM_JOB_UID"])
    assert not here.exists()


def test_longest_value_that_the_kernel_passes_on_is_survived(tmp_path: Path) -> None:
    """Linux allows 128 kB a variable; a longer one never reaches a program."""
    run("prolog", tmp_path, **JOB, SLURM_JOB_GPUS="0," * 60_000)

    assert [each.variables["SLURM_JOB_GPUS"] for each in read(tmp_path)] == ["?"]


@pytest.mark.parametrize("job_id", ["", "0", "-1", "012", "1x", "1/../2", "../x", "1\n2", "12345678901", "*"])
@pytest.mark.parametrize("script", ["prolog", "epilog"])
def test_what_is_no_job_id_touches_nothing(tmp_path: Path, script: str, job_id: str) -> None:
    """Nor does a job without one."""
    (tmp_path / "12.gw0").touch()
    run(script, tmp_path, SLURM_JOB_ID=job_id, SLURMD_NODENAME="gw0")
    run(script, tmp_path, SLURMD_NODENAME="gw0")

    assert os.listdir(tmp_path) == ["12.gw0"]


@pytest.mark.parametrize("node", ["../gw0", "gw0/x", ".gw0", "gw 0", "gw0\n", "*"])
def test_what_is_no_node_name_touches_nothing(tmp_path: Path, node: str) -> None:
    """A name that leads out of the directory, or matches others' maps."""
    maps = tmp_path / "maps"
    maps.mkdir()
    (maps / "12.gw0").touch()
    for script in ("prolog", "epilog"):
        run(script, maps, SLURM_JOB_ID="12", SLURMD_NODENAME=node)

    assert ["maps"] == os.listdir(tmp_path)
    assert ["12.gw0"] == os.listdir(maps)


def test_directory_that_cannot_be_made_fails_no_job(tmp_path: Path) -> None:
    """A file in its place, a link in its place, a file system that takes nothing."""
    (tmp_path / "file").touch()
    (tmp_path / "target").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "target")
    for place in ("file", "file/below", "link"):
        run("prolog", tmp_path / place, **JOB)
        run("epilog", tmp_path / place, **JOB)
    run("prolog", Path("/proc/gpuwatch"), **JOB)
    run("epilog", Path("/proc/gpuwatch"), **JOB)

    assert [] == os.listdir(tmp_path / "target")


def test_what_lies_in_the_place_of_a_map_holds_nothing_up(tmp_path: Path) -> None:
    """A FIFO without a reader, a link: both are replaced, not written to."""
    (tmp_path / "target").touch()
    os.mkfifo(tmp_path / "12.gw0")
    (tmp_path / "13.gw0").symlink_to(tmp_path / "target")
    for job_id in ("12", "13"):
        run("prolog", tmp_path, SLURM_JOB_ID=job_id, SLURMD_NODENAME="gw0")

    assert ["12", "13"] == sorted(each.job_id for each in read(tmp_path) if each.readable)
    assert (tmp_path / "target").read_text() == ""


def test_prologs_at_the_same_time_do_not_disturb_each_other(tmp_path: Path) -> None:
    """Also of the same job: whichever is last is whole, and nothing else is left."""
    environ = {"GPUWATCH_MAP_DIRECTORY": str(tmp_path), "SLURMD_NODENAME": "gw0"}
    started = [
        subprocess.Popen(
            ["/bin/sh", SCRIPTS / "prolog.sh"], env={**environ, "SLURM_JOB_ID": str(job_id), "SLURM_JOB_GPUS": "0"}
        )
        for job_id in (*range(1, 9), *[9] * 8)
    ]
    codes = {each.wait(timeout=20) for each in started}

    assert {0} == codes
    assert {f"{job_id}.gw0" for job_id in range(1, 10)} == set(os.listdir(tmp_path))
    assert all(each.readable and each.variables["SLURM_JOB_GPUS"] == "0" for each in read(tmp_path))


def run_with_directory(script: str, above: Path, job_id: str = "12", uid: str = "12345") -> None:
    """Run one where jobs may have directories."""
    environ = {"GPUWATCH_JOBS_DIRECTORY": str(above), "GPUWATCH_GROUP": "no-such-group"}
    run(script, above.parent / "maps", **(JOB | {"SLURM_JOB_ID": job_id, "SLURM_JOB_UID": uid}), **environ)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives directories away")
def test_job_gets_a_directory_of_its_own_until_its_end(tmp_path: Path) -> None:
    """Its user's; nobody else but the agent's group may look into it."""
    above = tmp_path / "jobs"
    above.mkdir()
    run_with_directory("prolog", above)
    status = (above / "12").stat()
    (above / "12" / "progress").write_text("{}")
    (above / "12" / "deep" / "er").mkdir(parents=True)
    (above / "13").mkdir()

    assert (12345, 0o750) == (status.st_uid, status.st_mode & 0o7777)
    run_with_directory("epilog", above)
    assert ["13"] == os.listdir(above)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives directories away")
def test_directory_of_an_earlier_job_of_that_number_is_no_word_of_this_one(tmp_path: Path) -> None:
    """No epilog removed it: another user's is made anew, the same user's (a job that was requeued) stays."""
    above = tmp_path / "jobs"
    above.mkdir()
    run_with_directory("prolog", above)
    (above / "12" / "declare").write_text("energy=1J")
    run_with_directory("prolog", above)
    assert ["declare"] == os.listdir(above / "12")
    run_with_directory("prolog", above, uid="12346")

    assert (12346, []) == ((above / "12").stat().st_uid, os.listdir(above / "12"))


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives directories away")
def test_user_is_looked_up_nowhere(tmp_path: Path) -> None:
    """A directory service that is down holds no job up, and a user whose name is that number gets nothing."""
    above = tmp_path / "jobs"
    above.mkdir()
    noted, script, chown = tmp_path / "noted", tmp_path / "prolog.sh", tmp_path / "bin" / "chown"
    chown.parent.mkdir()
    chown.write_text(f'#!/bin/sh\necho "$1" >> {noted}\nexec /usr/bin/chown "$@"\n')
    chown.chmod(0o755)
    script.write_text((SCRIPTS / "prolog.sh").read_text().replace("PATH=/usr", f"PATH={chown.parent}:/usr"))
    environ = {"GPUWATCH_JOBS_DIRECTORY": str(above), "GPUWATCH_GROUP": "no-such-group", "SLURM_JOB_UID": "12345"}
    subprocess.run(["/bin/sh", script], env=JOB | environ, timeout=20, check=True)

    assert ["+12345:no-such-group", "+12345"] == noted.read_text().split()


def test_no_directory_is_made_where_there_is_none_for_them(tmp_path: Path) -> None:
    """A site has them by making the one above; a link there is none."""
    (tmp_path / "target").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "target")
    for above in (tmp_path / "jobs", tmp_path / "link"):
        run_with_directory("prolog", above)
        run_with_directory("epilog", above)

    assert ["link", "maps", "target"] == sorted(os.listdir(tmp_path))
    assert [] == os.listdir(tmp_path / "target")


@pytest.mark.parametrize(("job_id", "uid"), [("../x", "0"), ("12", "root"), ("12", "0:0"), ("12", ""), ("", "0")])
def test_what_is_no_job_or_no_user_gets_no_directory(tmp_path: Path, job_id: str, uid: str) -> None:
    """Nor loses one."""
    above = tmp_path / "jobs"
    above.mkdir()
    (tmp_path / "x").mkdir()
    run_with_directory("prolog", above, job_id, uid)
    run_with_directory("epilog", above, job_id, uid)

    assert [] == os.listdir(above)
    assert (tmp_path / "x").is_dir()


def task_prolog(agent: str, **environ: str) -> bytes:
    """Run the task prolog as slurmstepd does, and return what it says to it."""
    told = subprocess.run(
        ["/bin/sh", SCRIPTS / "task-prolog.sh"], env={"GPUWATCH_SOCKET": agent, "SLURM_JOB_ID": "12", **environ},
        stdin=subprocess.DEVNULL, capture_output=True, timeout=20, check=False,
    )  # fmt: skip
    assert (0, b"") == (told.returncode, told.stderr)
    return told.stdout


@pytest.mark.parametrize("text", ["device-hours=640 energy=450kWh", "campaign=ü", '"}\n$(id)\\', "x" * 20_000])
def test_task_hands_its_estimate_over_as_it_is(tmp_path: Path, text: str) -> None:
    """The first of a step on its node; whatever it is, the agent judges it."""
    with listening(tmp_path / "s") as agent:
        assert b"" == task_prolog(agent.path, GPUWATCH_ESTIMATE=text, SLURM_LOCALID="0")
        assert b"" == task_prolog(agent.path, GPUWATCH_ESTIMATE=text, SLURM_LOCALID="1")
        assert b"" == task_prolog(agent.path, SLURM_LOCALID="0")
        assert eventually(lambda: sum(agent.socket.counters().values()) == 2.0)

        fits = [Declare(text, "environment")] if len(text) < 16_384 else []
        assert fits == agent.messages


def test_task_begins_also_where_no_agent_answers(tmp_path: Path) -> None:
    """None there, no socket, one that is silent: a second at most."""
    with socket.socket(socket.AF_UNIX) as silent:
        silent.bind(str(tmp_path / "silent"))
        silent.listen()
        (tmp_path / "file").touch()
        began = time.monotonic()
        for name in ("none", "file", "silent"):
            assert b"" == task_prolog(str(tmp_path / name), GPUWATCH_ESTIMATE="energy=1J")

    assert time.monotonic() - began < 5.0


def test_task_is_told_where_its_job_may_write(tmp_path: Path) -> None:
    """Where there is a directory for it."""
    (tmp_path / "12").mkdir()
    above = str(tmp_path)

    expected = f"export GPUWATCH_JOB_DIRECTORY={above}/12\n".encode()
    assert expected == task_prolog("/none", GPUWATCH_JOBS_DIRECTORY=above)
    assert b"" == task_prolog("/none", GPUWATCH_JOBS_DIRECTORY=above, SLURM_JOB_ID="13")
    assert b"" == task_prolog("/none", GPUWATCH_JOBS_DIRECTORY=above, SLURM_JOB_ID="../12")


@pytest.mark.parametrize("script", ["prolog", "epilog", "task-prolog"])
def test_scripts_are_short_and_need_no_other_program_than_every_node_has(script: str) -> None:
    """At most 60 lines, and the executable bit that slurmd asks for."""
    path = SCRIPTS / f"{script}.sh"

    assert len(path.read_text().splitlines()) <= 60
    assert os.access(path, os.X_OK)
