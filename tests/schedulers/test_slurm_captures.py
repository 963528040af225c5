"""What real Slurms of two versions told (tests/captures/slurm), read by every parser."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from gpuwatch.schedulers import slurm_grants, slurm_json, slurm_rows, slurm_sacct, slurm_squeue
from gpuwatch.schedulers.base import Facts, Record
from gpuwatch.schedulers.slurm_sacct import Reading

CAPTURES = Path(__file__).parents[1] / "captures" / "slurm"
VERSIONS = ("22.05", "24.11")
NOW = 1_800_000_000.0
READING = Reading("gwtest", accounted=True, seen=NOW)


def text(version: str, name: str) -> str:
    return (CAPTURES / version / name).read_text(encoding="utf-8")


def table(version: str, name: str) -> dict[str, Record]:
    """The records by what users call them and how they ended."""
    header, *lines = text(version, name).splitlines()
    found = list(slurm_sacct.records(lines, slurm_rows.names_of(header), READING))
    return named([each for each in found if isinstance(each, Record)], len(found))


def named(records: Sequence[Record], count: int) -> dict[str, Record]:
    assert len(records) == count
    found = {f"{each.facts.display} {each.facts.state}": each for each in records}
    assert len(found) == len(records)
    return found


def common(record: Record) -> Facts:
    return replace(record.facts, restarts=None, exit_code=None)


@pytest.mark.parametrize("version", VERSIONS)
def test_text_tells_what_was_held(version: str) -> None:
    """Devices of each job, its state, and what it is part of."""
    found = table(version, "sacct.txt")

    assert {
        "1 COMPLETED": 2, "3 FAILED": 1, "4 REQUEUED": 1, "5 COMPLETED": 0, "2_0 COMPLETED": 1,
        "2_1 COMPLETED": 1, "2_2 COMPLETED": 1, "8 CANCELLED": 1, "4 RUNNING": 1, "10 RUNNING": 4,
        "11+0 RUNNING": 1, "11+1 RUNNING": 2, "13 RUNNING": 1, "14 SUSPENDED": 1, "15 PENDING": 1,
        "16_[5-9%2] PENDING": 6, "18 CANCELLED": 6,
    } == {name: each.facts.devices for name, each in found.items()}  # fmt: skip
    assert ("11", "12") == (found["11+1 RUNNING"].facts.whole, found["11+1 RUNNING"].key.job_id)
    assert None is found["18 CANCELLED"].facts.started
    assert "done|pipe" == found["1 COMPLETED"].facts.name


@pytest.mark.parametrize("version", VERSIONS)
def test_json_and_text_tell_the_same(version: str) -> None:
    """But for restarts, which this text does not have, and exit codes, which 22.05 gets wrong in JSON."""
    written = table(version, "sacct.txt")
    records = list(slurm_json.sacct_records([text(version, "sacct.json")], READING))
    found = named([each for each in records if isinstance(each, Record)], len(records))

    assert {name: common(each) for name, each in written.items()} == {
        name: common(each) for name, each in found.items()
    }
    assert (3, 3 if version == "24.11" else None) == (
        written["3 FAILED"].facts.exit_code, found["3 FAILED"].facts.exit_code
    )  # fmt: skip


@pytest.mark.parametrize("version", VERSIONS)
def test_local_times_and_steps_change_nothing(version: str) -> None:
    """The same jobs, as sacct prints them by default."""
    assert table(version, "sacct.txt").keys() == table(version, "sacct-local.txt").keys()


@pytest.mark.parametrize("version", VERSIONS)
def test_the_queue_tells_which_devices_run(version: str) -> None:
    """With their nodes; JSON and scontrol agree."""
    records = list(slurm_squeue.json_records([text(version, "squeue.json")], READING))
    found = {each.key.job_id: each for each in records if isinstance(each, Record)}
    details = dict(slurm_squeue.details(text(version, "scontrol-jobs.txt").splitlines()))
    indices = {job: each.live.indices for job, each in found.items() if each.live and each.live.indices}

    assert len(records) == len(found)
    assert {"4", "10", "11", "12", "13", "14"} == indices.keys()
    assert indices == {job: details[job].indices for job in indices}
    assert [] == [each for each in found.values() if each.facts.doubt]
    assert {"15", "16", "17"} == {job for job, each in found.items() if each.facts.state == "PENDING"}
    assert 5 == found["16"].facts.tasks


@pytest.mark.parametrize("version", VERSIONS)
def test_accounts_are_below_each_other(version: str) -> None:
    """With their coordinators, as sacctmgr prints them."""
    header, *lines = text(version, "sacctmgr-assoc.txt").splitlines()
    wanted = [name.lower() for name in slurm_grants.ASSOCIATIONS]
    rows = [row for row in slurm_rows.rows(lines, slurm_rows.names_of(header)) if isinstance(row, dict)]
    found = slurm_grants.associations(("|".join(row.get(name, "") for name in wanted) for row in rows), "gwtest")
    limits = {(each.account, each.user): (each.parent, dict(each.limits)) for each in found}

    assert ("physics", {"gres/gpu": 720_000.0}) == limits["optics", ""]
    assert ("root", {"billing": 60_000_000.0, "gres/gpu": 3_600_000.0}) == limits["physics", ""]
    assert ("", {}) == limits["physics", "alice"]
