"""What exporters call things: which device of which node a series is about, and in which units."""

from __future__ import annotations

import pytest

from gpuwatch.usage.exporter_names import (
    SERIES,
    Series,
    Source,
    is_other_clock,
    names_of,
    of_a_slice,
    short,
    source_of,
)

DCGM = {
    "__name__": "DCGM_FI_DEV_POWER_USAGE", "gpu": "3", "UUID": "GPU-aaaa", "device": "nvidia2", "job": "dcgm",
    "modelName": "NVIDIA H100 80GB HBM3", "Hostname": "gw0.site.example", "instance": "10.0.0.7:9400",
}  # fmt: skip


def test_the_minor_number_is_the_index_that_gres_conf_lists():
    """`gpu` is DCGM's own count; `/dev/nvidia2` is what the batch system calls the device by."""
    assert Source("GPU-aaaa", "gw0", 2, "NVIDIA H100 80GB HBM3", False) == source_of("dcgm", DCGM, "")


def test_series_of_before_dcgm_2_have_no_host_of_their_own():
    """Then the node is the target, without its port and domain, and the index is `gpu`."""
    labels = {"gpu": "1", "uuid": "GPU-bbbb", "instance": "gw1.site.example:9400"}

    assert Source("GPU-bbbb", "gw1", 1, "", False) == source_of("dcgm", labels, "")


def test_a_node_label_of_the_site_is_taken_as_it_stands():
    """On Kubernetes nodes have names with dots."""
    source = source_of("dcgm", DCGM | {"node": "ip-10-0-0-7.ec2.internal"}, "node")

    assert source is not None and source.node == "ip-10-0-0-7.ec2.internal"


@pytest.mark.parametrize(
    ("instance", "node"),
    [("10.0.0.7:9835", "10.0.0.7"), ("gw0:9835", "gw0"), ("[fd00::7]:9835", "fd00::7"), ("gw0.x.y", "gw0")],
)
def test_an_address_is_not_cut_at_its_dots(instance, node):
    """Ten nodes would be one."""
    source = source_of("nvidia_gpu_exporter", {"uuid": "df6e", "instance": instance}, "")

    assert source == Source("GPU-df6e", node, None, "", False)
    assert short("gw0.site") == "gw0"


def test_a_divided_board_is_known_as_such():
    """Its slices' series carry the uid of the board."""
    assert of_a_slice("dcgm", DCGM | {"GPU_I_ID": "5", "GPU_I_PROFILE": "1g.10gb"})
    assert not of_a_slice("dcgm", DCGM | {"GPU_I_ID": "", "GPU_I_PROFILE": ""})
    source = source_of("dcgm", DCGM | {"GPU_I_ID": "5"}, "")
    assert source is not None and source.sliced


def test_a_divided_board_of_amd_is_one_board():
    """Partitions have uuids of their own, and the serial number of the board."""
    labels = {
        "serial_number": "69240", "gpu_uuid": "ccff", "gpu_id": "2", "hostname": "tw038", "card_model": "102-G3",
        "card_series": "AMD Instinct MI300X OAM", "gpu_compute_partition_type": "spx", "gpu_partition_id": "0",
    }  # fmt: skip

    whole, part = (
        source_of("amd", labels, ""),
        source_of("amd", labels | {"gpu_compute_partition_type": "CPX"}, ""),
    )
    assert whole == Source("amd:69240", "tw038", 2, "AMD Instinct MI300X OAM", False)
    assert part == Source("amd:69240", "tw038", 2, "AMD Instinct MI300X OAM", True)
    assert of_a_slice("amd", labels | {"gpu_partition_id": "3"})


def test_what_has_no_device_or_no_node_is_left_out():
    """A row needs both."""
    assert source_of("dcgm", {"gpu": "0", "Hostname": "gw0"}, "") is None
    assert source_of("dcgm", DCGM, "rack") is None


def test_units_are_base_units_at_the_edge():
    """DCGM counts millijoules, AMD microjoules, nvidia_gpu_exporter joules."""
    assert SERIES["DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION"][:3] == ("dcgm", "energy", 1e-3)
    assert SERIES["dcgm_fb_used"][:3] == ("dcgm", "memory", 2.0**20)
    assert SERIES["GPU_ENERGY_CONSUMED"][:3] == ("amd", "energy", 1e-6)
    assert SERIES["amd_gpu_clock"][:3] == ("amd", "clock", 1e6)
    assert isinstance(SERIES["nvidia_smi_energy_joules_total"], Series)


def test_only_the_first_engine_clock_of_amd_counts():
    """Memory and video have clocks too."""
    assert not is_other_clock({"clock_type": "GPU_CLOCK_TYPE_SYSTEM", "clock_index": "0"})
    assert is_other_clock({"clock_type": "GPU_CLOCK_TYPE_SYSTEM", "clock_index": "1"})
    assert is_other_clock({"clock_type": "GPU_CLOCK_TYPE_MEMORY", "clock_index": "0"})
    assert not is_other_clock({})


def test_only_the_chosen_exporters_are_asked_for():
    """A site that has one does not search for the names of all."""
    assert names_of("info", frozenset({"dcgm"})) == ()
    assert names_of("power", frozenset({"dcgm"})) == ("DCGM_FI_DEV_POWER_USAGE", "dcgm_power_usage")
