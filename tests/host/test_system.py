"""The node's CPUs, memory, file systems and disks, read from made-up and from real procfs trees."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from gpuwatch.errors import Unavailable
from gpuwatch.host.system import SystemSource
from gpuwatch.model import EMPTY, Site

TICKS = os.sysconf("SC_CLK_TCK")
STAT = """\
cpu  1000 20 300 40000 50 6 7 8 90 10
cpu0 500 10 150 20000 25 3 3 4 45 5
cpu1 500 10 150 20000 25 3 4 4 45 5
intr 12345 0 1 2
ctxt 999
btime 1700000000
processes 4242
"""
MEMINFO = """\
MemTotal:       1000 kB
MemFree:         100 kB
MemAvailable:    400 kB
SwapTotal:       200 kB
SwapFree:        150 kB
HugePages_Total:   0
"""
DISKSTATS = """\
   7       0 loop0 1 2 3 4 5 6 7 8 9 10 11
   8       0 sda 10 0 200 30 40 0 600 70 0 2500 100 0 0 0 0
   8       1 sda1 10 0 200 30 40 0 600 70 0 2500 100
 259       0 nvme0n1 1 0 2 3 4 0 6 7 0 1000 11
 259       1 nvme0n1p1 1 0 2 3 4 0 6 7 0 1000 11
 259       2 nvme0c0n1 1 0 2 3 4 0 6 7 0 1000 11
 253       0 dm-0 1 0 2 3 4 0 6 7 0 1000 11
   9       0 short 1 2
"""


def source(root: Path, **options: object) -> SystemSource:
    """A source whose procfs is `root`."""
    return SystemSource(SystemSource.Settings(**options), Site(procfs=str(root)))


@pytest.fixture
def procfs(tmp_path: Path) -> Path:
    """A procfs of a small node."""
    for name, text in {
        "stat": STAT,
        "loadavg": "0.50 1.25 2.00 3/400 12345\n",
        "meminfo": MEMINFO,
        "diskstats": DISKSTATS,
        "mounts": "",
    }.items():
        (tmp_path / name).write_text(text)
    return tmp_path


def test_cpu_time_is_in_seconds_by_mode(procfs: Path) -> None:
    """The first line of stat, without the guests' time, which user and nice contain."""
    reading = source(procfs).read(5.0)

    modes = ("user", "nice", "system", "idle", "iowait", "irq", "softirq", "steal")
    assert {
        mode: ticks / TICKS for mode, ticks in zip(modes, (1000, 20, 300, 40000, 50, 6, 7, 8), strict=True)
    } == reading.cpu_seconds
    assert (reading.cpu_count, reading.boot_time_seconds, reading.time) == (2.0, 1700000000.0, 5.0)


def test_cpu_time_never_falls(procfs: Path) -> None:
    """The kernel lets idle and iowait fall a little; a counter may not."""
    system = source(procfs)
    system.read(1.0)
    (procfs / "stat").write_text("cpu  1001 20 300 39990 40 6 7 8 0 0\ncpu0 1 1 1 1\n")

    seconds = system.read(2.0).cpu_seconds
    assert [seconds[mode] for mode in ("user", "idle", "iowait")] == [1001 / TICKS, 40000 / TICKS, 50 / TICKS]


def test_old_kernel_without_some_modes_has_those_it_knows(procfs: Path) -> None:
    """A stat line that is shorter leaves modes unknown."""
    (procfs / "stat").write_text("cpu  1 2 3 4\n")

    assert {"user", "nice", "system", "idle"} == source(procfs).read(1.0).cpu_seconds.keys()


def test_load_and_memory(procfs: Path) -> None:
    """Kilobytes become bytes; used is what is not available."""
    reading = source(procfs).read(1.0)

    assert (reading.load1, reading.load5, reading.load15) == (0.5, 1.25, 2.0)
    assert (
        reading.memory_total_bytes,
        reading.memory_available_bytes,
        reading.memory_used_bytes,
        reading.swap_used_bytes,
    ) == (1000 * 1024, 400 * 1024, 600 * 1024, 50 * 1024)


def test_memory_that_is_not_told_is_unknown(procfs: Path) -> None:
    """Without MemAvailable neither available nor used is known, and total still is."""
    (procfs / "meminfo").write_text("MemTotal: 1000 kB\nMemAvailable: lots kB\nSwapTotal: 5\n")

    reading = source(procfs).read(1.0)
    assert (
        reading.memory_total_bytes,
        reading.memory_available_bytes,
        reading.memory_used_bytes,
        reading.swap_used_bytes,
    ) == (1000 * 1024, None, None, None)


def test_disks_are_whole_disks(procfs: Path) -> None:
    """Partitions, loop and mapped devices and paths of a multipath disk are left out."""
    reading = source(procfs).read(1.0)

    assert reading.disk_read_bytes == {"sda": 200 * 512.0, "nvme0n1": 2 * 512.0}
    assert reading.disk_written_bytes == {"sda": 600 * 512.0, "nvme0n1": 6 * 512.0}
    assert reading.disk_io_time_seconds == {"sda": 2.5, "nvme0n1": 1.0}


def test_disks_count_operations_their_time_and_the_queue(procfs: Path) -> None:
    """Named as node_exporter names the like; milliseconds become seconds."""
    reading = source(procfs).read(1.0)

    told = (
        reading.disk_reads, reading.disk_writes, reading.disk_read_seconds, reading.disk_write_seconds,
        reading.disk_weighted_seconds,
    )  # fmt: skip
    assert told == (
        {"sda": 10, "nvme0n1": 1}, {"sda": 40, "nvme0n1": 4}, {"sda": 0.03, "nvme0n1": 0.003},
        {"sda": 0.07, "nvme0n1": 0.007}, {"sda": 0.1, "nvme0n1": 0.011},
    )  # fmt: skip


def test_number_of_disks_is_bounded(procfs: Path) -> None:
    """A node with hundreds of disks shows as many as it is told to."""
    lines = [f"8 0 sd{chr(97 + i // 26)}{chr(97 + i % 26)} 1 0 2 3 4 0 6 7 0 8 9\n" for i in range(300)]
    (procfs / "diskstats").write_text("".join(lines))

    assert len(source(procfs).read(1.0).disk_read_bytes) == 64
    assert len(source(procfs, max_disks=3).read(1.0).disk_read_bytes) == 3


def test_filesystems_are_local_ones_each_once(procfs: Path) -> None:
    """Pseudo and network file systems are left out, and so are further mounts of the same one."""
    here, there = procfs / "with space", procfs / "other"
    here.mkdir()
    there.mkdir()
    escaped = str(here).replace(" ", "\\040")
    (procfs / "mounts").write_text(
        f"/dev/sda1 {escaped} ext4 rw 0 0\n/dev/sda1 {there} ext4 rw 0 0\n"
        f"proc /proc proc rw 0 0\nserver:/home {procfs} nfs4 rw 0 0\nshort\n/dev/sdb1 /not/there xfs rw 0 0\n"
    )

    reading = source(procfs).read(1.0)
    told = os.statvfs(here)
    assert {str(here): float(told.f_blocks * told.f_frsize)} == reading.filesystem_size_bytes
    assert {str(here)} == reading.filesystem_available_bytes.keys()


def test_filesystem_that_another_mount_hides_is_not_shown(procfs: Path) -> None:
    """What statvfs would tell is then the size of the other."""
    (procfs / "mounts").write_text(f"/dev/sda1 {procfs} ext4 rw 0 0\ntmpfs {procfs} tmpfs rw 0 0\n")

    assert source(procfs).read(1.0).filesystem_size_bytes == EMPTY


def test_number_of_filesystems_is_bounded(procfs: Path) -> None:
    """A node with hundreds of mounts shows as many as it is told to."""
    mounts = []
    for i in range(20):
        (procfs / f"m{i}").mkdir()
        mounts.append(f"/dev/sd{i} {procfs}/m{i} xfs rw 0 0\n")
    (procfs / "mounts").write_text("".join(mounts))

    assert len(source(procfs).read(1.0).filesystem_size_bytes) == 16


def test_new_mount_is_seen_within_a_minute_and_after_a_clock_jump(procfs: Path) -> None:
    """The list of mounts is read once a minute only, by whichever way the clock goes."""
    system = source(procfs)
    system.read(1000.0)
    (procfs / "mounts").write_text(f"/dev/sda1 {procfs} ext4 rw 0 0\n")

    assert [len(system.read(now).filesystem_size_bytes) for now in (1030.0, 1061.0)] == [0, 1]
    (procfs / "mounts").write_text("")
    assert len(system.read(10.0).filesystem_size_bytes) == 0


def test_one_missing_file_costs_only_what_it_says(procfs: Path) -> None:
    """A node without diskstats has CPU and memory all the same."""
    (procfs / "diskstats").unlink()
    (procfs / "loadavg").unlink()

    reading = source(procfs).read(1.0)
    assert (reading.disk_read_bytes, reading.load1, reading.memory_total_bytes) == (EMPTY, None, 1000 * 1024)


def test_procfs_that_says_nothing_is_unavailable(tmp_path: Path) -> None:
    """The message names the root that was looked at."""
    with pytest.raises(Unavailable, match=str(tmp_path)):
        source(tmp_path).read(1.0)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow], max_examples=60)
@given(
    st.dictionaries(
        st.sampled_from(["stat", "loadavg", "meminfo", "diskstats", "mounts"]),
        st.binary(max_size=200) | st.text("cpuMemTotal: kB0123456789.-e\n\0/ \\sda", max_size=200).map(str.encode),
    )
)
def test_hostile_files_never_crash_and_never_give_impossible_numbers(
    tmp_path: Path, files: dict[str, bytes]
) -> None:
    """Whatever the files contain, the source answers or is unavailable, with numbers from 0 up."""
    for name in ("stat", "loadavg", "meminfo", "diskstats", "mounts"):
        (tmp_path / name).write_bytes(files.get(name, b""))

    try:
        reading = source(tmp_path).read(1.0)
    except Unavailable:
        return
    loads = [each for each in (reading.load1, reading.load5, reading.memory_total_bytes) if each is not None]
    assert all(0 <= number < float("inf") for number in (*loads, *reading.cpu_seconds.values()))


def test_unknown_setting_is_an_error() -> None:
    """A misspelt key is never ignored."""
    with pytest.raises(ValidationError, match="max_disk"):
        SystemSource.Settings(max_disk=3)


def test_real_node_is_read_cheaply() -> None:
    """Reading this node costs less than 1 ms of CPU, and finds what every Linux has."""
    system = SystemSource(SystemSource.Settings(), Site())
    system.read(0.0)

    began = time.process_time()
    for now in range(50):
        reading = system.read(float(now))
    assert (time.process_time() - began) / 50 < 0.001 * max(1, (os.cpu_count() or 1) / 16)
    assert (reading.memory_total_bytes or 0) > 0
    assert "user" in reading.cpu_seconds
