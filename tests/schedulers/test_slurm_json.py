"""The JSON of two versions of Slurm, and pieces of it as they come through a pipe."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpuwatch.errors import Rejected
from gpuwatch.schedulers import slurm_json
from gpuwatch.schedulers.base import Record
from gpuwatch.schedulers.slurm_sacct import Reading


def number(value: float | None) -> dict[str, Any]:
    return {"set": value is not None, "infinite": False, "number": value or 0}


OLD = {
    "job_id": 12, "name": "train", "account": "lab", "user": "alice", "partition": "gpu", "qos": "normal",
    "array": {"job_id": 10, "task_id": 2, "task": None}, "het": {"job_id": 0, "job_offset": None},
    "comment": {"administrator": None, "job": "gpuwatch: device-hours=2", "system": None},
    "state": {"current": "FAILED", "reason": "None"}, "nodes": "gw[0-1]",
    "exit_code": {"status": "ERROR", "return_code": 3},
    "time": {"submission": 1000, "start": 1010, "end": 1110, "elapsed": 100, "suspended": 0, "limit": 10},
    "tres": {"allocated": [{"type": "cpu", "name": None, "id": 1, "count": 4},
                           {"type": "gres", "name": "gpu:h100", "id": 1002, "count": 2},
                           {"type": "gres", "name": "gpu", "id": 1001, "count": 2}], "requested": []},
    "required": {"CPUs": 4}, "steps": [],
}  # fmt: skip

NEW = {
    **OLD, "array": {"job_id": 10, "task_id": number(2), "task": ""},
    "het": {"job_id": 0, "job_offset": number(None)}, "restart_cnt": 0,
    "comment": {"administrator": "", "job": "gpuwatch: device-hours=2", "system": ""},
    "state": {"current": ["FAILED"], "reason": "None"},
    "exit_code": {"status": ["ERROR"], "return_code": number(3), "signal": {"id": number(None), "name": ""}},
    "time": {**OLD["time"], "limit": number(10)},  # type: ignore[dict-item]
}  # fmt: skip


def records(*jobs: object, size: int = 10_000) -> list[Record | Rejected]:
    document = json.dumps({"meta": {"command": ["sacct", "jobs"]}, "jobs": jobs, "errors": []}, indent=1)
    pieces = [document[at : at + size] for at in range(0, len(document), size)]
    return list(slurm_json.sacct_records(pieces, Reading("c")))


def test_both_versions_tell_the_same() -> None:
    """But for the restarts, which only one has."""
    old, new = records(OLD, NEW)

    assert isinstance(old, Record)
    assert isinstance(new, Record)
    assert (None, 0) == (old.facts.restarts, new.facts.restarts)
    assert slurm_json.sacct_row({**NEW, "restart_cnt": None}) == slurm_json.sacct_row(OLD)
    assert ("12", "10_2", 2, "generic", 3, 600) == (
        old.key.job_id, old.facts.display, old.facts.devices, old.facts.rule, old.facts.exit_code,
        old.facts.limit_seconds,
    )  # fmt: skip


@pytest.mark.parametrize("size", [1, 7, 100])
def test_pieces_of_any_size_are_put_together(size: int) -> None:
    """A pipe cuts anywhere."""
    assert records(OLD, NEW, OLD) == records(OLD, NEW, OLD, size=size)


def test_no_jobs_are_none() -> None:
    """An empty list."""
    assert [] == records()


@pytest.mark.parametrize("text", ["", "slurm: error", '{"jobs"', '{"jobs": [', '{"jobs": [{"a"', '{"jobs": [3]}'])
def test_what_is_no_answer_is_rejected(text: str) -> None:
    """Also what breaks off."""
    with pytest.raises(Rejected):
        list(slurm_json.jobs([text]))


def test_a_job_that_cannot_be_read_hides_no_other() -> None:
    """It is told."""
    found = records({"job_id": None}, OLD)

    assert [Rejected, Record] == [type(each) for each in found]


NUMBERS = [
    (7, "7"), (None, ""), (number(7), "7"), (number(None), ""), (True, ""), (7.0, "7"), (2**32 - 2, ""),
    ({"set": True, "infinite": True, "number": 0}, "UNLIMITED"), ({"set": False, "infinite": True}, "UNLIMITED"),
]  # fmt: skip


@pytest.mark.parametrize(("value", "expected"), NUMBERS, ids=repr)
def test_numbers_are_those_of_the_text(value: object, expected: str) -> None:
    """Set, not set, and infinite."""
    assert expected == slurm_json.number(value)


def test_an_attempt_that_was_requeued_is_so_in_both_versions() -> None:
    """A newer Slurm tells that the job waits, and in a flag why."""
    states = ["REQUEUED", ["REQUEUED"], ["PENDING", "REQUEUED"]]
    rows = [slurm_json.sacct_row({**NEW, "state": {"current": each}}) for each in states]

    assert ["REQUEUED"] * 3 == [row["state"] for row in rows]


def test_an_array_that_waits_has_its_tasks() -> None:
    """And a component its leader."""
    array = slurm_json.sacct_row({**NEW, "array": {"job_id": 10, "task_id": number(None), "task": "5-9%2"}})
    part = slurm_json.sacct_row({**NEW, "array": {}, "het": {"job_id": 11, "job_offset": number(1)}})

    assert ("10_[5-9%2]", "11+1") == (array["jobid"], part["jobid"])


def test_tasks_told_as_bits_are_written_out() -> None:
    """With how many may run at once."""
    limits = {"max": {"running": {"tasks": 2}}}
    array = {"job_id": 10, "limits": limits, "task_id": number(None), "task": "0x13E1"}

    assert "10_[0,5-9,12%2]" == slurm_json.sacct_row({**NEW, "array": array})["jobid"]


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=5,
)


@given(st.fixed_dictionaries(dict.fromkeys(NEW, _JSON)))
def test_any_object_is_a_record_or_rejected(job: dict[str, Any]) -> None:
    """Nothing else is raised."""
    assert all(isinstance(each, Record | Rejected) for each in records(job))
