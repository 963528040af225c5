"""`gpuwatch check` on nodes of one vendor and of none: what is found, what is not here, what a source tells."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.cli.command import gpuwatch
from tests.fake_tpu import FakeNode, FakeRuntime
from tests.pci import with_nvidia

pytestmark = pytest.mark.integration


def findings(folder: Path, sysfs: Path, procfs: str = "/proc", more: str = "") -> dict[str, Any]:
    """What it says of device sources, by what it is about."""
    path = folder / "gpuwatch.toml"
    path.write_text(
        f"""
[site]
sysfs = "{sysfs}"
procfs = "{procfs}"
[agent]
state_directory = "{folder}/state"
socket = "{folder}/agent.sock"
{more}
"""
    )
    done = gpuwatch("check", "--probe", "--json", "--config", str(path))
    found = json.loads(done.stdout)["findings"]
    return {each["what"]: (each["status"], each["detail"]) for each in found if "device" in each["what"]}


def test_a_node_of_no_vendor_has_nothing_wrong(tmp_path: Path) -> None:
    """Each source is named, none is a warning."""
    (tmp_path / "sys" / "bus").mkdir(parents=True)
    found = findings(tmp_path, tmp_path / "sys")

    assert {"devices.nvidia", "devices.tpu", "devices.amd"} == set(found)
    assert {"ok"} == {status for status, _ in found.values()}
    assert "nothing to read here; tpu: no TPU is on the PCI bus" == found["devices.tpu"][1]
    assert "nothing to read here; nvidia: no NVIDIA GPU is on the PCI bus" == found["devices.nvidia"][1]


def test_a_card_that_nothing_drives_is_a_warning(tmp_path: Path) -> None:
    """A GPU is on the bus, its driver is not: that is no node without GPUs."""
    found = findings(tmp_path, with_nvidia(tmp_path))

    assert "warning" == found["devices.nvidia"][0]
    assert "libnvidia-ml.so.1 is not installed" in found["devices.nvidia"][1]
    assert "ok" == found["devices.tpu"][0]


def test_a_tpu_host_says_what_is_read_from_where(tmp_path: Path) -> None:
    """Chips, the port that answers and what it lists, the one that does not, who is seen, and what energy is."""
    node = FakeNode(tmp_path / "host", "v5e", 2)
    runtime = FakeRuntime([0, 1])
    try:
        found = findings(
            tmp_path,
            node.sysfs,
            str(node.procfs),
            f'devices = ["tpu"]\n[devices.tpu]\nports = [{runtime.port}, 1]',
        )
    finally:
        runtime.stop()

    assert ("ok", "2 × TPU v5e") == found["devices.tpu"]
    assert ("ok", "3 values") == found[f"read device {node.uid(0)}"]
    assert found[f"devices.tpu: port {runtime.port}"][1].startswith("lists 3 metrics: tpu.runtime.hbm.memory")
    assert ("ok", "nobody listens; no workload here") == found["devices.tpu: port 1"]
    assert ("ok", "whoever opens /dev/vfio/0, /dev/vfio/1 is seen") == found["devices.tpu: holders"]
    assert (
        "warning",
        "none: no interface tells it, and watts of a TPU v5e, idle and busy, are not known",
    ) == found["devices.tpu: energy"]
