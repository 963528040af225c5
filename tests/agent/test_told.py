"""What readers are told is on the disk first: kills, lost states and disks that refuse take nothing back."""

from __future__ import annotations

import errno
import threading

import pytest

from gpuwatch.agent.disk import Disk
from gpuwatch.agent.sealed import unseal
from gpuwatch.agent.state import StateDirectory
from tests.agent.disks import FaultyDisk
from tests.agent.fakes import FakeNode, eventually


class Node(FakeNode):
    """A node with a disk of its own, saved as often as a real one."""

    def __init__(self, path, disk=None, directory=StateDirectory, devices=1):
        self.disk = disk or FaultyDisk()
        self.kind = directory
        super().__init__(path, devices, save_seconds=5.0)

    def open(self):
        return self.kind(self.path, self.disk)

    def held(self):
        """The device-seconds of each row that is told, by epoch, job and beginning."""
        document = self.agent.since(0)
        return {
            (row.get("epoch", document["epoch"]), row["job_id"], row["started"]): row["held_seconds"]
            for row in document["rows"]
        }


@pytest.fixture
def node(tmp_path):
    made = Node(tmp_path / "state")
    yield made
    made.stop()


def test_seconds_are_told_once_they_are_saved(node):
    """A reader hears of them some seconds later than /metrics, and never has to give them back."""
    node.jobs.holders = {"fake:0": "42"}
    node.tick(4)
    assert list(node.held().values()) == [0]
    node.tick(3)

    assert list(node.held().values()) == [5]


def test_change_of_holders_is_saved_at_once(node):
    """Whoever holds at both ends of a gap is charged for it, so who held must be known."""
    node.tick(2)
    node.jobs.holders = {"fake:0": "43"}
    node.tick()
    saved = unseal((node.path / "state.json").read_bytes())

    assert [share[0] for share in saved["meters"]["fake:0"]["shares"]] == ["43"]


def test_disk_that_refuses_everything_holds_back_what_is_told_and_loses_nothing(node):
    """Nothing new is told, /metrics goes on, and everything comes when the disk is well again."""
    node.jobs.holders = {"fake:0": "42"}
    node.tick(6)
    before = node.held()
    node.disk.error = errno.ENOSPC
    node.jobs.holders = {}
    snapshot = node.tick(100)
    assert (node.held(), snapshot.agent.state_saved) == (before, 0)
    node.disk.error = None
    snapshot = node.tick(7)

    assert (list(node.held().values()), snapshot.agent.state_saved) == ([6], 1)


class JournalRefuses(FaultyDisk):
    """A disk that takes no entries of the journal, and everything else."""

    refuses = False

    def put(self, path, offset, content):
        if self.refuses:
            raise OSError(errno.ENOSPC, "No space left on device")
        super().put(path, offset, content)


def test_row_that_the_journal_cannot_take_stays_in_the_saved_state(tmp_path):
    """Killed while the row waits in memory for the disk: the state still has it."""
    node = Node(tmp_path / "state", JournalRefuses())
    node.jobs.holders = {"fake:0": "42"}
    node.tick(7)
    node.disk.refuses = True
    node.jobs.holders = {}
    node.tick(10)
    node.crash()
    node.disk.refuses = False
    node.tick(10)

    assert list(node.held().values()) == [5]
    node.stop()


def test_row_that_came_into_the_journal_after_the_last_save_is_over(node):
    """Killed between the two: the job that now has its id and its device is another, and begins anew."""
    node.jobs.holders = {"fake:0": "42"}
    node.tick(7)
    node.jobs.holders = {}
    node.clock.pass_(1)
    node.disk.kill_at = node.disk.steps + 3  # the three steps of an append
    node.agent.tick(node.clock.now)
    assert eventually(lambda: not node.agent.saving)
    node.disk.revive()
    node.jobs.holders = {"fake:0": "42"}
    node.clock.pass_(1)
    node.crash()
    node.tick(8)

    assert sorted(node.held().values()) == [5, 7]


def test_lost_newest_state_is_told_from_the_previous_one_and_goes_on_in_a_new_epoch(node):
    """The job keeps its beginning; the old epoch's row comes once more, ended; the model goes with it."""
    node.jobs.holders = {"fake:0": "42"}
    node.tick(13)
    ((epoch, job, started),) = node.held()
    node.stop()
    (node.path / "state.json").write_bytes(bytes(1000))
    node.begin()
    again = node.tick()
    node.tick(7)

    told = node.held()
    assert {key[1:] for key in told} == {(job, started)}
    assert told[epoch, job, started] == 10
    assert [(epoch, 10)] == [
        (each["epoch"], each["held_seconds"]) for each in again.events if each["type"] == "row"
    ]
    assert sorted(told.values()) == [5, 10]
    old, *_ = [row for row in node.agent.since(0)["rows"] if row.get("epoch") == epoch]
    assert (old["open"], old["model"]) == (False, "Fake 700W")


class Later(StateDirectory):
    """A later release."""

    version = 2


def test_rows_of_a_state_that_was_set_aside_are_told_after_the_upgrade_back(tmp_path):
    """Downgraded in mid-run and upgraded again: two epochs, and the sum is what was held."""
    node = Node(tmp_path / "state")
    node.jobs.holders = {"fake:0": "42"}
    node.tick(8)
    (first,) = node.held()
    node.stop()
    # What the later release writes, which this one cannot know.
    state = unseal((node.path / "state.json").read_bytes())
    with Later(node.path) as later:
        later.write(later_document(state))
    node.begin()
    node.tick(8)
    (second,) = node.held()
    node.stop()
    node.kind = Later
    node.begin()
    node.tick(8)
    told = node.held()
    node.stop()

    assert (first[0] != second[0], told[first]) == (True, 7)
    assert told[second] == pytest.approx(8 + 5, abs=1)
    assert (node.path / "state.json.version-2-0.told").exists()


def later_document(state):
    from gpuwatch.agent.sealed import seal

    return seal({name: value for name, value in state.items() if name != "crc"} | {"version": 2, "more": {}})


def test_numbers_grow_over_any_number_of_kills_with_nothing_saved_between(node):
    """A reader that is ahead of the disk by what a job reported still sees what comes later."""
    node.jobs.holders = {"fake:0": "42"}
    node.tick(7)
    seen = node.agent.since(0)["seq"]
    for _ in range(5):
        node.disk.kill_at = node.disk.steps
        node.crash()
        node.disk.revive()
        assert node.agent.since(0)["seq"] >= seen
        seen = node.agent.since(0)["seq"]
    node.tick()

    assert [row["job_id"] for row in node.agent.since(seen)["rows"]] == ["42"]


class Hanging(Disk):
    """A disk that does not answer while it hangs; how many writes were in it at once is counted."""

    def __init__(self):
        self.goes_on = threading.Event()
        self.goes_on.set()
        self.inside = self.most = 0

    def write(self, path, content):
        self.inside += 1
        self.most = max(self.most, self.inside)
        self.goes_on.wait(30)
        super().write(path, content)
        self.inside -= 1


def test_disk_that_hangs_is_said_and_holds_up_neither_tick_nor_end(tmp_path):
    """A dead network file system: the tick goes on, the metric says so, and the end waits for it two seconds."""
    node = Node(tmp_path / "state", Hanging())
    node.tick(7)
    node.disk.goes_on.clear()
    for _ in range(80):
        node.clock.pass_(1)
        snapshot = node.agent.tick(node.clock.now)
    node.agent.close()

    assert (snapshot.agent.state_saved, node.disk.most) == (0, 1)
    node.disk.goes_on.set()
    node.directory.__exit__(None, None, None)


@pytest.mark.parametrize("how", ["counter fell", "another version"])
@pytest.mark.parametrize("seconds", [2.0, 60.0])
def test_gap_in_which_the_driver_was_loaded_anew_is_nobodys(node, how, seconds):
    """The same job holds at both ends, but cannot have held in between."""
    node.jobs.holders = {"fake:0": "42"}
    node.tick(7)
    if how == "counter fell":
        node.devices.counted_from = node.clock.now
    else:
        node.devices.driver = "2.0"
    node.clock.pass_(seconds)
    node.crash()
    snapshot = node.tick(6)

    (held,) = node.held().values()
    assert held == pytest.approx(5 + 5)
    assert snapshot.device_usage["fake:0"].unattributed_seconds == pytest.approx(1 + seconds + 1)
    assert sum(snapshot.device_usage["fake:0"].energy_joules.values()) <= (13 + seconds) * 300


def test_wall_clock_that_jumps_a_year_gives_nothing_up(node):
    """A wrong clock, for a while: what waits for accounting is not a year old, nor is a job that just ended."""
    node.jobs.holders = {"fake:0": "42"}
    node.tick(7)
    node.devices.lost = {"fake:0"}
    node.tick()
    node.jobs.holders = {}
    node.tick()
    node.clock.wall += 365 * 86400
    node.tick(3)
    node.devices.lost = set()
    snapshot = node.tick(7)

    (row,) = [row for row in node.agent.since(0)["rows"] if not row["open"]]
    assert row["energy_joules"] == {"counter": pytest.approx(row["held_seconds"] * 300)}
    assert snapshot.agent.journal_dropped == {}


def test_full_disk_is_told_ahead_of_after_a_minute_and_caught_up_with(node):
    """Accounting goes on, also with what waits in memory only; with room again it is one epoch and one count."""
    node.jobs.holders = {"fake:0": "42"}
    node.tick(7)
    node.disk.full = True
    node.tick(50)
    assert list(node.held().values()) == [5]
    node.jobs.holders = {}
    node.tick(20)
    document = node.agent.since(0)
    assert [(row["held_seconds"], row["open"]) for row in document["rows"]] == [(57, False)]
    node.agent.acknowledge(document["seq"])
    assert node.held() == {}
    node.disk.full = False
    node.tick(12)
    epoch = document["epoch"]
    node.crash()

    assert node.tick().epoch == epoch


def test_agent_killed_while_it_told_more_than_it_saved_begins_a_new_epoch(node):
    """What was told stands in the old epoch, the new one counts from its first look: nothing twice."""
    node.jobs.holders = {"fake:0": "42"}
    node.tick(7)
    node.disk.full = True
    node.tick(80)
    before = node.held()
    node.crash()
    node.disk.full = False
    node.tick(10)
    after = node.held()

    ((old, told),) = before.items()
    new = {key: held for key, held in after.items() if key != old}
    assert told == 86
    assert after[old] <= told
    assert [key[1:] for key in new] == [old[1:]]
    assert 4 <= sum(new.values()) <= 9


def test_agent_that_ended_in_order_after_it_told_ahead_goes_on_in_its_epoch(node):
    """The last save has everything."""
    node.jobs.holders = {"fake:0": "42"}
    node.tick(7)
    node.disk.full = True
    node.tick(80)
    before = node.held()
    node.disk.full = False
    node.restart()
    node.tick(3)

    assert node.held().keys() == before.keys()
    assert list(node.held().values()) == [pytest.approx(86, abs=4)]
