"""Pods hold devices: a real gRPC server over a unix socket speaks the kubelet's PodResources API."""

from __future__ import annotations

import logging
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from gpuwatch.errors import Unavailable
from gpuwatch.jobs.base import JobsReading, NodeView
from gpuwatch.jobs.kubernetes import KubernetesJobs
from gpuwatch.meter import Holding, Meter
from gpuwatch.model import Allocation, Device, JobKey, Reading, RowKey, Site
from tests.jobs.kubelet import FakeKubelet, devices, pod, uid

GPU = "nvidia.com/gpu"
GPUS = tuple(f"GPU-{number:08x}-0000-0000-0000-000000000000" for number in range(4))
DEVICES = {each: Device(each, "n", index, "nvidia", "A100") for index, each in enumerate(GPUS)}


@pytest.fixture
def kubelet() -> Iterator[FakeKubelet]:
    """A kubelet that serves; its directory has a short name, as the path of a socket must."""
    with tempfile.TemporaryDirectory(prefix="kubelet") as folder:
        made = FakeKubelet(Path(folder))
        made.start()
        yield made
        made.stop()


class Node:
    """The source as the agent calls it: `read(second)`."""

    def __init__(self, kubelet: FakeKubelet, known: Mapping[str, Device] = DEVICES, **settings: object) -> None:
        root = kubelet.root
        own = KubernetesJobs.Settings(socket=str(kubelet.socket), pod_logs=root / "logs", **settings)
        site = Site(procfs=str(root / "proc"), sysfs=str(root / "sys"))
        self.jobs = KubernetesJobs(own, site, wait_seconds=10.0)
        self.devices = known

    def read(self, second: float = 0.0) -> JobsReading:
        """Who holds what at that second."""
        return self.jobs.read(NodeView(second, self.devices))


def held(reading: JobsReading) -> dict[str, dict[str, float]]:
    """Job to device to share."""
    shares: dict[str, dict[str, float]] = {}
    for each in reading.allocations:
        shares.setdefault(each.job_id, {})[each.device] = pytest.approx(each.share)
    return shares


def test_pod_holds_the_devices_of_its_containers(kubelet: FakeKubelet) -> None:
    """Whole ones, each once, although an init container had them before; by uid, which nobody tells."""
    kubelet.pods = [pod("train-0", {GPU: GPUS[:1]}, {GPU: GPUS[:2]}), pod("web", {"cpu": ["0"]}), pod("plain")]
    train = kubelet.live("train-0", 1)

    reading = Node(kubelet).read()
    whole = tuple(Allocation(train, each, 1.0, "whole") for each in GPUS[:2])
    assert JobsReading(whole, frozenset({train}), frozenset()) == reading


def test_slice_is_held_by_its_fraction(kubelet: FakeKubelet) -> None:
    """By the UUID of the slice, and by the name that old drivers gave it where there is one it can mean."""
    slices = {f"MIG-{number}": Device(f"MIG-{number}", "n", 0, "nvidia", "A100", "mig", parent=GPUS[number],
              fraction=2 / 7) for number in range(2)}  # fmt: skip
    kubelet.pods = [
        pod("a", {"nvidia.com/mig-2g.10gb": ["MIG-0"]}),
        pod("b", {"nvidia.com/mig-2g.10gb": [f"MIG-{GPUS[1]}/7/0"]}),
    ]
    a, b = kubelet.live("a", 1), kubelet.live("b", 2)

    reading = Node(kubelet, DEVICES | slices).read()
    expected = {Allocation(a, "MIG-0", 2 / 7, "mig"), Allocation(b, "MIG-1", 2 / 7, "mig")}
    assert expected == set(reading.allocations)


def test_old_name_of_one_of_several_slices_is_nobodys_and_not_free(kubelet: FakeKubelet) -> None:
    """Which of the two is held cannot be told: both are unknown."""
    slices = {each: Device(each, "n", 0, "nvidia", "A100", "mig", parent=GPUS[0], fraction=3 / 7)
              for each in ("MIG-a", "MIG-b")}  # fmt: skip
    kubelet.pods = [pod("a", {"nvidia.com/mig-3g.20gb": [f"MIG-{GPUS[0]}/1/0"]})]
    kubelet.live("a", 1)

    reading = Node(kubelet, DEVICES | slices).read()
    assert ((), frozenset(slices)) == (reading.allocations, reading.unknown)


def shared(kubelet: FakeKubelet, replicas: int) -> list[str]:
    """GPU 0 divided into so many; the ids of the replicas."""
    ids = [f"{GPUS[0]}::{number}" for number in range(replicas)]
    kubelet.allocatable = [devices(GPU, [each]) for each in ids] + [devices(GPU, GPUS[1:])]
    return ids


def test_four_pods_of_a_quarter_total_one_device_hour(kubelet: FakeKubelet) -> None:
    """Each has a quarter by time slicing; the meter adds an hour up to one device-hour, none of it free."""
    ids = shared(kubelet, 4)
    kubelet.pods = [pod(f"p-{number}", {GPU: [each]}) for number, each in enumerate(ids)]
    uids = [kubelet.live(f"p-{number}", number) for number in range(4)]
    node, meter = Node(kubelet), Meter()
    for second in range(0, 3601, 5):
        told = node.read(float(second))
        holdings = [
            Holding(JobKey(each.job_id, 1), each.device, each.share, each.basis) for each in told.allocations
        ]
        meter.advance(float(second), {GPUS[0]: Reading(GPUS[0], float(second))}, holdings, told.unknown, {})

    rows = [meter.rows[RowKey(each, 1, GPUS[0])].held_seconds for each in uids]
    assert [pytest.approx(900)] * 4 == rows
    assert pytest.approx(0) == meter.devices[GPUS[0]].unallocated_seconds


def test_replicas_of_one_device_add_up_and_the_rest_is_free(kubelet: FakeKubelet) -> None:
    """Three of four in two containers are three quarters."""
    ids = shared(kubelet, 4)
    kubelet.pods = [pod("a", {GPU: ids[:1]}, {"nvidia.com/gpu.shared": ids[1:3]})]
    a = kubelet.live("a", 1)

    reading = Node(kubelet).read()
    assert {a: {GPUS[0]: 0.75}} == held(reading)
    assert {"timeslice"} == {each.basis for each in reading.allocations}


def test_site_says_how_many_replicas_there_are(kubelet: FakeKubelet) -> None:
    """Its word goes before the kubelet's."""
    ids = shared(kubelet, 4)
    kubelet.pods = [pod("a", {GPU: ids[:1]})]
    a = kubelet.live("a", 1)

    assert {a: {GPUS[0]: 0.1}} == held(Node(kubelet, replicas=10).read())


def test_kubelet_that_does_not_tell_replicas_makes_holders_share(kubelet: FakeKubelet) -> None:
    """One of before 1.23: who has two of three replicas that are held has two thirds."""
    ids = shared(kubelet, 4)
    kubelet.allocatable = None
    kubelet.pods = [pod("a", {GPU: ids[:2]}), pod("b", {GPU: ids[3:]})]
    a, b = kubelet.live("a", 1), kubelet.live("b", 2)

    reading = Node(kubelet).read()
    assert {a: {GPUS[0]: 2 / 3}, b: {GPUS[0]: 1 / 3}} == held(reading)
    assert {"holders"} == {each.basis for each in reading.allocations}


def test_device_that_is_unwell_stays_divided_as_it_was(kubelet: FakeKubelet) -> None:
    """The kubelet then lists no replica of it to give."""
    ids = shared(kubelet, 4)
    kubelet.pods = [pod("a", {GPU: ids[:1]})]
    a = kubelet.live("a", 1)
    node = Node(kubelet)
    node.read(0.0)
    kubelet.allocatable = [devices(GPU, GPUS[1:])]

    assert {a: {GPUS[0]: 0.25}} == held(node.read(10.0))


def test_tpu_is_known_by_index_and_amd_by_address(kubelet: FakeKubelet) -> None:
    """The index of a TPU is not that of a GPU; a domain of eight digits is one of four."""
    tpus = {
        f"tpu:{n}": Device(f"tpu:{n}", "n", n, "google", "v5e", "tpu", pci=f"0000:00:0{n + 4}.0") for n in range(4)
    }
    amd = {"amd:1": Device("amd:1", "n", 1, "amd", "MI300X", pci="00000000:C3:00.0")}
    kubelet.pods = [pod("a", {"google.com/tpu": ["0", "3"]}), pod("b", {"amd.com/gpu": ["0000:c3:00.0"]})]
    a, b = kubelet.live("a", 1), kubelet.live("b", 2)

    reading = Node(kubelet, DEVICES | tpus | amd).read()
    assert {a: {"tpu:0": 1.0, "tpu:3": 1.0}, b: {"amd:1": 1.0}} == held(reading)


def test_minor_number_leads_to_the_device_by_its_address(kubelet: FakeKubelet) -> None:
    """`nvidia1` of Google's plugin is /dev/nvidia1, which need not have the index 1; `vgpu` is a replica."""
    information = kubelet.root / "proc/driver/nvidia/gpus/0000:3b:00.0/information"
    information.parent.mkdir(parents=True)
    information.write_text("Model: \t\t NVIDIA A100\nDevice Minor: \t 1\n")
    known = {GPUS[0]: Device(GPUS[0], "n", 0, "nvidia", "A100", pci="00000000:3B:00.0")}
    kubelet.allocatable = [devices(GPU, ["nvidia1/vgpu0", "nvidia1/vgpu1"])]
    kubelet.pods = [pod("a", {GPU: ["nvidia1/vgpu1"]})]
    a = kubelet.live("a", 1)

    assert {a: {GPUS[0]: 0.5}} == held(Node(kubelet, known).read())


def test_terminated_pod_is_no_longer_charged_although_it_is_listed(kubelet: FakeKubelet) -> None:
    """From the second in which its control group is gone, without another question to the kubelet."""
    kubelet.pods = [pod("a", {GPU: GPUS[:1]})]
    a = kubelet.live("a", 1)
    node = Node(kubelet)
    before, asked = node.read(0.0), kubelet.asked
    kubelet.die(1)

    assert {a: {GPUS[0]: 1.0}} == held(before)
    assert JobsReading() == node.read(1.0)
    assert asked == kubelet.asked
    assert JobsReading() == node.read(10.0)


def test_pod_that_was_made_again_is_another_job(kubelet: FakeKubelet) -> None:
    """Two directories of logs bear the name of a StatefulSet's pod: the one that lives is meant."""
    kubelet.pods = [pod("sts-0", {GPU: GPUS[:1]})]
    kubelet.live("sts-0", 1)
    new = kubelet.live("sts-0", 2)
    kubelet.die(1)

    assert {new: {GPUS[0]: 1.0}} == held(Node(kubelet).read())


def test_two_living_pods_of_one_name_are_not_told_apart(kubelet: FakeKubelet) -> None:
    """The device is neither's, nor free."""
    kubelet.pods = [pod("sts-0", {GPU: GPUS[:1]})]
    kubelet.live("sts-0", 1)
    kubelet.live("sts-0", 2)

    assert JobsReading((), frozenset(), frozenset(GPUS[:1])) == Node(kubelet).read()


def test_pod_listed_twice_keeps_what_it_had(kubelet: FakeKubelet) -> None:
    """What the other entry of its name has is unknown."""
    kubelet.pods = [pod("sts-0", {GPU: GPUS[:1]})]
    a = kubelet.live("sts-0", 1)
    node = Node(kubelet)
    node.read(0.0)
    kubelet.pods.append(pod("sts-0", {GPU: GPUS[1:2]}))

    reading = node.read(10.0)
    assert ({a: {GPUS[0]: 1.0}}, frozenset(GPUS[1:2])) == (held(reading), reading.unknown)


def test_pod_without_logs_has_no_uid_and_its_device_no_known_holder(kubelet: FakeKubelet) -> None:
    """Its sandbox is not made yet: the device is not free any more."""
    kubelet.pods = [pod("a", {GPU: GPUS[:1]})]

    assert JobsReading((), frozenset(), frozenset(GPUS[:1])) == Node(kubelet).read()


def test_pod_that_lives_keeps_its_devices_when_it_is_not_listed(kubelet: FakeKubelet) -> None:
    """A kubelet that has just started lists nothing yet; what it then gives to others is theirs."""
    kubelet.pods = [pod("a", {GPU: GPUS[:2]})]
    a, b = kubelet.live("a", 1), kubelet.live("b", 2)
    node = Node(kubelet)
    node.read(0.0)
    kubelet.pods = [pod("b", {GPU: GPUS[1:2]})]

    assert {a: {GPUS[0]: 1.0}, b: {GPUS[1]: 1.0}} == held(node.read(10.0))


def test_device_given_to_two_living_pods_is_shared_and_said_once(
    kubelet: FakeKubelet, caplog: pytest.LogCaptureFixture
) -> None:
    """Shares never exceed the device."""
    kubelet.pods = [pod("a", {GPU: GPUS[:1]}), pod("b", {GPU: GPUS[:1]})]
    a, b = kubelet.live("a", 1), kubelet.live("b", 2)
    node = Node(kubelet)

    assert [{a: {GPUS[0]: 0.5}, b: {GPUS[0]: 0.5}}] * 2 == [held(node.read(0.0)), held(node.read(10.0))]
    assert 1 == caplog.text.count("more than all of a device was given out")


def test_strange_id_is_said_once_and_charges_nobody(
    kubelet: FakeKubelet, caplog: pytest.LogCaptureFixture
) -> None:
    """Neither the pod nor the other devices suffer."""
    kubelet.pods = [pod("a", {GPU: [GPUS[0], "GPU-elsewhere\nforged", "7"], "nvidia.com/rdma": ["mlx5_0"]})]
    a = kubelet.live("a", 1)
    node = Node(kubelet)

    readings = [node.read(0.0), node.read(10.0)]
    assert [({a: {GPUS[0]: 1.0}}, frozenset())] * 2 == [(held(each), each.unknown) for each in readings]
    said = [each.getMessage() for each in caplog.records if each.levelno == logging.WARNING]
    assert 2 == len(said)
    assert all("\n" not in each for each in said)


def test_claimed_devices_are_not_free(kubelet: FakeKubelet) -> None:
    """Dynamic resource allocation names a device as only its driver knows it: what nobody else has is unknown."""
    kubelet.pods = [pod("a", {}, claims=[("gpu.nvidia.com", "gpu-2")]), pod("b", {GPU: GPUS[:1]})]
    a, b = kubelet.live("a", 1), kubelet.live("b", 2)
    node = Node(kubelet)

    reading = node.read(0.0)
    assert ({b: {GPUS[0]: 1.0}}, frozenset(GPUS[1:])) == (held(reading), reading.unknown)
    assert frozenset({a, b}) == reading.alive
    kubelet.die(1)
    assert frozenset() == node.read(1.0).unknown


def test_hung_kubelet_is_unavailable_once_its_word_is_stale(kubelet: FakeKubelet) -> None:
    """Until then pods that live keep their devices, and nothing is taken to be free."""
    kubelet.pods = [pod("a", {GPU: GPUS[:1]})]
    a = kubelet.live("a", 1)
    node = Node(kubelet, timeout_seconds=0.05)
    node.read(0.0)
    kubelet.hang.clear()

    reading = node.read(10.0)
    assert ({a: {GPUS[0]: 1.0}}, frozenset(GPUS[1:])) == (held(reading), reading.unknown)
    with pytest.raises(Unavailable, match=r"kubelet\.sock: deadline exceeded"):
        node.read(31.0)


def test_kubelet_that_was_never_there_is_unavailable(kubelet: FakeKubelet) -> None:
    """Its socket is named."""
    kubelet.stop()

    with pytest.raises(Unavailable, match=r"kubelet\.sock: unavailable"):
        Node(kubelet).read()


def test_answer_after_a_restart_is_taken(kubelet: FakeKubelet) -> None:
    """The kubelet comes back on a new socket, and is asked again each second until it does."""
    kubelet.pods = [pod("a", {GPU: GPUS[:1]})]
    a = kubelet.live("a", 1)
    node = Node(kubelet)
    node.read(0.0)
    kubelet.stop()
    with pytest.raises(Unavailable):
        node.read(100.0)
    kubelet.start()

    deadline = time.monotonic() + 20
    reading, second = None, 100
    while reading is None and time.monotonic() < deadline:
        second += 1
        try:
            reading = node.read(float(second))
        except Unavailable:
            time.sleep(0.02)
    assert {a: {GPUS[0]: 1.0}} == held(reading or JobsReading())


def test_ten_thousand_pods_are_read(kubelet: FakeKubelet) -> None:
    """And those without devices cost nothing afterwards."""
    kubelet.pods = [pod(f"web-{number}", {"cpu": ["1"]}) for number in range(10_000)]
    kubelet.pods += [pod(f"train-{number}", {GPU: [each]}) for number, each in enumerate(GPUS)]
    uids = [kubelet.live(f"train-{number}", number) for number in range(4)]

    reading = Node(kubelet).read()
    assert {each: {GPUS[number]: 1.0} for number, each in enumerate(uids)} == held(reading)


@pytest.mark.parametrize("name", ["../../etc", "a\nb", "x" * 2**20, "_", "", "a_b_" + uid(1)])
def test_hostile_name_is_nobodys(kubelet: FakeKubelet, name: str) -> None:
    """It names no directory, whatever lies there; the pod beside it is as ever."""
    kubelet.pods = [pod(name, {GPU: GPUS[1:2]}, namespace=".."), pod("b", {GPU: GPUS[:1]})]
    b = kubelet.live("b", 2)

    reading = Node(kubelet).read()
    assert ({b: {GPUS[0]: 1.0}}, frozenset(GPUS[1:2])) == (held(reading), reading.unknown)


def test_answer_that_is_too_large_is_unavailable(kubelet: FakeKubelet) -> None:
    """More than 16 MiB is not read into memory."""
    kubelet.pods = [pod("x" * 2**24, {GPU: GPUS[:1]})]

    with pytest.raises(Unavailable, match="resource exhausted"):
        Node(kubelet).read()


def test_answer_that_is_no_message_is_unavailable(kubelet: FakeKubelet) -> None:
    """Bytes of something else."""
    kubelet.pods = [b"\xff\xff\xff"]

    with pytest.raises(Unavailable, match="is no ListPodResourcesResponse"):
        Node(kubelet).read()


def test_kubelet_is_not_asked_each_second(kubelet: FakeKubelet) -> None:
    """Ten reads within a poll are one question."""
    node = Node(kubelet, poll_seconds=10.0)
    for tenth in range(10):
        node.read(tenth / 10)

    assert 1 == kubelet.asked


def test_process_belongs_to_the_pod_of_its_cgroup(kubelet: FakeKubelet) -> None:
    """Whatever it says of itself; one in no pod belongs to none."""
    path = kubelet.root / "proc" / "42"
    path.mkdir()
    group = kubelet.group(7).relative_to(kubelet.root / "sys/fs/cgroup")
    (path / "cgroup").write_text(f"0::/{group}/cri-containerd-{'a' * 64}.scope\n")
    jobs = Node(kubelet).jobs

    assert (uid(7), None) == (jobs.job_of(42, {}), jobs.job_of(43, {}))


def test_pod_without_a_view_of_control_groups_goes_by_the_list(kubelet: FakeKubelet) -> None:
    """Where the agent's container does not have the host's tree."""
    kubelet.pods = [pod("a", {GPU: GPUS[:1]})]
    (kubelet.root / "logs" / f"ml_a_{uid(1)}").mkdir()
    node = Node(kubelet)
    before = held(node.read(0.0))
    kubelet.pods = []

    assert ({uid(1): {GPUS[0]: 1.0}}, {}) == (before, held(node.read(10.0)))


def test_missing_library_is_a_mistake_of_the_installation() -> None:
    """The message says what to install; the module itself loads without it."""
    code = (
        "import sys; sys.modules['grpc'] = None\n"
        "from gpuwatch.errors import ConfigurationError\n"
        "from gpuwatch.jobs.kubernetes import KubernetesJobs\n"
        "from gpuwatch.model import Site\n"
        "try: KubernetesJobs(KubernetesJobs.Settings(), Site())\n"
        "except ConfigurationError as exc: print(exc)\n"
    )

    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert told.stdout.rstrip().endswith("install gpuwatch[kubernetes]")


def test_pod_tells_how_long_it_waited_for_storage(kubelet: FakeKubelet) -> None:
    """By its control group, every few seconds; one without is unknown."""
    kubelet.pods = [pod("train-0", {GPU: GPUS[:1]}), pod("train-1", {GPU: GPUS[1:2]})]
    train = kubelet.live("train-0", 1)
    kubelet.live("train-1", 2)
    (kubelet.group(1) / "io.pressure").write_text("full avg10=0.00 avg60=0.00 avg300=0.00 total=1500000\n")
    node = Node(kubelet)

    assert [node.read(second).storage_waits for second in (0.0, 1.0)] == [{train: 1.5}, {}]
