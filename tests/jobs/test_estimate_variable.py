"""GPUWATCH_ESTIMATE in the environment of jobs' processes: who is asked, how often, and what is believed."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path

import pytest

from gpuwatch.jobs import slurm_environment
from gpuwatch.jobs.base import NodeView, Run, Variable
from gpuwatch.jobs.estimate_variable import EstimateVariables
from tests.jobs.procfs import FakeProcfs
from tests.jobs.slurm_node import SlurmNode
from tests.jobs.test_local import local, view

TEXT = "device-hours=640 campaign=ü"


@pytest.fixture
def procfs(tmp_path: Path) -> FakeProcfs:
    """A node without processes."""
    return FakeProcfs(tmp_path / "proc")


def process(procfs: FakeProcfs, pid: int, environ: Mapping[str, str] | bytes | None, uid: int = 1000) -> Path:
    """Start a process; without an environment nobody may look at that."""
    procfs.add(pid, uid=uid)
    path = procfs.root / str(pid) / "environ"
    if environ is None:
        path.mkdir()
    elif isinstance(environ, bytes):
        path.write_bytes(environ)
    else:
        path.write_bytes(b"".join(f"{name}={text}\0".encode() for name, text in environ.items()))
    return path


def test_first_process_that_has_the_variable_speaks_for_its_job(procfs: FakeProcfs) -> None:
    """Others are not asked any more, and not again."""
    process(procfs, 10, {"PATH": "/bin"})
    path = process(procfs, 11, {"GPUWATCH_ESTIMATE": TEXT})
    process(procfs, 12, {"GPUWATCH_ESTIMATE": "energy=1J"}, uid=1001)
    variables = EstimateVariables(str(procfs.root))

    assert {"7": Variable(TEXT, 1000, 11)} == variables.read({"7": [10, 11, 12]}, 0.0)
    path.unlink()
    assert {"7": Variable(TEXT, 1000, 11)} == variables.read({"7": [10, 11, 12]}, 1000.0)
    assert {} == variables.read({}, 1001.0)
    assert {} == variables.read({"7": [10]}, 1002.0)


def test_job_is_asked_again_every_five_seconds_and_later_each_minute(procfs: FakeProcfs) -> None:
    """What has it may be started late."""
    variables = EstimateVariables(str(procfs.root))
    variables.read({"7": [10]}, 0.0)
    process(procfs, 10, {"GPUWATCH_ESTIMATE": TEXT})

    assert {} == variables.read({"7": [10]}, 4.0)
    assert {"7"} == variables.read({"7": [10]}, 5.0).keys()


def test_job_that_may_not_be_looked_at_is_left_alone_for_long(procfs: FakeProcfs) -> None:
    """An agent without the right does not try each second."""
    path = process(procfs, 10, None)
    variables = EstimateVariables(str(procfs.root))
    variables.read({"7": [10]}, 0.0)
    path.rmdir()
    path.write_bytes(b"GPUWATCH_ESTIMATE=energy=1J\0")

    assert {} == variables.read({"7": [10]}, 599.0)
    assert {"7"} == variables.read({"7": [10]}, 600.0).keys()


def test_only_a_few_jobs_and_processes_are_asked_at_once(procfs: FakeProcfs) -> None:
    """A thousand jobs that begin together do not hold the agent up."""
    for pid in range(100, 150):
        process(procfs, pid, {"GPUWATCH_ESTIMATE": TEXT} if pid != 100 else {})
    variables = EstimateVariables(str(procfs.root))
    jobs = {str(pid): [pid] for pid in range(101, 130)}

    assert 4 == len(variables.read(jobs, 0.0))
    assert 8 == len(variables.read(jobs, 0.0))
    assert {} == EstimateVariables(str(procfs.root)).read({"1": [100] * 16 + [101]}, 0.0)


@pytest.mark.parametrize(
    ("environ", "text"),
    [
        (b"GPUWATCH_ESTIMATE=\xff\xfe\0", "\udcff\udcfe"),
        (b"GPUWATCH_ESTIMATE=" + b"x" * 5000 + b"\0", "?"),
        (b"GPUWATCH_ESTIMATE=a\0GPUWATCH_ESTIMATE=b\0", "a"),
        (b"GPUWATCH_ESTIMATE=\0", ""),
        (b"GPUWATCH_ESTIMATE=a\nb\0", "a\nb"),
    ],
    ids=range(5),
)
def test_hostile_environment_is_passed_on_as_it_is_within_bounds(
    procfs: FakeProcfs, environ: bytes, text: str
) -> None:
    """The agent judges it."""
    process(procfs, 10, environ)

    assert {"7": Variable(text, 1000, 10)} == EstimateVariables(str(procfs.root)).read({"7": [10]}, 0.0)


def test_process_of_a_slurm_job_declares_only_where_it_names_that_job(tmp_path: Path) -> None:
    """Slurm's own processes, and those started from elsewhere, may have another job's environment."""
    node = SlurmNode(tmp_path)
    node.process(100, "job_12", {"SLURM_JOB_ID": "11", "GPUWATCH_ESTIMATE": "energy=1J"})
    node.process(101, "job_12", {"SLURM_JOB_ID": "12", "GPUWATCH_ESTIMATE": TEXT})
    node.process(102, "job_13", {"SLURM_JOB_ID": "12", "GPUWATCH_ESTIMATE": "energy=1J"})
    source = node.source()

    assert {"12": Variable(TEXT, 1000, 101)} == source.read(NodeView(node.now, node.devices)).declared


def test_processes_on_a_device_declare_for_their_run_container_or_user(procfs: FakeProcfs) -> None:
    """By whatever they belong to."""
    process(procfs, 100, {})
    procfs.add(101, ppid=100, uid=1000)
    (procfs.root / "101" / "environ").write_bytes(b"GPUWATCH_ESTIMATE=energy=1J\0")
    process(procfs, 200, {"GPUWATCH_ESTIMATE": "energy=2J"}, uid=4_000_000_000)
    found = local(procfs).read(view({"GPU-0": (101, 200)}, Run("run-1", "x", 100, 1000, 1000)))

    assert {
        "run-1": Variable("energy=1J", 1000, 101),
        "user:4000000000": Variable("energy=2J", 4_000_000_000, 200),
    } == found.declared


@pytest.mark.parametrize("environ", [b"\0" * 300_000, b"a=\0" * 100_000, b"\0SLURM_JOB_ID" * 30_000], ids=range(3))
def test_environment_of_many_variables_costs_little(procfs: FakeProcfs, environ: bytes) -> None:
    """All processes that are asked in one second may have such a one, written by a hostile user."""
    process(procfs, 10, environ)

    began = time.process_time()
    for _ in range(16):
        assert {} == slurm_environment.environment(str(procfs.root), 10)
    assert time.process_time() - began < 0.1


def test_variable_is_found_wherever_it_stands(procfs: FakeProcfs) -> None:
    """First, last without an end, twice; not as another's end, in a value, or without a sign, as for getenv."""
    decoys = b"GPUWATCH_ESTIMATE\0SLURM_JOB_ID\0X=SLURM_JOB_ID=1\0XSLURM_JOB_ID=2\0"
    process(procfs, 10, decoys + b"GPUWATCH_ESTIMATE=a=b\0GPUWATCH_ESTIMATE=c\0SLURM_JOB_ID=\xff")

    expected = {"GPUWATCH_ESTIMATE": "a=b", "SLURM_JOB_ID": "\udcff"}
    assert expected == slurm_environment.environment(str(procfs.root), 10)
