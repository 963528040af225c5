"""`gpuwatch jobs --by` on a ledger of its own."""

from __future__ import annotations

import csv
import json
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
import typer

from gpuwatch.cli.jobs import By, jobs
from gpuwatch.cli.periods import defused
from gpuwatch.ledger.charging import Tariffs, catch_up
from gpuwatch.ledger.rates import Rates
from gpuwatch.ledger.record_store import post_records
from gpuwatch.ledger.store import open_store
from tests.ledger.batch import HOUR, T0, record

# T0 is 2023-11-14 08:00 UTC.
MIDNIGHT = T0 + 16 * HOUR


@pytest.fixture
def ledger(tmp_path: Path) -> str:
    """A job over midnight, a formula for a user, and a job of nobody whose devices are not known."""
    told = [
        record("7", started=MIDNIGHT - 2 * HOUR, ended=MIDNIGHT + HOUR, seen=MIDNIGHT + HOUR),
        record("8", user="=HYPERLINK(1)", devices=1.0),
        record("9", user="", devices=None),
    ]
    store = open_store(str(tmp_path / "ledger.db"))
    with store.writing() as connection:
        post_records(connection, told)
    catch_up(store, "default", Tariffs(Rates.of(())), T0 + 24 * HOUR)
    store.close()
    return store.where


def printed(capsys: pytest.CaptureFixture[str], ledger: str, **options: Any) -> str:
    jobs(ledger=ledger, until="2023-12", **options)
    return capsys.readouterr().out


def test_a_table_adds_up_by_day(ledger: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Numbers end at the right, the total counts each job once, and what is not known is named."""
    lines = printed(capsys, ledger, by=By.DAY).splitlines()

    assert [
        "DAY         DEVICE-HOURS  CPU-HOURS  JOBS",
        "2023-11-14             5         64     3",
        "2023-11-15             2         16     1",
        "total                  7         80     3",
        "The devices of 1 job are not known: its device-hours are missing.",
    ] == lines


def test_days_are_those_of_the_time_zone(ledger: str, capsys: pytest.CaptureFixture[str]) -> None:
    """In Tokyo all of it was on the 15th, but for the jobs of the morning."""
    rows = json.loads(printed(capsys, ledger, by=By.DAY, timezone="Asia/Tokyo", as_json=True))

    assert [("2023-11-14", 1.0), ("2023-11-15", 6.0)] == [(row["name"], row["device_hours"]) for row in rows]


def test_json_has_the_name_hours_and_jobs_of_each_group(ledger: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Null is nobody, and what is not known."""
    rows = json.loads(printed(capsys, ledger, by=By.USER, as_json=True))

    assert [
        {"by": "user", "name": "ada", "device_hours": 6.0, "cpu_hours": 48.0, "jobs": 1},
        {"by": "user", "name": "=HYPERLINK(1)", "device_hours": 1.0, "cpu_hours": 16.0, "jobs": 1},
        {"by": "user", "name": None, "device_hours": None, "cpu_hours": 16.0, "jobs": 1},
    ] == [{name: each[name] for name in ("by", "name", "device_hours", "cpu_hours", "jobs")} for each in rows]
    assert ({}, None, 6.0, None) == (
        rows[0]["cost"], rows[0]["energy_joules"], rows[0]["allocated_device_hours"], rows[0]["held_device_hours"],
    )  # fmt: skip


def test_csv_is_read_by_a_spreadsheet_without_harm(ledger: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A user's name is no formula."""
    rows = list(csv.reader(StringIO(printed(capsys, ledger, by=By.USER, as_csv=True))))

    assert [
        ["by", "name", "device_hours", "cpu_hours", "jobs"],
        ["user", "ada", "6", "48", "1"],
        ["user", "'=HYPERLINK(1)", "1", "16", "1"],
        ["user", "", "", "16", "1"],
    ] == [each[:5] for each in rows]
    assert ["energy_joules", "facility_joules", "carbon_grams", "cost", "currency", "host_joules"] == rows[0][5:]


@pytest.mark.parametrize("text", ["=1", "+1", "-1", "@x", "\t=1", "\r=1"])
def test_formulas_are_defused(text: str) -> None:
    """Each sign that begins one."""
    assert f"'{text}" == defused(text)


@pytest.mark.parametrize(
    ("since", "hours"),
    [("2023-11", 7.0), ("2023-11-15", 2.0), ("2023-11-14T23:30", 3.0), ("2023-11-15T00:30+01:00", 3.0)],
)
def test_from_takes_days_months_and_times(
    ledger: str, capsys: pytest.CaptureFixture[str], since: str, hours: float
) -> None:
    """In the time zone of `--timezone` where they name none."""
    (row,) = json.loads(printed(capsys, ledger, by=By.MONTH, since=since, as_json=True))

    assert hours == row["device_hours"]


def test_groups_are_the_sites(ledger: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Whatever a cluster calls the account."""
    path = tmp_path / "gpuwatch.toml"
    path.write_text('[accounting.groups]\nvision = ["default/ml"]\n')

    (row,) = json.loads(printed(capsys, ledger, by=By.GROUP, as_json=True, config_file=path))
    assert ("group", "vision", 7.0, 3) == (row["by"], row["name"], row["device_hours"], row["jobs"])
    (row,) = json.loads(printed(capsys, ledger, by=By.GROUP, as_json=True))
    assert row["name"] is None


def test_nothing_in_the_time_asked_for_is_said(ledger: str, capsys: pytest.CaptureFixture[str]) -> None:
    """In words for people, as an empty list for programs."""
    assert "Nothing was held in that time" in printed(capsys, ledger, by=By.DAY, since="2023-11-20")
    assert [] == json.loads(printed(capsys, ledger, by=By.DAY, since="2023-11-20", as_json=True))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"by": By.DAY, "timezone": "Mars/Olympus"}, "no time zone"),
        ({"by": By.DAY, "timezone": "../../etc/passwd"}, "no time zone"),
        ({"by": By.DAY, "since": "yesterday"}, "no time"),
        ({"by": By.DAY, "days": 3.0}, "is for the list"),
        ({"by": By.DAY, "since": "2023-13-01"}, "no time"),
        ({"by": By.DAY, "since": "2024-03-01"}, "is not after"),
        ({"by": By.DAY, "as_json": True, "as_csv": True}, "one of them"),
    ],
)
def test_what_cannot_be_meant_is_a_usage_error(ledger: str, options: dict[str, Any], message: str) -> None:
    """With what to write."""
    with pytest.raises(typer.BadParameter, match=message):
        jobs(ledger=ledger, until="2023-12", **options)


@pytest.mark.parametrize(
    "options", [{"since": "2023-11"}, {"until": "2023-11"}, {"as_csv": True}, {"timezone": "Asia/Tokyo"}]
)
def test_options_of_groups_need_groups(ledger: str, options: dict[str, Any]) -> None:
    """An option that cannot be honoured is not ignored."""
    with pytest.raises(typer.BadParameter, match="needs --by"):
        jobs(ledger=ledger, **options)
