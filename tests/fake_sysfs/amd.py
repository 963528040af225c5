"""Cards as amdgpu shows them in sysfs, and the processes that its compute driver (KFD) lists."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path

from tests.fake_sysfs.gpu_metrics import gpu_metrics

STEP_JOULES = 2.0**-16


class FakeCard:
    """One card: its files are where `path` is, and are what a test last wrote."""

    def __init__(self, root: Path, number: int, pci: str, device: int, *, hwmon: int = 3) -> None:
        self.root, self.number, self.pci = root, number, pci
        self.path = root / "devices" / "pci0000:00" / pci
        self.hwmon = self.path / "hwmon" / f"hwmon{hwmon}"
        self.hwmon.mkdir(parents=True)
        _link(root / "class" / "drm" / f"card{number}" / "device", self.path)
        _link(root / "bus" / "pci" / "devices" / pci, self.path)
        self.write("vendor", "0x1002")
        self.write("device", f"{device:#06x}")
        self.write("class", "0x120000")
        self.write("uevent", f"DRIVER=amdgpu\nPCI_SLOT_NAME={pci}")
        self.write("power/runtime_status", "active")
        self.load(0)
        self.memory(0, 64 * 2**30)

    @classmethod
    def at(cls, root: Path, number: int, pci: str, *, hwmon: int | None = None) -> FakeCard:
        """A card that was made before."""
        card = cls.__new__(cls)
        card.root, card.number, card.pci = root, number, pci
        card.path = root / "devices" / "pci0000:00" / pci
        card.hwmon = card.path / "hwmon" / f"hwmon{number + 2 if hwmon is None else hwmon}"
        return card

    def write(self, name: str, value: object) -> None:
        """Write a file of the card as the driver would, with a line end."""
        _write(self.path / name, f"{value}\n".encode())

    def sensor(self, name: str, value: object) -> None:
        """Write a file of its hardware monitor."""
        _write(self.hwmon / name, f"{value}\n".encode())

    def load(self, percent: int, memory: int = 0) -> None:
        """How busy it is."""
        self.write("gpu_busy_percent", percent)
        self.write("mem_busy_percent", memory)

    def memory(self, used: int, total: int) -> None:
        """Its own memory, in bytes."""
        self.write("mem_info_vram_used", used)
        self.write("mem_info_vram_total", total)

    def power(self, watts: float, *, kind: str = "average") -> None:
        """What it draws; `kind` is `average` or `input`."""
        self.sensor(f"power1_{kind}", round(watts * 1e6))

    def temperatures(self, **celsius: float) -> None:
        """By the driver's names, in the order of its numbers."""
        for number, (label, value) in enumerate(celsius.items(), 1):
            self.sensor(f"temp{number}_label", label)
            self.sensor(f"temp{number}_input", round(value * 1000))

    def clocks(self, sclk: int, mclk: int) -> None:
        """In Hz."""
        for number, (label, value) in enumerate((("sclk", sclk), ("mclk", mclk)), 1):
            self.sensor(f"freq{number}_label", label)
            self.sensor(f"freq{number}_input", value)

    def metrics(self, version: str, *, joules: float | None = None, **values: int | list[int]) -> None:
        """Its table, with an energy counter where joules are given."""
        if joules is not None:
            values["energy_accumulator"] = round(joules / STEP_JOULES)
        _write(self.path / "gpu_metrics", gpu_metrics(version, **values))

    def forget(self, name: str) -> None:
        """Take a file or a directory away."""
        gone = self.path / name
        shutil.rmtree(gone) if gone.is_dir() else gone.unlink()

    def partition(self, number: int) -> None:
        """A further card that is a partition of this one, and no PCI device."""
        platform = self.root / "devices" / "platform" / f"amdgpu_xcp_{number}"
        platform.mkdir(parents=True)
        _link(self.root / "class" / "drm" / f"card{number}" / "device", platform)

    def again(self, number: int) -> None:
        """A further card whose device is this one."""
        _link(self.root / "class" / "drm" / f"card{number}" / "device", self.path)


class FakeCompute:
    """The compute driver: its nodes, and the processes that opened it."""

    def __init__(self, root: Path) -> None:
        self.path = root / "class" / "kfd" / "kfd"
        (self.path / "proc").mkdir(parents=True)
        self.node(0, 0, {"cpu_cores_count": 64})

    def node(self, number: int, gpu_id: int, properties: Mapping[str, int]) -> None:
        """A node of the topology; a processor has gpu_id 0."""
        at = self.path / "topology" / "nodes" / str(number)
        _write(at / "gpu_id", f"{gpu_id}\n".encode())
        _write(at / "properties", "".join(f"{name} {value}\n" for name, value in properties.items()).encode())

    def gpu(self, number: int, gpu_id: int, card: FakeCard, *, unique_id: int = 0, part: int = 0) -> None:
        """The node of a card, or of a part of it."""
        domain, bus, rest = card.pci.split(":")
        slot, function = rest.split(".")
        location = int(bus, 16) << 8 | int(slot, 16) << 3 | int(function) | part
        self.node(number, gpu_id, {"domain": int(domain, 16), "location_id": location, "unique_id": unique_id})

    def link(self, one: int, other: int, width: int) -> None:
        """XGMI between two nodes, in both directions, of so many MB/s."""
        for here, there in ((one, other), (other, one)):
            at = self.path / "topology" / "nodes" / str(here) / "io_links"
            number = len(list(at.iterdir())) if at.is_dir() else 0
            lines = f"type 11\nnode_from {here}\nnode_to {there}\nweight 15\nmax_bandwidth {width}\n"
            _write(at / str(number) / "properties", lines.encode())

    def process(self, pid: int, memory: Mapping[int, int], queues: Mapping[int, int] | None = None) -> Path:
        """A process with so much memory on each card that it may use, and queues by number and card."""
        at = self.path / "proc" / str(pid)
        (at / "queues").mkdir(parents=True, exist_ok=True)
        for gpu_id, amount in memory.items():
            _write(at / f"vram_{gpu_id}", f"{amount}\n".encode())
        for number, gpu_id in (queues or {}).items():
            _write(at / "queues" / str(number) / "gpuid", f"{gpu_id}\n".encode())
        return at


def mi210(root: Path, number: int = 1, pci: str = "0000:43:00.0", unique_id: str = "8a1f0c3d5e7b9042") -> FakeCard:
    """An MI210 as kernel 5.15 to 6.8 shows it: average power, sensors of three kinds, table 1.3."""
    card = FakeCard(root, number, pci, 0x740F, hwmon=number + 2)
    card.write("unique_id", unique_id)
    card.write("product_name", "D67301")
    card.load(97, 42)
    card.memory(30 * 2**30, 64 * 2**30)
    card.power(280.0)
    card.sensor("power1_cap", 300_000_000)
    card.temperatures(edge=48.0, junction=61.0, mem=55.0)
    card.clocks(1_700_000_000, 1_600_000_000)
    card.metrics("1.3", joules=1000.0, indep_throttle_status=0)
    card.write("ras/umc_err_count", "ue: 0\nce: 3")
    return card


def mi250(
    root: Path, number: int = 1, pcis: tuple[str, str] = ("0000:c1:00.0", "0000:c6:00.0"), module: int = 0x5F
) -> tuple[FakeCard, FakeCard]:
    """The two dies of one MI250X: the first has the module's power, the second says 0 or nothing."""
    ids = (f"52a00e3b6f2ad{module:02x}1", f"52a00e3b6f2ad{module:02x}2")
    first, second = (mi210(root, number + die, pcis[die], ids[die]) for die in (0, 1))
    for card in (first, second):
        card.write("device", "0x7408")
    first.power(500.0)
    first.sensor("power1_cap", 560_000_000)
    second.power(0.0)
    second.sensor("power1_cap", 0)
    second.metrics("1.3", joules=0.0, indep_throttle_status=0)
    return first, second


def mi300x(
    root: Path, number: int = 1, pci: str = "0000:05:00.0", unique_id: str = "4f3e2d1c0b0a9988"
) -> FakeCard:
    """An MI300X as kernel 6.12, or AMD's driver 6.10, shows it: instant power alone, no edge, table 1.6."""
    card = FakeCard(root, number, pci, 0x74A1, hwmon=number + 4)
    card.write("unique_id", unique_id)
    card.write("product_name", "AMD Instinct MI300X OAM")
    card.load(88, 30)
    card.memory(100 * 2**30, 192 * 2**30)
    card.power(600.0, kind="input")
    card.sensor("power1_cap", 750_000_000)
    card.temperatures(junction=70.0, mem=60.0)
    card.clocks(2_100_000_000, 1_300_000_000)
    card.metrics(
        "1.6", joules=5000.0, **residencies(0, 0, 0), xgmi_read_data_acc=[10] * 8, xgmi_write_data_acc=[20] * 8
    )
    return card


def residencies(cycles: int, power: int, heat: int) -> dict[str, int | list[int]]:
    """How many of the cycles the clocks were held down by power and by the heat of the socket."""
    return {
        "accumulation_counter": cycles, "ppt_residency_acc": power, "socket_thm_residency_acc": heat,
        "prochot_residency_acc": 0, "vr_thm_residency_acc": 0, "hbm_thm_residency_acc": 0,
    }  # fmt: skip


def rx580(root: Path, number: int = 1, pci: str = "0000:0a:00.0") -> FakeCard:
    """A Polaris card: no unique id, no product name, no table, no load of the memory."""
    card = FakeCard(root, number, pci, 0x67DF)
    card.load(12)
    card.forget("mem_busy_percent")
    card.memory(2**30, 8 * 2**30)
    card.power(38.0)
    card.temperatures(edge=44.0)
    return card


def integrated(root: Path, number: int = 0, pci: str = "0000:0b:00.0") -> FakeCard:
    """Graphics within a processor."""
    card = FakeCard(root, number, pci, 0x1681)
    card.memory(2**28, 2**29)
    card.metrics("2.1")
    return card


def _link(link: Path, target: Path) -> None:
    link.parent.mkdir(parents=True, exist_ok=True)
    link.symlink_to(target)


def _write(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
