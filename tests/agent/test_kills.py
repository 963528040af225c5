"""An hour on a node whose agent is killed all the time: readers are told what the script says, never more.

The agent, its state directory and its journal are the real ones; the clock is moved by hand, and the disk stops in
the middle of whatever it does when the process is killed.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gpuwatch.agent.agent import Agent
from gpuwatch.agent.sampler import Health, Sample
from gpuwatch.agent.saving import SAVE_SECONDS
from gpuwatch.agent.sealed import unseal
from gpuwatch.agent.state import StateDirectory
from gpuwatch.jobs.base import JobsReading
from gpuwatch.model import Allocation, Device, HostReading, Reading, Site, Snapshot
from tests.agent.disks import FaultyDisk
from tests.agent.fakes import FakeClock, FakeJobs, eventually

HOUR = 3600
KILLS = 200
UIDS = ("fake:0", "fake:1", "fake:2", "fake:3")
NO_COUNTER = "fake:3"


@dataclass(frozen=True)
class Held:
    """A job holds a share of a device from one whole second to another."""

    job: str
    uid: str
    share: float
    begin: int
    end: int


@dataclass
class Script:
    """What really happens on the node in an hour."""

    held: list[Held]
    lost: dict[str, tuple[int, int]]
    reload: int
    reboot: int

    def watts(self, uid: str, second: int) -> float:
        """Constant for a while; where there is no counter all the time, so that the trapezoid is exact."""
        index = UIDS.index(uid)
        return 300.0 if uid == NO_COUNTER else 100.0 + 100 * index + 50 * (second // 600 % 3)

    def joules(self, uid: str, begin: int, end: int) -> float:
        return sum(self.watts(uid, second) for second in range(begin, end))

    def holders(self, second: int) -> list[Held]:
        return [each for each in self.held if each.begin <= second < each.end]


def scripted(random: Random, seconds: int) -> Script:
    """Jobs one after another on each device, some sharing it, some short; an absence, a reload, a reboot.

    Nobody gives a device up and takes it back while the agent is down: that nobody can know.
    """
    reload, held, number = random.randrange(1500, 1700), [], 0
    for uid in UIDS:
        second = 0
        while second < seconds - 60:
            number += 1
            begin = second + random.choice([0, 0, 7, 40])
            end = begin + random.choice([2, 9, 90, 300, 700])
            if begin <= reload < end and uid == "fake:1":
                end = reload  # nobody holds a device while its driver is reloaded
            share, end = random.choice([1.0, 1.0, 0.5]), min(end, seconds)
            held.append(Held(f"job-{number}", uid, share, begin, end))
            if share < 1 and end - begin > 200:
                held.append(Held(f"job-{number}b", uid, 0.5, begin + 60, end - 60))
            second = max(end, begin + 1)
    lost = {"fake:0": (660, 700), "fake:2": (2460, 2500)}
    return Script(held, lost, reload, reboot=random.randrange(2700, 2900))


class Sources:
    """A sampler without threads: what the script says of this second."""

    def __init__(self, script: Script) -> None:
        self.script = script
        self.start = 0.0
        self.job_sources = {"local": FakeJobs()}
        self.health = {"fake": Health("fake", up=True)}
        self._devices = {uid: Device(uid, "node", index, "fake", "Fake 700W") for index, uid in enumerate(UIDS)}
        self._joules = {uid: [0.0] for uid in UIDS}
        for uid in UIDS:
            for second in range(HOUR + 60):
                reset = uid == "fake:1" and second + 1 == script.reload
                self._joules[uid].append(0.0 if reset else self._joules[uid][-1] + script.watts(uid, second))

    def sample(self, now, wall, runs):
        second = round(now - self.start)
        readings = {uid: self._reading(uid, second, wall) for uid in UIDS}
        claims = tuple(Allocation(e.job, e.uid, e.share, "shard") for e in self.script.holders(second))
        return Sample(self._devices, readings, HostReading(wall), {"local": JobsReading(claims)})

    def _reading(self, uid, second, wall):
        begin, end = self.script.lost.get(uid, (0, 0))
        if begin <= second < end:
            return None
        joules = None if uid == NO_COUNTER else self._joules[uid][second]
        watts = {("average", "device"): self.script.watts(uid, max(0, second - 1))}
        return Reading(
            uid, wall, utilization_ratio=0.9, power_watts=watts, power_limit_watts=700.0, energy_joules=joules
        )

    def close(self):
        return None


@dataclass
class Ledger:
    """Accounting's rule, and nothing else: the maximum per epoch and counter, the sum over epochs."""

    most: dict[tuple, float] = field(default_factory=dict)

    def post(self, document: dict) -> None:
        for row in document["rows"]:
            key = (row.get("epoch", document["epoch"]), row["job_id"], row["started"], row["uuid"])
            self._raise((*key, "held"), row["held_seconds"])
            for kind in ("state_seconds", "energy_joules"):
                for label, amount in row[kind].items():
                    self._raise((*key, kind, label), amount)

    def _raise(self, key: tuple, amount: float) -> None:
        self.most[key] = max(self.most.get(key, 0.0), amount)

    def sums(self, kind: str) -> dict[tuple[str, str], float]:
        found: dict[tuple[str, str], float] = defaultdict(float)
        for (_, job, _, uid, which, *_), amount in self.most.items():
            if which == kind:
                found[job, uid] += amount
        return found


class Hour:
    """The script, an agent that is killed, and two readers that come when they like."""

    def __init__(
        self, path: Path, seed: int, rot: int = 0, kills: int = KILLS, seconds: int = HOUR, full: bool = False
    ) -> None:
        self.full = full
        self.random = Random(seed)
        self.script = scripted(self.random, seconds)
        self.path, self.disk, self.clock = path, FaultyDisk(seed), FakeClock()
        self.sources = Sources(self.script)
        self.sources.start = self.clock.now
        self.readers = (Ledger(), Ledger())
        self.marks: list[tuple[str, int]] = [("", 0), ("", 0)]
        self.shown: dict[tuple, float] = {}
        self.looks = 0
        self.gaps: list[tuple[int, int]] = []
        self.blank: set[tuple[int, int]] = set()
        self.lived: list[int] = []
        self.boot = "boot-1"
        self.end = seconds
        self.kill_ticks = sorted(self.random.sample(range(2, seconds - 30), kills))
        self.rotten = set(self.random.sample(self.kill_ticks, rot))
        self.procfs = path / "proc"
        (self.procfs / "sys/kernel/random").mkdir(parents=True)
        self.begin()

    @property
    def second(self) -> int:
        return round(self.clock.now - self.sources.start)

    def begin(self) -> None:
        (self.procfs / "sys/kernel/random/boot_id").write_text(self.boot)
        self.directory = StateDirectory(self.path / "state", self.disk)
        self.directory.__enter__()
        self.began = self.second
        site = Site("c", "node", str(self.procfs))
        self.agent = Agent(site, self.sources, [], self.directory, clock=self.clock)

    def run(self) -> None:
        kills = list(self.kill_ticks)
        while self.second < self.end + 30:
            if kills and self.second >= kills[0]:
                self.kill(kills.pop(0))
            else:
                self.tick()
        self.agent.close()
        for reader in range(2):
            self.fetch(reader, since=0)

    def tick(self) -> None:
        self.disk.full = self.full and self.second % 200 > 100
        snapshot = self.agent.tick(self.clock.now)
        assert snapshot.agent.residual_seconds + snapshot.agent.residual_joules < 1e-4, "every device adds up"
        assert eventually(lambda: not self.agent.saving)
        if not self.disk.dead:
            for reader in range(2):
                if self.random.random() < 0.05:
                    self.fetch(reader)
        if not self.disk.dead and self.random.random() < 0.3:
            self.look(snapshot)
        self.clock.pass_(1.0)

    def look(self, snapshot: Snapshot) -> None:
        """A page is asked for, and answered once it is kept; a kill in the middle leaves it unanswered."""
        self.agent.keep()
        if self.disk.dead or self.disk.full:
            return
        counters = {(snapshot.epoch, *key): amount for key, amount in counters_of(snapshot)}
        fallen = {
            key: (self.shown[key], amount) for key, amount in counters.items() if amount < self.shown.get(key, 0)
        }
        assert not fallen, "a counter falls in no epoch"
        self.shown |= counters
        self.looks += 1

    def fetch(self, reader: int, since: int | None = None) -> None:
        """Read what is new, some of it twice; tell the agent so, or not."""
        epoch, mark = self.marks[reader]
        document = json.loads(json.dumps(self.agent.since(mark if since is None else since)))
        if document["epoch"] != epoch:
            document = json.loads(json.dumps(self.agent.since(0)))
        assert document["epoch"] != epoch or document["seq"] >= mark, "sequence numbers grow"
        for _ in range(self.random.choice([1, 1, 2])):
            self.readers[reader].post(document)
        self.marks[reader] = (document["epoch"], document["seq"])
        if self.random.random() < 0.5:
            # Only what both have is acknowledged, as one accounting would: the other is its test.
            (first, one), (second, other) = self.marks
            if first == second:
                self.agent.acknowledge(min(one, other))

    def kill(self, tick: int) -> None:
        """At the n-th step that the disk makes from now on, or in the end at once."""
        self.disk.kill_at = self.disk.steps + self.random.randrange(40)
        for _ in range(self.random.choice([0, 1, 3, 8])):
            if not self.disk.dead:
                self.tick()
        self.directory.__exit__(None, None, None)
        self.agent._saving.stop()
        self.disk.revive()
        if self.random.random() < 0.2:
            self.disk.cut_power()
            # There is no power cut within a boot but here: what was shown is not synced, and of another boot.
            (self.path / "state/state.shown").unlink(missing_ok=True)
            self.shown.clear()
        if tick in self.rotten:
            self.rot()
        newest, previous = (self.saved_second(f"state.json{suffix}") for suffix in ("", ".previous"))
        saved = previous or 0 if newest is None else newest
        self.lived.append(self.second - max(newest or 0, self.began))
        rebooted = self.second > self.script.reboot and self.boot == "boot-1"
        self.clock.pass_(self.random.choice([0, 1, 2, 5, 20]))
        self.gaps.append((saved, self.second))
        if rebooted:
            self.boot = "boot-2"
            self.shown.clear()
        # A power cut may bring a state back whose rows were told as ended when a newer one was lost.
        given_up = any(saved <= begin for begin, _ in self.blank)
        if newest is None or rebooted or given_up:
            self.blank.add(self.gaps[-1])
        self.begin()

    def saved_second(self, name: str) -> int | None:
        """The second at which a state was saved, None where there is none that can be read."""
        try:
            state = unseal((self.path / "state" / name).read_bytes())
        except (FileNotFoundError, ValueError):
            return None
        return round(state["monotonic"] - self.sources.start)

    def rot(self) -> None:
        """Flip a bit of the newest state."""
        path = self.path / "state" / "state.json"
        if not path.exists():
            return
        content = bytearray(path.read_bytes())
        content[self.random.randrange(len(content))] ^= 1 << self.random.randrange(8)
        path.unlink()  # it may be the previous one as well
        path.write_bytes(content)


def counters_of(snapshot: Snapshot) -> Iterator[tuple[tuple, float]]:
    """What a page shows of jobs and devices, but for rounding."""
    for key, row in snapshot.rows.items():
        for name, value in asdict(row.usage).items():
            for label, amount in (value if isinstance(value, dict) else {"": value}).items():
                if name not in ("first_working", "last_in_state") and amount is not None:
                    yield (key, name, label), amount + 1e-6
    for uid, usage in snapshot.device_usage.items():
        for name in ("held_seconds", "unallocated_seconds", "unattributed_seconds"):
            yield (uid, name), getattr(usage, name) + 1e-6


def missing_of(hour: Hour, held: Held) -> list[int]:
    """The seconds of a holding that may be missing: those of gaps in which the device changed hands.

    After a reboot, or where the newest state was lost, nobody is charged for the gap.
    """
    changes = {at for each in hour.script.held if each.uid == held.uid for at in (each.begin, each.end)}
    gaps = [gap for gap in hour.gaps if gap in hour.blank or any(gap[0] <= change <= gap[1] for change in changes)]
    seconds = {second for begin, end in gaps for second in range(max(begin, held.begin), min(end, held.end))}
    return sorted(seconds)


def unread_of(hour: Hour, uid: str) -> set[int]:
    """Seconds whose energy nobody ever read: the device was away, and the state that waited for it was lost."""
    away, back = hour.script.lost.get(uid, (0, 0))
    around = [gap for gap in hour.gaps if gap[0] <= back and gap[1] >= away]
    if not hour.blank.intersection(around):
        return set()
    first, last = min(begin for begin, _ in around), max(end for _, end in around)
    return set(range(min(first, away) - 1, max(last, back)))


def check(hour: Hour, at_least: bool = True) -> None:
    """Every job on every device, for every reader; `at_least`: also that nothing is missing that need not be."""
    for ledger in hour.readers:
        told, joules, states = (ledger.sums(kind) for kind in ("held", "energy_joules", "state_seconds"))
        assert {job for job, _ in told} <= {each.job for each in hour.script.held}
        for held in hour.script.held:
            key = (held.job, held.uid)
            seconds = held.share * (held.end - held.begin)
            energy = held.share * hour.script.joules(held.uid, held.begin, held.end)
            missing = missing_of(hour, held)
            # The counter began at 0 in the second of the reload.
            reset = {hour.script.reload - 1} if held.uid == "fake:1" else set()
            unread = (reset | set(missing) | unread_of(hour, held.uid)) & set(range(held.begin, held.end))
            lost_joules = held.share * sum(hour.script.watts(held.uid, second) for second in unread)

            assert told.get(key, 0.0) <= seconds + 1e-6, held
            assert joules.get(key, 0.0) <= energy + 1e-3, held
            assert states.get(key, 0.0) == pytest.approx(told.get(key, 0.0), abs=1e-6), held
            if at_least:
                assert seconds - held.share * len(missing) - 1e-6 <= told.get(key, 0.0), held
                assert held.uid == NO_COUNTER or energy - lost_joules - 1e-3 <= joules.get(key, 0.0), held


@pytest.mark.parametrize("seed", range(3))
def test_200_kills_in_an_hour_cost_at_most_the_changes_of_hands_in_their_gaps(tmp_path, seed):
    """A job that holds on over a kill loses nothing; one that began or ended in a gap loses its part of it."""
    hour = Hour(tmp_path, seed)
    hour.run()

    check(hour)
    assert hour.looks > 500
    assert len(hour.gaps) == KILLS
    there = sum(held.share * (held.end - held.begin) for held in hour.script.held)
    for ledger in hour.readers:
        assert there - KILLS * SAVE_SECONDS <= sum(ledger.sums("held").values()) <= there + 1e-6
    assert max(hour.lived) <= SAVE_SECONDS + 1, "no kill takes back more than one save interval"


@pytest.mark.parametrize("seed", range(2))
def test_states_that_rot_cost_their_gap_and_are_never_counted_twice(tmp_path, seed):
    """Of 200 newest states 40 have a bit flipped: their epoch ends, and nobody is charged for the gap."""
    hour = Hour(tmp_path, seed + 100, rot=40)
    hour.run()

    check(hour)
    assert len({key[0] for key in hour.readers[0].most}) > 20, "epochs"


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32))
def test_any_few_minutes_with_kills_power_cuts_and_rot_are_told_once(tmp_path_factory, seed):
    """The maximum per epoch and the sum over epochs are never more than the script, whatever happened when."""
    hour = Hour(tmp_path_factory.mktemp("hour"), seed, rot=5, kills=25, seconds=300)
    hour.run()

    check(hour)


@pytest.mark.parametrize("seed", range(2))
def test_kills_with_a_disk_that_is_full_half_of_the_time_count_nothing_twice(tmp_path, seed):
    """Readers are told all the same after a minute; an agent killed then begins a new epoch."""
    hour = Hour(tmp_path, seed + 200, kills=60, full=True)
    hour.run()

    check(hour, at_least=False)
    assert len({key[0] for key in hour.readers[0].most}) > 3, "epochs"
