"""The node's network, read from made-up procfs and sysfs trees."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gpuwatch.errors import Unavailable
from gpuwatch.host.network import NetworkSource
from gpuwatch.model import EMPTY, Site

HEAD = "Inter-|   Receive                         |  Transmit\n face |bytes    packets errs drop | bytes packets\n"


def source(root: Path, **options: object) -> NetworkSource:
    """A source whose procfs and sysfs are below `root`."""
    return NetworkSource(
        NetworkSource.Settings(**options), Site(procfs=str(root / "proc"), sysfs=str(root / "sys"))
    )


def interfaces(root: Path, *lines: str) -> None:
    """Write net/dev with these lines."""
    (root / "proc" / "net").mkdir(parents=True, exist_ok=True)
    (root / "proc" / "net" / "dev").write_text(HEAD + "".join(line + "\n" for line in lines))


def counters(name: str, received: int = 1, sent: int = 2) -> str:
    """A line of net/dev, with 3 receive errors and 4 transmit errors."""
    return f"{name}: {received} 10 3 0 0 0 0 0 {sent} 20 4 0 0 0 0 0"


def operstate(root: Path, name: str, state: str) -> None:
    """Say how an interface is."""
    path = root / "sys" / "class" / "net" / name
    path.mkdir(parents=True)
    (path / "operstate").write_text(state + "\n")


def port(root: Path, device: str, number: str, rate: str = "200 Gb/sec (4X HDR)", **values: object) -> Path:
    """Make an InfiniBand port with the given counters."""
    path = root / "sys" / "class" / "infiniband" / device / "ports" / number
    (path / "counters").mkdir(parents=True)
    (path / "rate").write_text(rate + "\n")
    for name, value in values.items():
        (path / "counters" / name).write_text(f"{value}\n")
    return path


def test_ethernet_counters_and_state(tmp_path: Path) -> None:
    """Bytes and errors in both directions, and whether the link is up."""
    interfaces(tmp_path, "  " + counters("eth0", 1000, 2000), counters("ib0:", 5, 6).replace("::", ":"))
    operstate(tmp_path, "eth0", "up")
    operstate(tmp_path, "ib0", "lowerlayerdown")

    reading = source(tmp_path).read(7.0)
    assert reading.network_receive_bytes == {"eth0": 1000.0, "ib0": 5.0}
    assert reading.network_transmit_bytes == {"eth0": 2000.0, "ib0": 6.0}
    assert reading.network_receive_errors == {"eth0": 3.0, "ib0": 3.0}
    assert reading.network_transmit_errors == {"eth0": 4.0, "ib0": 4.0}
    assert (reading.network_up, reading.time) == ({"eth0": 1.0, "ib0": 0.0}, 7.0)


def test_state_that_is_not_kept_is_unknown(tmp_path: Path) -> None:
    """`unknown`, and no operstate at all, are neither up nor down."""
    interfaces(tmp_path, counters("eth0"), counters("eth1"))
    operstate(tmp_path, "eth0", "unknown")

    assert source(tmp_path).read(1.0).network_up == EMPTY


@pytest.mark.parametrize(
    "name", ["lo", "veth12ab", "docker0", "cali3f0c", "br-1a2b3c", "cni0", "flannel.1", "virbr0", "lxcbr0"]
)
def test_ends_of_containers_networks_are_left_out(tmp_path: Path, name: str) -> None:
    """Loopback, and what the node makes for its containers."""
    interfaces(tmp_path, counters(name), counters("eth0"))

    assert {"eth0"} == source(tmp_path).read(1.0).network_receive_bytes.keys()


def test_what_is_left_out_can_be_set(tmp_path: Path) -> None:
    """The setting replaces the built-in pattern."""
    interfaces(tmp_path, counters("lo"), counters("eth0"))

    assert {"lo"} == source(tmp_path, exclude="eth.*").read(1.0).network_receive_bytes.keys()


def test_number_of_interfaces_is_bounded(tmp_path: Path) -> None:
    """A node with hundreds of interfaces shows as many as it is told to."""
    interfaces(tmp_path, *(counters(f"eth{i}") for i in range(200)))

    assert len(source(tmp_path).read(1.0).network_receive_bytes) == 64


def test_infiniband_counts_words_of_four_bytes(tmp_path: Path) -> None:
    """port_*_data counts words; the rate is in bits; errors are by counter."""
    interfaces(tmp_path)
    port(tmp_path, "mlx5_0", "1", port_rcv_data=100, port_xmit_data=25, link_downed=2, symbol_error=0)

    reading = source(tmp_path).read(1.0)
    assert reading.infiniband_receive_bytes == {("mlx5_0", "1"): 400.0}
    assert reading.infiniband_transmit_bytes == {("mlx5_0", "1"): 100.0}
    assert reading.infiniband_rate_bytes_per_second == {("mlx5_0", "1"): 25e9}
    assert reading.infiniband_errors == {
        ("mlx5_0", "1", "link_downed"): 2.0,
        ("mlx5_0", "1", "symbol_error"): 0.0,
    }


def test_counter_that_a_port_does_not_have_is_absent(tmp_path: Path) -> None:
    """`N/A (no PMA)` is what the kernel writes then; it is not 0, and the other port is not affected."""
    interfaces(tmp_path)
    port(tmp_path, "mlx5_0", "1", rate="?", port_rcv_data="N/A (no PMA)", port_xmit_data=-1)
    port(tmp_path, "mlx5_1", "1", rate="2.5 Gb/sec (1X SDR)", port_rcv_data=1)

    reading = source(tmp_path).read(1.0)
    assert reading.infiniband_receive_bytes == {("mlx5_1", "1"): 4.0}
    assert reading.infiniband_transmit_bytes == EMPTY
    assert reading.infiniband_rate_bytes_per_second == {("mlx5_1", "1"): 2.5e9 / 8}


def test_node_with_infiniband_only_is_read(tmp_path: Path) -> None:
    """No net/dev is no reason to hide the ports."""
    port(tmp_path, "mlx5_0", "1", port_rcv_data=1)

    assert source(tmp_path).read(1.0).infiniband_receive_bytes == {("mlx5_0", "1"): 4.0}


def test_node_without_any_network_file_is_unavailable(tmp_path: Path) -> None:
    """The message names the file that should be there."""
    with pytest.raises(Unavailable, match="net/dev"):
        source(tmp_path).read(1.0)


def test_node_with_loopback_only_is_no_error(tmp_path: Path) -> None:
    """A node may have no interface worth showing."""
    interfaces(tmp_path, counters("lo"))

    assert source(tmp_path).read(1.0).network_receive_bytes == EMPTY


@pytest.mark.parametrize(
    "line",
    ["eth0 1 2 3", "eth0:", counters("../../etc"), counters("."), counters(""), counters("a" * 16),
     counters("eth0").replace(" 10 ", " -10 "), counters("eth0").replace(" 10 ", " 1e9 ")],
)  # fmt: skip
def test_malformed_line_is_skipped(tmp_path: Path, line: str) -> None:
    """What is not a line as the kernel writes it counts for nothing, and hides nothing."""
    interfaces(tmp_path, line, counters("eth1"))

    assert {"eth1"} == source(tmp_path).read(1.0).network_receive_bytes.keys()


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow], max_examples=60)
@given(st.binary(max_size=300), st.binary(max_size=40))
def test_hostile_files_never_crash(tmp_path: Path, listing: bytes, counter: bytes) -> None:
    """Whatever the files contain, the source answers with numbers from 0 up."""
    interfaces(tmp_path)
    (tmp_path / "proc" / "net" / "dev").write_bytes(listing)
    path = tmp_path / "sys" / "class" / "infiniband" / "mlx5_0" / "ports" / "1" / "counters"
    path.mkdir(parents=True, exist_ok=True)
    (path / "port_rcv_data").write_bytes(counter)

    reading = source(tmp_path).read(1.0)
    assert all(number >= 0 for number in reading.infiniband_receive_bytes.values())
    assert all(number >= 0 for number in reading.network_receive_bytes.values())


def test_eight_ports_are_read_cheaply(tmp_path: Path) -> None:
    """A node with eight adapters and eight interfaces costs about a millisecond of CPU, not ten."""
    interfaces(tmp_path, *(counters(f"ib{i}") for i in range(8)))
    for i in range(8):
        port(tmp_path, f"mlx5_{i}", "1", port_rcv_data=1, port_xmit_data=2, symbol_error=0, link_downed=0)
    network = source(tmp_path)

    began = time.process_time()
    for now in range(20):
        network.read(float(now))
    assert (time.process_time() - began) / 20 < 0.003


def test_new_port_is_seen_within_a_minute(tmp_path: Path) -> None:
    """Which files there are is looked up once a minute only."""
    interfaces(tmp_path)
    network = source(tmp_path)
    network.read(1000.0)
    port(tmp_path, "mlx5_0", "1", port_rcv_data=1)

    assert [len(network.read(now).infiniband_receive_bytes) for now in (1030.0, 1061.0)] == [0, 1]
