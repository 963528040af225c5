"""What `gpuwatch check` says of the batch systems that accounting is to ask."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from gpuwatch import config
from gpuwatch.cli.scheduler_inspection import schedulers
from gpuwatch.settings import Settings
from tests.schedulers.fake_slurm import COMMANDS, CONFIG, START, FakeSlurm, queued

NOW = START + 3600.0
KEEPS = "AccountingStoreFlags = job_comment\nAccountingStorageType = accounting_storage/slurmdbd\n"
LIMITS = "AccountingStorageEnforce = associations,limits\n"


@pytest.fixture
def slurm(tmp_path: Path) -> FakeSlurm:
    """A Slurm with one job that runs."""
    fake = FakeSlurm(tmp_path)
    fake.say("squeue", queued())
    return fake


def said(slurm: FakeSlurm, probe: bool, **changed: Any) -> list[tuple[str, str, str]]:
    """What is found out, by what, result and detail."""
    paths = {f"schedulers.slurm.{name}": str(slurm.folder / name) for name in COMMANDS}
    overrides = {"accounting.schedulers": ["slurm"], **paths, **changed}
    settings = config.with_overrides(Settings(), overrides)
    return [(each.what, each.status, each.detail) for each in schedulers(settings, probe, 5.0, NOW)]


def test_nothing_is_asked_without_probe(slurm: FakeSlurm) -> None:
    """A batch system is not disturbed by a look at the configuration."""
    assert [("schedulers.slurm", "ok", "loaded; --probe asks it")] == said(slurm, probe=False)
    assert [] == slurm.asked()


def test_a_probe_tells_what_was_answered_and_what_is_lost(slurm: FakeSlurm) -> None:
    """Slurm as it comes drops comments when a job ends."""
    found = said(slurm, probe=True)

    assert ("ask schedulers.slurm", "ok", "1 jobs told of, 1 of them running") == found[0]
    warnings = [
        detail for what, status, detail in found if (what, status) == ("set-up of schedulers.slurm", "warning")
    ]
    assert any("AccountingStoreFlags lacks job_comment: comments count only where" in each for each in warnings)


def test_a_set_up_that_loses_nothing_is_said_to(slurm: FakeSlurm) -> None:
    """One line, and no warning."""
    slurm.say("scontrol-config", *(CONFIG + KEEPS + LIMITS).splitlines())

    found = said(slurm, probe=True)

    assert ("set-up of schedulers.slurm", "ok", "nothing that accounting needs is lost") == found[-1]


def test_a_batch_system_that_does_not_answer_is_a_warning(slurm: FakeSlurm) -> None:
    """In its own words; the agent runs all the same."""
    for answer in ("squeue", "sacct-fields", "scontrol-config", "sacctmgr-assoc"):
        slurm.fail(answer, "slurm_load_jobs error: Unable to contact slurm controller")

    found = said(slurm, probe=True)

    assert {"warning"} == {status for _, status, _ in found}
    assert "Unable to contact slurm controller" in found[0][2]


def test_a_mistake_in_its_table_is_a_warning_here(slurm: FakeSlurm) -> None:
    """Where accounting runs it is what keeps it from starting; `check` of a node goes on."""
    found = said(slurm, probe=False, **{"schedulers.slurm.timeout_seconds": -1})

    assert [("schedulers.slurm", "warning")] == [(what, status) for what, status, _ in found]
    assert "timeout_seconds" in found[0][2]
