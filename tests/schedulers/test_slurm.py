"""Asking Slurm: what is told, how often it is asked, and what a failing or slow Slurm does to it."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from gpuwatch.errors import Unavailable
from gpuwatch.ledger.records import merge_record
from gpuwatch.schedulers.base import Poll, Record
from gpuwatch.schedulers.slurm import SlurmScheduler
from tests.schedulers.fake_slurm import CONFIG, START, FakeSlurm, detail, ended, queued

NOW = START + 4000.0
DAY = 86_400.0


@pytest.fixture
def slurm(tmp_path: Path) -> FakeSlurm:
    return FakeSlurm(tmp_path)


def by_id(records: object) -> dict[str, Record]:
    assert isinstance(records, tuple)
    return {each.key.job_id: each for each in records}


def test_what_waits_runs_and_ended_is_told(slurm: FakeSlurm) -> None:
    """Of one cluster, whose name is the site's."""
    slurm.say("squeue", queued("12"), queued("13", "PENDING", start="N/A", nodelist=""))
    slurm.say("sacct", ended("11"))
    slurm.say("scontrol-job", detail("12"))

    poll = slurm.scheduler().poll(NOW - 60, (), NOW)
    found = by_id(poll.records)
    assert {"11": "COMPLETED", "12": "RUNNING", "13": "PENDING"} == {k: v.facts.state for k, v in found.items()}
    assert {"here"} == {each.key.cluster for each in found.values()}
    assert (NOW, (), ()) == (poll.until, poll.grants, poll.failures)
    assert {NOW} == {each.facts.seen for each in found.values()}


def test_sacct_is_believed_where_squeue_still_shows_a_job_that_ended(slurm: FakeSlurm) -> None:
    """It knows the exit code; squeue, which may show the job for a day, has the comment."""
    slurm.say("squeue", queued("12", "FAILED", end=str(START + 3600), comment="likely=2h"))
    slurm.say("sacct", ended("12", "FAILED", exitcode="3:0"))

    poll = slurm.scheduler().poll(NOW - 60, (), NOW)
    later = slurm.scheduler().poll(NOW - 60, (), NOW + 60).records[0]
    merged = merge_record(merge_record(poll.records[1], poll.records[0]), later)
    assert (3, "FAILED") == (merged.facts.exit_code, merged.facts.state)
    assert merged.live is not None
    assert "likely=2h" == merged.live.comment


def test_the_indices_of_devices_are_asked_once(slurm: FakeSlurm) -> None:
    """Of jobs that run, that have devices, and of which nobody knows them."""
    slurm.say(
        "squeue", queued("12"), queued("13", "PENDING"), queued("14"), queued("15", alloctres="cpu=1"),
    )  # fmt: skip
    slurm.say("scontrol-job", detail("12"))
    scheduler = slurm.scheduler()

    first = by_id(scheduler.poll(NOW - 60, {"14"}, NOW).records)
    asked = [line for line in slurm.asked() if "show job" in line]
    scheduler.poll(NOW, {"14"}, NOW + 100)
    assert first["12"].live is not None
    assert ({"gw0": (0, 1)}, 2.0) == (first["12"].live.indices, first["12"].live.devices)
    assert ["scontrol --details show job 12"] == asked
    assert [] == [line for line in slurm.asked() if "show job" in line]


def test_the_indices_of_many_jobs_are_one_question(slurm: FakeSlurm) -> None:
    """Slurm prints all its jobs at once for less than one by one."""
    jobs = [str(number) for number in range(100, 130)]
    slurm.say("squeue", *(queued(job) for job in jobs))
    slurm.say("scontrol-job", *(detail(job) for job in jobs))

    found = by_id(slurm.scheduler().poll(NOW - 60, (), NOW).records)
    assert 30 == sum(1 for each in found.values() if each.live and each.live.indices)
    assert ["scontrol --details show job"] == [line for line in slurm.asked() if "show job" in line]


def test_a_job_that_went_while_it_was_asked_hides_no_other(slurm: FakeSlurm) -> None:
    """scontrol does not know it any more."""
    slurm.say("squeue", queued("12"), queued("13"))
    slurm.say("known", detail("13"))
    slurm.do("scontrol-job", 'case "$4" in 13) cat known.txt ;; *) echo "slurm_load_jobs error: Invalid job id '
             'specified" >&2; exit 1 ;; esac\n')  # fmt: skip

    poll = slurm.scheduler().poll(NOW - 60, (), NOW)
    found = by_id(poll.records)
    assert None is found["12"].live
    assert found["13"].live is not None
    assert () == poll.failures


def test_ended_jobs_are_asked_in_utc_from_before_the_last_answer(slurm: FakeSlurm) -> None:
    """The first time from a day before, later from ten minutes."""
    scheduler = slurm.scheduler()
    scheduler.poll(NOW - 60, (), NOW)
    scheduler.poll(NOW, (), NOW + 60)

    starts = [word for line in slurm.asked() for word in line.split() if word.startswith("--starttime")]
    assert ["--starttime=2023-11-13T23:19:00", "--starttime=2023-11-14T23:10:00"] == starts


def test_a_long_history_is_asked_in_pieces(slurm: FakeSlurm) -> None:
    """None is longer than a day and what it looks back."""
    poll = slurm.scheduler(first_days=3).poll(None, (), NOW)

    assert 3 == sum("--endtime" in line for line in slurm.asked())
    assert NOW == poll.until


def test_a_piece_that_fails_is_where_the_next_poll_begins(slurm: FakeSlurm) -> None:
    """What was read before it is told."""
    slurm.do("sacct", "if [ -e once ]; then exit 1; fi; touch once\n")

    poll = slurm.scheduler(first_days=3).poll(None, (), NOW)
    assert NOW - 2 * DAY == poll.until


def test_fields_that_this_sacct_lacks_are_not_asked_for(slurm: FakeSlurm) -> None:
    """Restarts and more came with newer versions."""
    slurm.say("sacct-fields", "Account JobID JobIDRaw State Submit", "Start End AllocTRES")
    slurm.say("sacct", "\x1f".join(["11", "11", "FAILED", "100", "200", "300", "gres/gpu=4", "lab"]))

    (found,) = slurm.scheduler().poll(NOW - 60, (), NOW).records
    assert ("FAILED", 4, "lab", None) == (
        found.facts.state, found.facts.devices, found.facts.account, found.facts.restarts
    )  # fmt: skip
    (asked,) = [line for line in slurm.asked() if "--format" in line and line.startswith("sacct ")]
    assert asked.endswith("--format=JobIDRaw,JobID,State,Submit,Start,End,AllocTRES,Account")


def test_a_database_that_is_down_leaves_the_queue(slurm: FakeSlurm) -> None:
    """And nothing counts as told of what ended."""
    slurm.say("squeue", queued("12"))
    slurm.fail("sacct", "sacct: error: slurm_persist_conn_open: Connection refused")

    poll = slurm.scheduler().poll(NOW - 60, {"12"}, NOW)
    assert (1, None) == (len(poll.records), poll.until)
    (said,) = poll.failures
    assert said.endswith("sacct: exit 1; sacct: error: slurm_persist_conn_open: Connection refused")


def test_a_controller_that_is_down_leaves_the_history(slurm: FakeSlurm) -> None:
    """slurmdbd knows what ended."""
    slurm.say("sacct", ended("11"))
    for command in ("squeue", "scontrol-config"):
        slurm.fail(command, "slurm_load_jobs error: Unable to contact slurm controller (connect failure)")

    poll = slurm.scheduler().poll(NOW - 60, (), NOW)
    assert (["11"], NOW, None) == ([each.key.job_id for each in poll.records], poll.until, poll.grants)
    assert ["scontrol", "squeue", "accounts"] == [said.split(":")[0].split("/")[-1] for said in poll.failures]


def test_nothing_read_is_unavailable(slurm: FakeSlurm) -> None:
    """With all the reasons."""
    slurm.fail("squeue", "no controller")
    slurm.fail("sacct", "no database")

    with pytest.raises(Unavailable, match=r"no controller.*no database"):
        slurm.scheduler().poll(NOW - 60, (), NOW)


def test_a_slow_slurm_that_is_not_asked_this_time_has_not_failed(slurm: FakeSlurm) -> None:
    """Its commands took a moment, and wait ten times as long."""
    for name in ("squeue", "sacct"):
        slurm.do(name, "sleep 0.05\n")
    scheduler = slurm.scheduler()
    scheduler.poll(NOW - 60, (), NOW)
    slurm.asked()

    assert Poll() == scheduler.poll(NOW - 60, (), NOW + 0.1)
    assert [] == slurm.asked()


def test_a_failing_command_is_asked_less_and_less(slurm: FakeSlurm) -> None:
    """Up to every fifteen minutes; the others go on."""
    slurm.fail("sacct", "no database")
    scheduler = slurm.scheduler()
    minutes = []
    for minute in range(60):
        poll = scheduler.poll(NOW, (), NOW + minute * 60)
        assert "sacct: exit 1; no database" in poll.failures[0]
        if any("--endtime" in line for line in slurm.asked()):
            minutes.append(minute)

    assert [0, 1, 3, 7, 15, 30, 45] == minutes


def test_an_hour_without_database_loses_nothing(slurm: FakeSlurm) -> None:
    """Then it is asked from where it was told last, a day before that, and soon again."""
    scheduler = slurm.scheduler()
    since = scheduler.poll(NOW - 60, (), NOW).until
    slurm.fail("sacct", "no database")
    for minute in range(1, 60):
        assert None is scheduler.poll(since, (), NOW + minute * 60).until
    slurm.say("sacct", ended("11"))
    slurm.asked()

    poll = scheduler.poll(since, (), NOW + 7200)
    scheduler.poll(poll.until, (), NOW + 7260)
    scheduler.poll(poll.until, (), NOW + 9060)
    starts = [word[12:] for line in slurm.asked() for word in line.split() if word.startswith("--starttime=")]
    assert ({"11"}, NOW + 7200) == ({each.key.job_id for each in poll.records}, poll.until)
    assert [
        "2023-11-13T23:20:00", "2023-11-15T00:10:00",  # the two hours, after the day before them
        "2023-11-15T01:10:00",  # as ever
        "2023-11-14T01:20:00",  # the day before once more
    ] == starts  # fmt: skip


def test_a_slow_command_is_killed_and_the_others_go_on(slurm: FakeSlurm) -> None:
    """Slurm's commands try again for minutes where their daemon is away."""
    slurm.say("squeue", queued("12"))
    slurm.do("sacct", "sleep 60\n")

    poll = slurm.scheduler(timeout_seconds=0.5).poll(NOW - 60, {"12"}, NOW)
    assert (1, None) == (len(poll.records), poll.until)
    assert poll.failures[0].endswith("sacct: no answer in time")


def test_garbage_is_no_answer(slurm: FakeSlurm) -> None:
    """It is told, and asked for again later."""
    slurm.say("squeue", queued("12"))
    slurm.say("sacct", "what is this", "and this")

    poll = slurm.scheduler().poll(NOW - 60, {"12"}, NOW)
    assert None is poll.until
    assert "no row of its answer can be read" in poll.failures[0]


def test_a_bad_row_hides_no_other(slurm: FakeSlurm) -> None:
    """Else one job would stop the history for ever."""
    slurm.say("sacct", ended("x"), ended("11"))

    poll = slurm.scheduler().poll(NOW - 60, (), NOW)
    assert ["11"] == [each.key.job_id for each in poll.records]
    assert NOW == poll.until


def test_a_cluster_that_does_not_count_devices_says_nothing_of_jobs_without(slurm: FakeSlurm) -> None:
    """A cluster that does says that they have none."""
    slurm.say("sacct", ended("11", alloctres="cpu=4"))
    counts = slurm.scheduler().poll(NOW - 60, (), NOW).records[0].facts.devices
    slurm.say("scontrol-config", CONFIG.replace(",gres/gpu", ""))
    silent = slurm.scheduler().poll(NOW - 60, (), NOW).records[0].facts.devices

    assert (0.0, None) == (counts, silent)


def test_parts_of_devices_count_by_the_site_s_table(slurm: FakeSlurm) -> None:
    """In any spelling of the resource."""
    slurm.say("sacct", ended("11", alloctres="gres/shard=4"), ended("13", alloctres="gres/gpu:1g.18gb=1"))
    scheduler = slurm.scheduler(devices={"gres/shard": 0.25, "gpu:1G.18GB": 0.5})

    found = by_id(scheduler.poll(NOW - 60, (), NOW).records)
    assert (1.0, 0.5) == (found["11"].facts.devices, found["13"].facts.devices)


def test_accounts_are_asked_seldom(slurm: FakeSlurm) -> None:
    """Every ten minutes; between, nothing is told of them."""
    slurm.say("sacctmgr-assoc", "gwtest|lab|||root|gres/gpu=60,cpu=100", "other|lab|||root|gres/gpu=1")
    slurm.say("sacctmgr-account", "lab|bob,carol")
    slurm.say("sshare", "lab||cpu=0,gres/gpu=6")
    scheduler = slurm.scheduler()

    told = [scheduler.poll(NOW, (), NOW + minute * 60).grants for minute in range(12)]
    assert [0, 10] == [minute for minute, grants in enumerate(told) if grants is not None]
    assert told[0] is not None
    assert {("cpu", 6000.0), ("gres/gpu", 3600.0)} == {(each.resource, each.limit_seconds) for each in told[0]}
    assert {("bob", "carol")} == {each.coordinators for each in told[0]}


def test_a_report_that_fails_takes_nothing_else_with_it(slurm: FakeSlurm) -> None:
    """Limits and their use are told; that the second word is missing is said."""
    slurm.say("sacctmgr-assoc", "gwtest|lab|||root|gres/gpu=60")
    slurm.fail("sreport", "sreport: error: Unable to query database")

    poll = slurm.scheduler().poll(NOW, (), NOW)
    assert poll.grants is not None
    assert [("lab", 3600.0)] == [(each.account, each.limit_seconds) for each in poll.grants]
    assert "Unable to query database" in " ".join(poll.failures)


def test_rows_that_cannot_be_read_are_told(slurm: FakeSlurm) -> None:
    """Beside those that can."""
    slurm.say("squeue", queued("12"), "garbage")

    poll = slurm.scheduler().poll(NOW, (), NOW)
    assert ["12"] == [each.key.job_id for each in poll.records]
    assert 1 == len(poll.unreadable)
    assert "garbage" in poll.unreadable[0]


def test_what_the_configuration_loses_is_told(slurm: FakeSlurm) -> None:
    """Comments, devices, and what accounting's user may not see."""
    slurm.say(
        "scontrol-config", "ClusterName = gwtest", "PrivateData = jobs,usage", "AccountingStoreFlags = (null)"
    )

    found = " ".join(slurm.scheduler().check())
    assert all(word in found for word in ("AccountingStorageTRES", "job_comment", "PrivateData has jobs, usage"))


def test_a_slurm_that_is_not_there_is_unavailable(tmp_path: Path) -> None:
    """It says which command."""
    nowhere = dict.fromkeys(("sacct", "squeue", "scontrol", "sacctmgr", "sshare", "sreport"), str(tmp_path / "no"))
    scheduler = FakeSlurm(tmp_path).scheduler(**nowhere)

    with pytest.raises(Unavailable, match="no: cannot be started; No such file or directory"):
        scheduler.poll(None, (), NOW)


@pytest.mark.parametrize("devices", [{"shard": -1}, {"shard": "half"}, {"shard": float("nan")}])
def test_a_table_of_devices_that_cannot_be_is_refused(devices: dict[str, object]) -> None:
    """At start."""
    with pytest.raises(ValidationError):
        SlurmScheduler.Settings.model_validate({"devices": devices})
