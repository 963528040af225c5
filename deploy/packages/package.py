"""What is known of a package before its format is chosen."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import content
import elf
import tree

NAME = "gpuwatch"
SUMMARY = "what deep learning costs, told while the job runs"
DESCRIPTION = (
    "gpuwatch tells people what their training jobs use (device-hours, energy,",
    "money) and where they will end, while they run. An agent on each node reads",
    "the accelerators and says which job held them; accounting, on one host, keeps",
    "the ledger, forecasts, and warns. The package carries its own Python.",
)
_SCRIPTS = tree.HERE / "scripts"


@dataclass(frozen=True, slots=True)
class Package:
    """A tree that is filled, its version as Python writes it, the machine it runs on, and when it was made."""

    root: Path
    version: str
    machine: str
    epoch: int
    fast: bool

    def system_version(self) -> str:
        """The version so that both systems sort as Python does: what follows a tilde comes before nothing."""
        public, plus, local = self.version.partition("+")
        public = re.sub(r"\.dev(?=\d)", "~~dev", public)
        return re.sub(r"(?<=\d)(a|b|rc)(?=\d)", r"~\1", public) + plus + local

    def glibc(self) -> str:
        """The oldest C library that will do."""
        return ".".join(str(part) for part in elf.glibc_of(elf.binaries(self.root / "opt")))

    def script(self, name: str) -> str:
        """A script of scripts/, after what all of them share."""
        units = " ".join(content.units(self.root))
        common = (_SCRIPTS / "common.sh").read_text()
        return f'{common}\nunits="{units}"\n\n{(_SCRIPTS / name).read_text()}'
