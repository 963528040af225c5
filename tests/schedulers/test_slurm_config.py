"""What Slurm's configuration means for accounting."""

from __future__ import annotations

import pytest

from gpuwatch.errors import Unavailable
from gpuwatch.schedulers.slurm_config import configuration

GOOD = [
    "Configuration data as of 2026-11-25T13:00:00",
    "AccountingStorageEnforce = associations,limits",
    "AccountingStorageTRES   = cpu,mem,energy,node,billing,fs/disk,vmem,pages,gres/gpu",
    "AccountingStorageType   = accounting_storage/slurmdbd",
    "AccountingStoreFlags    = job_comment",
    "ClusterName             = gwtest",
    "PrivateData             = none",
    "",
    "Cgroup Support Configuration:",
    "ConstrainDevices        = yes",
]


def test_a_configuration_that_keeps_all_loses_nothing() -> None:
    """Its cluster has a name, and its TRES have devices."""
    found = configuration(GOOD)

    assert ("gwtest", True, ()) == (found.cluster, found.accounts_devices, found.losses())


LOSSES = {
    "AccountingStorageTRES = cpu,mem,gres/gpumem": "AccountingStorageTRES lacks gres/gpu",
    "AccountingStorageType = (null)": "AccountingStorageType is not slurmdbd",
    "AccountingStoreFlags = (null)": "AccountingStoreFlags lacks job_comment",
    "AccountingStorageEnforce = none": "AccountingStorageEnforce lacks limits",
    "PrivateData = cloud,jobs,usage": "PrivateData has jobs, usage",
}


@pytest.mark.parametrize(
    ("types", "accounted", "lacks"),
    [
        ("gpu,tpu", "gres/gpu", "gres/tpu"),
        ("tpu", "cpu,mem", "gres/tpu"),
        ("gpu,tpu", "mem", "gres/gpu, gres/tpu"),
        ("tpu", "gres/tpu", ""),
        ("gpu,tpu,lscratch", "gres/gpu,gres/tpu,gres/tpu:v5e", ""),
        ("(null)", "gres/gpu", ""),
        ("lscratch", "gres/lscratch", "gres/gpu"),
    ],
)
def test_every_kind_of_device_has_to_be_accounted(types: str, accounted: str, lacks: str) -> None:
    """Else a job whose TRES name none may have one after all."""
    others = [each for each in GOOD if not each.startswith("AccountingStorageTRES")]
    found = configuration([*others, f"GresTypes = {types}", f"AccountingStorageTRES = {accounted}"])

    losses = [f"AccountingStorageTRES lacks {lacks}"] if lacks else []
    assert losses == [each.partition(":")[0] for each in found.losses()]
    assert found.accounts_devices == (not lacks)


@pytest.mark.parametrize(("line", "expected"), LOSSES.items())
def test_what_is_lost_is_told(line: str, expected: str) -> None:
    """One thing at a time."""
    name = line.split()[0]
    (found,) = configuration([line, *(each for each in GOOD if not each.startswith(name))]).losses()

    assert found.startswith(expected)


def test_a_configuration_without_cluster_is_none() -> None:
    """Slurm's commands print messages, too."""
    with pytest.raises(Unavailable, match="ClusterName"):
        configuration(["slurm_load_ctl_conf error: Unable to contact slurm controller"])
