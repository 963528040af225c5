"""Names of GPUs in Slurm's variables become devices and shares, or stay unresolved."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpuwatch.jobs.slurm_devices import (
    Claim,
    Holder,
    Layout,
    Rules,
    Told,
    layout,
    settle,
    told,
    told_by,
    words_of,
)
from gpuwatch.model import Device

BOARDS = {
    f"GPU-{letter}{index}": Device(
        f"GPU-{letter}{index}", "gw0", index, "nvidia", "H100", pci=f"00000000:{0x17 + index:02X}:00.0"
    )
    for index, letter in enumerate("aabc")
}
SLICES = {
    f"MIG-{name}": Device(
        f"MIG-{name}", "gw0", 3, "nvidia", "H100", kind="mig", parent="GPU-c3", fraction=fraction
    )
    for name, fraction in (("x1", 3 / 7), ("y2", 2 / 7))
}
WHOLE = layout(BOARDS)
CUT = layout(BOARDS | SLICES)


def devices(
    variables: Mapping[str, str], node: Layout = CUT, rules: Rules | None = None, trusted: bool = True
) -> list[str] | None:
    """The uids of what is claimed."""
    found = told(variables, node, rules or Rules(), trusted)
    return [each.device for each in found.claims] if found.anything else None


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("0", ("0",)),
        ("0,1", ("0", "1")),
        ("0-3", ("0", "1", "2", "3")),
        ("0-1,7", ("0", "1", "7")),
        ("1,1,0-1", ("1", "0")),
        (" 0, 2 ", ("0", "2")),
        ("007", ("7",)),
        ("0,,1", ("0", "1")),
        ("GPU-a0,MIG-x1", ("GPU-a0", "MIG-x1")),
        ("", ()),
        ("NoDevFiles", ()),
        ("-1", ()),
        ("3-1", None),
        ("0-9999", None),
        ("0," * 5000, None),
        (",".join(map(str, range(257))), None),
    ],
)
def test_list_of_names(text: str, words: tuple[str, ...] | None) -> None:
    """Ranges are written out, names are given once, and what is too long is no list."""
    assert words == words_of(text)


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({"SLURM_JOB_GPUS": "0,2"}, ["GPU-a0", "GPU-b2"]),
        ({"SLURM_JOB_GPUS": "3"}, ["MIG-x1", "MIG-y2"]),
        ({"SLURM_JOB_GPUS": "GPU-b2"}, ["GPU-b2"]),
        ({"SLURM_JOB_GPUS": "0", "CUDA_VISIBLE_DEVICES": "GPU-b2"}, ["GPU-b2"]),
        ({"SLURM_JOB_GPUS": "0", "CUDA_VISIBLE_DEVICES": "MIG-x1"}, ["MIG-x1"]),
        ({"SLURM_JOB_GPUS": "0", "CUDA_VISIBLE_DEVICES": "1"}, ["GPU-a0"]),
        ({"CUDA_VISIBLE_DEVICES": "1"}, ["GPU-a1"]),
        ({"CUDA_VISIBLE_DEVICES": "GPU-b"}, ["GPU-b2"]),
        ({"CUDA_VISIBLE_DEVICES": "GPU-a"}, None),
        ({"CUDA_VISIBLE_DEVICES": "GPU-"}, None),
        ({"CUDA_VISIBLE_DEVICES": "MIG-GPU-c3/1/0"}, None),
        ({"CUDA_VISIBLE_DEVICES": "NoDevFiles"}, []),
        ({}, []),
        ({"SLURM_JOB_GPUS": "4"}, None),
        ({"SLURM_JOB_GPUS": "0,4"}, ["GPU-a0"]),
        ({"SLURM_JOB_GPUS": "?"}, None),
        ({"SLURM_JOB_GPUS": "gpu:h100:2"}, None),
        ({"SLURM_JOB_GPUS": "0\n1"}, None),
        ({"SLURM_JOB_GPUS": "٣"}, None),
    ],
)
def test_variables_of_a_prolog(variables: dict[str, str], expected: list[str] | None) -> None:
    """Indices are the node's; a UUID is better than one; a name that is not there means nothing."""
    assert expected == devices(variables)


@pytest.mark.parametrize(
    ("variables", "rules", "expected"),
    [
        ({"SLURM_JOB_GPUS": "1", "SLURM_STEP_GPUS": "0", "CUDA_VISIBLE_DEVICES": "2"}, {}, ["GPU-a1"]),
        ({"SLURM_STEP_GPUS": "0", "CUDA_VISIBLE_DEVICES": "2"}, {}, ["GPU-a0"]),
        ({"SLURM_JOB_GPUS": "1", "CUDA_VISIBLE_DEVICES": "GPU-b2"}, {}, ["GPU-a1"]),
        ({"SLURM_JOB_GPUS": "1", "CUDA_VISIBLE_DEVICES": "MIG-y2"}, {}, ["MIG-y2"]),
        ({"CUDA_VISIBLE_DEVICES": "GPU-b2"}, {}, ["GPU-b2"]),
        ({"CUDA_VISIBLE_DEVICES": "2"}, {}, None),
        ({"CUDA_VISIBLE_DEVICES": "2"}, {"constrained": False}, ["GPU-b2"]),
        ({"CUDA_VISIBLE_DEVICES": ""}, {}, []),
    ],
)
def test_variables_of_a_process(
    variables: dict[str, str], rules: dict[str, bool], expected: list[str] | None
) -> None:
    """Slurm's own variables come first; ordinals of CUDA say nothing where they begin at 0 in each job."""
    assert expected == devices(variables, rules=Rules(**rules), trusted=False)


def test_cuda_ordinals_need_one_model_or_the_order_of_the_bus() -> None:
    """Fastest first is the driver's order only where all are alike."""
    mixed = layout(BOARDS | {"GPU-b2": Device("GPU-b2", "gw0", 2, "nvidia", "L40S")})
    rules, variables = Rules(constrained=False), {"CUDA_VISIBLE_DEVICES": "2"}

    assert devices(variables, mixed, rules, trusted=False) is None
    by_bus = variables | {"CUDA_DEVICE_ORDER": "PCI_BUS_ID"}
    assert devices(by_bus, mixed, rules, trusted=False) == ["GPU-b2"]


@pytest.mark.parametrize(
    "order", [("GPU-b2", "GPU-a0"), ("0000:19:00.0", "0:17:00.0"), ("19:00.0", "00000000:17:00.0")]
)
def test_order_of_slurm_is_told_by_the_site(order: tuple[str, ...]) -> None:
    """By UUID or PCI address; CUDA's ordinals stay the driver's."""
    node = layout(BOARDS, order)

    assert devices({"SLURM_JOB_GPUS": "0,1"}, node) == ["GPU-b2", "GPU-a0"]
    assert devices({"SLURM_JOB_GPUS": "2"}, node) is None
    unconstrained = Rules(constrained=False)
    assert devices({"CUDA_VISIBLE_DEVICES": "0"}, node, unconstrained, trusted=False) == ["GPU-a0"]


def test_index_of_two_boards_means_neither() -> None:
    """Two vendors count from 0 each."""
    both = {"GPU-a0": BOARDS["GPU-a0"], "tpu:1": Device("tpu:1", "gw0", 0, "google", "v6e", kind="tpu")}

    assert devices({"SLURM_JOB_GPUS": "0"}, layout(both)) is None


@pytest.mark.parametrize(
    ("variables", "rules", "trusted", "expected"),
    [
        ({}, Rules(), True, (1.0, "whole")),
        ({"SLURM_SHARDS_ON_NODE": "3"}, Rules(4), True, (0.75, "shard")),
        ({"SLURM_SHARDS_ON_NODE": "3"}, Rules(4), False, (0.75, "shard")),
        ({"SLURM_SHARDS_ON_NODE": "3"}, Rules(), False, (1.0, "whole")),
        ({"SLURM_SHARDS_ON_NODE": "5"}, Rules(4), True, None),
        ({"SLURM_SHARDS_ON_NODE": "0"}, Rules(4), True, None),
        ({"SLURM_SHARDS_ON_NODE": "?"}, Rules(4), True, None),
        ({"CUDA_MPS_ACTIVE_THREAD_PERCENTAGE": "25"}, Rules(), True, (0.25, "mps")),
        ({"CUDA_MPS_ACTIVE_THREAD_PERCENTAGE": "12.5"}, Rules(mps=True), False, (0.125, "mps")),
        ({"CUDA_MPS_ACTIVE_THREAD_PERCENTAGE": "25"}, Rules(), False, (1.0, "whole")),
        ({"CUDA_MPS_ACTIVE_THREAD_PERCENTAGE": "0"}, Rules(), True, None),
        ({"CUDA_MPS_ACTIVE_THREAD_PERCENTAGE": "101"}, Rules(), True, None),
        ({"CUDA_MPS_ACTIVE_THREAD_PERCENTAGE": "nan"}, Rules(), True, None),
    ],
)
def test_shares(
    variables: dict[str, str], rules: Rules, trusted: bool, expected: tuple[float, str] | None
) -> None:
    """A percentage that a user may have set himself does not make his job cheaper."""
    found = told({"SLURM_JOB_GPUS": "0", **variables}, WHOLE, rules, trusted)

    assert expected == ((found.claims[0].share, found.claims[0].basis) if found.anything else None)


def test_shards_on_several_devices_are_spread_evenly() -> None:
    """Slurm tells their number on the node only."""
    variables = {"SLURM_JOB_GPUS": "0,1", "SLURM_SHARDS_ON_NODE": "4"}

    found = told(variables, WHOLE, Rules(shards_per_device=4), trusted=True)
    assert Told((Claim("GPU-a0", 0.5, "shard"), Claim("GPU-a1", 0.5, "shard"))) == found


@pytest.mark.parametrize(
    ("variables", "rules", "expected"),
    [
        ({}, Rules(), None),
        ({"CUDA_VISIBLE_DEVICES": "NoDevFiles"}, Rules(), None),
        ({"SLURM_JOB_GPUS": "0-1"}, Rules(), ["tpu:0", "tpu:1"]),
        ({"SLURM_JOB_GPUS": ""}, Rules(), []),
        ({}, Rules(tpu_is_gpu=True), []),
    ],
)
@pytest.mark.parametrize("trusted", [True, False])
def test_job_that_is_told_of_no_tpu_may_have_one(
    variables: Mapping[str, str], rules: Rules, expected: list[str] | None, trusted: bool
) -> None:
    """Slurm tells a job of `gres/gpu` alone, so that silence says nothing of `gres/tpu`."""
    chips = layout({f"tpu:{n}": Device(f"tpu:{n}", "gw0", n, "google", "TPU v5e", kind="tpu") for n in range(4)})

    assert expected == devices(variables, chips, rules, trusted)


def test_portions_by_name() -> None:
    """An instance by number cannot be told from the device's other ones."""
    assert told_by([("0", 1.0), ("GPU-a0", 1.0)], WHOLE) == Told((Claim("GPU-a0", 1.0, "whole"),))
    assert told_by([("0", 0.5)], WHOLE) == Told((Claim("GPU-a0", 0.5, "holders"),))
    assert told_by([("3.1", 1.0), ("0", 1.0)], CUT) == Told((Claim("GPU-a0", 1.0, "whole"),), complete=False)


@given(
    st.lists(
        st.tuples(
            st.integers(1, 9).map(str),
            st.lists(
                st.builds(
                    Claim,
                    st.sampled_from([*(device.uid for device in CUT.units())]),
                    st.sampled_from([1.0, 3 / 7, 2 / 7, 1 / 3, 0.1, 0.0, -1.0]) | st.floats(0, 1),
                    st.just("whole"),
                ),
                max_size=4,
            ).map(tuple),
            st.tuples(st.booleans(), st.integers(0, 2), st.floats(-9, 9)),
        ),
        max_size=8,
    )
)
def test_shares_of_a_device_never_exceed_it(jobs: list[tuple[str, tuple[Claim, ...], tuple[float, ...]]]) -> None:
    """Whatever is claimed: it is charged as claimed or refused, and a slice has its fraction at most."""
    settled = settle((Holder(*each) for each in jobs), CUT)

    for device in CUT.units():
        total = sum(each.share for each in settled.allocations if each.device == device.uid)
        assert total <= device.fraction + 1e-9
        assert total == pytest.approx(settled.taken.get(device.uid, 0.0))
    assert sum(len(claimed) for _, claimed, _ in jobs) == len(settled.allocations) + len(settled.refused)


def test_claim_without_room_is_refused_as_a_whole() -> None:
    """The holder with the lesser precedence is not charged for a part of what it claims."""
    first = Holder("12", (Claim("GPU-a0", 0.5, "shard"),), (0, 0, 0))
    second = Holder("13", (Claim("GPU-a0", 1.0, "whole"), Claim("GPU-a1", 1.0, "whole")), (0, 0, 1))

    settled = settle([second, first], WHOLE)
    assert (("13", Claim("GPU-a0", 1.0, "whole")),) == settled.refused
    assert {("12", "GPU-a0", 0.5), ("13", "GPU-a1", 1.0)} == {
        (each.job_id, each.device, each.share) for each in settled.allocations
    }
