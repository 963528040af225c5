"""`gpuwatch report` as people start it."""

from __future__ import annotations

import json
import socket
from pathlib import Path

import pytest

from gpuwatch.ledger.store import open_store
from tests.cli.command import gpuwatch
from tests.reports import campaigns
from tests.reports.published import LLAMA_1, LLAMA_3


@pytest.fixture(scope="module")
def ledger(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Twelve jobs of a campaign."""
    path = tmp_path_factory.mktemp("report") / "ledger.db"
    store = open_store(str(path))
    campaigns.fill(store, 12, 6.0)
    store.close()
    return f"sqlite:///{path}"


def test_a_campaign_as_markdown(ledger: str) -> None:
    """Printed, where no file is named."""
    told = gpuwatch(
        "report", "--campaign", "llama-ft", "--by-tag", "table", "--ledger", ledger, "--author", "A. B."
    )

    assert (0, "") == (told.returncode, told.stderr)
    assert told.stdout.startswith("# Compute statement: campaign llama-ft\n")
    assert "## By table" in told.stdout
    assert "- **author**: A. B." in told.stdout


def test_the_ending_of_the_file_says_the_format(ledger: str, tmp_path: Path) -> None:
    """And nothing but one line is printed, to standard error."""
    page, data = tmp_path / "a.html", tmp_path / "a.json"

    told = gpuwatch("report", "1004", "--out", str(page), "--ledger", ledger)
    assert (0, "") == (told.returncode, told.stdout)
    assert "every identity holds" in told.stderr
    assert page.read_text().startswith("<!doctype html>")

    gpuwatch("report", "1004", "--out", str(data), "--ledger", ledger, "--flop", "1e20")
    assert 1e20 == json.loads(data.read_text())["flop"]["flop"]
    assert ["a.html", "a.json"] == sorted(each.name for each in tmp_path.iterdir())


def test_an_account_in_a_time(ledger: str) -> None:
    """Days and months as elsewhere."""
    told = gpuwatch(
        "report",
        "--account",
        "ml",
        "--from",
        "2024-09",
        "--to",
        "2024-09-04",
        "--format",
        "json",
        "--ledger",
        ledger,
    )

    document = json.loads(told.stdout)
    assert ("account", "ml") == (document["scope"]["kind"], document["scope"]["name"])
    assert 0 < len(document["jobs"]) < 12


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        ([], 64, "name one"),
        (["1", "--campaign", "x"], 64, "name one"),
        (["--account", "ml"], 64, "--from"),
        (["1", "--flop", "many"], 64, "--flop"),
        (["1", "--by-tag", "a b"], 64, "tag"),
        (["--campaign", "nothing"], 69, "not in the ledger"),
        (["nothing"], 69, "not in the ledger"),
        (["1", "--lint", "x.csv"], 64, "stands by itself"),
        (["1004", "--out", "/nowhere/at/all.md"], 69, "cannot be written"),
    ],
)
def test_mistakes_are_told(ledger: str, arguments: list[str], code: int, words: str) -> None:
    """With the exit codes of sysexits."""
    told = gpuwatch("report", *arguments, "--ledger", ledger)

    assert code == told.returncode
    assert words in told.stderr


def test_somebody_elses_figures(tmp_path: Path) -> None:
    """A table that is true passes; one that cannot be exits 65, with both sides and what would be right."""
    good, bad = tmp_path / "good.md", tmp_path / "bad.csv"
    good.write_text(LLAMA_1)
    bad.write_text(LLAMA_3)

    told = gpuwatch("report", "--lint", str(good))
    assert 0 == told.returncode
    assert "32 of 32 identities hold, over 4 rows" in told.stdout

    told = gpuwatch("report", "--lint", str(bad))
    assert 65 == told.returncode
    assert "WRONG: Llama 3.3 70B: implied intensity is a grid's" in told.stdout
    assert "off by a factor of 180" in told.stdout

    told = gpuwatch("report", "--lint", str(bad), "--format", "json")
    assert {"holds": 1, "note": 0, "doubtful": 0, "wrong": 1} == json.loads(told.stdout)["counts"]


@pytest.mark.parametrize(
    ("name", "text", "code"),
    [
        ("a.csv", "a,b\n1,2\n", 65),
        ("missing.csv", None, 69),
        ("a.html", "<p>hello", 65),
        ("binary", "\x00\xff", 65),
    ],
)
def test_what_is_no_table_is_refused(tmp_path: Path, name: str, text: str | None, code: int) -> None:
    """Without a traceback."""
    path = tmp_path / name
    if text is not None:
        path.write_bytes(text.encode("latin-1"))

    told = gpuwatch("report", "--lint", str(path))
    assert code == told.returncode
    assert "Traceback" not in told.stderr


def test_our_own_statement_can_be_read_again(ledger: str, tmp_path: Path) -> None:
    """The JSON that one writes is a table that the other reads."""
    path = tmp_path / "own.json"
    gpuwatch("report", "--campaign", "llama-ft", "--out", str(path), "--ledger", ledger)

    told = gpuwatch("report", "--lint", str(path))
    assert 0 == told.returncode
    assert "nothing is wrong" in told.stdout


def test_who_may_not_read_the_ledger_is_told_so(tmp_path: Path) -> None:
    """Where there is only the API, which does not have every row."""
    config, path = tmp_path / "gpuwatch.toml", tmp_path / "api.sock"
    ledger = tmp_path / "out-of-sight" / "ledger.db"
    config.write_text(f'[accounting]\nledger = "sqlite:///{ledger}"\nsocket = "{path}"\n', encoding="utf-8")

    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(path))
        told = gpuwatch("report", "7", "--config", str(config))

    assert 77 == told.returncode
    assert "the ledger must be readable" in told.stderr
