"""AMD cards from sysfs: what is a card, what it is called, what is read, and what it may say instead."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gpuwatch import specs
from gpuwatch.devices.amd import AmdDevices
from gpuwatch.devices.amd_cards import NAMES
from gpuwatch.devices.checks import checked
from gpuwatch.errors import Absent, Unavailable
from gpuwatch.model import Device, Reading, Site, series_of
from tests.fake_sysfs import amd

Read = Callable[[], Reading]


class Ticks:
    """A monotonic clock that goes forward when it is told to."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def ticks() -> Ticks:
    """The clock of the sources that `source` makes."""
    return Ticks()


@pytest.fixture
def source(tmp_path: Path, ticks: Ticks) -> AmdDevices:
    """A source whose sysfs and procfs are below `tmp_path`."""
    return connect(tmp_path, ticks)


def connect(root: Path, clock: Callable[[], float], **options: bool) -> AmdDevices:
    site = Site(node="n1", sysfs=str(root), procfs=str(root / "proc"))
    return AmdDevices(AmdDevices.Settings(**options), site, clock=clock)


def only(source: AmdDevices) -> Device:
    """The one device of a node."""
    (device,) = source.scan(0.0)
    return device


def test_mi210_says_all_that_its_driver_keeps(tmp_path: Path, source: AmdDevices) -> None:
    """Ratios, bytes, watts, degrees, hertz, in base units and by the names of ours."""
    amd.mi210(tmp_path)

    reading = source.read(only(source), 7.0)
    assert (reading.utilization_ratio, reading.memory_utilization_ratio, reading.time) == (0.97, 0.42, 7.0)
    assert (reading.memory_used_bytes, reading.memory_total_bytes) == (30 * 2**30, 64 * 2**30)
    assert reading.power_watts == {("average", "device"): pytest.approx(280.0)}
    assert reading.power_limit_watts == pytest.approx(300.0)
    assert reading.temperature_celsius == {"edge": 48.0, "junction": 61.0, "memory": 55.0}
    assert reading.clock_hz == {"graphics": 1.7e9, "memory": 1.6e9}
    assert reading.ecc_errors == {("uncorrected", "volatile"): 0.0, ("corrected", "volatile"): 3.0}
    assert reading.throttle_seconds == {"sw_power_cap": 0.0, "hw_thermal": 0.0, "other": 0.0}
    assert reading.processes is None  # there is no compute driver to ask


def test_mi300x_has_instant_power_no_edge_and_links(tmp_path: Path, source: AmdDevices) -> None:
    """What newer firmware gives, and what it does not."""
    amd.mi300x(tmp_path)

    reading = source.read(only(source), 0.0)
    assert reading.power_watts == {("instant", "device"): pytest.approx(600.0)}
    assert reading.temperature_celsius == {"junction": 70.0, "memory": 60.0}
    assert reading.xgmi_bytes == {"transmit": 8 * 20 * 1024.0, "receive": 8 * 10 * 1024.0}
    assert reading.throttle_seconds == {"sw_power_cap": 0.0, "hw_thermal": 0.0}


def test_polaris_card_is_known_by_its_address_and_says_less(tmp_path: Path, source: AmdDevices) -> None:
    """It has no unique id, no name, no table: those values are absent, the others are there."""
    amd.rx580(tmp_path)
    device = only(source)

    reading = source.read(device, 0.0)
    assert (device.uid, device.pci, device.model) == ("amd:0000:0a:00.0", "0000:0a:00.0", "AMD 0x67df")
    assert (reading.utilization_ratio, reading.memory_utilization_ratio, reading.energy_joules) == (
        0.12,
        None,
        None,
    )
    assert reading.power_watts == {("average", "device"): pytest.approx(38.0)}


def test_devices_are_in_the_order_of_their_addresses(tmp_path: Path, source: AmdDevices) -> None:
    """Whatever the numbers of their cards."""
    amd.mi210(tmp_path, 7, "0000:03:00.0", "aaaaaaaaaaaaaaa1")
    amd.mi210(tmp_path, 2, "0000:83:00.0", "aaaaaaaaaaaaaaa2")
    amd.mi300x(tmp_path, 10, "0000:43:00.0")

    found = [(device.index, device.uid, device.model) for device in source.scan(0.0)]
    assert found == [
        (0, "amd:aaaaaaaaaaaaaaa1", "AMD Instinct MI210"),
        (1, "amd:4f3e2d1c0b0a9988", "AMD Instinct MI300X"),
        (2, "amd:aaaaaaaaaaaaaaa2", "AMD Instinct MI210"),
    ]


@pytest.mark.parametrize("said", ["", "0000000000000000", "ffffffffffffffff", "N/A", "../../etc", "0x"])
def test_unique_id_that_is_none_gives_way_to_the_address(tmp_path: Path, source: AmdDevices, said: str) -> None:
    """Empty, all zeros, all ones, no number."""
    amd.mi210(tmp_path, unique_id=said)

    assert "amd:0000:43:00.0" == only(source).uid


def test_partitions_are_one_device(tmp_path: Path, source: AmdDevices) -> None:
    """Cards of partitions are no PCI devices, and a second card with the same unique id is the same GPU."""
    card = amd.mi300x(tmp_path)
    for number in range(2, 9):
        card.partition(number)
    card.again(9)
    amd.mi300x(tmp_path, 10, "0000:05:00.1")

    assert "0000:05:00.0" == only(source).pci


@pytest.mark.parametrize(
    ("product", "model"), [("AMD Instinct MI250X", "MI250X"), ("D65205", "MI250"), ("", "MI250")]
)
def test_number_of_two_models_is_told_by_the_product_name(
    tmp_path: Path, source: AmdDevices, product: str, model: str
) -> None:
    """0x740c is an MI250X where the card says so."""
    card = amd.mi210(tmp_path)
    card.write("device", "0x740c")
    card.write("product_name", product)

    assert f"AMD Instinct {model}" == only(source).model


def test_product_name_counts_where_the_number_is_not_known(tmp_path: Path, source: AmdDevices) -> None:
    """A card of tomorrow calls itself what its maker wrote into it, made safe."""
    card = amd.mi210(tmp_path)
    card.write("device", "0x7fff")
    card.write("product_name", "AMD Instinct MI999" + "X" * 500)

    assert only(source).model.startswith("AMD Instinct MI999XX")
    assert len(only(source).model) <= 120


def test_known_models_have_their_specs() -> None:
    """By their name alone, peak rates and watts are found: for those that specs.toml has."""
    missing = {name for name in NAMES.values() if specs.lookup(name) is None}

    assert {"AMD Instinct MI210", "AMD Instinct MI250X", "AMD Instinct MI300X", "AMD Instinct MI325X"} <= set(
        NAMES.values()
    ) - missing


def test_driver_is_amds_own_or_the_kernels(tmp_path: Path, source: AmdDevices) -> None:
    """AMD's own module has a version; that of the kernel has the kernel's."""
    amd.mi210(tmp_path)
    release = tmp_path / "proc" / "sys" / "kernel"
    release.mkdir(parents=True)
    (release / "osrelease").write_text("6.8.0-45-generic\n")
    kernels = only(source).driver
    (tmp_path / "module" / "amdgpu").mkdir(parents=True)
    (tmp_path / "module" / "amdgpu" / "version").write_text("6.10.5\n")

    assert ("linux 6.8.0-45-generic", "6.10.5") == (kernels, only(source).driver)


def test_graphics_within_a_processor_are_left_out_unless_wanted(tmp_path: Path, ticks: Ticks) -> None:
    """A desktop's own graphics are no accelerator, and no fault."""
    amd.integrated(tmp_path)

    with pytest.raises(Absent, match="card0: graphics within a processor"):
        connect(tmp_path, ticks).scan(0.0)
    assert "amd:0000:0b:00.0" == only(connect(tmp_path, ticks, integrated=True)).uid


def test_node_without_amd_has_nothing_and_no_fault(tmp_path: Path, source: AmdDevices) -> None:
    """Neither a card nor anything on the bus; a card of another vendor is not ours."""
    with pytest.raises(Absent, match="no AMD GPU"):
        source.scan(0.0)
    amd.mi210(tmp_path).write("vendor", "0x10de")
    with pytest.raises(Absent, match="no AMD GPU"):
        source.scan(0.0)


def test_gpu_that_no_driver_shows_is_a_fault(tmp_path: Path, source: AmdDevices) -> None:
    """It is on the bus, and there is no card: the message says what to look at."""
    amd.mi210(tmp_path)
    (tmp_path / "class" / "drm" / "card1" / "device").unlink()

    with pytest.raises(Unavailable, match="is amdgpu loaded") as caught:
        source.scan(0.0)
    assert not isinstance(caught.value, Absent)


@pytest.mark.parametrize("gone", ["gpu_busy_percent", "hwmon", "gpu_metrics", "mem_info_vram_used", "ras"])
def test_file_that_goes_away_costs_its_own_value(tmp_path: Path, source: AmdDevices, gone: str) -> None:
    """The rest of the card is read on."""
    card = amd.mi210(tmp_path)
    device = only(source)
    source.read(device, 0.0)
    card.forget(gone)

    reading = source.read(device, 1.0)
    assert sum(1 for _ in series_of(reading)) >= 5
    assert (reading.utilization_ratio is None) == (gone == "gpu_busy_percent")
    assert (reading.memory_used_bytes is None) == (gone == "mem_info_vram_used")
    assert (not reading.power_watts) == (gone == "hwmon")


def test_card_that_is_gone_is_an_error_of_its_own(tmp_path: Path, source: AmdDevices) -> None:
    """The other card is read; the one that came back is as it was."""
    amd.mi210(tmp_path)
    lost = amd.mi300x(tmp_path, 2)
    one, two = sorted(source.scan(0.0), key=lambda device: device.model)
    lost.path.rename(tmp_path / "elsewhere")

    with pytest.raises(Unavailable, match="nothing can be read"):
        source.read(two, 1.0)
    assert 0.97 == source.read(one, 1.0).utilization_ratio
    assert [one.uid] == [device.uid for device in source.scan(2.0)]
    with pytest.raises(Unavailable, match="not there any more"):
        source.read(two, 3.0)
    (tmp_path / "elsewhere").rename(lost.path)
    assert {one.uid, two.uid} == {device.uid for device in source.scan(4.0)}
    assert 0.88 == source.read(two, 5.0).utilization_ratio


def test_monitor_with_a_new_number_is_found(tmp_path: Path, source: AmdDevices) -> None:
    """A driver loaded anew gives the card's monitor another directory: one read misses it."""
    card = amd.mi210(tmp_path)
    device = only(source)
    card.hwmon.rename(card.hwmon.with_name("hwmon99"))

    powers = [dict(source.read(device, now).power_watts) for now in (0.0, 1.0)]
    assert powers == [{}, {("average", "device"): pytest.approx(280.0)}]


@pytest.mark.parametrize("said", ["N/A", "", "12 34", "0x20", "1e3", "9" * 40, "³", "-"])
def test_what_is_no_number_is_absent(tmp_path: Path, source: AmdDevices, said: str) -> None:
    """In place of any number."""
    card = amd.mi210(tmp_path)
    device = only(source)
    for name in ("gpu_busy_percent", "mem_busy_percent", "mem_info_vram_used", "mem_info_vram_total"):
        card.write(name, said)
    for name in ("power1_average", "power1_cap", "temp1_input", "freq1_input"):
        card.sensor(name, said)

    reading = source.read(device, 0.0)
    assert (reading.utilization_ratio, reading.memory_used_bytes, reading.memory_total_bytes) == (None,) * 3
    assert (dict(reading.power_watts), reading.power_limit_watts) == ({}, None)
    assert (set(reading.temperature_celsius), set(reading.clock_hz)) == ({"junction", "memory"}, {"memory"})


def test_numbers_that_cannot_be_are_dropped_and_counted(tmp_path: Path, source: AmdDevices) -> None:
    """By the check that every reading goes through; what they were stays with the source as it was told."""
    card = amd.mi210(tmp_path)
    card.load(250, -3)
    card.power(-5.0)
    card.sensor("temp1_input", 999_000)

    reading, rejected = checked(source.read(only(source), 0.0))
    assert (reading.utilization_ratio, reading.memory_utilization_ratio, dict(reading.power_watts)) == (
        None,
        None,
        {},
    )
    assert rejected == {"too_high": 2, "too_low": 2}


def test_error_number_in_place_of_power_is_dropped_and_counted(tmp_path: Path, source: AmdDevices) -> None:
    """Some kernels print -EOPNOTSUPP without its sign: 4,295 W."""
    card = amd.mi210(tmp_path)
    card.sensor("power1_average", 2**32 - 95)

    reading, rejected = checked(source.read(only(source), 0.0))
    assert (dict(reading.power_watts), rejected) == ({}, {"sentinel": 1})


def test_card_that_sleeps_is_left_asleep(tmp_path: Path, source: AmdDevices) -> None:
    """Asking it how busy it is would wake it: only what its driver keeps itself is read."""
    card = amd.mi210(tmp_path)
    device = only(source)
    source.read(device, 0.0)
    card.write("power/runtime_status", "suspended")

    reading = source.read(device, 1.0)
    assert (reading.utilization_ratio, dict(reading.power_watts)) == (None, {})
    assert (reading.memory_used_bytes, reading.memory_total_bytes) == (30 * 2**30, 64 * 2**30)


def test_slow_values_are_read_every_ten_seconds(tmp_path: Path, source: AmdDevices, ticks: Ticks) -> None:
    """Errors of the memory are dear to ask for; meanwhile the last count stands."""
    card = amd.mi210(tmp_path)
    device = only(source)
    source.read(device, 0.0)
    card.write("ras/umc_err_count", "ue: 1\nce: 9")
    counts = []
    for _ in range(3):
        ticks.now += 4.0
        counts.append(source.read(device, 0.0).ecc_errors["corrected", "volatile"])

    assert counts == [3.0, 3.0, 9.0]


def test_counter_that_disagrees_is_counted_at_each_read(tmp_path: Path, source: AmdDevices, ticks: Ticks) -> None:
    """As on an MI100: it stands still under load. Power is there all the while."""
    amd.mi210(tmp_path)
    device = only(source)
    for _ in range(62):
        reading = source.read(device, 0.0)
        ticks.now += 1.0

    assert reading.energy_joules is None
    assert reading.power_watts
    assert {"counter_disagrees": 1} == dict(checked(reading)[1])
    assert ["disagrees with power and is not used; power is integrated"] == [
        told.detail.partition(": ")[2] for told in source.report() if "energy" in told.what
    ]


def test_report_says_what_of_a_card_can_be_read(tmp_path: Path, source: AmdDevices) -> None:
    """And what cannot, and why."""
    amd.mi250(tmp_path)
    amd.rx580(tmp_path, 3)
    source.scan(0.0)

    told = {each.what: (each.ok, each.detail) for each in source.report()}
    assert told["amd:52a00e3b6f2ad5f1 power"] == (
        True,
        "average; half of the module's, the other half is amd:52a00e3b6f2ad5f2's",
    )
    assert told["amd:52a00e3b6f2ad5f1 energy counter"] == (
        True,
        "gpu_metrics 1.3: is used once it has agreed with power",
    )
    assert told["amd:52a00e3b6f2ad5f2 energy counter"] == told["amd:52a00e3b6f2ad5f1 energy counter"]
    assert told["amd:0000:0a:00.0 energy counter"] == (False, "there is no gpu_metrics; power is integrated")
    assert not told["amd:0000:0a:00.0 processes"][0]


@settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    max_examples=60,
    deadline=None,
)
@given(
    st.dictionaries(
        st.sampled_from(
            ["unique_id", "product_name", "device", "gpu_busy_percent", "mem_busy_percent", "mem_info_vram_used",
             "gpu_metrics", "ras/umc_err_count", "power/runtime_status", "uevent", "hwmon/hwmon3/power1_average",
             "hwmon/hwmon3/power1_cap", "hwmon/hwmon3/temp1_label", "hwmon/hwmon3/temp1_input"]
        ),
        st.binary(max_size=150) | st.text("0123456789-N/Axuece: \n", max_size=60).map(str.encode),
    )
)  # fmt: skip
def test_hostile_files_give_readings_that_pass_or_none(tmp_path: Path, files: dict[str, bytes]) -> None:
    """Whatever the files contain: a card that is read or unavailable, and after the check only what can be."""
    root = tmp_path / "card"
    if not root.exists():
        amd.mi210(root)
    card_path = root / "devices" / "pci0000:00" / "0000:43:00.0"
    for name, content in files.items():
        (card_path / name).write_bytes(content)
    source = connect(root, lambda: 0.0)

    try:
        device = only(source)
        reading, _ = checked(source.read(device, 0.0))
    except Unavailable:
        return
    assert device.uid.isprintable() and device.model.isprintable()
    assert all(-40 <= number < 1e20 for _, _, number in series_of(reading))
