"""Campaigns and accounts: who belongs, rows by tag, trials, and what was declared."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from gpuwatch.errors import Rejected
from gpuwatch.ledger import campaign_store
from gpuwatch.ledger.charging import catch_up
from gpuwatch.ledger.store import Store, open_store
from gpuwatch.reports import reading
from gpuwatch.reports.document import document
from gpuwatch.reports.markdown import markdown
from gpuwatch.reports.statement import Statement
from tests.ledger import told
from tests.ledger.batch import HOUR, T0, record
from tests.ledger.test_charging import NOW, tariffs, tell
from tests.reports import campaigns
from tests.reports.made import made


@pytest.fixture(scope="module")
def campaign(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Statement]:
    """Sixty jobs of eight devices, some in vain, some only trials, for three tables."""
    store = open_store(str(tmp_path_factory.mktemp("reports") / "ledger.db"))
    now = campaigns.fill(store)
    yield made(store, now, "campaign", campaigns.NAME, tag="table")
    store.close()


def test_failed_and_debugging_runs_are_in_the_total_and_shown(campaign: Statement) -> None:
    """What a paper leaves out most often."""
    by_outcome = {group.name: group.count for group in campaign.outcomes}

    assert {"completed", "failed", "cancelled"} == set(by_outcome)
    assert 60 == sum(by_outcome.values()) == len(campaign.runs)
    assert 8 == campaign.debugging.count
    assert campaign.debugging.device_seconds < campaign.total.device_seconds
    assert pytest.approx(1.0) == sum(group.share or 0 for group in campaign.outcomes)


def test_rows_of_the_papers_table_add_up(campaign: Statement) -> None:
    """By the values of a tag in order, and those without it last."""
    assert ["table:1", "table:2", "table:3", "without table"] == [group.name for group in campaign.tags]
    assert pytest.approx(campaign.total.device_seconds) == sum(each.device_seconds for each in campaign.tags)
    assert pytest.approx(campaign.total.carbon.value) == sum(each.carbon.value or 0 for each in campaign.tags)
    assert pytest.approx(campaign.total.cost["EUR"]) == sum(each.cost["EUR"] for each in campaign.tags)


def test_every_revision_stands_beside_what_it_came_to(campaign: Statement) -> None:
    """The one in force, and the original one."""
    energy, hours = sorted(campaign.declared, key=lambda each: each.quantity != "energy")

    assert [(3300 * HOUR, True, False), (2400 * HOUR, False, True)] == [
        (each.estimate.likely, each.in_force, each.original) for each in hours.revisions
    ]
    assert hours.ratio == pytest.approx(campaign.total.device_seconds / HOUR / 3300)
    assert hours.original_ratio == pytest.approx(campaign.total.device_seconds / HOUR / 2400)
    assert energy.final == campaign.total.device_energy.value


def test_every_identity_holds(campaign: Statement) -> None:
    """A statement of a real pipeline's figures is true to itself."""
    assert () == campaign.lint.findings
    assert len(campaign.lint.checks) >= 14


def test_flop_of_what_ended_well_over_all_device_time(campaign: Statement) -> None:
    """Failed runs are in the time and not in the FLOP."""
    good = sum(row.outcome == "completed" for row in campaign.runs)

    assert (6 * 8e9 * 2.2e9 * good, 60 - good) == (campaign.computed.flop, campaign.computed.left_out)
    assert ("bf16", False) == (campaign.computed.precision, campaign.computed.assumed)
    used = (campaign.computed.flop or 0) / campaign.total.device_seconds / 989e12
    assert used == pytest.approx(campaign.computed.utilization)


def test_no_person_node_or_device_is_named(campaign: Statement) -> None:
    """A statement is for people outside; the author is the owner of all jobs, or who is given."""
    text = markdown(campaign) + str(document(campaign))

    assert "gw0" not in text
    assert "GPU-0-0" not in text
    assert 2 == text.count("'ada'") + text.count("**author**: ada")


def test_jobs_whose_owners_have_not_agreed_are_not_counted(store: Store) -> None:
    """Bob asks for a job of eve's: it is a number, and nothing else."""
    told.fill(store)
    catch_up(store, "default", tariffs(), told.NOW)
    with store.writing() as connection:
        campaign_store.add(connection, told.ADA, "llama", told.jobs(connection, "4"), told.NOW)

    found = made(store, told.NOW, "campaign", "llama")

    assert ([("1", "completed")], 1) == ([(row.job, row.outcome) for row in found.runs], found.waiting)
    assert "llama-debug" not in markdown(found)
    assert "figures of 1 job" in {each.what for each in found.unknown}


def test_an_account_is_its_jobs_in_a_time(store: Store) -> None:
    """Runs that reach beyond the time count at an even rate; other accounts' jobs are not in it."""
    tell(store, [record("7"), record("8", account="cv"), record("9", started=T0 + HOUR, ended=T0 + 3 * HOUR)])
    catch_up(store, "default", tariffs(), NOW)

    found = made(store, NOW, "account", "ml", begins=T0 + HOUR / 2, ends=T0 + 2 * HOUR)

    assert [("7", HOUR), ("9", 2 * HOUR)] == [(row.job, row.device_seconds) for row in found.runs]
    assert pytest.approx(6.0) == found.cost["EUR"].value
    assert "of all time" not in markdown(found)


def test_too_many_jobs_are_refused(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rather than taking an hour."""
    monkeypatch.setattr(reading, "MOST_JOBS", 1)
    tell(store, [record("7"), record("8")])

    with pytest.raises(Rejected, match="ask for a shorter time"):
        made(store, NOW, "account", "ml", begins=T0 - HOUR)


def test_a_year_is_drawn_by_months(tmp_path: Path) -> None:
    """Four hundred bars would say nothing."""
    store = open_store(str(tmp_path / "ledger.db"))
    now = campaigns.fill(store, 120, 380.0, 2)
    found = made(store, now, "campaign", campaigns.NAME)
    store.close()

    from gpuwatch.reports.plots import plot

    drawn = plot("days", found)
    assert "device-hours by month" in drawn
    assert "Sep 2024" in drawn
    assert drawn.count("<rect") < 60
    assert len(found.burn_up) <= 242
