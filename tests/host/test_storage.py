"""The node's network file systems, read from made-up trees, as NFS and Lustre clients write them."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from gpuwatch.errors import Unavailable
from gpuwatch.host import storage
from gpuwatch.host.storage import StorageSource
from gpuwatch.model import EMPTY, HostReading, Site, series_of

LOCAL = """\
device sysfs mounted on /sys with fstype sysfs
device /dev/nvme0n1p2 mounted on / with fstype ext4
no device mounted on /nowhere with fstype autofs
"""
OPERATIONS = ("GETATTR", "LOOKUP", "OPEN", "CLOSE", "ACCESS", "READDIR", "LAYOUTGET", "SETATTR", "FSINFO", "NULL")
LLITE = """\
snapshot_time             1523008010.817348638 secs.nsecs
read_bytes                {reads} samples [bytes] 1 3366225 {read}
write_bytes               13641 samples [bytes] 1 3366225 468230469
open                      100 samples [regs]
close                     90 samples [regs]
getattr                   10 samples [usecs] 1 900 5000
seek                      5000 samples [regs]
inode_permission          70000 samples [regs]
"""
LLITE_NEW = """\
snapshot_time         1700000000.123456789 secs.nsecs
start_time            1690000000.123456789 secs.nsecs
elapsed_time          10000000.000000000 secs.nsecs
read_bytes            7 samples [bytes] 4096 1048576 2097152 1099511627776
read                  7 samples [usecs] 10 900 2000 600000
open                  3 samples [usecs] 5 50 90 3000
"""
OSC = """\
snapshot_time             1315505833.280916 secs.usecs
req_waittime              {requests} samples [usec] 32 4826358 {waited} 670751020176306
req_active                {requests} samples [reqs] 1 357 2176198 17811836
ost_read                  231 samples [usec] 50 5735 45029 60616599
"""


def source(root: Path, **options: object) -> StorageSource:
    """A source whose procfs and sysfs are below `root`."""
    site = Site(procfs=str(root / "proc"), sysfs=str(root / "sys"))
    return StorageSource(StorageSource.Settings(**options), site)


def write(path: Path, content: str | bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())


def mount(
    path: str, read: int = 0, written: int = 0, *, of: str = "nfs1:/export", reads: int = 4, version: str = "1.1"
) -> str:
    """An NFS mount that has read in so many requests of 3 ms, of which 1 ms in the queue and 2 at the server."""
    last = " 0" if version == "1.1" else ""
    rest = "".join(f"\t{name:>12}: 10 10 0 800 900 5 20 30{last}\n" for name in OPERATIONS)
    return (
        f"device {of} mounted on {path} with fstype nfs4 statvers={version}\n"
        "\topts:\trw,vers=4.2,rsize=1048576,proto=tcp,timeo=600,addr=10.0.0.5,local_lock=none\n"
        "\tage:\t12345\n\timpl_id:\tname='',domain='',date='0,0'\n\tcaps:\tcaps=0xfffbc0b7,wtmult=512\n"
        "\tnfsv4:\tbm0=0xfdffbfff,bm1=0x40f9be3e,acl=0x3,sessions,pnfs=not configured\n"
        f"\tevents:\t{' '.join(['1'] * 27)}\n\tbytes:\t11 22 33 44 {read} {written} 55 66\n"
        f"\tRPC iostats version: {version}  p/v: 100003/4 (nfs)\n\txprt:\ttcp 826 0 1 0 0 9 9 0 9 0 2 0 0\n"
        f"\tper-op statistics\n\t        READ: {reads} {reads} 0 999 999 {reads} {2 * reads} {3 * reads}{last}\n"
        f"\t       WRITE: 2 3 1 999 999 10 20 40{last}\n{rest}\n"
    )


def pieces_of(text: str) -> st.SearchStrategy[bytes]:
    """Any bytes, or lines of the text in any order."""
    lines = st.lists(st.sampled_from(text.encode().split(b"\n")), max_size=40).map(b"\n".join)
    return st.binary(max_size=200) | lines


def mountstats(root: Path, *mounts: str, process: str = "self") -> None:
    write(root / "proc" / process / "mountstats", LOCAL + "".join(mounts))


def lustre(root: Path, where: str = "proc/fs/lustre", name: str = "scratch-ffff9d2b1e5a8000") -> Path:
    write(root / where / "llite" / name / "stats", LLITE.format(reads=25673, read=145121869))
    return root / where


def test_nfs_mount_says_bytes_requests_and_waits(tmp_path: Path) -> None:
    """Bytes that crossed the network, requests by kind, and seconds of queue, server and the whole."""
    mountstats(tmp_path, mount("/data", 5000, 700))

    reading = source(tmp_path).read(7.0)
    assert (reading.nfs_read_bytes, reading.nfs_write_bytes) == ({"/data": 5000.0}, {"/data": 700.0})
    assert reading.nfs_operations == {("/data", "read"): 4, ("/data", "write"): 2, ("/data", "metadata"): 100}
    assert reading.nfs_queue_seconds["/data", "read"] == pytest.approx(0.004)
    assert reading.nfs_response_seconds["/data", "read"] == pytest.approx(0.008)
    assert reading.nfs_request_seconds["/data", "metadata"] == pytest.approx(0.3)
    assert reading.nfs_major_timeouts["/data", "write"] == 1
    assert (reading.storage_mounts, reading.time) == ({"nfs": 1.0, "lustre": 0.0}, 7.0)


def test_older_kernels_have_a_number_less(tmp_path: Path) -> None:
    """Errors by operation came with iostats 1.1."""
    mountstats(tmp_path, mount("/data", 5000, reads=9, version="1.0"))

    assert 9 == source(tmp_path).read(0.0).nfs_operations["/data", "read"]


def test_node_without_network_file_systems_says_that_there_are_none(tmp_path: Path) -> None:
    """That is a reading, and no fault."""
    mountstats(tmp_path)

    reading = source(tmp_path).read(0.0)
    assert (reading.storage_mounts, reading.storage_mounts_left_out) == ({"nfs": 0, "lustre": 0},) * 2
    assert (reading.nfs_read_bytes, reading.lustre_operations) == (EMPTY, EMPTY)


def test_node_that_tells_nothing_is_unavailable(tmp_path: Path) -> None:
    """The message says what should be there."""
    with pytest.raises(Unavailable, match="mountstats"):
        source(tmp_path).read(0.0)


def test_mount_that_is_bound_elsewhere_is_counted_once(tmp_path: Path) -> None:
    """The kernel lists it again, with the same counts; another mount of the same export has counts of its own."""
    mountstats(tmp_path, mount("/data", 5000), mount("/srv/jail/data", 5000), mount("/again", 600))

    assert {"/data": 5000.0, "/again": 600.0} == source(tmp_path).read(0.0).nfs_read_bytes


def test_whole_nodes_list_counts_before_what_the_agent_sees(tmp_path: Path) -> None:
    """In a container that may read it, the mounts of process 1."""
    mountstats(tmp_path, mount("/mine", 1))
    mountstats(tmp_path, mount("/data", 2), process="1")

    assert {"/data": 2.0} == source(tmp_path).read(0.0).nfs_read_bytes


def test_mounts_of_persons_are_added_up_and_name_nobody(tmp_path: Path) -> None:
    """Homes that come and go with their owners: the sum rises by what they read, and never falls."""
    network = source(tmp_path)
    seen = []
    for homes in (
        {"ann": 1000, "bob": 50},
        {"ann": 1500, "bob": 50},
        {"ann": 1500},
        {"ann": 1600, "eve": 70},
        {"ann": 1600, "eve": 70, "bob": 5},
        {},
    ):
        mountstats(tmp_path, *(mount(f"/home/{name}", read, of=f"nfs1:/{name}") for name, read in homes.items()))
        seen.append(network.read(0.0).nfs_read_bytes)

    assert [{"/home/*": each} for each in (0, 500, 500, 670, 675, 675)] == seen


@pytest.mark.parametrize(
    ("path", "label"),
    [("/home", "/home"), ("/home/ann", "/home/*"), ("/cluster/home/ann/data", "/cluster/home/*"),
     ("/scratch/users/ann", "/scratch/users/*"), ("/datasets/imagenet", "/datasets/imagenet"),
     ("/with\\040blank", "/with blank"), ("/line\\012end", "/line\ufffdend")],
)  # fmt: skip
def test_what_a_mount_point_is_called(tmp_path: Path, path: str, label: str) -> None:
    """As it is, made safe; a person's, without the person."""
    mountstats(tmp_path, mount(path, 1))

    assert {label} == source(tmp_path).read(0.0).nfs_read_bytes.keys()


def test_number_of_mounts_is_bounded_and_the_rest_counted(tmp_path: Path) -> None:
    """Those that are shown stay, whatever comes; each is looked at up to a bound of its own."""
    network = source(tmp_path, max_mounts=3)
    mountstats(tmp_path, *(mount(f"/m{each}", each + 1) for each in range(2, 5)))
    network.read(0.0)
    mountstats(tmp_path, *(mount(f"/m{each}", each + 1) for each in range(200)))

    reading = network.read(1.0)
    assert {"/m2", "/m3", "/m4"} == reading.nfs_read_bytes.keys()
    assert (reading.storage_mounts["nfs"], reading.storage_mounts_left_out["nfs"]) == (200, 197)


def test_list_that_is_cut_has_whole_mounts_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The last of a list that is too long would have fewer counts than before."""
    mountstats(tmp_path, mount("/one", 1), mount("/two", 2))
    monkeypatch.setattr(storage, "MOST_BYTES", len(LOCAL + mount("/one", 1)) + 900)

    assert {"/one"} == source(tmp_path).read(0.0).nfs_read_bytes.keys()


def test_pattern_of_persons_needs_a_group(tmp_path: Path) -> None:
    """Without one nobody knows what may be told."""
    with pytest.raises(ValidationError, match="needs a group"):
        source(tmp_path, personal="/home/.*")


@pytest.mark.parametrize("where", ["proc/fs/lustre", "sys/kernel/debug/lustre", "sys/fs/lustre"])
def test_lustre_is_read_wherever_its_release_keeps_it(tmp_path: Path, where: str) -> None:
    """Bytes and operations of programs by file system; what asks no server is left out."""
    lustre(tmp_path, where)

    reading = source(tmp_path).read(0.0)
    assert (reading.lustre_read_bytes, reading.lustre_write_bytes) == (
        {"scratch": 145121869.0}, {"scratch": 468230469.0}
    )  # fmt: skip
    assert reading.lustre_operations == {
        ("scratch", "read"): 25673, ("scratch", "write"): 13641, ("scratch", "metadata"): 200
    }  # fmt: skip
    assert (reading.storage_mounts, reading.nfs_operations) == ({"lustre": 1.0}, EMPTY)


def test_newer_lustre_times_its_operations(tmp_path: Path) -> None:
    """Lines for the time of an operation stand beside those for its bytes, and are not counted again."""
    write(tmp_path / "proc/fs/lustre/llite/work-ffff0000aaaa1111/stats", LLITE_NEW)

    reading = source(tmp_path).read(0.0)
    assert reading.lustre_read_bytes == {"work": 2097152.0}
    assert reading.lustre_operations == {("work", "read"): 7, ("work", "metadata"): 3}


def test_waits_for_lustre_servers_are_summed_by_file_system(tmp_path: Path) -> None:
    """Over its data and metadata servers; a server's own connections are none of this client's."""
    root = lustre(tmp_path)
    for number, (kind, target) in enumerate((("osc", "OST0000"), ("osc", "OST000a"), ("mdc", "MDT0000")), 1):
        stats = OSC.format(requests=100 * number, waited=1_000_000 * number)
        write(root / kind / f"scratch-{target}-{kind}-ffff9d2b1e5a8000" / "stats", stats)
    write(root / "osc" / "scratch-OST0000-osc-MDT0000" / "stats", OSC.format(requests=1, waited=9))
    write(root / "osc" / "other-OST0000-osc-ffff9d2b1e5a8000" / "stats", OSC.format(requests=1, waited=9))

    reading = source(tmp_path).read(0.0)
    assert reading.lustre_requests == {"scratch": 600.0}
    assert reading.lustre_request_wait_seconds == {"scratch": pytest.approx(6.0)}


def test_file_system_that_is_mounted_twice_is_one(tmp_path: Path) -> None:
    """Each mount has counts of its own; they are added up."""
    lustre(tmp_path)
    lustre(tmp_path, name="scratch-ffff9d2b1e5a9999")

    assert {"scratch": 2 * 145121869.0} == source(tmp_path).read(0.0).lustre_read_bytes


def test_file_that_goes_away_hides_nothing_else(tmp_path: Path) -> None:
    """A file system that is unmounted between listing and reading."""
    lustre(tmp_path)
    (tmp_path / "proc/fs/lustre/llite/gone-ffff9d2b1e5a9999").mkdir()
    (tmp_path / "proc/fs/lustre/llite/strange").mkdir()

    assert {"scratch"} == source(tmp_path).read(0.0).lustre_read_bytes.keys()


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow], max_examples=80)
@given(
    pieces_of(mount("/data", 5, 6) + "\tREAD: x\n\tbytes:\t1 2\n\tREAD: -1 2 3 4 5 6 7 8"), pieces_of(LLITE_NEW)
)
def test_hostile_files_give_numbers_or_nothing(tmp_path: Path, stats: bytes, llite: bytes) -> None:
    """Whatever the files contain, the source answers with numbers from 0 up."""
    write(tmp_path / "proc" / "self" / "mountstats", stats)
    write(tmp_path / "proc/fs/lustre/llite/work-ffff0000aaaa1111/stats", llite)

    reading = source(tmp_path).read(0.0)
    assert all(0 <= number < float("inf") for _, _, number in series_of(reading))
    assert all(label.isprintable() for _, labels, _ in series_of(reading) for label in labels)


def test_node_of_many_mounts_is_read_cheaply(tmp_path: Path) -> None:
    """Sixteen mounts and a Lustre of fifty servers cost some milliseconds in every five seconds."""
    mountstats(tmp_path, *(mount(f"/m{each}", each + 1) for each in range(16)))
    root = lustre(tmp_path)
    for each in range(50):
        path = root / "osc" / f"scratch-OST{each:04x}-osc-ffff9d2b1e5a8000" / "stats"
        write(path, OSC.format(requests=1, waited=1))
    network = source(tmp_path)
    network.read(0.0)

    began = time.process_time()
    for now in range(10):
        network.read(float(now))
    assert (time.process_time() - began) / 10 < 0.02


def test_real_node_is_read() -> None:
    """Every Linux has a list of mounts."""
    if not os.path.exists("/proc/self/mountstats"):
        pytest.skip("this kernel has no /proc/self/mountstats")

    reading: HostReading = StorageSource(StorageSource.Settings(), Site()).read(0.0)
    assert reading.storage_mounts["nfs"] >= 0
