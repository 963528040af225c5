"""The PCI bus and the device nodes of a TPU host, in a folder."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from gpuwatch.model import Site
from tests.pci import GOOGLE, add_function

GIB = 2**30


@dataclass(frozen=True)
class Generation:
    """How a generation shows itself: PCI ids, devices of a chip for its runtime and their memory, its node."""

    model: str
    device: int
    subsystem: int
    devices: int
    memory_bytes: int
    vfio: bool
    chips: int
    functions: int = 1
    duty_by_chip: bool = False


GENERATIONS = {
    "v2": Generation("TPU v2", 0x0027, 0x004E, 2, 8 * GIB, False, 4, duty_by_chip=True),
    "v3": Generation("TPU v3", 0x0027, 0x004F, 2, 16 * GIB, False, 4, duty_by_chip=True),
    "v4": Generation("TPU v4", 0x005E, 0, 1, 32 * GIB, False, 4),
    "v5e": Generation("TPU v5e", 0x0063, 0, 1, 16 * GIB, True, 8),
    "v5p": Generation("TPU v5p", 0x0062, 0, 1, 95 * GIB, True, 4),
    "v6e": Generation("TPU v6e", 0x006F, 0, 1, 32 * GIB, True, 8),
    "7x": Generation("TPU7x", 0x0076, 0, 2, 96 * GIB, True, 4, functions=2),
}
# What else the vendor puts into a host: a network card and a disk.
OTHERS = ((0x0042, 0x020000), (0x001F, 0x010802))


class FakeNode:
    """A host with chips of one generation; whatever a test writes into the folder is on its bus."""

    def __init__(self, folder: Path, generation: str, chips: int | None = None) -> None:
        self.folder = folder
        self.generation = GENERATIONS[generation]
        self.chips = self.generation.chips if chips is None else chips
        self.sysfs, self.dev, self.procfs = folder / "sys", folder / "dev", folder / "proc"
        self.addresses = [f"0000:00:{5 + chip:02x}.0" for chip in range(self.chips)]
        for number, (device, kind) in enumerate(OTHERS):
            add_function(self.sysfs, f"0000:00:{1 + number:02x}.0", GOOGLE, device, kind)
        (self.dev / "vfio").mkdir(parents=True)
        for chip in range(self.chips):
            self._add(chip)
        self._begin_procfs()

    def _add(self, chip: int) -> None:
        base = self.addresses[chip].rpartition(".")[0]
        for function in range(self.generation.functions):
            own = self.generation
            path = add_function(self.sysfs, f"{base}.{function}", GOOGLE, own.device, subsystem=own.subsystem)
            if own.vfio:
                group = chip * own.functions + function
                (path / "iommu_group").symlink_to(f"../../../kernel/iommu_groups/{group}")
                (self.sysfs / "kernel" / "iommu_groups" / str(group)).mkdir(parents=True)
                (self.dev / "vfio" / str(group)).touch()
            else:
                (path / "accel" / f"accel{chip}").mkdir(parents=True)
                (self.dev / f"accel{chip}").touch()

    def _begin_procfs(self) -> None:
        (self.procfs / "2").mkdir(parents=True)
        (self.procfs / "2" / "comm").write_text("kthreadd\n")

    def site(self, procfs: str | None = None) -> Site:
        """The host as a source is told of it; with its own procfs unless another one is given."""
        return Site("test", "host", procfs or str(self.procfs), str(self.sysfs))

    def uid(self, chip: int) -> str:
        """What gpuwatch calls a chip."""
        return f"tpu:{self.addresses[chip]}"

    def node(self, chip: int) -> Path:
        """The device node of a chip."""
        name = f"vfio/{chip * self.generation.functions}" if self.generation.vfio else f"accel{chip}"
        return self.dev / name

    def hold(self, pid: int, *chips: int, **environment: str) -> None:
        """A process, in the host's own procfs, that has the nodes of chips open."""
        descriptors = self.procfs / str(pid) / "fd"
        descriptors.mkdir(parents=True)
        (descriptors / "0").symlink_to("/dev/null")
        for place, chip in enumerate(chips):
            (descriptors / str(3 + place)).symlink_to(self.node(chip))
        (self.procfs / str(pid) / "cmdline").write_bytes(b"python\0train.py\0")
        words = [f"{name}={value}".encode() for name, value in environment.items()]
        (self.procfs / str(pid) / "environ").write_bytes(b"\0".join(words))

    def end(self, pid: int) -> None:
        """The process is gone."""
        for path in sorted((self.procfs / str(pid)).rglob("*"), reverse=True):
            path.rmdir() if path.is_dir() and not path.is_symlink() else path.unlink()
        os.rmdir(self.procfs / str(pid))

    def remove(self, chip: int) -> None:
        """The chip has fallen off the bus."""
        for path in (self.sysfs / "bus" / "pci" / "devices").glob(f"{self.addresses[chip][:-1]}*"):
            path.rename(self.folder / f"gone-{path.name}")
