"""Slurm's jobs on a made-up node: by maps, by control groups and environments, and what nobody is told of."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gpuwatch.errors import Unavailable
from gpuwatch.model import Allocation, Device
from tests.jobs.slurm_node import V1, V2, SlurmNode, held, write

SLUID = "s8FXKTA79XAR00"


@pytest.fixture(params=[V1, V2, "unified/" + V2], ids=["v1", "v2", "hybrid"])
def node(request: pytest.FixtureRequest, tmp_path: Path) -> SlurmNode:
    """A node of each sort."""
    return SlurmNode(tmp_path, request.param)


@pytest.fixture
def v2(tmp_path: Path) -> SlurmNode:
    """A node with cgroup v2."""
    return SlurmNode(tmp_path)


def test_node_without_slurm_has_no_job_and_no_error(v2: SlurmNode) -> None:
    """And no device of it is unknown."""
    reading = v2.source().read(v2.view())

    assert ((), frozenset(), frozenset()) == (reading.allocations, reading.alive, reading.unknown)


def test_job_of_a_map_holds_its_devices_without_any_process(v2: SlurmNode) -> None:
    """From its prolog on, before there is a control group."""
    v2.map("12", SLURM_JOB_GPUS="0,2-3")

    reading = v2.source().read(v2.view())
    assert held(reading) == {"12": {"GPU-0": 1.0, "GPU-2": 1.0, "GPU-3": 1.0}}
    assert (frozenset({"12"}), frozenset()) == (reading.alive, reading.unknown)


def test_job_of_a_map_ends_when_the_epilog_removes_it(v2: SlurmNode) -> None:
    """At once: Slurm's ends are known."""
    path = v2.map("12", SLURM_JOB_GPUS="0")
    jobs = v2.source()
    assert frozenset({"12"}) == jobs.read(v2.view()).alive
    path.unlink()

    assert (frozenset(), 0.0) == (jobs.read(v2.view()).alive, jobs.linger_seconds("12"))


def test_job_ends_with_its_control_group_while_the_epilog_runs(node: SlurmNode) -> None:
    """An epilog may take minutes; the batch step lasts as long as the job."""
    node.map("12", SLURM_JOB_GPUS="0")
    node.process(100, "job_12", {})
    jobs = node.source()
    assert held(jobs.read(node.view())) == {"12": {"GPU-0": 1.0}}
    node.end("job_12")

    assert (frozenset(), ()) == (jobs.read(node.view()).alive, jobs.read(node.view()).allocations)


def test_job_without_a_lasting_step_lives_on_between_its_steps(node: SlurmNode) -> None:
    """The other nodes of a batch job have a control group only while a step runs; the map stands."""
    node.map("12", SLURM_JOB_GPUS="0")
    node.process(100, "job_12", {}, step="step_0/user/task_0")
    jobs = node.source()
    jobs.read(node.view())
    node.end("job_12")

    assert held(jobs.read(node.view())) == {"12": {"GPU-0": 1.0}}


def test_requeued_job_begins_anew_with_a_new_map(v2: SlurmNode) -> None:
    """That its first run is over says nothing of the second, which has the same id."""
    v2.map("12", SLURM_JOB_GPUS="0")
    v2.process(100, "job_12", {})
    jobs = v2.source()
    jobs.read(v2.view())
    v2.end("job_12")
    assert frozenset() == jobs.read(v2.view()).alive
    v2.map("12", written=v2.now + 60, SLURM_JOB_GPUS="1")

    assert held(jobs.read(v2.view())) == {"12": {"GPU-1": 1.0}}


def test_environment_tells_where_there_is_no_map(node: SlurmNode) -> None:
    """SLURM_JOB_GPUS before SLURM_STEP_GPUS before CUDA_VISIBLE_DEVICES."""
    variables = {"SLURM_JOB_GPUS": "1,3", "SLURM_STEP_GPUS": "1", "CUDA_VISIBLE_DEVICES": "0"}
    node.process(100, "job_12", {"SLURM_JOB_ID": "12", **variables})

    reading = node.source().read(node.view())
    assert {"12": {"GPU-1": 1.0, "GPU-3": 1.0}} == held(reading)
    assert (frozenset({"12"}), frozenset()) == (reading.alive, reading.unknown)


def test_learned_devices_are_held_while_the_control_group_lasts(node: SlurmNode) -> None:
    """Also when nothing runs in it any more."""
    node.process(100, "job_12", {"SLURM_JOB_ID": "12", "SLURM_JOB_GPUS": "1"})
    jobs = node.source()
    jobs.read(node.view())
    for path in node.sysfs.rglob("cgroup.procs"):
        path.write_text("")
    node.procfs.end(100)
    node.now += 60

    assert held(jobs.read(node.view())) == {"12": {"GPU-1": 1.0}}
    node.end("job_12")
    assert jobs.read(node.view()).alive == frozenset()


def test_unreadable_environment_makes_devices_unknown_never_free(node: SlurmNode) -> None:
    """The job lives; what nobody else holds may be its."""
    node.process(100, "job_12", None)
    node.process(200, "job_13", {"SLURM_JOB_ID": "13", "SLURM_JOB_GPUS": "0"})

    reading = node.source().read(node.view())
    assert held(reading) == {"13": {"GPU-0": 1.0}}
    assert frozenset({"12", "13"}) == reading.alive
    assert frozenset({"GPU-1", "GPU-2", "GPU-3"}) == reading.unknown


def test_job_that_cannot_be_asked_holds_what_its_processes_opened(v2: SlurmNode) -> None:
    """That the driver lists them and the kernel says whose they are; also once they are gone."""
    v2.process(100, "job_12", None)
    jobs = v2.source()

    reading = jobs.read(v2.view({"GPU-2": (100,)}))
    assert (Allocation("12", "GPU-2", 1.0, "holders"),) == reading.allocations
    assert frozenset({"GPU-0", "GPU-1", "GPU-3"}) == reading.unknown
    v2.now += 10
    assert held(jobs.read(v2.view())) == {"12": {"GPU-2": 1.0}}


def test_process_that_opens_a_device_is_heard_of_at_once(v2: SlurmNode) -> None:
    """Also of a job that was told of none; it would be taken for its user's own otherwise."""
    v2.process(100, "job_12", {"SLURM_JOB_ID": "12"})
    v2.process(200, "job_13", None)
    jobs = v2.source()
    jobs.read(v2.view())
    v2.now += 1

    reading = jobs.read(v2.view({"GPU-0": (100, 200), "GPU-1": (100,)}))
    assert held(reading) == {"12": {"GPU-0": 0.5, "GPU-1": 1.0}, "13": {"GPU-0": 0.5}}
    assert frozenset({"GPU-2", "GPU-3"}) == reading.unknown


def test_what_is_open_does_not_count_against_a_map(v2: SlurmNode, caplog: pytest.LogCaptureFixture) -> None:
    """The process of another job on a device is reported, and charged for nothing."""
    v2.map("12", SLURM_JOB_GPUS="0")
    v2.process(100, "job_12", {})
    v2.process(200, "job_13", None)

    reading = v2.source().read(v2.view({"GPU-0": (200,)}))
    assert ({"12": {"GPU-0": 1.0}}, 1.0) == (held(reading), reading.excess)
    assert any("job_id=13 device=GPU-0" in record.message for record in caplog.records)


def test_first_job_after_a_boot_is_seen_at_once(v2: SlurmNode) -> None:
    """Slurm makes its groups when it is started, or for its first job."""
    jobs = v2.source()
    jobs.read(v2.view())
    v2.process(100, "job_12", {"SLURM_JOB_ID": "12", "SLURM_JOB_GPUS": "1"})

    assert {"12": {"GPU-1": 1.0}} == held(jobs.read(v2.view()))


def test_batch_script_that_was_told_of_no_device_has_none(v2: SlurmNode) -> None:
    """A job for processors leaves the devices free."""
    v2.process(100, "job_12", {"SLURM_JOB_ID": "12"})

    reading = v2.source().read(v2.view())
    assert (frozenset({"12"}), (), frozenset()) == (reading.alive, reading.allocations, reading.unknown)


def test_devices_of_steps_are_added_up_and_the_rest_is_unknown(v2: SlurmNode) -> None:
    """A step may have a part of its job's devices only."""
    v2.process(100, "job_12", {"SLURM_JOB_ID": "12", "SLURM_STEP_GPUS": "0"}, step="step_0/user/task_0")
    v2.process(101, "job_12", {"SLURM_JOB_ID": "12", "SLURM_STEP_GPUS": "2"}, step="step_1/user/task_0")

    reading = v2.source().read(v2.view())
    assert {"12": {"GPU-0": 1.0, "GPU-2": 1.0}} == held(reading)
    assert frozenset({"GPU-1", "GPU-3"}) == reading.unknown


def test_process_that_names_another_job_is_not_listened_to(node: SlurmNode) -> None:
    """Its control group says whose it is."""
    node.process(100, "job_12", {"SLURM_JOB_ID": "13", "SLURM_JOB_GPUS": "0-3"})
    node.process(200, "job_13", {"SLURM_JOB_ID": "13", "SLURM_JOB_GPUS": "0"})
    jobs = node.source()

    assert {"13": {"GPU-0": 1.0}} == held(jobs.read(node.view()))
    assert ["12", "13"] == [jobs.job_of(pid, {}) for pid in (100, 200)]


def test_job_that_claims_what_another_holds_is_refused(v2: SlurmNode, caplog: pytest.LogCaptureFixture) -> None:
    """Who was first keeps it; it is said once, and counted for as long as it lasts."""
    v2.process(100, "job_12", {"SLURM_JOB_ID": "12", "SLURM_JOB_GPUS": "0"})
    jobs = v2.source()
    jobs.read(v2.view())
    v2.now += 1
    v2.process(200, "job_11", {"SLURM_JOB_ID": "11", "SLURM_JOB_GPUS": "0,1"})

    readings = [jobs.read(v2.view()) for _ in range(3)]
    assert [{"12": {"GPU-0": 1.0}, "11": {"GPU-1": 1.0}}] * 3 == [held(each) for each in readings]
    assert [1.0] * 3 == [each.excess for each in readings]
    assert 1 == sum("does not fit" in record.message for record in caplog.records)


def test_map_counts_before_what_the_job_says(v2: SlurmNode) -> None:
    """The prolog is told by Slurm, the environment is the user's."""
    v2.map("12", SLURM_JOB_GPUS="3")
    v2.process(100, "job_12", {"SLURM_JOB_ID": "12", "SLURM_JOB_GPUS": "0,1,2"})

    assert held(v2.source().read(v2.view())) == {"12": {"GPU-3": 1.0}}


def test_stale_map_loses_to_a_job_with_a_control_group(v2: SlurmNode) -> None:
    """An epilog that was never run leaves one behind."""
    v2.map("12", written=v2.now + 5, SLURM_JOB_GPUS="0,1")
    v2.map("13", SLURM_JOB_GPUS="0")
    v2.process(100, "job_13", {})

    assert held(v2.source().read(v2.view())) == {"13": {"GPU-0": 1.0}, "12": {"GPU-1": 1.0}}


def test_newer_map_wins(v2: SlurmNode) -> None:
    """Where no control group says more."""
    v2.map("12", written=v2.now - 60, SLURM_JOB_GPUS="0")
    v2.map("13", written=v2.now, SLURM_JOB_GPUS="0")

    assert held(v2.source().read(v2.view())) == {"13": {"GPU-0": 1.0}}


def test_map_from_before_the_last_boot_is_stale(v2: SlurmNode) -> None:
    """The made-up node was started at 1000."""
    v2.map("12", written=900.0, SLURM_JOB_GPUS="0")

    assert frozenset() == v2.source().read(v2.view()).alive


def test_old_map_without_a_control_group_is_stale_where_every_job_has_one(v2: SlurmNode) -> None:
    """A young one is a job in its prolog."""
    v2.map("12", written=v2.now - 700, SLURM_JOB_GPUS="0")
    v2.map("13", written=v2.now - 60, SLURM_JOB_GPUS="1")

    assert frozenset({"12", "13"}) == v2.source().read(v2.view()).alive
    assert frozenset({"13"}) == v2.source(contain=True).read(v2.view()).alive


def test_only_jobs_of_this_node_where_several_share_the_host(tmp_path: Path) -> None:
    """By the name of the scope, of the group of v1, and of the map."""
    v2, v1 = SlurmNode(tmp_path / "2", "system.slice/gw0_slurmstepd.scope"), SlurmNode(tmp_path / "1")
    for node, top in ((v2, "system.slice/{}_slurmstepd.scope"), (v1, "freezer/slurm_{}/uid_1000")):
        for pid, (name, job_id) in enumerate((("gw0", "12"), ("gw1", "13")), start=100):
            node.top = top.format(name)
            node.process(pid, f"job_{job_id}", {"SLURM_JOB_ID": job_id, "SLURM_JOB_GPUS": "0"})
        node.map("14", SLURM_JOB_GPUS="2")
        node.map("15", node="gw1", SLURM_JOB_GPUS="2")
        jobs = node.source()

        assert held(jobs.read(node.view())) == {"12": {"GPU-0": 1.0}, "14": {"GPU-2": 1.0}}
        assert ["12", None] == [jobs.job_of(pid, {}) for pid in (100, 101)]


@pytest.mark.parametrize("says", ["map", "title", "environment"])
def test_job_of_a_sluid(v2: SlurmNode, says: str) -> None:
    """By the map, else by the title of Slurm's own process, else by what all its processes agree on."""
    if says == "map":
        v2.map("12", SLURM_JOB_GPUS="1", SLURM_JOB_SLUID=SLUID)
    if says == "title":
        v2.slurmstepd(99, SLUID, "slurmstepd: [12.batch]")
    v2.process(100, SLUID, {"SLURM_JOB_ID": "12", "SLURM_JOB_GPUS": "1"})
    jobs = v2.source()

    assert held(jobs.read(v2.view())) == {"12": {"GPU-1": 1.0}}
    assert jobs.job_of(100, {}) == "12"


@pytest.mark.parametrize(("uid", "step"), [(1000, "step_batch/slurm"), (0, "step_batch/user/task_0")])
def test_title_of_a_users_process_does_not_name_the_job_of_a_sluid(v2: SlurmNode, uid: int, step: str) -> None:
    """Anybody may call a program slurmstepd, and run it as root by way of sudo."""
    v2.slurmstepd(99, SLUID, "slurmstepd: [13.batch]", uid, step)

    reading = v2.source().read(v2.view())
    assert (frozenset(), frozenset(v2.devices)) == (reading.alive, reading.unknown)


def test_environment_does_not_name_the_job_of_a_sluid_where_it_is_another(v2: SlurmNode) -> None:
    """Two groups cannot be the same job; nor is it one whose processes disagree."""
    v2.process(100, "job_12", {"SLURM_JOB_ID": "12", "SLURM_JOB_GPUS": "0"})
    v2.process(200, SLUID, {"SLURM_JOB_ID": "12", "SLURM_JOB_GPUS": "1"})
    v2.process(300, "s8FXKTA79XAR01", {"SLURM_JOB_ID": "14"})
    v2.process(301, "s8FXKTA79XAR01", {"SLURM_JOB_ID": "15"})

    reading = v2.source().read(v2.view())
    assert frozenset({"12"}) == reading.alive
    assert {"12": {"GPU-0": 1.0}} == held(reading)
    assert "GPU-1" in reading.unknown


def test_process_of_a_sluid_that_is_not_known_yet_is_unavailable(v2: SlurmNode) -> None:
    """It is not somebody else's meanwhile."""
    v2.process(100, SLUID, None)

    with pytest.raises(Unavailable, match=SLUID):
        v2.source().job_of(100, {})


@pytest.mark.parametrize(
    "cgroup",
    [
        "0::/user.slice/user-1000.slice/slurmstepd.scope/job_13\n",
        "0::/user.slice/system.slice/slurmstepd.scope/job_13\n",
        "0::/system.slice/sshd.service/slurmstepd.scope/job_13\n",
        "4:freezer:/user/slurm/uid_0/job_13/step_batch\n",
        "0::/system.slice/slurmstepd.scope/job_0\n",
        "0::/system.slice/slurmstepd.scope/job_99999999999\n",
        "0::/system.slice/slurmstepd.scope/system\n",
        "0::/\n",
    ],
)
def test_process_elsewhere_is_of_no_job(v2: SlurmNode, cgroup: str) -> None:
    """Users may make and name groups of their own."""
    v2.procfs.add(100, cgroup=cgroup)

    assert v2.source().job_of(100, {}) is None
    assert v2.source().job_of(0, {}) is None


def test_job_ids_that_are_none_are_passed_over(v2: SlurmNode) -> None:
    """In names of groups and of maps."""
    for name in ("job_0", "job_-1", "job_1\n2", "job_99999999999", "job_", "job_x", "step_batch"):
        v2.group(name)
    for job_id in ("0", "-1", "99999999999", "x", "1\n2"):
        v2.map(job_id, SLURM_JOB_GPUS="0")

    reading = v2.source().read(v2.view())
    assert (frozenset(), frozenset()) == (reading.alive, reading.unknown)


def test_too_long_a_list_of_devices_is_refused(v2: SlurmNode, caplog: pytest.LogCaptureFixture) -> None:
    """A megabyte of indices: the job lives, its devices are unknown, and it is said."""
    v2.process(100, "job_12", b"SLURM_JOB_ID=12\0SLURM_JOB_GPUS=" + b"0," * 500_000 + b"\0")
    jobs = v2.source()

    reading = jobs.read(v2.view())
    assert (frozenset({"12"}), (), frozenset(v2.devices)) == (reading.alive, reading.allocations, reading.unknown)
    assert any("refused" in record.message for record in caplog.records)


def test_lost_device_of_a_job_hides_no_other(v2: SlurmNode) -> None:
    """Its index is not there any more: the job holds the rest, and perhaps something nobody else holds."""
    v2.map("12", SLURM_JOB_GPUS="0-1,7")

    reading = v2.source().read(v2.view())
    assert {"12": {"GPU-0": 1.0, "GPU-1": 1.0}} == held(reading)
    assert frozenset({"GPU-2", "GPU-3"}) == reading.unknown


def test_environments_are_read_once_while_they_tell_all(v2: SlurmNode) -> None:
    """And again only after 5 s where they do not, but for the first seconds of a job."""
    v2.process(100, "job_12", {"SLURM_JOB_ID": "12", "SLURM_JOB_GPUS": "1"})
    v2.process(200, "job_13", {"SLURM_JOB_ID": "13"})
    jobs = v2.source()
    jobs.read(v2.view())
    v2.now += 20
    jobs.read(v2.view())
    for pid, job_id in ((100, "12"), (200, "13")):
        (v2.procfs.root / str(pid) / "environ").write_bytes(f"SLURM_JOB_ID={job_id}\0SLURM_JOB_GPUS=2\0".encode())

    v2.now += 1
    assert held(jobs.read(v2.view())) == {"12": {"GPU-1": 1.0}}
    v2.now += 5
    assert held(jobs.read(v2.view())) == {"12": {"GPU-1": 1.0}, "13": {"GPU-2": 1.0}}


def test_job_that_has_just_begun_is_asked_every_second(v2: SlurmNode) -> None:
    """Its first process is Slurm's own until that has become the user's."""
    v2.process(100, "job_12", {"PATH": "/bin"})
    jobs = v2.source()
    assert frozenset(v2.devices) == jobs.read(v2.view()).unknown
    (v2.procfs.root / "100" / "environ").write_bytes(b"SLURM_JOB_ID=12\0SLURM_JOB_GPUS=1\0")
    v2.now += 1

    assert {"12": {"GPU-1": 1.0}} == held(jobs.read(v2.view()))


def test_maps_of_others_are_read(v2: SlurmNode) -> None:
    """jobstats has a file for each ordinal and UUID, dcgm-exporter lists the jobs of each index."""
    write(v2.gpustat / "0", "12 1000\n", v2.now)
    write(v2.gpustat / "GPU-0", "12 1000\n", v2.now)
    write(v2.dcgm / "1", "13\n", v2.now)
    write(v2.dcgm / "2", "13\n14\n", v2.now)

    reading = v2.source().read(v2.view())
    assert {"12": {"GPU-0": 1.0}, "13": {"GPU-1": 1.0, "GPU-2": 0.5}, "14": {"GPU-2": 0.5}} == held(reading)
    assert {"whole", "holders"} == {each.basis for each in reading.allocations}


def test_shards_are_counted_by_the_job_where_the_prolog_was_not_told(v2: SlurmNode) -> None:
    """The map says which device, the environment how much of it."""
    for job_id, shards, pid in (("12", "1", 100), ("13", "2", 200), ("14", None, 300)):
        v2.map(job_id, SLURM_JOB_GPUS="3" if job_id == "14" else "0")
        count = {"SLURM_SHARDS_ON_NODE": shards} if shards else {}
        v2.process(pid, f"job_{job_id}", {"SLURM_JOB_ID": job_id, "SLURM_JOB_GPUS": "0", **count})
    jobs = v2.source(shards_per_device=4)
    jobs.read(v2.view())

    expected = {"12": {"GPU-0": 0.25}, "13": {"GPU-0": 0.5}, "14": {"GPU-3": 1.0}}
    assert expected == held(jobs.read(v2.view()))


def test_job_on_a_board_that_is_cut_holds_its_slices(v2: SlurmNode) -> None:
    """Each with its fraction of the board."""
    v2.cut("GPU-1", a=3 / 7, b=4 / 7)
    v2.map("12", SLURM_JOB_GPUS="1")

    assert held(v2.source().read(v2.view())) == {"12": {"MIG-a": 3 / 7, "MIG-b": 4 / 7}}


def test_devices_are_named_anew_when_they_change(v2: SlurmNode) -> None:
    """A board that is cut while the agent runs."""
    v2.map("12", SLURM_JOB_GPUS="0", CUDA_VISIBLE_DEVICES="MIG-a")
    jobs = v2.source()
    assert jobs.read(v2.view()).allocations == ()
    v2.cut("GPU-0", a=1 / 7)

    assert held(jobs.read(v2.view())) == {"12": {"MIG-a": 1 / 7}}


def test_map_directory_that_may_not_be_listed_is_unavailable(v2: SlurmNode) -> None:
    """Its jobs hold something: the devices are not free."""
    v2.maps.mkdir()
    loop = v2.maps.parent / "loop"
    loop.symlink_to(loop)

    with pytest.raises(Unavailable, match="loop"):
        v2.source(map_directory=str(loop)).read(v2.view())


@pytest.mark.parametrize("setting", ["gpustat_directory", "dcgm_map_directory"])
def test_map_directory_of_another_program_that_may_not_be_listed_is_said(
    v2: SlurmNode, setting: str, caplog: pytest.LogCaptureFixture
) -> None:
    """It is none of ours: what is known without it is charged all the same."""
    loop = v2.maps.parent / "loop"
    loop.symlink_to(loop)
    source = v2.source(**{setting: str(loop)})

    assert source.read(v2.view()).unknown == frozenset()
    assert ["cannot be read: Too many levels of symbolic links" in each for each in caplog.messages] == [True]


@pytest.mark.parametrize("name", ["job_12", SLUID])
def test_job_tells_how_long_it_waited_for_storage(v2: SlurmNode, name: str) -> None:
    """All of it, by the control group that its steps are in; a job that has none yet is unknown."""
    v2.map("12", SLURM_JOB_GPUS="0", SLURM_JOB_SLUID=SLUID)
    v2.map("13", SLURM_JOB_GPUS="1")
    group = v2.group(name, ".")
    (group / "io.pressure").write_text("some avg10=0.00 total=9000000\nfull avg10=0.00 total=1250000\n")
    (v2.group(name) / "io.pressure").write_text("full avg10=0.00 total=7\n")

    assert v2.source().read(v2.view()).storage_waits == {"12": 1.25}


NAMES = st.sampled_from(["0", "0-3", "1,2", "3", "7", "GPU-2", "NoDevFiles", "?", "x", ""])
SAID = st.fixed_dictionaries(
    {},
    optional={
        "SLURM_JOB_GPUS": NAMES,
        "SLURM_STEP_GPUS": NAMES,
        "CUDA_VISIBLE_DEVICES": NAMES,
        "SLURM_SHARDS_ON_NODE": st.sampled_from(["1", "3", "9", "x"]),
        "CUDA_MPS_ACTIVE_THREAD_PERCENTAGE": st.sampled_from(["30", "100", "400"]),
    },
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=40, deadline=None)
@given(
    st.lists(st.tuples(st.none() | SAID, st.none() | SAID, st.sets(st.integers(0, 3))), max_size=5), st.booleans()
)
def test_whatever_is_said_a_device_is_held_once_at_most(
    tmp_path_factory: pytest.TempPathFactory,
    jobs: list[tuple[dict[str, str] | None, dict[str, str] | None, set[int]]],
    shards: bool,
) -> None:
    """By maps, by environments and by processes on devices; and whoever holds something lives."""
    node = SlurmNode(tmp_path_factory.mktemp("node"))
    opened: dict[str, tuple[int, ...]] = {}
    for number, (mapped, said, devices) in enumerate(jobs, start=1):
        if mapped is not None:
            node.map(str(number), written=node.now - number, **mapped)
        node.process(100 + number, f"job_{number}", said and {"SLURM_JOB_ID": str(number), **said})
        for index in devices:
            opened[f"GPU-{index}"] = (*opened.get(f"GPU-{index}", ()), 100 + number)
    source = node.source(shards_per_device=4 if shards else 0)

    for _ in range(2):
        reading = source.read(node.view(opened))
        node.now += 1
        for uid in node.devices:
            assert sum(each.share for each in reading.allocations if each.device == uid) <= 1 + 1e-9
        assert {each.job_id for each in reading.allocations} <= reading.alive
        assert {str(number) for number in range(1, len(jobs) + 1)} == reading.alive


def chips(node: SlurmNode) -> None:
    """Put four TPUs in the place of the GPUs."""
    node.devices = {f"tpu:{n}": Device(f"tpu:{n}", "gw0", n, "google", "TPU v5e", kind="tpu") for n in range(4)}


def test_job_holds_the_tpus_that_its_processes_have_open(v2: SlurmNode) -> None:
    """A map without any GPU is not the word that it has no `gres/tpu`; what else it may have is not free."""
    chips(v2)
    v2.map("42")
    v2.process(100, "job_42", {"SLURM_JOB_ID": "42"})
    reading = v2.source().read(v2.view({"tpu:0": (100,), "tpu:1": (100,)}))

    assert {"42": {"tpu:0": 1.0, "tpu:1": 1.0}} == held(reading)
    assert {"tpu:2", "tpu:3"} == reading.unknown


def test_job_on_a_node_whose_tpus_are_gpus_has_none_where_none_is_told(v2: SlurmNode) -> None:
    """As of GPUs: free chips are free."""
    chips(v2)
    v2.map("42")
    v2.process(100, "job_42", {"SLURM_JOB_ID": "42"})
    reading = v2.source(tpu_is_gpu=True).read(v2.view())

    assert ({}, frozenset()) == (held(reading), reading.unknown)
