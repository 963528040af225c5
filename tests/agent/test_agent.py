"""The agent over fake sources: accounting, restarts, faults, what jobs may say, and what accounting is told."""

from __future__ import annotations

import json
import threading
from dataclasses import fields

import pytest

from gpuwatch.agent.messages import Declare, EndRun, Ping, ReportProgress, StartRun
from gpuwatch.agent.socket import Peer
from gpuwatch.errors import DeclarationError, Forbidden, Locked, Rejected, RestartRequired, Unavailable
from gpuwatch.model import JobKey, RowKey, SinkHealth, Usage
from tests.agent.fakes import FakeNode, eventually

PEER = Peer(pid=4242, pid_start=1, uid=1000, gid=1000)


@pytest.fixture
def node(tmp_path):
    made = FakeNode(tmp_path / "state")
    yield made
    made.stop()


def counters(document):
    return {(row["job_id"], row["started"], row["uuid"]): row for row in document["rows"]}


def merged(*documents):
    """The ledger's rule over deliveries: maximum per epoch and counter."""
    held = {}
    for document in documents:
        for row in document["rows"]:
            key = (row.get("epoch", document["epoch"]), row["job_id"], row["started"], row["uuid"])
            held[key] = max(held.get(key, 0.0), row["held_seconds"])
    return held


def assert_conserved(snapshot):
    for usage in snapshot.device_usage.values():
        assert abs(usage.residual_seconds) < 1e-6
        assert abs(usage.residual_joules) < 1e-6
    for row in snapshot.rows.values():
        assert sum(row.usage.state_seconds.values()) == pytest.approx(row.usage.held_seconds)


def test_job_is_charged_from_first_sight_to_last(node):
    """Ten ticks of holding are ten device-seconds at the counter's energy, and conserved in every snapshot."""
    node.tick(2)
    node.jobs.holders = {"fake:0": "42"}
    node.tick(10)
    node.jobs.holders = {}
    snapshot = node.tick(3)

    (row,) = snapshot.rows.values()
    assert row.usage.held_seconds == pytest.approx(10)
    assert row.usage.energy_joules == {"counter": pytest.approx(3000)}
    assert not row.open
    for each in node.sink.snapshots:
        assert_conserved(each)


def test_ended_job_waits_in_the_journal_until_acknowledged(node):
    """Accounting may be down for an hour: the job is there afterwards, once, closed."""
    node.jobs.holders = {"fake:0": "42"}
    node.tick(5)
    node.jobs.holders = {}
    node.tick(5)
    node.tick(60, seconds=60.0)

    document = node.agent.since(0)
    (row,) = document["rows"]
    assert (row["job_id"], row["open"], row["held_seconds"]) == ("42", False, pytest.approx(5))
    node.agent.acknowledge(document["seq"])
    assert node.agent.since(0)["rows"] == []


def test_acknowledgement_of_a_number_never_given_forgets_nothing(node):
    """A reader of a lost life of this agent, or a liar, cannot make it forget what nobody has read."""
    node.jobs.holders = {"fake:0": "42"}
    node.tick(3)
    node.jobs.holders = {}
    node.tick(2)

    with pytest.raises(Rejected, match="was not given yet"):
        node.agent.acknowledge(2**40)
    assert len(node.agent.since(0)["rows"]) == 1


def test_ping_says_where_it_is(node):
    """As docs/socket.md has it."""
    assert node.agent.handle(PEER, Ping()) == {"cluster": "c", "node": "node"}


def test_reader_gets_only_what_changed_since(node):
    """An idle job's row does not travel again."""
    node.jobs.holders = {"fake:0": "42", "fake:1": "43"}
    seq = (node.tick(3), node.agent.since(0)["seq"])[1]
    assert node.agent.since(seq)["rows"] == []
    node.tick()

    assert {row["job_id"] for row in node.agent.since(seq)["rows"]} == {"42", "43"}


@pytest.mark.parametrize("life", ["restart", "crash"])
def test_totals_go_on_over_a_restart_or_a_crash(node, life):
    """Killed in mid-run: the gap is charged by the counter, to the job that still holds; nothing twice."""
    node.jobs.holders = {"fake:0": "42"}
    node.tick(13)
    before = node.agent.since(0)
    node.clock.pass_(20)
    getattr(node, life)()
    snapshot = node.tick(5)
    after = node.agent.since(0)

    (key,) = [key for key in snapshot.rows if key.job_id == "42"]
    assert snapshot.rows[key].usage.held_seconds == pytest.approx(37)
    assert snapshot.rows[key].usage.joules == pytest.approx(37 * 300)
    assert list(merged(before, after).values()) == [pytest.approx(37)]
    assert before["epoch"] == after["epoch"]
    assert_conserved(snapshot)


def test_sequence_numbers_grow_over_a_crash(node):
    """A reader that is ahead of the saved state still sees every later change."""
    node.jobs.holders = {"fake:0": "42"}
    node.tick(3)
    seq = node.agent.since(0)["seq"]
    node.crash()
    node.tick()

    assert {row["job_id"] for row in node.agent.since(seq)["rows"]} == {"42"}


@pytest.mark.parametrize("life", ["restart", "crash"])
def test_job_that_ended_while_the_agent_was_down_is_told_once_it_is_up(node, life):
    """Its counters are those of the last look; it is closed, journaled, and lost to nobody."""
    node.jobs.holders = {"fake:0": "42", "fake:1": "42"}
    node.tick(3)
    node.jobs.holders = {"fake:0": "42"}
    node.tick(10)
    node.jobs.holders = {}
    node.clock.pass_(60)
    getattr(node, life)()
    node.tick(3)

    rows = {row["uuid"]: row for row in node.agent.since(0)["rows"]}
    assert {uid: row["open"] for uid, row in rows.items()} == {"fake:0": False, "fake:1": False}
    assert rows["fake:1"]["held_seconds"] == pytest.approx(3)
    assert rows["fake:0"]["held_seconds"] == pytest.approx(13, abs=6)
    node.restart()
    node.tick(3)
    assert len(node.agent.since(0)["rows"]) == 2


def test_holder_that_changed_while_the_agent_was_down_is_unattributed(node):
    """Nobody watched: neither the old nor the new holder is charged for the gap."""
    node.jobs.holders = {"fake:0": "42"}
    node.tick(6)
    node.jobs.holders = {"fake:0": "43"}
    node.clock.pass_(100)
    node.crash()
    snapshot = node.tick()

    assert snapshot.device_usage["fake:0"].unattributed_seconds == pytest.approx(101, abs=6)
    assert_conserved(snapshot)


def test_corrupt_state_is_set_aside_and_a_new_epoch_begins(node, tmp_path):
    """What cannot be read is kept for the curious; counters begin anew under another epoch."""
    epoch = node.tick(2).epoch
    node.stop()
    (tmp_path / "state" / "state.json").write_text('{"version":1,"rows":[[')
    node.begin()
    snapshot = node.tick()

    assert snapshot.epoch != epoch
    assert (tmp_path / "state" / "state.json.corrupt-0").exists()


def test_journal_of_an_older_epoch_keeps_its_epoch(node, tmp_path):
    """A job that ended before the state was lost is still told under the epoch it was counted in."""
    node.jobs.holders = {"fake:0": "42"}
    epoch = node.tick(3).epoch
    node.jobs.holders = {}
    node.tick(2)
    node.stop()
    (tmp_path / "state" / "state.json").unlink()
    node.begin()
    node.tick()

    document = node.agent.since(0)
    assert [row["epoch"] for row in document["rows"]] == [epoch]
    assert document["epoch"] != epoch


def test_second_agent_on_the_same_state_is_told_who_has_it(node, tmp_path):
    """Two agents on one directory would count twice; the message names the first one's pid."""
    import os

    with pytest.raises(Locked, match=f"in use by the process {os.getpid()}"):
        FakeNode(tmp_path / "state")


def test_lost_device_leaves_the_others_alone_and_returns(node):
    """One of two is lost: its readings go, its counters wait, the other goes on; then it is back."""
    node.jobs.holders = {"fake:0": "42", "fake:1": "43"}
    node.tick(2)
    node.devices.lost = {"fake:0"}
    lost = node.tick(3)
    node.devices.lost = set()
    back = node.tick(2)

    assert (set(lost.devices), set(lost.readings)) == ({"fake:0", "fake:1"}, {"fake:1"})
    assert lost.sources["fake"].up
    assert set(back.readings) == {"fake:0", "fake:1"}
    assert [row.usage.joules for row in back.rows.values()] == [pytest.approx(6 * 300)] * 2


def test_job_that_ended_with_its_device_lost_gets_its_energy_and_keeps_its_end(node):
    """The counter speaks after the end: the row comes once more, with the energy and not with a later end."""
    node.jobs.holders = {"fake:0": "42"}
    node.tick(5)
    node.devices.lost = {"fake:0"}
    node.tick(3)
    node.jobs.holders = {}
    (ended,) = node.tick(2).rows.values()
    node.devices.lost = set()
    (settled,) = node.tick(20).rows.values()

    assert (ended.open, settled.open, settled.last_seen) == (False, False, ended.last_seen)
    assert settled.usage.joules == pytest.approx(settled.usage.held_seconds * 300)
    assert settled.usage.held_seconds == pytest.approx(8, abs=1)


def test_energy_that_comes_after_a_job_was_given_up_opens_it_no_more(node):
    """The device was away for an hour: the job was closed without it, and stays closed."""
    node.jobs.holders = {"fake:0": "42"}
    node.tick(5)
    node.devices.lost = {"fake:0"}
    node.tick(2)
    node.jobs.holders = {}
    node.tick(60, seconds=60)
    node.devices.lost = set()
    node.tick(10)

    assert [row["open"] for row in node.agent.since(0)["rows"]] == [False]


def test_hanging_device_is_absent_and_holds_up_nothing(tmp_path):
    """A call that does not return: the others are read every tick, the device comes back by itself."""
    node = FakeNode(tmp_path / "state", deadline=0.1)
    node.tick()
    release = node.devices.hang["fake:0"] = threading.Event()
    hung = node.tick(3)
    del node.devices.hang["fake:0"]
    release.set()

    assert set(hung.readings) == {"fake:1"}
    assert eventually(lambda: set(node.tick().readings) == {"fake:0", "fake:1"})
    node.stop()


def test_no_driver_is_said_in_the_source_and_the_agent_runs(node):
    """Without a driver there are no devices, and a reason."""
    node.devices.scan_error = Unavailable("driver is not loaded")
    snapshot = node.tick()

    assert snapshot.devices == {}
    assert (snapshot.sources["fake"].up, snapshot.sources["fake"].message) == (False, "driver is not loaded")
    assert snapshot.host.load1 == 0.5
    assert "fake down: driver is not loaded" in node.agent.status()


def test_sinks_begin_and_are_shown_with_what_became_of_what_they_took(node):
    """One that cannot deliver is in the status line; one of which nobody knows yet is not."""
    node.agent.start()
    node.sink.told = {"influxdb:a": SinkHealth(False, queued=12.0), "influxdb:b": SinkHealth()}
    snapshot = node.tick()

    assert 1 == node.sink.started
    assert node.sink.told == snapshot.sinks
    assert node.agent.status().endswith("; influxdb:a down: 12 points wait")


def test_sinks_are_told_which_rows_a_crash_cannot_take_back(node):
    """The same that the usage API tells at that moment; at the end all of them are."""
    node.jobs.holders = {"fake:0": "42"}
    node.tick(3)
    told = node.agent.since(0)
    snapshot = node.tick()
    node.stop()

    (row,), (at_end,) = snapshot.saved, node.sink.snapshots[-1].saved
    assert [(row.usage.held_seconds, row.seq)] == [(each["held_seconds"], each["seq"]) for each in told["rows"]]
    assert snapshot.saved_seq == told["seq"]
    assert snapshot.rows[row.key].usage == at_end.usage != row.usage


def test_what_was_said_is_in_one_snapshot(node):
    """A sink that sees every snapshot hears of each declaration and event once, of rows it sees the counters."""
    node.jobs.holders = {"fake:0": "42"}
    node.tick(2)
    node.jobs.pids = {4242: "42"}
    node.agent.handle(PEER, Declare("device-hours=1"))
    first, second = node.tick(), node.tick()
    node.jobs.holders = {}
    node.tick(3)

    assert [("declaration", "42", "device-hours=1")] == [
        (each["type"], each["job_id"], each["text"]) for each in first.events
    ]
    assert () == second.events
    assert [] == [each for snapshot in node.sink.snapshots for each in snapshot.events if each["type"] == "row"]


def test_what_was_said_after_the_last_tick_is_in_the_last_snapshot(node):
    """A declaration that comes while the agent ends is in no snapshot but that."""
    node.jobs.holders, node.jobs.pids = {"fake:0": "42"}, {4242: "42"}
    node.tick(2)
    node.agent.handle(PEER, Declare("device-hours=1"))
    node.stop()

    assert ["device-hours=1"] == [each["text"] for each in node.sink.snapshots[-1].events]


def test_sinks_are_told_again_what_a_killed_life_noted_last(node):
    """The kill came before it was in a sink's own keeping; what is two minutes older was long there."""
    node.jobs.holders, node.jobs.pids = {"fake:0": "42"}, {4242: "42"}
    node.tick(2)
    node.agent.handle(PEER, Declare("device-hours=1"))
    node.tick(200)
    node.agent.handle(PEER, Declare("device-hours=2"))
    node.jobs.holders = {}
    node.tick(3)
    row = node.agent.since(0)["rows"][0]
    node.crash()
    first, second = node.tick(), node.tick()

    assert [("declaration", "device-hours=2"), ("row", None)] == [
        (each["type"], each.get("text")) for each in first.events
    ]
    assert row.items() <= first.events[1].items()
    assert () == second.events


def test_sinks_see_a_job_that_ended_long_ago_while_the_agent_was_down(node):
    """Its last counters come once, as saved; then it is forgotten."""
    node.jobs.holders = {"fake:0": "42"}
    node.tick(10)
    node.jobs.holders = {}
    node.clock.pass_(3600)
    node.crash()
    before = len(node.sink.snapshots)
    last = node.tick(5)

    ended = [
        (row.open, row.usage.held_seconds)
        for snapshot in node.sink.snapshots[before:]
        for row in snapshot.rows.values()
        if row.seq <= snapshot.saved_seq
    ]
    assert ([(False, node.agent.since(0)["rows"][0]["held_seconds"])], {}) == (ended, last.rows)


@pytest.mark.parametrize("where", ["scan_error", "read_error"])
def test_driver_replaced_under_the_agent_ends_it(node, where):
    """Only a new process can use the new library: the tick raises, systemd restarts."""
    node.tick()
    setattr(node.devices, where, RestartRequired("driver was upgraded"))

    with pytest.raises(RestartRequired):
        node.tick(1, seconds=120)


def test_source_that_raises_anything_stays_alone(node):
    """A bug in a plugin is that plugin's fault only."""
    node.jobs.holders = {"fake:0": "42"}
    node.tick(2)
    node.jobs.error = ZeroDivisionError("bug")
    snapshot = node.tick(2)

    assert snapshot.sources["local"].message == "ZeroDivisionError: bug"
    assert snapshot.device_usage["fake:1"].unattributed_seconds == pytest.approx(1)
    assert [row.open for row in snapshot.rows.values()] == [True]


@pytest.mark.parametrize("jump", [-3600.0, 365 * 86400.0])
def test_clock_jump_changes_no_total(node, jump):
    """The wall clock is a label: seconds and joules go on, the jump is counted and told."""
    node.jobs.holders = {"fake:0": "42"}
    node.tick(5)
    node.clock.wall += jump
    snapshot = node.tick(5)

    (row,) = snapshot.rows.values()
    assert row.usage.held_seconds == pytest.approx(9)
    assert snapshot.agent.clock_jumps == 1
    assert [e["kind"] for e in node.agent.since(0)["events"]] == ["clock_jump"]
    assert node.agent.healthy()


def test_full_disk_is_said_and_the_agent_goes_on(node, tmp_path):
    """State that cannot be saved is a metric and a log line, not an end."""
    node.tick()
    (tmp_path / "state" / "state.new").mkdir()
    snapshot = node.tick(12)

    assert snapshot.agent.state_saved == 0
    assert "devices: 2, jobs: 0; state not saved" == node.agent.status()
    (tmp_path / "state" / "state.new").rmdir()
    assert node.tick(12).agent.state_saved == 1
    assert "devices: 2, jobs: 0" == node.agent.status()


def test_a_configuration_that_is_not_taken_over_is_in_the_status_line(node):
    """Until one is."""
    node.tick()
    node.agent.reloaded(False)
    refused = node.agent.status()
    node.agent.reloaded(True)

    assert "devices: 2, jobs: 0; configuration not reloaded" == refused
    assert "devices: 2, jobs: 0" == node.agent.status()


def test_run_is_a_job_with_a_beginning_an_end_and_an_exit_code(node):
    """`gpuwatch run` registers, holds, ends: three events and one closed row."""
    job_id = node.agent.handle(PEER, StartRun(name="train\nme"))["job_id"]
    node.jobs.holders, node.jobs.alive = {"fake:0": job_id}, {job_id}
    node.tick(5)
    node.agent.handle(PEER, EndRun(exit_code=3))
    node.jobs.holders, node.jobs.alive = {}, set()
    node.tick(2)

    document = node.agent.since(0)
    started, ended = document["events"]
    assert (started["kind"], started["name"], started["uid"]) == ("run_started", "train\ufffdme", 1000)
    assert (ended["kind"], ended["exit_code"]) == ("run_ended", 3)
    assert [row["open"] for row in document["rows"]] == [False]


def test_run_that_begins_while_the_sources_are_read_lives(node):
    """They were not shown it, so that they do not tell of it says nothing."""
    began = []
    node.jobs.meanwhile = lambda: began or began.append(node.agent.handle(PEER, StartRun(name="x"))["job_id"])
    node.tick()
    node.jobs.meanwhile = lambda: None
    node.jobs.alive = set(began)
    node.tick()

    events = [(each["kind"], each["job_id"]) for each in node.agent.since(0)["events"]]
    assert events == [("run_started", began[0])]


def test_run_whose_process_vanished_is_ended_with_no_exit_code(node):
    """kill -9 of `gpuwatch run` itself: nobody tells the agent, the process is gone."""
    job_id = node.agent.handle(PEER, StartRun(name="x"))["job_id"]
    node.jobs.alive = {job_id}
    node.tick()
    node.jobs.alive = set()
    node.tick()

    assert [(e["kind"], e.get("exit_code")) for e in node.agent.since(0)["events"]][-1] == ("run_ended", None)


def test_declaration_counts_for_the_job_of_the_process_that_made_it(node):
    """The kernel says whose word it is; the estimate is shown and the text is kept."""
    node.jobs.pids[PEER.pid] = "42"
    node.agent.handle(PEER, Declare(text="device-hours=2 campaign=ft"))
    node.jobs.holders = {"fake:0": "42"}
    snapshot = node.tick(2)

    (declared,) = snapshot.declared.values()
    assert (declared.campaign, declared.estimates[0].likely, declared.estimates[0].unit) == ("ft", 7200.0, "s")
    (entry,) = node.agent.since(0)["declarations"]
    assert (entry["job_id"], entry["uid"], entry["channel"]) == ("42", 1000, "socket")


def test_one_user_cannot_crowd_the_others_out_of_the_journal(node):
    """What waits for accounting is bounded, so one user's words are too: per hour, and for that user only."""
    node.jobs.pids = {PEER.pid: "42", 5: "43"}
    text = "device-hours=2 campaign=" + "x" * 100

    with pytest.raises(Unavailable, match="too much in this hour"):
        for _ in range(2000):
            node.agent.handle(PEER, Declare(text=text))
    node.agent.handle(Peer(5, 1, 1001, 1001), Declare(text=text))
    node.clock.pass_(3600)
    node.agent.handle(PEER, Declare(text=text))
    node.tick()
    assert 100 < len(node.agent.since(0)["declarations"]) < 1000


def test_process_may_start_one_run_at_a_time(node):
    """A second run of the same process would be charged for the same devices."""
    node.agent.handle(PEER, StartRun(name="x"))
    with pytest.raises(Rejected, match="has started a run already"):
        node.agent.handle(PEER, StartRun(name="y"))
    node.agent.handle(PEER, EndRun(exit_code=0))

    assert node.agent.handle(PEER, StartRun(name="y"))["job_id"]


def test_declaration_for_another_job_is_refused(node):
    """A process speaks for its own job, whatever it claims."""
    node.jobs.pids[PEER.pid] = "42"

    with pytest.raises(Forbidden, match="may not declare"):
        node.agent.handle(PEER, Declare(text="for=job:43 device-hours=2"))
    with pytest.raises(DeclarationError):
        node.agent.handle(PEER, Declare(text="device-hours=-2"))
    node.tick()
    assert node.agent.since(0)["declarations"] == []


def test_process_of_no_job_is_told_so(node):
    """A stranger's words are not kept."""
    with pytest.raises(Forbidden, match="belongs to no job"):
        node.agent.handle(PEER, Declare(text="device-hours=2"))


def test_progress_is_shown_and_told_once_per_change(node):
    """The newest progress travels with a new number; the first step is where the attempt began."""
    node.jobs.pids[PEER.pid] = "42"
    node.jobs.holders = {"fake:0": "42"}
    node.tick()
    node.agent.handle(PEER, ReportProgress(step=10, total=100))
    node.agent.handle(PEER, ReportProgress(step=20, total=None))
    snapshot = node.tick()
    document = node.agent.since(0)

    progress = snapshot.declared[JobKey("42", 1_700_000_001)].progress
    assert (progress.ratio, progress.start_ratio) == (0.2, 0.1)
    (event,) = document["events"]
    assert (event["step"], event["total"], event["start_step"]) == (20, 100, 10)
    assert node.agent.since(document["seq"])["events"] == []


def test_progress_without_a_total_is_refused(node):
    """A step alone says nothing about how far it is."""
    node.jobs.pids[PEER.pid] = "42"

    with pytest.raises(Rejected, match="total is not known"):
        node.agent.handle(PEER, ReportProgress(step=10, total=None))


def test_xid_is_an_event_once(node):
    """A driver error is told when it is counted, not at every tick."""
    node.tick()
    node.devices.xids = {"79": 1.0}
    node.tick(3)

    assert [(e["uuid"], e["xid"]) for e in node.agent.since(0)["events"]] == [("fake:0", "79"), ("fake:1", "79")]


def test_everything_told_is_json(node):
    """What the web server sends is what `json` can write, without NaN."""
    node.jobs.pids[PEER.pid] = "42"
    node.jobs.holders = {"fake:0": "42"}
    node.agent.handle(PEER, Declare(text="device-hours=2"))
    node.tick(3)

    assert json.loads(json.dumps(node.agent.since(0), allow_nan=False))["schema"] == 1


def test_row_tells_every_field_of_usage_by_its_name(node):
    """What accounting keeps is what the model has; nothing is left out, nothing renamed."""
    node.jobs.holders = {"fake:0": "42"}
    node.tick(2)

    (row,) = node.agent.since(0)["rows"]
    assert {each.name for each in fields(Usage)} <= row.keys()
    assert (row["clock_cycles"], row["storage_wait_seconds"], row["link_bytes"]) == (None, None, {})


def test_summary_of_a_job_goes_on_over_a_restart(node):
    """Errors, waiting for storage, and when it worked: told of both lives, and of what was between."""
    node.jobs.holders, node.jobs.waits = {"fake:0": "42"}, {"42": 10.0}
    node.tick(4)
    node.devices.xids = {"31": 1.0}
    began = node.tick().time - 3
    node.restart()
    node.devices.xids, node.jobs.waits = {"31": 1.0, "48": 2.0}, {"42": 16.0}
    back = node.tick(seconds=60).time
    node.tick()

    (row,) = node.agent.since(0)["rows"]
    assert (row["errors"], row["storage_wait_seconds"]) == ({"xid": 3.0}, pytest.approx(6.0))
    assert (row["first_working"], row["last_in_state"]) == (began, {"working": back + 1, "unknown": back})


def test_clock_that_leaps_back_does_not_have_a_job_work_before_it_began(node):
    """The first time stands, the last one stays until the clock has caught up."""
    node.jobs.holders = {"fake:0": "42"}
    last = node.tick(3).time
    node.clock.wall -= 10_000
    node.tick(3)

    (row,) = node.agent.since(0)["rows"]
    assert (row["first_working"], row["last_in_state"]) == (last - 1, {"working": last})


def test_ended_rows_leave_the_snapshot_after_the_grace(node):
    """Ended jobs are shown for fifteen minutes."""
    node.jobs.holders = {"fake:0": "42"}
    key = RowKey("42", node_started(node), "fake:0")
    node.jobs.holders = {}
    assert key in node.tick(3).rows

    node.clock.pass_(1000)
    assert key not in node.tick(2).rows


def node_started(node):
    (key,) = node.tick(2).rows
    return key.started
