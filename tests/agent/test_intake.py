"""What jobs say by the environment, over HTTP and in files: ranks, repeats, what was lost, and what is refused."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpuwatch.agent.intake import Speaker
from gpuwatch.agent.messages import Declare, ReportProgress, StartRun, Written
from gpuwatch.agent.registry import Said, reported
from gpuwatch.agent.socket import Peer
from gpuwatch.errors import Forbidden, Rejected, Unavailable
from gpuwatch.jobs.base import Variable
from gpuwatch.model import Progress
from tests.agent.fakes import FakeNode

PEER = Peer(pid=4242, pid_start=1, uid=1000, gid=1000)
OTHER = Peer(pid=4243, pid_start=1, uid=1000, gid=1000)
JOB = Speaker("42")
FILE = Speaker("42", 1000)


@pytest.fixture
def node(tmp_path: Path) -> Iterator[FakeNode]:
    """A node on which job 42 holds a device; two of its processes are known."""
    made = FakeNode(tmp_path / "state")
    made.jobs.holders = {"fake:0": "42"}
    made.jobs.pids = {4242: "42", 4243: "42"}
    made.tick(2)
    yield made
    made.stop()


def journal(node: FakeNode, *names: str) -> list[tuple[Any, ...]]:
    """What of the declarations that accounting is told."""
    return [tuple(each[name] for name in names) for each in node.agent.since(0)["declarations"]]


def declared(node: FakeNode) -> dict[str, float]:
    """The likely amounts that /metrics shows of the job, in hours."""
    snapshot = node.tick()
    (current,) = snapshot.declared.values()
    return {each.quantity: each.likely / 3600 for each in current.estimates}


def events(node: FakeNode, kind: str) -> list[dict[str, Any]]:
    """The events of a kind that accounting is told."""
    node.tick(2)
    return [each for each in node.agent.since(0)["events"] if each["kind"] == kind]


def counted(node: FakeNode, way: str) -> dict[str, float]:
    """How much came by a way, by outcome."""
    requests = node.tick().agent.socket_requests
    return {outcome: count for (kind, outcome), count in requests.items() if kind == way}


def test_environment_declares_once_whoever_hands_it_over(node: FakeNode) -> None:
    """The starter, each task, and the agent itself, tick after tick; also after a restart."""
    node.jobs.declared = {"42": Variable("device-hours=640", 1000, 4242)}
    node.agent.handle(PEER, Declare("device-hours=640.0", "environment"))
    node.agent.handle(OTHER, Declare(" device-hours=640h", "environment"))
    node.tick(3)
    node.restart()
    node.tick(3)

    assert [("environment", 1000, 4242, "device-hours=640.0")] == journal(node, "channel", "uid", "pid", "text")


def test_environment_that_is_another_is_another_revision(node: FakeNode) -> None:
    """A later task was given another estimate: both are kept."""
    node.agent.handle(PEER, Declare("device-hours=640", "environment"))
    node.agent.handle(OTHER, Declare("device-hours=700", "environment"))
    node.tick()

    assert [("device-hours=640",), ("device-hours=700",)] == journal(node, "text")
    assert {"device-hours": 700.0} == declared(node)


def test_environment_of_a_job_that_holds_nothing_here_is_not_taken(node: FakeNode) -> None:
    """What a source lists beside another's jobs is none of those that are charged."""
    node.jobs.declared = {"user:root": Variable("device-hours=1", 0, 7)}
    node.tick(2)

    assert [] == journal(node, "text")


@pytest.mark.parametrize(
    ("text", "outcome"),
    [("energy=450kg", "rejected"), ("\udcff\udcfe", "rejected"), ("?", "rejected"), ("", "rejected"),
     ("x" * 60_000, "rejected"), ("device-hours=٣", "rejected"), ("for=account:x energy=1J", "forbidden"),
     ("for=job:43 energy=1J", "forbidden")],
)  # fmt: skip
def test_hostile_environment_is_counted_and_said_once(
    node: FakeNode, caplog: pytest.LogCaptureFixture, text: str, outcome: str
) -> None:
    """However often it is read."""
    node.jobs.declared = {"42": Variable(text, 1000, 4242)}
    node.tick(5)

    assert {outcome: 1.0} == counted(node, "environment")
    assert [] == journal(node, "text")
    assert 1 == sum("what a job says is refused by=environment job_id=42" in each for each in caplog.messages)


def test_better_channel_stands_whatever_comes_last(node: FakeNode) -> None:
    """Socket before environment before file, quantity by quantity; all are in the journal."""
    node.agent.intake.hear_declaration(FILE, "device-hours=1 wall=1h\ncampaign=c-file")
    node.agent.handle(PEER, Declare("device-hours=3 campaign=c-socket"))
    node.agent.handle(PEER, Declare("device-hours=2 wall=2h campaign=c-environment", "environment"))
    node.agent.intake.hear_declaration(FILE, "device-hours=4 wall=4h charge=3600 campaign=c-file")

    assert {"device-hours": 3.0, "wall": 2.0, "charge": 1.0} == declared(node)
    assert [("file",), ("socket",), ("environment",), ("file",)] == journal(node, "channel")
    (current,) = node.agent.snapshot.declared.values()
    assert "c-socket" == current.campaign


def test_ranks_are_kept_over_a_restart(node: FakeNode) -> None:
    """What was said at the socket still outranks a file."""
    node.agent.handle(PEER, Declare("device-hours=3 campaign=c-socket"))
    node.restart()
    node.tick(2)
    node.agent.intake.hear_declaration(FILE, "device-hours=4 campaign=c-file")

    assert {"device-hours": 3.0} == declared(node)
    (current,) = node.agent.snapshot.declared.values()
    assert "c-socket" == current.campaign


def test_token_speaks_with_the_rank_of_the_socket(node: FakeNode) -> None:
    """Nobody knows which user it was."""
    assert {"job_id": "42"} == node.agent.intake.speak(JOB, Declare("device-hours=5"))
    node.tick()

    assert [("42", "socket", None, None)] == journal(node, "job_id", "channel", "uid", "pid")


def test_token_starts_no_run(node: FakeNode) -> None:
    """A run has a process as its root."""
    with pytest.raises(Rejected, match="only a process at the socket"):
        node.agent.intake.speak(JOB, StartRun("x"))


def test_token_declares_for_no_other_job(node: FakeNode) -> None:
    """As a process at the socket."""
    with pytest.raises(Forbidden, match="belongs to job '42'"):
        node.agent.intake.speak(JOB, Declare("for=job:43 device-hours=5"))


def test_job_without_a_known_user_has_a_limit_of_its_own(node: FakeNode) -> None:
    """256 kB an hour, and others are not kept from declaring by it.

    A client takes `rejected` for a mistake in the script and raises; this is none, and must end no training.
    """
    text = "device-hours=5" + " tag=a:b".ljust(16_000)
    with pytest.raises(Unavailable, match="job '42' has said too much in this hour"):
        for _ in range(20):
            node.agent.intake.speak(JOB, Declare(text))

    assert {"job_id": "43"} == node.agent.intake.speak(Speaker("43"), Declare("device-hours=5"))


def test_process_of_no_job_is_forbidden_to_speak_and_not_wrong(node: FakeNode) -> None:
    """The same script by hand on a node of a batch system: its client goes on, where `rejected` would end it."""
    with pytest.raises(Forbidden, match="process 99 belongs to no job"):
        node.agent.handle(Peer(99, 1, 1000, 1000), Declare("device-hours=5"))


def test_total_that_changes_is_told_with_both(node: FakeNode) -> None:
    """The latest counts, and that it was another stays known."""
    for total in (9000.0, 9000.0, 12_000.0):
        node.agent.handle(PEER, ReportProgress(1200.0, total))

    (changed,) = events(node, "total_changed")
    assert ("42", 9000.0, 12_000.0) == (changed["job_id"], changed["before"], changed["after"])
    assert [12_000.0] == [each["total"] for each in events(node, "progress")]


def test_total_that_changes_all_the_time_does_not_fill_the_journal(node: FakeNode) -> None:
    """Its notes are bounded by the user's share; the progress is taken all the same."""
    for number in range(3000):
        node.agent.handle(PEER, ReportProgress(1.0, 10.0 + number % 2))

    assert 256_000 // 200 == len(events(node, "total_changed"))


def test_step_beyond_the_total_is_taken_as_it_is_and_shown_as_all(node: FakeNode) -> None:
    """A job may go on longer than it thought."""
    assert {"job_id": "42", "ratio": 1.0} == node.agent.handle(PEER, ReportProgress(12.0, 10.0))

    (progress,) = events(node, "progress")
    assert (12.0, 10.0) == (progress["step"], progress["total"])


def test_steps_that_are_done_again_are_told_as_lost(node: FakeNode) -> None:
    """After a restart from a checkpoint, and over a restart of the agent."""
    for step in (100.0, 500.0, 400.0, 450.0):
        node.agent.handle(PEER, ReportProgress(step, 1000.0))
    node.tick()
    node.restart()
    node.tick(2)
    node.agent.handle(PEER, ReportProgress(440.0, 1000.0))

    (progress,) = events(node, "progress")
    assert (440.0, 100.0, 500.0, 110.0) == tuple(progress[name] for name in ("step", "start_step", "best", "lost"))


def test_processes_that_report_side_by_side_lose_nothing(node: FakeNode) -> None:
    """One is a step ahead of the other all the time."""
    for step in range(1, 50):
        node.agent.handle(PEER, ReportProgress(step + 1.0, 100.0))
        node.agent.handle(OTHER, ReportProgress(float(step), 100.0))

    (progress,) = events(node, "progress")
    assert (50.0, 1.0) == (progress["best"], progress["lost"])


@given(st.lists(st.tuples(st.sampled_from([1, 2, None]), st.integers(0, 100)), min_size=1, max_size=50))
def test_lost_and_best_only_grow(reports: list[tuple[int | None, int]]) -> None:
    """Whatever is reported: so the ledger may take the greatest of what it is told."""
    said, before = Said(), Progress(0.0, 1.0, 0.0, 0.0, best=0.0, lost=0.0)
    for speaker, step in reports:
        said.progress = reported(said, float(step), 100.0, 0.0, speaker)

        assert said.progress.best is not None and said.progress.lost is not None
        assert said.progress.best == max(before.best or 0.0, float(step))
        assert said.progress.lost >= (before.lost or 0.0)
        before = said.progress


@given(st.lists(st.integers(0, 1000), min_size=1, max_size=50))
def test_one_process_lost_what_it_went_back(steps: list[int]) -> None:
    """The sum of all falls."""
    said = Said()
    for step in steps:
        said.progress = reported(said, float(step), 1000.0, 0.0, 7)

    falls = (max(0, before - after) for before, after in pairwise(steps))
    assert said.progress is not None
    assert sum(falls) == said.progress.lost


def test_report_in_a_file_that_is_older_than_the_last_is_not_taken(node: FakeNode) -> None:
    """It lay there before the job said better; one from the future was written now."""
    wall = node.clock.time()
    node.agent.handle(PEER, ReportProgress(10.0, 100.0))
    node.agent.intake.hear_progress(FILE, Written(ReportProgress(5.0, 100.0), wall - 60))
    (old,) = events(node, "progress")
    node.agent.intake.hear_progress(FILE, Written(ReportProgress(20.0), wall + 1e6))

    (new,) = events(node, "progress")
    assert (10.0, 20.0, 100.0) == (old["step"], new["step"], new["total"])
    assert new["time"] <= node.clock.time()


def test_last_report_of_a_job_counts_for_it_also_when_it_has_ended(node: FakeNode) -> None:
    """The file is looked at once more, and then the job is over already."""
    node.agent.intake.hear_progress(FILE, Written(ReportProgress(90.0, 100.0), node.clock.time()))
    node.jobs.holders = {}
    node.tick(2)
    node.clock.pass_(1)
    over = Speaker("42", 1000, over=True)
    node.agent.intake.hear_progress(over, Written(ReportProgress(100.0, 100.0), node.clock.time()))

    (progress,) = events(node, "progress")
    assert 100.0 == progress["step"]
    assert {("42", progress["started"])} == {(key.job_id, key.started) for key in node.agent.snapshot.rows}


def test_file_without_a_total_is_refused_and_counted(node: FakeNode) -> None:
    """As at the socket."""
    node.agent.intake.hear_progress(FILE, Written(ReportProgress(1.0), node.clock.time()))
    node.agent.intake.refuse_file(FILE, Forbidden("progress: is no regular file"))

    assert {"rejected": 1.0, "forbidden": 1.0} == counted(node, "file")
