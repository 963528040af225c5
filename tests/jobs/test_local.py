"""Who holds which device: runs, containers and users, on a made-up procfs."""

from __future__ import annotations

import os
import pwd
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gpuwatch.errors import Unavailable
from gpuwatch.jobs import proc
from gpuwatch.jobs.base import JobsReading, NodeView, Run
from gpuwatch.jobs.local import LocalJobs
from gpuwatch.model import Allocation, Device, Process, Reading, Site
from tests.jobs.procfs import FakeProcfs

ID = "3f0c9a1b2c4d" + "0" * 52
NOBODY = 4_000_000_000
RUN = Run("run-1", "llama-ft", 100, 1000, NOBODY)


@pytest.fixture
def procfs(tmp_path: Path) -> FakeProcfs:
    """An empty node."""
    return FakeProcfs(tmp_path)


def local(procfs: FakeProcfs, sysfs: Path | str = "/none") -> LocalJobs:
    """The source that reads it."""
    return LocalJobs(LocalJobs.Settings(), Site(procfs=str(procfs.root), sysfs=str(sysfs)))


def view(holders: Mapping[str, tuple[int, ...] | None], *runs: Run) -> NodeView:
    """Devices with the pids that have them open, and the runs."""
    devices = {uid: Device(uid, "n", index, "v", "m") for index, uid in enumerate(holders)}
    readings = {
        uid: Reading(uid, 0.0, processes=None if pids is None else tuple(Process(pid) for pid in pids))
        for uid, pids in holders.items()
    }
    return NodeView(0.0, devices, readings, {run.job_id: run for run in runs})


def held(reading: JobsReading) -> dict[str, dict[str, float]]:
    """Device to job to share."""
    shares: dict[str, dict[str, float]] = {}
    for each in reading.allocations:
        shares.setdefault(each.device, {})[each.job_id] = each.share
    return shares


def test_process_belongs_to_its_user(procfs: FakeProcfs) -> None:
    """By name where the uid has one, else by number."""
    procfs.add(10, uid=0)
    procfs.add(11, uid=NOBODY)

    reading = local(procfs).read(view({"a": (10,), "b": (11,)}))
    root = pwd.getpwuid(0).pw_name
    assert {"a": {f"user:{root}": 1.0}, "b": {f"user:{NOBODY}": 1.0}} == held(reading)
    assert frozenset() == reading.unknown


def test_process_belongs_to_its_container(procfs: FakeProcfs) -> None:
    """Whatever its user is."""
    procfs.add(10, cgroup=f"0::/system.slice/docker-{ID}.scope\n")

    reading = local(procfs).read(view({"a": (10,)}))
    assert (Allocation("container:3f0c9a1b2c4d", "a", 1.0, "holders"),) == reading.allocations


def test_descendant_of_a_runs_root_belongs_to_the_run(procfs: FakeProcfs) -> None:
    """The root itself, and a process four generations on, also in a container."""
    procfs.add(100, start=1000)
    procfs.add(101, ppid=100, start=1001)
    procfs.add(102, ppid=101, start=1002)
    procfs.add(103, ppid=102, start=1002, cgroup=f"0::/docker/{ID}\n")

    reading = local(procfs).read(view({"a": (100,), "b": (103,)}, RUN))
    assert held(reading) == {"a": {"run-1": 1.0}, "b": {"run-1": 1.0}}
    assert frozenset({"run-1"}) == reading.alive


def test_inner_of_nested_runs_counts(procfs: FakeProcfs) -> None:
    """A run within a run is a job of its own, also where the outer leads the session."""
    inner = Run("run-2", "inner", 110, 1010, NOBODY)
    procfs.add(100, start=1000, uid=NOBODY, session=100)
    procfs.add(110, ppid=100, start=1010, uid=NOBODY, session=100)
    procfs.add(111, ppid=110, start=1011, uid=NOBODY, session=100)

    jobs = local(procfs)
    expected = {"a": {"run-2": 1.0}, "b": {"run-1": 1.0}}
    assert expected == held(jobs.read(view({"a": (111,), "b": (100,)}, RUN, inner)))
    assert expected == held(jobs.read(view({"a": (111,), "b": (100,)}, RUN, inner)))


def test_reused_pid_of_a_root_is_another_process(procfs: FakeProcfs) -> None:
    """The start time tells them apart; the children of the newcomer are not the run's."""
    procfs.add(100, start=5000, uid=NOBODY)
    procfs.add(101, ppid=100, start=5001, uid=NOBODY)

    reading = local(procfs).read(view({"a": (101,)}, RUN))
    assert {"a": {f"user:{NOBODY}": 1.0}} == held(reading)
    assert frozenset() == reading.alive


def test_reused_pid_of_a_holder_is_looked_up_anew(procfs: FakeProcfs) -> None:
    """What was known of a pid counts for the process that had it then."""
    procfs.add(10, start=1000, uid=NOBODY)
    jobs = local(procfs)
    jobs.read(view({"a": (10,)}))
    procfs.add(10, start=2000, cgroup=f"0::/docker/{ID}\n")

    assert held(jobs.read(view({"a": (10,)}))) == {"a": {"container:3f0c9a1b2c4d": 1.0}}


def test_parent_that_is_younger_than_its_child_is_not_its_parent(procfs: FakeProcfs) -> None:
    """The parent ended and its pid was given to a run's root: between two reads that can be seen."""
    procfs.add(100, start=1000)
    procfs.add(101, ppid=100, start=900, uid=NOBODY, session=5)

    assert f"user:{NOBODY}" == local(procfs).job_of(101, {"run-1": RUN})


@pytest.mark.parametrize("leads", ["session", "group"])
def test_daemonised_process_in_the_roots_session_or_group_belongs_to_the_run(
    procfs: FakeProcfs, leads: str
) -> None:
    """Its parent has ended, so that descent says nothing, and its environment is not read."""
    procfs.add(100, start=1000, uid=NOBODY, session=100)
    procfs.add(105, ppid=1, start=1005, uid=NOBODY, **{"group": 105, "session": 5, leads: 100})

    assert local(procfs).job_of(105, {"run-1": RUN}) == "run-1"


def test_other_users_process_in_the_session_does_not_belong_to_the_run(procfs: FakeProcfs) -> None:
    """The session's number could be of another leader; no user is ever charged for another's work by that."""
    procfs.add(100, start=1000, uid=NOBODY, session=100)
    procfs.add(105, ppid=1, start=1005, uid=NOBODY - 1, session=100)

    assert f"user:{NOBODY - 1}" == local(procfs).job_of(105, {"run-1": RUN})


def test_process_older_than_the_root_does_not_belong_to_the_run(procfs: FakeProcfs) -> None:
    """Who was in the group before the run began is not part of it."""
    procfs.add(100, start=1000, uid=NOBODY)
    procfs.add(90, ppid=1, start=900, uid=NOBODY, group=100)

    assert f"user:{NOBODY}" == local(procfs).job_of(90, {"run-1": RUN})


def test_run_lives_on_in_orphans_of_a_root_that_was_killed(procfs: FakeProcfs) -> None:
    """Children known before, and their later children, stand for the root; when all are gone the run is over."""
    procfs.add(100, start=1000, uid=NOBODY)
    procfs.add(101, ppid=100, start=1001, uid=NOBODY)
    jobs = local(procfs)
    jobs.read(view({"a": ()}, RUN))
    procfs.end(100)
    procfs.add(102, ppid=101, start=1500, uid=NOBODY)

    reading = jobs.read(view({"a": (102,)}, RUN))
    assert ({"a": {"run-1": 1.0}}, frozenset({"run-1"})) == (held(reading), reading.alive)
    procfs.end(101)
    assert frozenset({"run-1"}) == jobs.read(view({"a": (102,)}, RUN)).alive
    procfs.end(102)
    assert frozenset() == jobs.read(view({"a": ()}, RUN)).alive


def test_orphans_are_found_also_where_nobody_looked_before(procfs: FakeProcfs) -> None:
    """The agent was restarted while the root died: the session that it led says what is left of the run."""
    procfs.add(105, ppid=1, start=1005, uid=NOBODY, session=100)
    procfs.add(106, ppid=105, start=1006, uid=NOBODY, session=106)

    reading = local(procfs).read(view({"a": (106,)}, RUN))
    assert ({"a": {"run-1": 1.0}}, frozenset({"run-1"})) == (held(reading), reading.alive)


def test_run_that_is_over_never_comes_back(procfs: FakeProcfs) -> None:
    """A later process may lead a session of the root's pid."""
    procfs.add(100, start=1000, uid=NOBODY)
    jobs = local(procfs)
    jobs.read(view({}, RUN))
    procfs.end(100)
    assert frozenset() == jobs.read(view({}, RUN)).alive
    procfs.add(105, ppid=1, start=9005, uid=NOBODY, session=100)

    reading = jobs.read(view({"a": (105,)}, RUN))
    assert ({"a": {f"user:{NOBODY}": 1.0}}, frozenset()) == (held(reading), reading.alive)


def test_zombie_root_is_over(procfs: FakeProcfs) -> None:
    """Its parent has not asked for its exit code yet; it holds nothing."""
    procfs.add(100, start=1000, state="Z")

    assert frozenset() == local(procfs).read(view({}, RUN)).alive


def test_process_that_becomes_a_root_changes_its_job(procfs: FakeProcfs) -> None:
    """It held the device before it registered; and after the run's end it is the user's again."""
    procfs.add(100, start=1000, uid=NOBODY)
    jobs = local(procfs)

    owners = [held(jobs.read(view({"a": (100,)}, *runs)))["a"] for runs in ((), (RUN,), ())]
    assert [{f"user:{NOBODY}": 1.0}, {"run-1": 1.0}, {f"user:{NOBODY}": 1.0}] == owners


def test_holders_share_equally_by_job(procfs: FakeProcfs) -> None:
    """Two processes of one job are one holder."""
    procfs.add(10, uid=NOBODY)
    procfs.add(11, uid=NOBODY)
    procfs.add(12, cgroup=f"0::/docker/{ID}\n")

    reading = local(procfs).read(view({"a": (10, 11, 12, 10)}))
    assert {"a": {"container:3f0c9a1b2c4d": 0.5, f"user:{NOBODY}": 0.5}} == held(reading)


def test_holder_of_a_slice_has_its_fraction(procfs: FakeProcfs) -> None:
    """By the rule `mig` where it is alone on the slice, else by the number of holders."""
    procfs.add(10, uid=NOBODY)
    procfs.add(11, cgroup=f"0::/docker/{ID}\n")
    seen = view({"MIG-a": (10,), "MIG-b": (10, 11)})
    slices = {uid: replace(device, kind="mig", fraction=2 / 7) for uid, device in seen.devices.items()}

    reading = local(procfs).read(replace(seen, devices=slices))
    assert held(reading) == {
        "MIG-a": {f"user:{NOBODY}": 2 / 7},
        "MIG-b": {f"user:{NOBODY}": 1 / 7, "container:3f0c9a1b2c4d": 1 / 7},
    }
    assert [each.basis for each in reading.allocations] == ["mig", "holders", "holders"]


def test_device_whose_driver_does_not_say_is_unknown(procfs: FakeProcfs) -> None:
    """Also one that could not be read; one that nobody has open is free."""
    tick = view({"a": None, "b": (), "c": ()})
    readings = {uid: reading for uid, reading in tick.readings.items() if uid != "c"}

    reading = local(procfs).read(NodeView(0.0, tick.devices, readings))
    assert (frozenset({"a", "c"}), ()) == (reading.unknown, reading.allocations)


def test_process_that_vanished_is_ignored(procfs: FakeProcfs) -> None:
    """It ended between the driver's list and the look-up: then it holds nothing."""
    procfs.add(10, uid=NOBODY)

    reading = local(procfs).read(view({"a": (10, 99), "b": (99,)}))
    assert ({"a": {f"user:{NOBODY}": 1.0}}, frozenset()) == (held(reading), reading.unknown)


def test_process_that_is_not_shown_makes_the_device_unknown(tmp_path: Path) -> None:
    """Within a pid namespace, or with hidepid, it may well be there all the same; it counts as one holder."""
    procfs = FakeProcfs(tmp_path, shows_all=False)
    procfs.add(10, uid=NOBODY)

    reading = local(procfs).read(view({"a": (10, 99), "b": (99,), "c": (10,)}))
    assert {"a": {f"user:{NOBODY}": 0.5}, "c": {f"user:{NOBODY}": 1.0}} == held(reading)
    assert frozenset({"a", "b"}) == reading.unknown


def test_job_of_a_process_that_is_not_shown_is_unavailable(tmp_path: Path) -> None:
    """And None where all are shown and it is not there, or it is of another pid namespace."""
    with pytest.raises(Unavailable, match="99"):
        local(FakeProcfs(tmp_path / "hidden", shows_all=False)).job_of(99, {})
    jobs = local(FakeProcfs(tmp_path / "shown"))
    assert [jobs.job_of(99, {}), jobs.job_of(0, {})] == [None, None]


def test_unreadable_process_makes_its_device_unknown_and_no_other(procfs: FakeProcfs) -> None:
    """One bad thing stays alone."""
    procfs.add(10, uid=NOBODY)
    procfs.add(11, uid=NOBODY)
    (procfs.root / "11" / "stat").write_text("?")

    reading = local(procfs).read(view({"a": (10,), "b": (11,)}))
    assert ({"a": {f"user:{NOBODY}": 1.0}}, frozenset({"b"})) == (held(reading), reading.unknown)


def test_steady_process_is_not_looked_up_again(procfs: FakeProcfs) -> None:
    """A tick costs one small file per holder."""
    procfs.add(10, uid=NOBODY)
    jobs = local(procfs)
    jobs.read(view({"a": (10,)}))
    for name in ("status", "cgroup"):
        (procfs.root / "10" / name).unlink()

    assert {"a": {f"user:{NOBODY}": 1.0}} == held(jobs.read(view({"a": (10,)})))


def test_only_runs_end_at_once() -> None:
    """A container's or a user's processes may come back within a quarter of an hour."""
    jobs = LocalJobs(LocalJobs.Settings(), Site())

    assert [jobs.linger_seconds(each) for each in ("run-1", "user:a", "container:b")] == [0.0, 900.0, 900.0]
    short = LocalJobs(LocalJobs.Settings(linger_seconds=5), Site())
    assert short.linger_seconds("user:a") == 5.0


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow], max_examples=50)
@given(
    st.dictionaries(
        st.sampled_from("abcd"), st.none() | st.lists(st.integers(10, 16), max_size=6).map(tuple), min_size=1
    )
)
def test_shares_of_a_device_are_the_whole_where_all_holders_are_known(
    tmp_path: Path, holders: dict[str, tuple[int, ...] | None]
) -> None:
    """Conservation begins here: 1 over known holders, less with an unknown one, nothing without any."""
    procfs = FakeProcfs(tmp_path)
    for pid in range(10, 15):
        procfs.add(pid, uid=NOBODY - pid % 3)
    procfs.add(15)
    (tmp_path / "15" / "stat").write_text("?")

    reading = local(procfs).read(view(holders))
    for uid, pids in holders.items():
        known = {pid for pid in pids or () if pid < 15}
        total = sum(held(reading).get(uid, {}).values())
        if pids is None or 15 in pids:
            assert uid in reading.unknown
            assert total < 1
        else:
            assert total == pytest.approx(1 if known else 0)


@pytest.mark.integration
def test_real_processes_are_attributed() -> None:
    """A child of this test in a session of its own belongs to the run of which this test is the root."""
    command = [sys.executable, "-c", "import sys; sys.stdin.read()"]
    child = subprocess.Popen(command, stdin=subprocess.PIPE, start_new_session=True)
    me = proc.stat("/proc", os.getpid())
    assert me is not None
    run = Run("run-1", "tests", me.pid, me.start, os.getuid())
    jobs = LocalJobs(LocalJobs.Settings(), Site())

    try:
        assert jobs.job_of(child.pid, {"run-1": run}) == "run-1"
        other = jobs.job_of(child.pid, {})
        assert other is not None
        assert other.startswith(("user:", "container:"))
        assert frozenset({"run-1"}) == jobs.read(view({}, run)).alive
    finally:
        child.communicate()


def test_only_a_container_tells_how_long_it_waited_for_storage(procfs: FakeProcfs, tmp_path: Path) -> None:
    """Its control group is its own; a user's, and that of a run, is shared with whatever else he does."""
    path = f"system.slice/docker-{ID}.scope"
    shared = "user.slice/user-1000.slice/session-1.scope"
    for each, microseconds in ((path, 2_500_000), (shared, 9_000_000)):
        (tmp_path / "fs/cgroup" / each).mkdir(parents=True)
        (tmp_path / "fs/cgroup" / each / "io.pressure").write_text(f"full avg10=0.00 total={microseconds}\n")
    procfs.add(10, cgroup=f"0::/{path}/payload\n")
    procfs.add(11, uid=NOBODY, cgroup=f"0::/{shared}\n")
    procfs.add(100, start=1000, uid=NOBODY, cgroup=f"0::/{shared}\n")
    jobs = local(procfs, tmp_path)

    assert jobs.read(view({"a": (10,), "b": (11,), "c": (100,)}, RUN)).storage_waits == {
        "container:3f0c9a1b2c4d": 2.5
    }


def test_run_that_has_a_control_group_to_itself_tells_how_long_it_waited(
    procfs: FakeProcfs, tmp_path: Path
) -> None:
    """A service that runs nothing else; from when somebody else is in it, it is unknown."""
    group = tmp_path / "fs/cgroup/system.slice/train.service"
    group.mkdir(parents=True)
    (group / "io.pressure").write_text("full avg10=0.00 total=750000\n")
    for pid, parent in ((100, 1), (101, 100), (200, 1)):
        procfs.add(pid, ppid=parent, start=1000 + parent, uid=NOBODY, cgroup="0::/system.slice/train.service\n")
    run = replace(RUN, pid_start=1001)
    waits = []
    for pids in ("100\n101\n", "100\n101\n200\n", ""):
        (group / "cgroup.procs").write_text(pids)
        waits.append(local(procfs, tmp_path).read(view({"a": (101,)}, run)).storage_waits)

    assert waits == [{"run-1": 0.75}, {}, {}]


@pytest.mark.parametrize(
    ("path", "group"),
    [
        (f"/system.slice/docker-{ID}.scope/init", f"/system.slice/docker-{ID}.scope"),
        (f"/docker/{ID}", f"/docker/{ID}"),
        (f"/../{ID}", None),
        ("/system.slice/cron.service", None),
    ],
)
def test_control_group_of_a_container_is_where_its_id_stands(path: str, group: str | None) -> None:
    """Not a group within it, and none where the way to it is hidden."""
    assert proc.container_group(("/", path)) == group
