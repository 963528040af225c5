"""The PodResources client against bytes written out by hand, so that client and fake cannot share a mistake."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from gpuwatch.errors import Unavailable
from gpuwatch.jobs import podresources
from gpuwatch.jobs.podresources import Claim, Granted, PodDevices, PodResources, Told
from tests.jobs.kubelet import FakeKubelet, devices, pod

# One PodResources: name=1 "p", namespace=2 "ns", containers=3 { name=1 "c", devices=2 { resource_name=1
# "nvidia.com/gpu", device_ids=2 "GPU-1", topology=3 {nodes=1 {ID=1: 0}} }, cpu_ids=3 packed [2, 3],
# dynamic_resources=5 { claim_resources=4 { driver_name=2 "gpu.nvidia.com", device_name=4 "gpu-0" } } }.
POD = bytes.fromhex(
    "0a0170"
    "12026e73"
    "1a43"
    "0a0163"
    "121d" "0a0e6e76696469612e636f6d2f677075" "12054750552d31" "1a04" "0a020800"
    "1a020203"
    "2a1b" "2219" "120e6770752e6e76696469612e636f6d" "22056770752d30" "2800"
)  # fmt: skip


@pytest.fixture
def kubelet() -> Iterator[FakeKubelet]:
    """A kubelet that serves."""
    with tempfile.TemporaryDirectory(prefix="kubelet") as folder:
        made = FakeKubelet(Path(folder))
        made.start()
        yield made
        made.stop()


def ask(kubelet: FakeKubelet, wait_seconds: float = 10.0) -> Told | None:
    """One question and its answer."""
    client = PodResources(str(kubelet.socket), 10.0)
    client.ask()
    told = client.answer(wait_seconds)
    client.close()
    return told


def test_answer_is_read_as_the_api_defines_it(kubelet: FakeKubelet) -> None:
    """Field by field, from bytes that no code made; unknown fields are skipped."""
    kubelet.pods = [POD]
    kubelet.allocatable = [bytes.fromhex("0a0e6e76696469612e636f6d2f67707512054750552d31")]

    granted = frozenset({Granted("nvidia.com/gpu", "GPU-1")})
    expected = Told((PodDevices("ns", "p", granted, frozenset({Claim("gpu.nvidia.com", "gpu-0")})),), granted)
    assert expected == ask(kubelet)


def test_fake_encodes_as_the_api_defines_it() -> None:
    """The encoder of the tests, against the same bytes."""
    expected = bytes.fromhex("0a0e6e76696469612e636f6d2f677075" "12054750552d31" "1a040a020801")  # fmt: skip

    assert expected == devices("nvidia.com/gpu", ["GPU-1"])


def test_question_is_empty_and_names_the_method(kubelet: FakeKubelet) -> None:
    """A pod without devices is not told; nothing to give is not the same as not knowing."""
    kubelet.pods = [pod("web")]

    assert Told((), frozenset()) == ask(kubelet)


def test_old_kubelet_does_not_say_what_there_is_to_give(kubelet: FakeKubelet) -> None:
    """It knows List alone."""
    kubelet.allocatable = None

    assert Told((), None) == ask(kubelet)


def test_answer_that_has_not_come_is_none(kubelet: FakeKubelet) -> None:
    """The caller looks again later."""
    kubelet.hang.clear()

    assert ask(kubelet, wait_seconds=0.02) is None


def test_too_many_devices_are_refused(kubelet: FakeKubelet) -> None:
    """An answer within the size may still be absurd."""
    ids = [f"{number:x}" for number in range(podresources.MAX_DEVICES + 1)]
    kubelet.pods = [pod("a", {"nvidia.com/gpu": ids})]

    with pytest.raises(Unavailable, match="lists more than 100000 devices"):
        ask(kubelet)
