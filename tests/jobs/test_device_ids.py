"""What ids of device plugins mean, and shares that never exceed a device."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpuwatch.jobs.device_ids import Inventory, Meant, minors, replicas, shares
from gpuwatch.jobs.podresources import Granted
from gpuwatch.model import Allocation, Device

UUID = "GPU-5fd4f087-86f3-7a43-b711-4771313afc50"
WHOLE = Device(UUID, "n", 0, "nvidia", "A100", pci="00000000:07:00.0")
SLICES = tuple(
    Device(f"MIG-{each}", "n", 0, "nvidia", "A100", "mig", parent=UUID, fraction=3 / 7) for each in "ab"
)
TPU = Device("tpu:0000:00:05.0", "n", 0, "google", "v5e", "tpu", pci="0000:00:05.0")
AMD = Device("amd:1", "n", 0, "amd", "MI300X", pci="0000:c3:00.0")
ALL = {each.uid: each for each in (WHOLE, *SLICES, TPU, AMD)}

IDS = {
    (UUID, "nvidia.com/gpu"): Meant((UUID,)),
    ("MIG-a", "nvidia.com/mig-3g.20gb"): Meant(("MIG-a",)),
    (f"{UUID}::12", "nvidia.com/gpu"): Meant((UUID,), UUID),
    ("MIG-a::0", "nvidia.com/mig-3g.20gb.shared"): Meant(("MIG-a",), "MIG-a"),
    (f"MIG-{UUID}/1/0", "nvidia.com/mig-3g.20gb"): Meant(("MIG-a", "MIG-b")),
    (f"MIG-{UUID}/1/0::3", "nvidia.com/gpu"): Meant(("MIG-a", "MIG-b"), f"MIG-{UUID}/1/0"),
    ("0", "nvidia.com/gpu"): Meant((UUID,)),
    ("0", "google.com/tpu"): Meant((TPU.uid,)),
    ("0", "amd.com/gpu"): Meant((AMD.uid,)),
    ("0", "example.com/gpu"): Meant(()),
    ("0000:07:00.0", "nvidia.com/pgpu"): Meant((UUID,)),
    ("00000000:C3:00.0", "amd.com/gpu"): Meant((AMD.uid,)),
    (TPU.uid, "google.com/tpu"): Meant((TPU.uid,)),
    ("nvidia5", "nvidia.com/gpu"): Meant((UUID,)),
    ("nvidia5/gi7", "nvidia.com/gpu"): Meant(("MIG-a", "MIG-b")),
    ("nvidia5/vgpu1", "nvidia.com/gpu"): Meant((UUID,), "nvidia5"),
    ("nvidia0", "nvidia.com/gpu"): Meant(()),
    ("GPU-elsewhere", "nvidia.com/gpu"): Meant(()),
    ("", "nvidia.com/gpu"): Meant(()),
    ("::1", "nvidia.com/gpu"): Meant(()),
    ("9" * 500, "nvidia.com/gpu"): Meant(()),
    ("amdgpu_xcp_1", "amd.com/gpu"): Meant(()),
}


@pytest.mark.parametrize(("granted", "expected"), IDS.items(), ids=[each[0][:40] or "empty" for each in IDS])
def test_id_means_a_device(granted: tuple[str, str], expected: Meant) -> None:
    """Each plugin in its own way; minor 5 is the GPU at 07:00.0."""
    assert expected == Inventory(ALL, {5: "0000:07:00.0"}).meant(Granted(granted[1], granted[0]))


def test_replicas_are_counted_by_device() -> None:
    """Ids that are no replicas do not count, nor does one that is listed twice."""
    listed = [Granted("nvidia.com/gpu", each) for each in (f"{UUID}::0", f"{UUID}::1", f"{UUID}::1", "MIG-a")]

    assert {UUID: 2} == replicas(listed)


def test_shared_slice_is_shared_within_its_fraction() -> None:
    """Two of four replicas of 3/7."""
    granted = frozenset(Granted("nvidia.com/mig-3g.20gb.shared", f"MIG-a::{each}") for each in (0, 2))

    found = shares({"p": granted}, Inventory(ALL), {"MIG-a": 4}, None)
    assert (Allocation("p", "MIG-a", 3 / 14, "timeslice"),) == found.allocations


def test_more_replicas_than_are_listed_fill_the_device() -> None:
    """A plugin that was set to fewer while pods run: nobody is charged above the whole."""
    pods = {each: frozenset({Granted("nvidia.com/gpu", f"{UUID}::{each}")}) for each in "0123"}

    found = shares(pods, Inventory(ALL), {UUID: 2}, None)
    assert [0.25] * 4 == [each.share for each in found.allocations]
    assert frozenset() == found.crowded


IDS_OF_ANY_KIND = st.sampled_from(
    [UUID, "MIG-a", "MIG-b", f"MIG-{UUID}/1/0", "0", "strange", "0000:c3:00.0"]
    + [f"{UUID}::{number}" for number in range(4)]
    + [f"MIG-b::{number}" for number in range(3)]
)
PODS = st.dictionaries(
    st.text("abc", min_size=1, max_size=2),
    st.frozensets(st.builds(Granted, st.sampled_from(["nvidia.com/gpu", "google.com/tpu"]), IDS_OF_ANY_KIND)),
    max_size=6,
)


@given(PODS, st.dictionaries(st.sampled_from([UUID, "MIG-b"]), st.integers(1, 5)), st.none() | st.integers(1, 4))
def test_shares_never_exceed_the_device(pods, divided, fixed) -> None:
    """Whatever is given to whom; everybody with an id of a device has a part of it."""
    inventory = Inventory(ALL)
    found = shares(pods, inventory, divided, fixed)

    for uid, device in ALL.items():
        mine = [each for each in found.allocations if each.device == uid]
        assert sum(each.share for each in mine) <= device.fraction * (1 + 1e-9)
        assert all(each.share > 0 for each in mine)
    holders = {pod for pod, ids in pods.items() if any(len(inventory.meant(each).devices) == 1 for each in ids)}
    assert holders == {each.job_id for each in found.allocations}


def test_minor_numbers_are_read_from_procfs(tmp_path: Path) -> None:
    """What is not in the driver's form is left out."""
    for address, text in {"0000:07:00.0": "Model: A\nDevice Minor: \t 5\n", "0000:0a:00.0": "?", "x": ""}.items():
        (tmp_path / "driver/nvidia/gpus" / address).mkdir(parents=True)
        (tmp_path / "driver/nvidia/gpus" / address / "information").write_text(text)

    assert ({5: "0000:07:00.0"}, {}) == (minors(str(tmp_path)), minors(str(tmp_path / "absent")))
