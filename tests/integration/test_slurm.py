"""A real Slurm, two real agents and a real accounting: the ledger's device-hours are those of sacct.

Real are Slurm with its database and its control groups (version 1), the prolog and epilog of deploy/slurm/, the
agents and accounting; the GPUs are device files without a driver, and what NVML says of them is a fake's. The
agent of the first node is told by the prolog, that of the second finds jobs by their control groups, the third
node has none.
"""

from __future__ import annotations

import json
import os
import pwd
import re
import subprocess
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, select

from gpuwatch.accounting.views import views_since
from gpuwatch.ledger import tables
from gpuwatch.ledger.record_store import records_of
from gpuwatch.ledger.scopes import WHOLE_SECOND
from gpuwatch.ledger.store import open_to_read
from gpuwatch.schedulers.base import Record
from gpuwatch.web.api_documents import job_document
from tests.cli.command import environment, gpuwatch, start
from tests.fake_nvml import FakeNvml, compiler
from tests.faults.running import Node
from tests.integration.debian import stop, wait_until
from tests.integration.slurm import GPUS, Slurm, missing

pytestmark = [pytest.mark.integration, pytest.mark.xdist_group("slurm")]

COMMANDS = ("sacct", "sacctmgr", "scontrol", "sreport", "squeue", "sshare")
MIB = 1 << 20
SECONDS_TO_SETTLE = 30.0
HELD_SECONDS = 2.0
"""How far a node's view may be from Slurm's for each device and attempt: Slurm counts whole seconds between two
decisions of its controller, a node sees the job from the prolog until its last process is gone."""

AGENT = """\
jobs = ["slurm"]
jobs_directory = "{directory}"
[site]
cluster = "gwtest"
node = "{node}"
[jobs.slurm]
map_directory = "{maps}"
contain = {contain}
"""

ACCOUNTING = """\
[site]
cluster = "gwtest"
[accounting]
listen = "127.0.0.1:0"
ledger = "sqlite:///{ledger}"
socket = "{socket}"
interval_seconds = 1.0
schedulers = ["slurm"]
[usage.agents]
urls = {urls}
[schedulers.slurm]
{commands}
timeout_seconds = 5.0
retry_seconds = 1.0
"""


@dataclass(frozen=True)
class Attempt:
    """A line of sacct: one submission of a job that has ended."""

    state: str
    devices: int
    cpus: int
    seconds: int

    @property
    def device_seconds(self) -> int:
        """What it is charged."""
        return self.devices * self.seconds


@dataclass(frozen=True)
class Cluster:
    """Slurm, the agents of its first two nodes, and accounting's ledger and log."""

    slurm: Slurm
    agents: tuple[Node, ...]
    ledger: Path
    log: Path
    api: str

    def driver(self, node: int) -> FakeNvml:
        """What the agent of a node takes for NVML."""
        fake = self.agents[node].fake
        assert fake is not None
        return fake

    def attempts(self) -> dict[str, list[Attempt]]:
        """What sacct says of each job that ended, by raw id."""
        fields = "--format=JobIDRaw,State,AllocTRES,AllocCPUS,ElapsedRaw,End"
        found = defaultdict(list)
        for line in self.slurm.says("sacct", "-naDXP", fields).splitlines():
            job, state, resources, cpus, seconds, end = line.split("|")
            devices = re.search(r"gres/[gt]pu=(\d+)", resources)
            if end != "Unknown":
                count = int(devices[1]) if devices else 0
                found[job].append(Attempt(state.split()[0], count, int(cpus), int(seconds)))
        return dict(found)

    def says(self, *command: str) -> Any:
        """What a command of ours says of the ledger, out of JSON."""
        done = gpuwatch(*command, "--json", "--ledger", str(self.ledger))
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """The ledger as it is now."""
        store = open_to_read(f"sqlite:///{self.ledger}")
        try:
            with store.reading() as connection:
                yield connection
        finally:
            store.close()

    def jobs(self) -> dict[str, dict[str, Any]]:
        """What the ledger says of each job with devices, by raw id."""
        now = time.time()
        with self.reading() as connection:
            return {view.job.job_id: job_document(view) for view in views_since(connection, now - 3600.0, now)}

    def records(self, *jobs: str) -> dict[str, list[Record]]:
        """What the ledger was told of jobs by Slurm, by raw id."""
        with self.reading() as connection:
            return {job: found for (_, job), found in records_of(connection, jobs).items()}

    def held(self) -> set[str]:
        """The jobs that hold devices as far as the nodes told."""
        with self.reading() as connection:
            return set(connection.scalars(select(tables.usage.c.job_id).where(tables.usage.c.open)))

    def settled(self, *jobs: str) -> Outcome:
        """What is known once the ledger knows from Slurm and the nodes that these and all other jobs ended."""
        known: dict[str, list[Attempt]] = {}

        def ended() -> bool:
            known.update(self.attempts())
            told = self.records(*known)
            over = {job for job, found in told.items() if all(map(_is_over, found))}
            return known.keys() == over >= {*jobs} and not self.held()

        try:
            wait_until(ended, SECONDS_TO_SETTLE, "all jobs have ended in the ledger", 0.5)
        except AssertionError as exc:
            raise AssertionError(f"{exc}: {known}; {self.jobs()}; {self.log.read_text()[-2000:]}") from exc
        return Outcome(known, self.jobs())


def _is_over(record: Record) -> bool:
    """Whether Slurm has said how it ended: for a moment it says that a job completes."""
    return record.facts.ended is not None and record.facts.state != "COMPLETING"


@dataclass(frozen=True)
class Outcome:
    """The same jobs by Slurm's word, and by the ledger's."""

    attempts: dict[str, list[Attempt]]
    jobs: dict[str, dict[str, Any]]

    def allocated(self) -> dict[str, int]:
        """Device-seconds of every job that had devices, by Slurm's word."""
        found = {job: sum(each.device_seconds for each in known) for job, known in self.attempts.items()}
        return {job: seconds for job, seconds in found.items() if seconds}

    def held_otherwise(self, *jobs: str) -> dict[str, tuple[float, int]]:
        """The jobs of which nodes saw something else than Slurm says, with both."""
        allocated = self.allocated()
        slack = {job: HELD_SECONDS * sum(each.devices for each in self.attempts[job]) for job in jobs}
        held = {job: self.jobs[job]["held_device_seconds"] for job in jobs}
        return {job: (held[job], allocated[job]) for job in jobs if abs(held[job] - allocated[job]) > slack[job]}


@pytest.fixture(scope="module")
def slurm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Slurm]:
    """A running Slurm whose nodes are named for this run alone."""
    if why := missing():
        pytest.skip(f"no Slurm here: {why}")
    with Slurm(tmp_path_factory.mktemp("slurm"), f"gw{os.getpid():x}n") as started:
        yield started


@pytest.fixture(scope="module")
def cluster(slurm: Slurm, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Agents and accounting beside the Slurm."""
    if compiler() is None:
        pytest.skip("the fake driver is C, and there is no C compiler")
    agents: list[Node] = []
    accounting = None
    folder = tmp_path_factory.mktemp("accounting")
    try:
        for number in range(2):
            agents.append(_agent(slurm, number, tmp_path_factory.mktemp("agent")))
        ledger, log = folder / "ledger.db", folder / "log"
        urls = json.dumps([agent.url for agent in agents])
        commands = "\n".join(f'{name} = "{slurm.folder / "bin" / name}"' for name in COMMANDS)
        configuration = folder / "gpuwatch.toml"
        configuration.write_text(
            ACCOUNTING.format(ledger=ledger, socket=folder / "api.sock", urls=urls, commands=commands)
        )
        with log.open("wb") as file:
            arguments = ("accounting", "--config", str(configuration))
            accounting = start(*arguments, env=environment(), stdout=file, stderr=subprocess.STDOUT)
        wait_until(ledger.exists, SECONDS_TO_SETTLE, f"accounting has a ledger: {log.read_text()}")
        yield Cluster(slurm, tuple(agents), ledger, log, str(folder / "api.sock"))
    finally:
        if accounting is not None:
            stop(accounting)
        for agent in agents:
            agent.close()


def _agent(slurm: Slurm, number: int, folder: Path) -> Node:
    fake = FakeNvml(folder / "nvml", GPUS, latency_seconds=0.0)
    for index, device in enumerate(fake.devices):
        device.uuid = f"GPU-{number:08x}-0000-0000-0000-{index:012x}"
        device.power_watts = 80.0
    told_by_prolog = number == 0 or not slurm.controls_devices
    maps = slurm.maps if told_by_prolog else folder / "maps"
    contain = json.dumps(slurm.controls_devices)
    more = AGENT.format(node=slurm.nodes[number], maps=maps, contain=contain, directory=slurm.jobs)
    if number == 0:
        (slurm.sockets / slurm.nodes[number]).symlink_to(folder / "agent.sock")
    return Node(folder, fake, more=more)


@dataclass(frozen=True)
class Day:
    """A day of the cluster: its jobs by name, what became of them, and hours by user when it was over."""

    jobs: dict[str, str]
    outcome: Outcome
    users: list[dict[str, Any]]


def _holds(cluster: Cluster, job: str) -> bool:
    """Whether a node saw it hold its device for longer than Slurm's clock rounds to nothing."""
    known = cluster.jobs().get(job)
    return known is not None and known["held_device_seconds"] > 1.0


def _indices(cluster: Cluster, job: str) -> dict[str, tuple[int, ...]]:
    return {
        node: indices
        for record in cluster.records(job).get(job, ())
        if record.live is not None
        for node, indices in record.live.indices.items()
    }


@pytest.fixture(scope="module")
def day(cluster: Cluster) -> Day:
    """A requeue, an array, a cancelled job, an idle holder, one where no agent is, and some without GPUs."""
    slurm = cluster.slurm
    first, second, third = (f"--nodelist={node}" for node in slurm.nodes)
    again = '[ "$SLURM_RESTART_COUNT" ] && exec sleep 2; sleep 60'
    jobs = {
        "busy": slurm.submit("sleep 4", "--gres=gpu:2", first),
        "idle": slurm.submit("sleep 6", "--gres=gpu:1", first),
        "requeued": slurm.submit(again, "--requeue", "--gres=gpu:1", first),
        "array": slurm.submit("sleep 3", "--gres=gpu:1", "--array=0-2", second),
        "cancelled": slurm.submit("sleep 60", "--gres=gpu:1", second),
        "distant": slurm.submit("sleep 60", "--gres=gpu:2", third),
        "cpus": slurm.submit("sleep 2", "--cpus-per-task=2", third),
        "never": slurm.submit("sleep 2", "--gres=gpu:4", third),
    }
    for name in ("busy", "idle", "requeued", "cancelled", "distant"):
        slurm.wait_for(jobs[name], "RUNNING")
    device = cluster.driver(0).devices[0]
    device.load(0.9)
    device.processes((slurm.processes(jobs["busy"], slurm.nodes[0])[-1], 100 * MIB))
    slurm.says("scancel", jobs["never"])
    stopped = [jobs[name] for name in ("requeued", "cancelled")]
    wait_until(lambda: all(_holds(cluster, job) for job in stopped), SECONDS_TO_SETTLE, f"{stopped} hold devices")
    distant = jobs["distant"]
    wait_until(lambda: _indices(cluster, distant), SECONDS_TO_SETTLE, "the ledger knows the distant devices")
    slurm.says("scontrol", "requeue", jobs["requeued"])
    slurm.says("scancel", jobs["cancelled"])
    slurm.says("scancel", jobs["distant"])
    wait_until(lambda: not slurm.states(), SECONDS_TO_SETTLE, "all jobs are over")
    outcome = cluster.settled(*jobs.values())
    return Day(jobs, outcome, cluster.says("jobs", "--by", "user"))


def test_allocated_device_seconds_are_those_of_sacct(day: Day) -> None:
    """Elapsed times GPUs, over all submissions of a job, to the second."""
    expected = day.outcome.allocated()
    charged = {job: found["allocated_device_seconds"] for job, found in day.outcome.jobs.items()}

    assert set(day.jobs.values()) - {day.jobs["cpus"], day.jobs["never"]} <= expected.keys()
    assert expected == pytest.approx(charged, abs=1.0)


def test_nodes_see_devices_held_for_as_long_as_they_are_allocated(cluster: Cluster, day: Day) -> None:
    """By the prolog's word on the first node, by control groups on the second; the third node has no agent."""
    seen = day.outcome.allocated().keys() - {day.jobs["distant"]}

    assert {} == day.outcome.held_otherwise(*seen)
    assert set(cluster.slurm.nodes[:2]) == {node for job in seen for node in day.outcome.jobs[job]["nodes"]}


def test_requeued_job_is_one_job_with_two_attempts(day: Day) -> None:
    """Slurm has two records of it; each is charged."""
    job = day.jobs["requeued"]
    first, second = day.outcome.jobs[job]["attempts"]

    assert ["REQUEUED", "COMPLETED"] == [each.state for each in day.outcome.attempts[job]]
    assert ["REQUEUED", "COMPLETED"] == [first["outcome"], second["outcome"]]


def test_job_that_sleeps_on_its_device_holds_it_idle(day: Day) -> None:
    """It has no process on the device."""
    found = day.outcome.jobs[day.jobs["idle"]]

    assert {"idle": pytest.approx(found["held_device_seconds"])} == found["state_seconds"]


def test_devices_where_no_agent_is_are_known_by_their_indices(cluster: Cluster, day: Day) -> None:
    """Slurm says which they were, while the job ran."""
    assert {cluster.slurm.nodes[2]: (0, 1)} == _indices(cluster, day.jobs["distant"])


def test_hours_by_user_are_those_of_all_jobs(day: Day) -> None:
    """Device-hours, and CPU-hours of all jobs with and without devices."""
    attempts = [each for found in day.outcome.attempts.values() for each in found]
    (row,) = day.users

    assert pytest.approx(sum(each.device_seconds for each in attempts)) == row["device_hours"] * 3600
    assert pytest.approx(sum(each.cpus * each.seconds for each in attempts)) == row["cpu_hours"] * 3600


def test_import_of_what_accounting_has_read_changes_nothing(cluster: Cluster, day: Day, tmp_path: Path) -> None:
    """A file of sacct about the same jobs is no second allocation."""
    file = tmp_path / "sacct.txt"
    fields = "--format=JobIDRaw,JobID,User,Account,Partition,State,Submit,Start,End,AllocTRES,NodeList,AllocCPUS"
    rows = cluster.slurm.says("sacct", "-aDXP", fields)
    file.write_text(rows)
    before = _allocated(cluster, day)
    imported = cluster.says("import", "sacct", str(file), "--cluster", "gwtest")

    assert (len(rows.splitlines()) - 1, 0) == (imported["taken"], imported["changed"])
    assert before == _allocated(cluster, day)


def _allocated(cluster: Cluster, day: Day) -> list[tuple[str, str, float, list[tuple[str, float]]]]:
    """The day's jobs with what Slurm gave them, in all and by attempt; what nodes saw may still come in."""
    return [
        (
            job["job_id"], job["outcome"], job["allocated_device_seconds"],
            [(each["outcome"], each["allocated_device_seconds"]) for each in job["attempts"]],
        )
        for job in cluster.jobs().values() if job["job_id"] in day.jobs.values()
    ]  # fmt: skip


def test_nothing_is_lost_or_counted_twice_while_slurm_is_down(cluster: Cluster) -> None:
    """The database goes away while jobs run, then the controller; jobs end without the one, and without both."""
    slurm = cluster.slurm
    first, second = (f"--nodelist={node}" for node in slurm.nodes[:2])
    over = slurm.folder / "over"
    long = slurm.submit(f"sleep 9; : > {over}", "--gres=gpu:2", first)
    short = slurm.submit("sleep 2", "--gres=gpu:1", second)
    for job in (long, short):
        slurm.wait_for(job, "RUNNING")
    wait_until(lambda: long in cluster.jobs(), SECONDS_TO_SETTLE, "the job is in the ledger")

    slurm.stop("slurmdbd")
    unseen = slurm.submit("sleep 1", "--gres=gpu:1", second)
    for job in (short, unseen):
        slurm.wait_for(job, "COMPLETED", "")
    slurm.stop("slurmctld")
    wait_until(over.exists, 30.0, "the job's script ends")
    wait_until(lambda: "scheduler cannot be read" in cluster.log.read_text(), 30.0, "accounting says so")
    slurm.start("slurmdbd")
    slurm.start("slurmctld")

    outcome = cluster.settled(long, short, unseen)
    charged = {job: outcome.jobs[job]["allocated_device_seconds"] for job in (long, short, unseen)}
    expected = {job: outcome.allocated()[job] for job in charged}
    assert expected == pytest.approx(charged, abs=1.0)
    assert [1, 1, 1] == [len(outcome.attempts[job]) for job in charged]
    assert [1, 1, 1] == [len(outcome.jobs[job]["attempts"]) for job in charged]


@pytest.mark.usefixtures("day")  # whose sums are those of all jobs before
def test_tpus_are_devices_by_a_name_of_their_own(cluster: Cluster) -> None:
    """Four of `gres/tpu`: counted, with their indices, and charged. Slurm tells the node nothing of them."""
    slurm = cluster.slurm
    node = slurm.nodes[2]
    job = slurm.submit("sleep 60", "--gres=tpu:4", f"--nodelist={node}")
    slurm.wait_for(job, "RUNNING")
    note = slurm.maps / f"{job}.{node}"
    wait_until(note.exists, SECONDS_TO_SETTLE, "the prolog has noted the job")
    noted = note.read_text()
    wait_until(lambda: _indices(cluster, job), SECONDS_TO_SETTLE, "the ledger knows the job's chips")
    indices = _indices(cluster, job)
    slurm.says("scancel", job)
    wait_until(
        lambda: any(each.facts.ended for each in cluster.records(job)[job]),
        SECONDS_TO_SETTLE,
        "the job's end is known",
    )

    (record,) = cluster.records(job)[job]
    assert {node: (0, 1, 2, 3)} == indices
    assert (4.0, "generic", "") == (record.facts.devices, record.facts.rule, record.facts.doubt)
    assert f"SLURM_JOB_ID={job}\n" in noted and "SLURM_JOB_GPUS" not in noted and "CUDA_VISIBLE" not in noted


def test_comments_that_change_while_a_job_runs_are_revisions(cluster: Cluster) -> None:
    """Each with when it was seen, through what, and whose: the user's and the administrator's have one rank, and
    what is declared by API is above both."""
    slurm = cluster.slurm
    job = slurm.submit("sleep 60", "--gres=gpu:1", "--comment=gpuwatch: device-hours=1 energy=2kWh")
    slurm.wait_for(job, "RUNNING")

    def said() -> list[tuple[float, str, bool]]:
        found = cluster.says("declarations", f"job:{job}")["declarations"]
        hours = (each for each in found if each["quantity"] == "device-hours")
        return [(each["likely"] / 3600, each["channel"], each["in_force"]) for each in hours]

    def until(expected: list[tuple[float, str, bool]]) -> None:
        wait_until(lambda: job in cluster.jobs() and said() == expected, SECONDS_TO_SETTLE, f"{expected}", 0.3)

    until([(1.0, "comment", True)])
    slurm.says("scontrol", "update", f"jobid={job}", "comment=gpuwatch: device-hours=3 energy=2kWh")
    until([(3.0, "comment", True), (1.0, "comment", False)])
    slurm.says("scontrol", "update", f"jobid={job}", "admincomment=gpuwatch: device-hours=5")
    until([(5.0, "admin-comment", True), (3.0, "comment", False), (1.0, "comment", False)])
    done = gpuwatch("declare", "--api", cluster.api, "--for", f"job:{job}", "--device-hours", "7")
    assert 0 == done.returncode, done.stderr
    slurm.says("scontrol", "update", f"jobid={job}", "comment=gpuwatch: device-hours=9 energy=2kWh")
    until([
        (9.0, "comment", False), (7.0, "api", True), (5.0, "admin-comment", False), (3.0, "comment", False),
        (1.0, "comment", False),
    ])  # fmt: skip
    slurm.says("scancel", job)
    cluster.settled(job)
    (ended,) = {record.facts.ended for record in cluster.records(job)[job]}
    assert ended is not None
    wait_until(
        lambda: time.time() > ended + WHOLE_SECOND, SECONDS_TO_SETTLE, "the second in which it ended is over"
    )

    assert (
        0 == gpuwatch("declare", "--api", cluster.api, "--for", f"job:{job}", "--device-hours", "0.01").returncode
    )
    late, *found = cluster.says("declarations", f"job:{job}")["declarations"]
    by = {each["declared_by"] for each in found if each["channel"] == "comment"}
    assert (True, False, False) == (late["after_end"], late["in_force"], late["original"])
    assert {f"user:{pwd.getpwuid(os.getuid()).pw_name}"} == by
    assert [7.0] == [each["likely"] / 3600 for each in found if each["in_force"] and each["channel"] == "api"]


def _declared(cluster: Cluster, job: str) -> set[tuple[str, str]]:
    """What the ledger has of a job's declarations: through which channel, and in which words."""
    journal = tables.journal.c
    with cluster.reading() as connection:
        found = connection.execute(select(journal.channel, journal.text).where(journal.job_id == job))
        return {(channel, text.strip()) for channel, text in found}


def _progress(cluster: Cluster, job: str) -> list[tuple[float, float]]:
    progress = tables.progress.c
    with cluster.reading() as connection:
        found = connection.execute(select(progress.step, progress.total).where(progress.job_id == job))
        return [(step, total) for step, total in found]


def test_estimate_in_the_environment_of_a_batch_script_reaches_the_ledger(cluster: Cluster) -> None:
    """Handed over by the task prolog on the first node, where it is read, and read by the agent on the second."""
    slurm = cluster.slurm
    words = "device-hours=640 energy=450kWh campaign=from-script"
    script = f'#SBATCH --export=ALL,GPUWATCH_ESTIMATE="{words}"\nsleep 120'
    jobs = [slurm.submit(script, "--gres=gpu:1", f"--nodelist={node}") for node in slurm.nodes[:2]]
    for job in jobs:
        slurm.wait_for(job, "RUNNING")
    expected = {("environment", words)}
    wait_until(lambda: [expected] * 2 == [_declared(cluster, job) for job in jobs], 90.0, "both are declared")
    handed_over, read = (
        agent.metrics().sum("gpuwatch_agent_socket_requests_total", f'type="{kind}",outcome="ok"')
        for agent, kind in zip(cluster.agents, ("declare", "environment"), strict=True)
    )
    slurm.says("scancel", *jobs)
    outcome = cluster.settled(*jobs)

    assert (True, True) == (handed_over >= 1, read == 1)
    declared = outcome.jobs[jobs[0]]["declared"]
    assert {"device-hours": 640 * 3600.0, "energy": 450 * 3.6e6} == {
        quantity: each["likely"] for quantity, each in declared.items()
    }


def test_what_a_job_writes_into_its_directory_reaches_the_ledger(cluster: Cluster) -> None:
    """The prolog made it, the task prolog said where it is, and the epilog removes it."""
    slurm = cluster.slurm
    write = (
        'cd "$GPUWATCH_JOB_DIRECTORY" || exit 1; echo "wall=2h" > declare;'
        ' echo \'{"step":3,"total":9}\' > progress.1 && mv progress.1 progress; sleep 60'
    )
    job = slurm.submit(write, "--gres=gpu:1", f"--nodelist={slurm.nodes[0]}")
    slurm.wait_for(job, "RUNNING")
    wait_until(lambda: _progress(cluster, job), 30.0, "the job's progress is in the ledger")
    there = (slurm.jobs / job).is_dir()
    slurm.says("scancel", job)
    cluster.settled(job)
    wait_until(lambda: not (slurm.jobs / job).exists(), 20.0, "the epilog removes the directory")

    assert there
    assert {("file", "wall=2h")} == _declared(cluster, job)
    assert [(3.0, 9.0)] == _progress(cluster, job)


def test_lying_process_is_charged_to_the_job_of_its_control_group(cluster: Cluster) -> None:
    """It claims another job's id, and all devices of the node: it gets what its own job was given."""
    slurm = cluster.slurm
    if not slurm.controls_devices:
        pytest.skip("no control groups of version 1 here: the batch system cannot tell whose a process is")
    node = f"--nodelist={slurm.nodes[1]}"
    victim = slurm.submit("sleep 4", "--gres=gpu:1", node)
    slurm.wait_for(victim, "RUNNING")
    everything = "SLURM_JOB_GPUS=0,1,2,3 SLURM_STEP_GPUS=0,1,2,3 CUDA_VISIBLE_DEVICES=0,1,2,3"
    refusals = slurm.folder / "refusals"
    tries = f"for index in 0 1 2 3; do (: < {slurm.folder}/dev/gpu$index); done 2> {refusals}"
    liar = slurm.submit(f"{tries}; SLURM_JOB_ID={victim} {everything} sleep 4", "--gres=gpu:1", node)
    slurm.wait_for(liar, "RUNNING")
    pids = slurm.processes(liar, slurm.nodes[1])
    for device in cluster.driver(1).devices:
        device.processes(*((pid, 10 * MIB) for pid in pids))

    outcome = cluster.settled(victim, liar)
    assert 3 == refusals.read_text().count("Operation not permitted"), refusals.read_text()
    assert [1, 1] == [len(outcome.jobs[job]["devices"]) for job in (victim, liar)]
    assert {} == outcome.held_otherwise(victim, liar)
