"""`gpuwatch campaign`, `tag` and `untag` on a ledger of their own, which belongs to who runs the tests."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from gpuwatch.cli import campaign as commands
from gpuwatch.cli.job_words import user_name
from gpuwatch.cli.tag import split, tag, untag
from gpuwatch.errors import DeclarationError, Forbidden, Rejected, Unavailable
from gpuwatch.ledger import campaign_store
from gpuwatch.ledger.record_store import post_records
from gpuwatch.ledger.store import open_store
from gpuwatch.schedulers.base import Live
from tests.cli.command import gpuwatch
from tests.ledger.batch import T0, record
from tests.ledger.told import BOB, EVE, NOW, fill, jobs


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[str]:
    """Jobs 1 to 6 of `told`, and an array of two tasks."""
    store = open_store(str(tmp_path / "ledger.db"))
    fill(store)
    with store.writing() as connection:
        post_records(connection, [record("13", name="t", display="12_1"), record("12", name="t", display="12_2")])
    store.close()
    yield f"sqlite:///{tmp_path / 'ledger.db'}"


def ask(ledger: str, asker: Any, *job_ids: str) -> None:
    """Somebody else asks for jobs."""
    store = open_store(ledger)
    with store.writing() as connection:
        campaign_store.add(connection, asker, "llama", jobs(connection, *job_ids), NOW)
    store.close()


def shown(ledger: str, capsys: pytest.CaptureFixture[str], name: str = "llama", **options: Any) -> Any:
    capsys.readouterr()
    commands.show(name, ledger=ledger, as_json=True, **options)
    return json.loads(capsys.readouterr().out)


def members(ledger: str, capsys: pytest.CaptureFixture[str]) -> set[str]:
    return {each["job"] for each in shown(ledger, capsys)["members"]}


def test_jobs_are_named_as_people_name_them(ledger: str, capsys: pytest.CaptureFixture[str]) -> None:
    """By id, range, display, whole array and name."""
    for words, expected in (
        (["2"], {"1", "2"}),
        (["3-4"], {"1", "2", "3", "4"}),
        (["12_1"], {"1", "2", "3", "4", "13"}),
        (["12_*", "other"], {"1", "2", "3", "4", "12", "13", "5"}),
    ):
        commands.add("llama", words, ledger=ledger)
        assert expected == members(ledger, capsys)

    commands.remove("llama", ["1-4", "12_*"], "not these", ledger=ledger)
    assert "6 jobs removed from llama" in capsys.readouterr().out
    assert {"5"} == members(ledger, capsys)


@pytest.mark.parametrize(
    ("word", "error"),
    [
        ("nothing", Unavailable),
        ("9-8", Rejected),
        ("1-99999", Rejected),
        ("%", Unavailable),
        ("77_*", Unavailable),
    ],
)
def test_a_word_that_means_no_job_is_an_error(ledger: str, word: str, error: type[Exception]) -> None:
    """And nothing is written, of the other words neither."""
    with pytest.raises(error):
        commands.add("new", ["2", word], ledger=ledger)
    with pytest.raises(Unavailable):
        commands.show("new", ledger=ledger)


def test_who_asked_for_what_is_shown_without_what_it_used(ledger: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Until the owner agrees, which the ledger's administrator cannot for him."""
    ask(ledger, EVE, "3")

    document = shown(ledger, capsys)
    assert ["3"] == [each["job"] for each in document["asked"]]
    with pytest.raises(Forbidden, match="its owner agrees"):
        commands.agree("llama", ["3"], ledger=ledger)
    commands.show("llama", ledger=ledger)
    assert "asked      3: its owner has not agreed; eve asked 2023-11-14" in capsys.readouterr().out


def test_an_agreement_for_all_is_said(ledger: str, capsys: pytest.CaptureFixture[str]) -> None:
    """And taken back."""
    commands.agree("llama", ledger=ledger)
    commands.disagree("llama", ledger=ledger)

    assert ["agreed for all your jobs in llama", "disagreed for all your jobs in llama"] == (
        capsys.readouterr().out.splitlines()
    )


def test_a_campaign_is_shown_with_what_may_be_forgotten(ledger: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Totals, how runs ended, members and why."""
    commands.add("llama", ["2", "4"], ledger=ledger)
    capsys.readouterr()
    commands.show("llama", ledger=ledger)

    lines = capsys.readouterr().out.splitlines()
    assert [
        "campaign llama",
        "             3 jobs, 2023-11-14 08:00Z to 2023-11-14 09:00Z (1 h)",
        "             of ada, eve",
        "  charged    6 device-hours",
        "             6 device-hours by the batch system's word",
        "  held       no agent saw a device held",
        "  energy     not measured",
        "  runs       2 completed: 4 device-hours (67 %)",
        "             1 failed: 2 device-hours (33 %)",
        "             of all, 1 job debugging: 2 device-hours (33 %)",
        "  declared   nothing",
        "",
    ] == lines[:12]
    assert ["JOB", "NAME", "USER", "STATE", "DEVICE-HOURS", "ENERGY", "RUNS", "BELONGS", "TAGS"] == lines[
        12
    ].split()
    assert f"added by {user_name()}" in lines[14]
    assert any(line.startswith("3    llama-7b-3") for line in lines[17:])


def test_candidates_are_listed(ledger: str, capsys: pytest.CaptureFixture[str]) -> None:
    """As a table and as JSON."""
    commands.candidates("llama", ledger=ledger, as_json=True)
    assert ["2", "3"] == sorted(each["job"] for each in json.loads(capsys.readouterr().out))

    commands.candidates("llama", ledger=ledger)
    assert capsys.readouterr().out.startswith("JOB  NAME")


def test_patterns_are_made_listed_and_dropped(ledger: str, capsys: pytest.CaptureFixture[str]) -> None:
    """The ledger's owner may read all jobs."""
    commands.pattern("llama", "llama-7b-*", account="ml", since="2023-11-14", ledger=ledger)
    assert {"1", "2", "3"} == members(ledger, capsys)

    commands.pattern("llama", ledger=ledger)
    listed = capsys.readouterr().out
    assert f"1: llama-7b-*, account ml, from 2023-11-14 00:00Z; by {user_name()}\n" == listed
    commands.pattern("llama", drop=1, ledger=ledger)
    assert {"1"} == members(ledger, capsys)


def test_hours_by_tag(ledger: str, capsys: pytest.CaptureFixture[str]) -> None:
    """As for the rows of a paper's table."""
    commands.add("llama", ["2", "3"], ledger=ledger)
    tag(["1", "2", "table:3"], ledger=ledger)
    rows = shown(ledger, capsys, by="tag:table")
    assert [("3", 2), (None, 1)] == [(each["value"], each["jobs"]) for each in rows]

    untag(["1", "table:"], ledger=ledger)
    capsys.readouterr()
    commands.show("llama", by="tag:table", ledger=ledger)
    assert [
        "TABLE      JOBS  RUNS  DEVICE-HOURS  OF IT FAILED  ENERGY  COST",
        "3             1     1             2             2",
        "(without)     2     2             4             0",
    ] == capsys.readouterr().out.splitlines()
    with pytest.raises(typer.BadParameter):
        commands.show("llama", by="table", ledger=ledger)


def test_tags_and_jobs_are_told_apart() -> None:
    """By the colon; a job with one is named `job:`."""
    assert (["1", "user:ada"], ["a:b"]) == split(["1", "job:user:ada", "a:b"], "")
    for words in (["1"], ["a:b"]):
        with pytest.raises(DeclarationError, match="named; write for example 1201 1202 table:3"):
            split(words, "table:3")


def test_a_snapshot_is_shown_with_what_changed_since(ledger: str, capsys: pytest.CaptureFixture[str]) -> None:
    """First nothing, then a member more."""
    commands.freeze("llama", "camera-ready", ledger=ledger)
    assert capsys.readouterr().out.startswith("llama#1 frozen: 1 job, sha256 ")
    commands.show("llama#1", ledger=ledger)
    assert "The ledger says the same today." in capsys.readouterr().out

    commands.add("llama", ["2"], ledger=ledger)
    document = shown(ledger, capsys, "llama#1")
    assert (1, "camera-ready", True) == (
        len(document["frozen"]["members"]), document["label"], document["intact"],
    )  # fmt: skip
    assert {"job": "2", "figure": "member", "then": False, "now": True} in document["differences"]
    commands.show("llama#1", ledger=ledger)
    assert "  job 2: became a member\n" in capsys.readouterr().out


@pytest.mark.parametrize("name", ["llama#", "llama#x", "llama#-1", "llama#1#2", "llama#9999999999"])
def test_a_snapshot_has_a_number(ledger: str, name: str) -> None:
    """Anything else is a mistake."""
    with pytest.raises(DeclarationError, match="write for example llama#1"):
        commands.show(name, ledger=ledger)


def test_campaigns_are_listed(ledger: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Those without a job too."""
    commands.add("empty", ["2"], ledger=ledger)
    commands.remove("empty", ["2"], ledger=ledger)
    capsys.readouterr()
    commands.list_(ledger=ledger)

    assert [
        "CAMPAIGN  STATE  FROM        TO          JOBS  DEVICE-HOURS  ENERGY",
        "empty                                       0             0",
        "llama     ended  2023-11-14  2023-11-14     1             2",
    ] == capsys.readouterr().out.splitlines()


def test_hostile_names_do_no_harm_in_a_terminal(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Escapes, markup and lines of their own are shown as what they are."""
    store = open_store(str(tmp_path / "ledger.db"))
    said = Live(T0, comment="gpuwatch: campaign=x")
    with store.writing() as connection:
        post_records(connection, [record("1", said, name="\x1b[31m[red]\n'; drop table", user="\u202eada")])
    store.close()
    commands.show("x", ledger=f"sqlite:///{tmp_path / 'ledger.db'}")

    text = capsys.readouterr().out
    assert "\x1b" not in text and "\u202e" not in text
    assert "[red]" in text


def test_a_ledger_that_is_not_there_is_not_made(tmp_path: Path) -> None:
    """Nobody adds jobs to a ledger that has none."""
    with pytest.raises(Unavailable, match="cannot be reached"):
        commands.add("x", ["1"], ledger=f"sqlite:///{tmp_path / 'none.db'}")
    assert [] == list(tmp_path.iterdir())


def test_a_file_that_is_no_ledger_is_not_made_one(tmp_path: Path) -> None:
    """Accounting makes ledgers, and brings old ones up to date."""
    (tmp_path / "empty.db").touch()

    with pytest.raises(Unavailable, match="is no ledger yet"):
        commands.add("x", ["1"], ledger=f"sqlite:///{tmp_path / 'empty.db'}")


@pytest.mark.skipif(os.getuid() == 0, reason="root may write every file")
def test_a_ledger_that_may_not_be_written_says_what_to_do(ledger: str) -> None:
    """Who may read it still may read."""
    Path(ledger.removeprefix("sqlite:///")).chmod(0o440)

    with pytest.raises(Forbidden, match="you may read it and not write it; ask the accounting's API"):
        commands.add("x", ["1"], ledger=ledger)


def test_exit_codes_say_what_went_wrong(ledger: str) -> None:
    """64 for a wrong name, 69 for what is not there, 77 for what is not theirs."""
    ask(ledger, BOB, "1")

    for arguments, code in (
        (("add", "a b", "2"), 64),
        (("show", "nowhere"), 69),
        (("agree", "llama", "1"), 77),
        (("show", "llama"), 0),
    ):
        assert code == gpuwatch("campaign", *arguments, "--ledger", ledger).returncode


def test_what_was_said_is_kept_with_who_and_why(ledger: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Also what counts no more; hostile reasons stay on their line."""
    commands.add("llama", ["2"], "mine after all", ledger=ledger)
    commands.remove("llama", ["2"], "no\x1b[2J", ledger=ledger)
    capsys.readouterr()

    commands.log("llama", ledger=ledger)
    lines = capsys.readouterr().out.splitlines()
    commands.log("llama", ledger=ledger, as_json=True)
    documents = json.loads(capsys.readouterr().out)
    commands.log("nothing", ledger=ledger)

    assert (
        ["add", "remove"]
        == [each["what"] for each in documents]
        == [line.split(": ")[1].split()[0] for line in lines]
    )
    assert lines[0].endswith(f"{user_name()} as admin: add job 2 of default: mine after all")
    assert "\x1b" not in lines[1]
    assert "Nothing was said of it after the fact.\n" == capsys.readouterr().out
