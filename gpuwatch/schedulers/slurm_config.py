"""The configuration of a Slurm cluster, as far as it matters to accounting."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from gpuwatch.errors import Unavailable
from gpuwatch.schedulers.slurm_tres import DEVICES

_LINE = re.compile(r"([A-Za-z][A-Za-z0-9_./]*)\s*=\s*(.*)")


@dataclass(frozen=True, slots=True)
class Configuration:
    """What `scontrol show config` tells, by the names of slurm.conf in small letters."""

    values: Mapping[str, str]

    @property
    def cluster(self) -> str:
        """ClusterName."""
        return self.values["clustername"]

    @property
    def accounts_devices(self) -> bool:
        """Whether TRES of jobs have their devices, so that a job whose TRES name none has none."""
        return not self._not_accounted()

    def _not_accounted(self) -> list[str]:
        """The resources of the cluster that are devices, and are not told of jobs."""
        names = [name for name in DEVICES if name in self.words("GresTypes")] or ["gpu"]
        accounted = self.words("AccountingStorageTRES")
        return [f"gres/{name}" for name in names if f"gres/{name}" not in accounted]

    def words(self, name: str) -> frozenset[str]:
        """The words of a list, in small letters."""
        return frozenset(word.strip().lower() for word in self.values.get(name.lower(), "").split(",") if word)

    def losses(self) -> tuple[str, ...]:
        """What this configuration makes gpuwatch lose, in words."""
        found = []
        if lacking := self._not_accounted():
            what = f"AccountingStorageTRES lacks {', '.join(lacking)}"
            found.append(f"{what}: devices of a job are known only where it was seen running")
        if "job_comment" not in self.words("AccountingStoreFlags"):
            found.append(
                "AccountingStoreFlags lacks job_comment: comments count only where the job was seen before its end"
            )
        hidden = self.words("PrivateData") & {"jobs", "accounts", "usage", "users"}
        if hidden:
            found.append(
                f"PrivateData has {', '.join(sorted(hidden))}: only an operator of Slurm sees those of others"
            )
        if "slurmdbd" not in self.values.get("accountingstoragetype", ""):
            found.append("AccountingStorageType is not slurmdbd: jobs that end between two polls may be missed")
        if "limits" not in self.words("AccountingStorageEnforce"):
            found.append("AccountingStorageEnforce lacks limits: what accounts used is told for this year only")
        return tuple(found)


def configuration(lines: Iterable[str]) -> Configuration:
    """Read the lines of `scontrol show config`; `Unavailable` where the cluster's name is not among them."""
    found: dict[str, str] = {}
    for line in lines:
        if (match := _LINE.fullmatch(line.strip())) is not None:
            found.setdefault(match[1].lower(), "" if match[2] in ("(null)", "none") else match[2])
    if not found.get("clustername"):
        raise Unavailable("scontrol show config: does not tell ClusterName")
    return Configuration(found)
