"""`gpuwatch budget` on a ledger of its own."""

from __future__ import annotations

import json
import re
import time
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import typer

from gpuwatch.cli.budget import budget
from gpuwatch.cli.budget_views import detail_lines, list_lines
from gpuwatch.errors import Unavailable
from gpuwatch.ledger.budgets import Budget, Committed, Expected, UserPart, Word
from gpuwatch.ledger.record_store import post_grants, post_records
from gpuwatch.ledger.store import open_store
from gpuwatch.schedulers.base import Grant
from tests.ledger.batch import HOUR, record, running
from tests.ledger.foretold import post_forecast

NOW = time.time()
GRANT = Grant("default", "ml", "", "gres/gpu", 100 * HOUR, 40 * HOUR, NOW - 60, "root", ("ada",), source="slurm")
# 2023-11-14 08:30 UTC
THEN = 1_699_950_600.0
DAY = 86_400.0


@pytest.fixture
def ledger(tmp_path: Path) -> str:
    """One account with a grant that ran a job yesterday, one of the same name elsewhere, and one without."""
    job = {"started": NOW - DAY, "ended": NOW - DAY + 10 * HOUR, "seen": NOW - DAY + 10 * HOUR}
    store = open_store(str(tmp_path / "ledger.db"))
    with store.writing() as connection:
        post_records(connection, [record("1", **job), record("2", account="physics", **job)])
        post_records(connection, [record("3", account="physics", cluster="other", **job)])
        post_grants(connection, [GRANT])
    store.close()
    return store.where


def view(**changed: Any) -> Budget:
    values: dict[str, Any] = {
        "cluster": "default", "account": "ml", "resource": "gres/gpu", "now": THEN,
        "grant": Grant("default", "ml", "", "gres/gpu", 100 * HOUR, 40 * HOUR, THEN - 60, source="slurm"),
        "recorded_seconds": 20 * HOUR, "recorded_since": THEN - DAY, "unknown_jobs": 0,
        "committed": Committed(3 * HOUR, 12 * HOUR, 1, 4, 1), "pace": 20 * HOUR / (7 * DAY), **changed,
    }  # fmt: skip
    grant, recorded = values["grant"], values["recorded_seconds"]
    told = (Word(grant, recorded),) if grant and grant.used_seconds is not None else ()
    return Budget(**{"words": told, **values})


def test_a_budget_is_told_line_by_line() -> None:
    """Both figures of what was used, what is promised, and when nothing is left."""
    told = view(
        parent="root", accounts=("text", "vision"), coordinators=("ada",),
        expected=Expected(1.5 * HOUR, 2 * HOUR, 2.5 * HOUR, 1, 0.002),
        users=(UserPart("bob", 9 * HOUR, HOUR, 2 * HOUR), UserPart("ada", None, None, HOUR)),
    )  # fmt: skip

    assert [
        "account ml of cluster default, device-hours",
        "  granted     100; slurm told it 1 min ago",
        "  used        40 (40 %) by the word of slurm, 1 min ago; the records say 20 less",
        "              20 by the ledger's records since 2023-11-13",
        "  committed   15 at most, until their time limits: 3 by 1 job that runs, 12 by 4 jobs that wait",
        "              without 1 job that has no time limit",
        "  expected    2 more by 1 job that runs, 80 % between 1.5 and 2.5",
        "              more than is left with probability below 1 %, with what waits until its time limits",
        "  left        60; 45 once all that is committed is used",
        "  pace        2.9 a day in the last 7 days",
        "              runs out on 2023-12-05, in 21 d, at the pace of the last 7 days",
        "  part of     root",
        "  includes    text, vision",
        "  coordinated by ada",
        "",
        "USER  GRANTED  USED  BY RECORDS",
        "bob         9     1           2",
    ] == list(detail_lines(told))


@pytest.mark.parametrize(
    ("changed", "line"),
    [
        ({"grant": None}, "no limit is known"),
        ({"grant": None, "within": "all"}, "no limit is known; all, which it is part of, has one"),
        (
            {"recorded_seconds": 40 * HOUR},
            "40 (40 %) by the word of slurm, 1 min ago; the records say the same",
        ),
        ({"unknown_jobs": 2}, "without 2 jobs of which nobody told how much it is"),
        ({"committed": Committed()}, "nothing: no job runs or waits"),
        ({"pace": 0.0}, "does not run out, at the pace of the last 7 days"),
        (
            {"recorded_since": None, "recorded_seconds": 0.0},
            "40 (40 %) by the word of slurm, 1 min ago; the records say 40 less",
        ),
        ({"resource": "mem", "grant": None}, "not known"),
    ],
)
def test_what_is_not_known_is_said(changed: dict[str, Any], line: str) -> None:
    """And nothing is made up in its place."""
    assert line in [each[14:] for each in detail_lines(view(**changed))]


@pytest.mark.parametrize(
    ("changed", "lines"),
    [
        (
            {"committed": Committed(30 * HOUR, 0.0, 3)},
            ["20 more by 2 of 3 jobs that run, 80 % between 10 and 30", "more than is left with probability 40 %"],
        ),
        ({"grant": None}, ["20 more by 1 job that runs, 80 % between 10 and 30"]),
    ],
)
def test_what_is_expected_says_of_how_many_jobs_it_is(changed: dict[str, Any], lines: list[str]) -> None:
    """Of some nothing can be said; and without a limit nothing is left or not."""
    p_over = None if "grant" in changed else 0.4
    told = view(expected=Expected(10 * HOUR, 20 * HOUR, 30 * HOUR, 2, p_over), **changed)

    found = [each[14:] for each in detail_lines(told)]

    assert lines == [each for each in found if "80 %" in each or "probability" in each]


def test_what_is_expected_is_in_json(ledger: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Null where nothing is forecast; by what the latest pass said, less what was used by then."""
    keys = ("expected_low_hours", "expected_hours", "expected_high_hours", "expected_jobs", "over_probability")
    budget("ml", resource="gres/gpu", ledger=ledger, as_json=True)
    before = json.loads(capsys.readouterr().out)
    with closing(open_store(ledger)) as store, store.writing() as connection:
        post_records(connection, [running("9", started=NOW - HOUR, seen=NOW)])
        post_forecast(connection, "9", 2 * HOUR, (4, 5, 6, 7, 8, 9, 10), NOW)

    budget("ml", resource="gres/gpu", ledger=ledger, as_json=True)
    after = json.loads(capsys.readouterr().out)

    assert (None, None, None, 0, None) == tuple(before[key] for key in keys)
    assert pytest.approx((3.0, 5.0, 7.0, 1, 0.0)) == tuple(after[key] for key in keys)


def test_every_word_is_compared_with_the_records_of_its_own_period() -> None:
    """Slurm's share of the limit, and its yearly report."""
    slurm = Grant("default", "ml", "", "gres/gpu", 100 * HOUR, 40 * HOUR, THEN - 60, source="slurm")
    report = replace(slurm, limit_seconds=None, used_seconds=30 * HOUR, starts=THEN - 3 * DAY, source="sreport")

    lines = [each[14:] for each in detail_lines(view(words=(Word(slurm, 20 * HOUR), Word(report, 31 * HOUR))))]

    assert "40 (40 %) by the word of slurm, 1 min ago; the records say 20 less" in lines
    assert "30 by the word of sreport since 2023-11-11, 1 min ago; the records say 1 more" in lines


def test_a_grant_of_a_period_lasts_until_its_end() -> None:
    """Where the pace leaves something at the end."""
    period = Grant("default", "ml", "", "gres/gpu", 100 * HOUR, None, THEN, starts=THEN - DAY, ends=THEN + DAY,
                   source="csv")  # fmt: skip

    lines = [each[14:] for each in detail_lines(view(grant=period, recorded_since=THEN))]

    assert "100, from 2023-11-13 until 2023-11-15; csv told it 0 s ago" in lines
    assert "lasts until the period ends on 2023-11-15, at the pace of the last 7 days" in lines


def test_a_hostile_account_stays_on_its_line() -> None:
    """Names come from outside."""
    (_, row, _), lines = list_lines([view(account="a\nb")], "gres/gpu"), list(detail_lines(view(account="a\nb")))

    assert row.startswith("a\ufffdb")
    assert r"account a\nb of cluster default, device-hours" == lines[0]


def test_all_accounts_are_one_line_each(ledger: str, capsys: pytest.CaptureFixture[str]) -> None:
    """With their clusters where there are several."""
    budget(account=None, resource="gres/gpu", ledger=ledger)

    lines = [re.sub(r" +", " ", line) for line in capsys.readouterr().out.splitlines()]
    day = re.search(r"\d{4}-\d\d-\d\d", lines[1])
    assert day is not None
    assert [
        "ACCOUNT GRANTED USED COMMITTED EXPECTED LEFT A DAY RUNS OUT SOURCE",
        f"ml (default) 100 40 0 60 2.9 {day[0]} slurm",
        "physics (default) 20 0 2.9",
        "root (default) 20 0 2.9",
        "physics (other) 20 0 2.9",
    ] == lines[:-1]


def test_json_of_one_account_is_an_object_in_hours(ledger: str, capsys: pytest.CaptureFixture[str]) -> None:
    """With what is not known as null."""
    budget("ml", resource="gres/gpu", ledger=ledger, as_json=True)

    told = json.loads(capsys.readouterr().out)
    assert (100.0, 40.0, 60.0, "slurm") == tuple(
        told[key] for key in ("granted_hours", "used_hours", "left_hours", "source")
    )
    assert (20.0, 20.0, None) == tuple(told[key] for key in ("recorded_hours", "difference_hours", "starts"))
    assert [{"user": "ada", "granted_hours": None, "reported_hours": None, "recorded_hours": 20.0}] == told[
        "users"
    ]


def test_json_of_all_accounts_is_a_list(ledger: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Of the same objects."""
    budget(account=None, resource="gres/gpu", ledger=ledger, as_json=True)

    assert ["ml", "physics", "root", "physics"] == [
        each["account"] for each in json.loads(capsys.readouterr().out)
    ]


def test_an_unknown_account_names_the_nearest(ledger: str) -> None:
    """Nobody remembers how it is written."""
    with pytest.raises(Unavailable, match="account 'phisics': not in the ledger; there is: physics"):
        budget("phisics", resource="gres/gpu", ledger=ledger)


def test_an_account_of_two_clusters_needs_the_cluster(ledger: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Two accounts of one name have nothing to do with each other."""
    with pytest.raises(typer.BadParameter, match="known in default, other"):
        budget("physics", resource="gres/gpu", ledger=ledger)

    budget("physics", resource="gres/gpu", cluster="other", ledger=ledger)
    assert "account physics of cluster other" in capsys.readouterr().out


def grouping(tmp_path: Path) -> Path:
    """A configuration in which ml of everywhere and the other cluster's physics are one group."""
    path = tmp_path / "gpuwatch.toml"
    path.write_text('[accounting.groups]\nvision = ["*/ml", "other/physics"]\nempty = ["*/nobody"]\n')
    return path


def test_a_group_is_the_sum_of_its_accounts(
    ledger: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Over clusters; of which one has no limit."""
    budget(resource="gres/gpu", group="vision", ledger=ledger, config_file=grouping(tmp_path))

    assert [
        "ACCOUNT GRANTED USED COMMITTED EXPECTED LEFT A DAY RUNS OUT",
        "default/ml 100 40 0 60 2.9 DAY",
        "other/physics 20 0 2.9",
        "group vision 100 60 0 60 5.7 DAY",
        "No limit is known of other/physics: what they used is not taken off what is left.",
    ] == [
        " ".join(re.sub(r"[0-9-]{10}$", "DAY", line).split()) for line in capsys.readouterr().out.splitlines()[:-1]
    ]

    budget(resource="gres/gpu", group="vision", ledger=ledger, config_file=grouping(tmp_path), as_json=True)
    told = json.loads(capsys.readouterr().out)
    assert (100.0, 60.0, 60.0, ["other/physics"], 2) == (
        told["granted_hours"], told["used_hours"], told["left_hours"], told["without_limit"],
        len(told["accounts"]),
    )  # fmt: skip


def test_a_group_that_is_none_is_said(ledger: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Not configured, without an account yet, or beside an account."""
    path = grouping(tmp_path)
    with pytest.raises(Unavailable, match="group 'speech': not in"):
        budget(group="speech", ledger=ledger, config_file=path)
    with pytest.raises(typer.BadParameter, match="stands beside --group"):
        budget("ml", group="vision", ledger=ledger, config_file=path)

    budget(group="empty", resource="gres/gpu", ledger=ledger, config_file=path)
    assert "No account of group empty in the ledger yet.\n" == capsys.readouterr().out


def test_a_ledger_without_accounts_says_where_they_come_from(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Before the first batch system told of one."""
    open_store(str(tmp_path / "ledger.db")).close()

    budget(account=None, resource="gres/gpu", ledger=str(tmp_path / "ledger.db"))

    assert "No account in the ledger yet" in capsys.readouterr().out
