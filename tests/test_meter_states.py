"""Working, spinning and idle are told apart where a device showed each of them."""

from __future__ import annotations

import pytest

from gpuwatch.meter import StateRule, classify
from gpuwatch.model import Reading

# An H100 at a limit of 700 W, 72 W with nobody on it: watts, utilization, SM, tensor and memory activity.
H100 = {
    "held and idle, cool": (128, 0.0, 0.0, 0.0, 0.0, "idle"),
    "held and idle, warm": (141, 0.0, 0.0, 0.0, 0.0, "idle"),
    "1 block that waits": (127, 1.0, 0.0076, 0.0, 0.0, "spinning"),
    "32 blocks, one warp of each polls": (127, 1.0, 0.2424, 0.0, 0.0, "spinning"),
    "132 blocks, one warp of each polls": (132, 1.0, 1.0, 0.0, 0.0, "spinning"),
    "24 blocks, all threads poll": (163, 1.0, 0.1818, 0.0, 0.0, "spinning"),
    "32 blocks, all threads poll": (176, 1.0, 0.2424, 0.0, 0.0, "spinning"),
    "16 blocks, polling the host": (132, 1.0, 0.1212, 0.0, 0.0, "spinning"),
    "a small network, trained by small kernels": (126, 0.08, 0.0054, 0.0, 0.0, "working"),
    "additions of 4096 numbers": (128, 0.40, 0.0014, 0.0, 0.0, "working"),
    "inference, one image at a time": (144, 0.39, 0.0848, 0.0029, 0.0042, "working"),
    "the same without pauses": (175, 1.0, 0.2, 0.0074, 0.0108, "working"),
    "a small transformer, trained": (186, 0.36, 0.1828, 0.0031, 0.0217, "working"),
    "multiplications in registers, all SMs": (285, 1.0, 1.0, 0.0005, 0.0, "working"),
    "products, 2 % of the time": (146, 0.03, 0.0135, 0.013, 0.0052, "idle"),
    "products, 10 % of the time": (214, 0.09, 0.077, 0.0746, 0.0289, "working"),
    "vectors by matrices": (497, 1.0, 0.8622, 0.0219, 0.8249, "working"),
    "copies": (534, 1.0, 0.9969, 0.0, 0.9023, "working"),
    "large products": (699, 1.0, 0.9627, 0.9343, 0.254, "working"),
}


@pytest.mark.parametrize("load", H100)
def test_state_of_an_h100_is_what_it_did(load: str) -> None:
    """As measured, but for the one without pauses: waiting is told from light work, whatever the SMs say."""
    power, utilization, sm, tensor, dram, state = H100[load]
    told = Reading(
        "GPU-1",
        0.0,
        power_watts={("average", "device"): power},
        utilization_ratio=utilization,
        sm_activity_ratio=sm,
        tensor_activity_ratio=tensor,
        dram_activity_ratio=dram,
    )

    assert state == classify(told, 72.0, 700.0, StateRule())


def test_memory_that_is_read_and_written_is_work_where_there_is_no_activity() -> None:
    """Before Hopper the driver says only in which part of the time memory was used."""
    told = Reading(
        "GPU-1",
        0.0,
        power_watts={("average", "device"): 75.0},
        utilization_ratio=1.0,
        memory_utilization_ratio=0.01,
    )

    assert classify(told, 50.0, 400.0, StateRule()) == "working"
