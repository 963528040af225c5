"""Jobs as sacct keeps them: what counts, what contradicts, what is none."""

from __future__ import annotations

from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpuwatch.errors import Rejected
from gpuwatch.schedulers import slurm_rows, slurm_sacct
from gpuwatch.schedulers.base import Facts, Live, Record, RecordId
from gpuwatch.schedulers.slurm_sacct import Reading

DATA = Path(__file__).parents[3] / "shared" / "data" / "gcm_sacct" / "sample-sacct-output.txt"

START = 1_700_000_000
ROW = {
    "jobidraw": "12", "jobid": "12", "state": "COMPLETED", "submit": str(START - 60), "start": str(START),
    "end": str(START + 3600), "elapsedraw": "3600", "timelimitraw": "120", "exitcode": "0:0",
    "alloctres": "billing=8,cpu=4,gres/gpu:h100=2,gres/gpu=2,mem=64G,node=1", "reqtres": "cpu=4,gres/gpu=2",
    "nodelist": "gw[0-1]", "partition": "gpu", "qos": "normal", "account": "lab", "user": "alice",
    "jobname": "train",
}  # fmt: skip


def record(**cells: str) -> Record:
    found = slurm_sacct.record({**ROW, **cells}, Reading("c"))
    assert found is not None
    return found


def facts(**cells: str) -> Facts:
    return record(**cells).facts


def test_a_job_is_a_record() -> None:
    """All that accounting wants to know of it."""
    expected = Record(
        RecordId("c", "12", START - 60),
        Facts(
            seen=START + 3600, state="COMPLETED", started=START, ended=START + 3600, devices=2, rule="generic",
            cpus=4, nodes=("gw0", "gw1"), whole="12", display="12", name="train", user="alice", account="lab",
            partition="gpu", qos="normal", limit_seconds=7200, billing=8, exit_code=0,
        ),
    )  # fmt: skip

    assert expected == record()


def test_steps_are_left_out() -> None:
    """They hold what their job holds."""
    rows = [{**ROW, "jobid": each, "jobidraw": each} for each in ("12.batch", "12.extern", "12.0", "12_4.0")]

    assert [None] * 4 == [slurm_sacct.record(row, Reading("c")) for row in rows]


def test_an_array_task_has_its_own_id_and_is_displayed_as_one() -> None:
    """Nodes know the raw id."""
    found = record(jobid="10_2")

    assert ("12", "12", "10_2") == (found.key.job_id, found.facts.whole, found.facts.display)


def test_a_component_is_part_of_the_job_of_its_leader() -> None:
    """So is the leader."""
    assert ("11", "11+1") == (facts(jobid="11+1").whole, facts(jobid="11+1").display)
    assert "12" == facts(jobid="12+0").whole


def test_tasks_that_wait_together_are_counted() -> None:
    """Until they start they are one record, of what was asked for."""
    found = facts(jobid="12_[5-9%2]", state="PENDING", start="Unknown", end="Unknown", alloctres="")

    assert (5, 2, None, None) == (found.tasks, found.devices, found.started, found.ended)


def test_what_is_planned_is_no_start() -> None:
    """A job that waits may have a start to come."""
    assert None is facts(state="PENDING").started


def test_a_running_job_has_no_end() -> None:
    """`Unknown`."""
    found = facts(state="RUNNING", end="Unknown")

    assert (START, None, None) == (found.started, found.ended, found.exit_code)


def test_who_cancelled_is_no_part_of_the_state() -> None:
    """`CANCELLED by 1234`."""
    assert "CANCELLED" == facts(state="CANCELLED by 1234").state


@pytest.mark.parametrize("start", ["Unknown", "None", str(START + 3600)])
def test_a_job_cancelled_while_it_waited_held_nothing(start: str) -> None:
    """Whatever Slurm's version puts for its start."""
    found = facts(state="CANCELLED by 0", start=start, nodelist="None assigned", alloctres="", elapsedraw="0")

    assert (None, START + 3600) == (found.started, found.ended)


def test_start_and_end_win_over_elapsed() -> None:
    """The contradiction is told."""
    found = facts(elapsedraw="60")

    assert (START, START + 3600) == (found.started, found.ended)
    assert "Elapsed is 60 s, from start to end 3600 s" == found.doubt


def test_elapsed_without_what_was_suspended_is_no_contradiction() -> None:
    """sacct leaves it out."""
    assert "" == facts(elapsedraw="3000", suspended="00:10:00").doubt


def test_elapsed_tells_an_end_that_is_missing() -> None:
    """Of a job that has ended."""
    found = facts(end="Unknown", elapsedraw="100")

    assert (START + 100, "no end; start and Elapsed tell") == (found.ended, found.doubt)


def test_an_end_before_the_start_is_no_time() -> None:
    """It held nothing that is known."""
    found = facts(end=str(START - 5))

    assert (None, START - 5, "it ends before it starts") == (found.started, found.ended, found.doubt)


def test_what_was_allocated_counts_and_not_what_was_requested() -> None:
    """--exclusive gives all of a node."""
    assert 8 == facts(alloctres="cpu=64,gres/gpu=8", reqtres="cpu=4,gres/gpu=2").devices


def test_devices_of_an_empty_alloctres_are_unknown() -> None:
    """Not none, and not what was requested."""
    assert None is facts(alloctres="").devices


def test_older_slurm_tells_generic_resources_instead() -> None:
    """AllocGRES, of the whole job."""
    found = facts(alloctres="cpu=4,mem=64G", allocgres="gpu:4")

    assert (4, "gres") == (found.devices, found.rule)


def test_no_device_is_known_where_the_cluster_counts_them() -> None:
    """Elsewhere silence says nothing."""
    row = {**ROW, "alloctres": "cpu=1,mem=4G"}
    counted = slurm_sacct.record(row, Reading("c", accounted=True))
    silent = slurm_sacct.record(row, Reading("c"))

    assert counted is not None
    assert silent is not None
    assert [0.0, None] == [counted.facts.devices, silent.facts.devices]


LIMITS = {"120": 7200, "UNLIMITED": None, "Partition_Limit": None, "": None, "525600": 31536000}


@pytest.mark.parametrize(("text", "expected"), LIMITS.items())
def test_limits_are_seconds(text: str, expected: float | None) -> None:
    """None is unlimited."""
    assert expected == facts(timelimitraw=text).limit_seconds


def test_a_field_that_cannot_be_read_leaves_the_rest() -> None:
    """And is told."""
    found = facts(exitcode="what", nodelist="gw[1-", timelimitraw="soon")

    assert (None, (), None, 2) == (found.exit_code, found.nodes, found.limit_seconds, found.devices)
    assert 3 == found.doubt.count(";") + 1


def test_comments_are_told_where_they_are_kept() -> None:
    """AccountingStoreFlags=job_comment."""
    assert (
        Live(START + 3600, "gpuwatch: device-hours=2", "ok")
        == record(comment="gpuwatch: device-hours=2", admincomment="ok").live
    )


def test_a_requeue_is_another_submission() -> None:
    """Of one job."""
    first, second = record(state="REQUEUED"), record(submit=str(START + 3600), restarts="1")

    assert first.key.job_id == second.key.job_id
    assert first.key != second.key
    assert 1 == second.facts.restarts


def test_each_size_of_a_job_has_its_time() -> None:
    """Slurm tells the second one with the start of the first, and as submitted when the size changed."""
    first = record(state="RESIZING", end=str(START + 1000), elapsedraw="1000")
    second = record(submit=str(START + 1000), alloctres="gres/gpu=1")

    assert [(START, START + 1000), (START + 1000, START + 3600)] == [
        (each.facts.started, each.facts.ended) for each in (first, second)
    ]
    assert first.key != second.key
    assert "" == second.facts.doubt


def test_local_times_are_read_in_their_zone() -> None:
    """A file has times without one."""
    row = {**ROW, "submit": "2020-11-16T12:59:11"}
    found = slurm_sacct.record(row, Reading("c", zone=ZoneInfo("Europe/Berlin")))

    assert found is not None
    assert 1605527951 == found.key.submitted


@pytest.mark.parametrize("cells", [{"jobid": "x", "jobidraw": ""}, {"state": ""}, {"submit": "soon"}])
def test_what_is_no_job_is_rejected(cells: dict[str, str]) -> None:
    """Without an id, a state or a time of submission it is none."""
    with pytest.raises(Rejected):
        record(**cells)


def test_the_jobs_of_a_table_are_told_once_each_as_often_as_they_are_there() -> None:
    """With what is wrong among them."""
    names = tuple(ROW)
    line = "|".join(ROW.values())
    bad = "|".join({**ROW, "state": ""}.values())
    found = list(slurm_sacct.records([line, bad, line], names, Reading("c")))

    assert [Record, Rejected, Record] == [type(each) for each in found]
    assert found[0] == found[2]


@given(st.fixed_dictionaries({name: st.text(max_size=20) for name in ROW}))
def test_any_row_is_a_record_or_rejected(row: dict[str, str]) -> None:
    """Nothing else is raised."""
    try:
        found = slurm_sacct.record(row, Reading("c"))
    except Rejected:
        return
    assert found is None or found.facts.devices is None or found.facts.devices >= 0


@pytest.mark.data
@pytest.mark.skipif(not DATA.exists(), reason="the sample data is not beside the checkout")
def test_a_real_table_of_steps_has_no_job() -> None:
    """All fields that sacct had in 2020; every row is a step."""
    with DATA.open(encoding="utf-8") as lines:
        names = slurm_rows.names_of(next(lines))
        rows = list(slurm_rows.rows(lines, names))
        found = [slurm_sacct.record(row, Reading("c")) for row in rows if isinstance(row, dict)]

    assert [None] * 68 == found
