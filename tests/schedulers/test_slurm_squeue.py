"""Jobs that wait and run: their states, their plans, and the devices they hold."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpuwatch.errors import Rejected
from gpuwatch.schedulers import slurm_squeue
from gpuwatch.schedulers.base import Live, Record
from gpuwatch.schedulers.slurm_sacct import Reading
from tests.schedulers.fake_slurm import START, detail, queued

READING = Reading("c", seen=START + 100)


def read(*lines: str) -> list[Record]:
    found = list(slurm_squeue.records(lines, READING))
    assert all(isinstance(each, Record) for each in found)
    return [each for each in found if isinstance(each, Record)]


def test_a_running_job_has_no_end() -> None:
    """What squeue calls its end is its limit."""
    (found,) = read(queued())

    assert (START, None, 7200, 2) == (
        found.facts.started, found.facts.ended, found.facts.limit_seconds, found.facts.devices
    )  # fmt: skip
    assert (("gw0",), "alice", "lab", START + 100) == (
        found.facts.nodes, found.facts.user, found.facts.account, found.facts.seen
    )  # fmt: skip


def test_a_job_that_waits_has_not_started() -> None:
    """It may have a start that is planned, and asks for devices."""
    (found,) = read(queued("16", "PENDING", jobid="16_[5-9%2]", nodelist=""))

    assert (None, 2, 5, ()) == (found.facts.started, found.facts.devices, found.facts.tasks, found.facts.nodes)


STATES = {
    "RUNNING": "RUNNING", "CONFIGURING": "RUNNING", "STOPPED": "RUNNING", "SIGNALING": "RUNNING",
    "RESIZING": "RUNNING", "SUSPENDED": "SUSPENDED", "PENDING": "PENDING", "REQUEUE_HOLD": "PENDING",
    "SPECIAL_EXIT": "PENDING", "REQUEUED": "PENDING", "COMPLETING": "COMPLETING", "FAILED": "FAILED",
}  # fmt: skip


@pytest.mark.parametrize(("told", "expected"), STATES.items())
def test_states_are_those_that_matter(told: str, expected: str) -> None:
    """Whether it holds devices, waits for them, or has ended."""
    (found,) = read(queued(state=told, end=str(START + 90)))

    assert expected == found.facts.state
    assert (expected in ("COMPLETING", "FAILED")) == (found.facts.ended is not None)


def test_a_job_that_is_being_requeued_has_no_end_to_come() -> None:
    """Slurm 22.05 tells its limit from now on as the end, under the submission that is over."""
    assert [] == read(queued(state="COMPLETING", end=str(START + 700)))


def test_a_job_of_another_cluster_of_a_federation_is_none() -> None:
    """It was revoked here."""
    assert [] == read(queued(state="REVOKED"))


def test_an_ended_job_that_lost_its_resources_is_left_to_sacct() -> None:
    """What is not known must not take the place of what was."""
    assert [] == read(queued(state="COMPLETED", alloctres=""), queued(state="COMPLETED", end="N/A"))


def test_a_job_that_was_resized_is_told_as_slurmdbd_has_it() -> None:
    """Its record of this size began with it."""
    (found,) = read(queued(resized=str(START + 50)))

    assert (START + 50, START + 50) == (found.key.submitted, found.facts.started)
    assert [] == read(queued(resized="INVALID"))


def test_comments_are_told_while_it_lives() -> None:
    """`(null)` is none; pipes and line breaks are parts of names."""
    comment = "gpuwatch: device-hours=2 | more"
    said, silent = read(*queued(comment=comment, jobname="a\nb|c").split("\n"), queued("13"))

    assert (Live(START + 100, comment), "a\nb|c") == (said.live, said.facts.name)
    assert None is silent.live


def test_devices_are_told_by_node() -> None:
    """Nodes that hold alike are told together."""
    lines = detail(
        "12",
        "Nodes=gw0 CPU_IDs=1 Mem=0 GRES=gpu:h100:2(IDX:1-2)",
        "Nodes=gw[1-2] CPU_IDs=0 Mem=0 GRES=gpu:h100:3(IDX:0,2-3)",
    ).split("\n")
    ((job, found),) = slurm_squeue.details(lines)

    assert ("12", {"gw0": (1, 2), "gw1": (0, 2, 3), "gw2": (0, 2, 3)}) == (job, found.indices)
    assert 8 == sum(part.count for part in found.parts)


def test_only_the_lines_of_nodes_tell_devices() -> None:
    """A name may look like one."""
    lines = ["JobId=12 JobName=x Nodes=gw9 CPU_IDs=0 Mem=0 GRES=gpu:8(IDX:0-7)", *detail("13").split("\n")]

    assert ["13"] == [job for job, _ in slurm_squeue.details(lines)]


def test_a_node_that_cannot_be_read_hides_no_other() -> None:
    """Nor does a GRES."""
    lines = detail(
        "12", "Nodes=gw[0 CPU_IDs=1 Mem=0 GRES=gpu:2(IDX:1-2)", "Nodes=gw1 CPU_IDs=1 Mem=0 GRES=gpu:(((",
        "Nodes=gw2 CPU_IDs=1 Mem=0 GRES=gpu:1(IDX:3)",
    ).split("\n")  # fmt: skip
    ((_, found),) = slurm_squeue.details(lines)

    assert {"gw2": (3,)} == found.indices


def test_what_the_indices_contradict_is_told() -> None:
    """The TRES count, and the doubt is kept."""
    (record,) = read(queued())
    found = slurm_squeue.with_detail(record, slurm_squeue.detail({"gw0": "gpu:4(IDX:0-3)"}), READING)

    assert (2, "GRES say 4") == (found.facts.devices, found.facts.doubt)
    assert Live(START + 100, devices=4, indices={"gw0": (0, 1, 2, 3)}) == found.live


def test_indices_count_where_no_tres_does() -> None:
    """A cluster may not account devices."""
    (record,) = read(queued(alloctres="cpu=4"))
    found = slurm_squeue.with_detail(record, slurm_squeue.detail({"gw0": "gpu:4(IDX:0-3)"}), READING)

    assert (None, "") == (found.facts.devices, found.facts.doubt)
    assert found.live is not None
    assert 4 == found.live.devices


@given(st.lists(st.text(max_size=80), max_size=10))
def test_any_lines_are_jobs_or_rejected(lines: list[str]) -> None:
    """Nothing else is raised."""
    assert all(isinstance(each, Record | Rejected) for each in slurm_squeue.records(lines, READING))
    assert isinstance(list(slurm_squeue.details(lines)), list)


def test_a_job_told_in_the_same_words_is_only_seen_again() -> None:
    """Its row is not read again, and what it says is the same but for when it was said."""
    line, first = queued(comment="gpuwatch: wall=1h"), dict[tuple[str, ...], Record]()
    later = replace(READING, seen=START + 160)

    once = list(slurm_squeue.records([line], READING, {}, first))
    again = list(slurm_squeue.records([line], later, first, {}))

    assert list(slurm_squeue.records([line], later)) == again
    assert once != again
