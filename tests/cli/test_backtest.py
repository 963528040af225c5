"""`gpuwatch backtest`: what is printed of a replay, and the files that are read for one."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import typer

from gpuwatch.cli.backtest import backtest, print_replay
from gpuwatch.cli.run_files import left_out_lines, read
from gpuwatch.errors import Rejected, Unavailable
from gpuwatch.forecast.run_file import LeftOut
from gpuwatch.forecast.trials import THRESHOLDS, Call, Mark, Trial
from tests.cli.command import gpuwatch
from tests.forecast.made_trials import Replay, many, trial

RUNS = b"job_id,user,start_s,end_s,num_devices\n7,ada,1000,4600,4\n8,bob,1000,4600,0\n"
PROGRESS = b"job_id,time_s,fraction\n7,2800,0.5\n9,2800,0.5\n"
SAMPLE = Path(__file__).parent.parent.parent.parent / "shared" / "data" / "mlperf_v2.1"


def printed(
    capsys: pytest.CaptureFixture[str],
    trials: Iterable[Trial],
    left_out: LeftOut | None = None,
    as_json: bool = False,
    **baselines: tuple[Trial, ...],
) -> str:
    made = tuple(trials)
    print_replay(Replay(made, baselines), len(made), 0.1, left_out, as_json)
    return capsys.readouterr().out


def ruled() -> dict[str, tuple[Trial, ...]]:
    """The same runs by rules that say one amount, or that call alone."""
    point, budget = [], []
    for each in many(500, users=25):
        marks = {stage: Mark(mark.used, (mark.quantiles[3],)) for stage, mark in each.marks.items()}
        point.append(replace(each, marks=marks, calls={}))
        call = {0.0: Call(0.8 * each.declared)} if each.final >= 0.8 * each.declared else {}
        budget.append(replace(each, marks={}, calls=call))
    return {"declared": tuple(point), "budget 80": tuple(budget)}


def test_a_table_has_a_row_for_each_stage(capsys: pytest.CaptureFixture[str]) -> None:
    """By runs, with the confidence of the 80 % interval, and by device-hours."""
    lines = printed(capsys, many(500, users=25)).splitlines()

    assert [
        "500 runs replayed in the order of time; 500 forecast, of 25 users.",
        "An overrun is more than 10 % above what was declared: 37 % of the runs, 51 % of the device-hours.",
        "",
        "Ended within their 50, 80 and 90 % intervals, by runs:",
        "DECLARED USED  RUNS  CUT SHORT  50 %  80 %           90 %   WIDTH  WINKLER  ERROR",
        "at submit       500          0  56 %  85 %  [82–88]  92 %  × 2.79     1.32   0.24",
        "10 %            500          0  56 %  85 %  [82–88]  92 %  × 2.79     1.32   0.24",
    ] == lines[:7]
    assert "Ended within their 50, 80 and 90 % intervals, by device-hours:" in lines


def test_simpler_rules_stand_beside_the_forecast(capsys: pytest.CaptureFixture[str]) -> None:
    """Those that say an amount by their score; those that call beside the thresholds."""
    lines = printed(capsys, many(500, users=25), **ruled()).splitlines()

    place = next(number for number, line in enumerate(lines) if "beside simpler rules" in line)
    assert ["DECLARED USED     FORECAST     DECLARED", "at submit      1.32 (0.24)  2.85 (0.24)"] == lines[
        place + 1 : place + 3
    ]
    rows = [line.split("  ")[0] for line in lines[place:]]
    first = rows.index("AT") + 1
    assert ["50 %", "60 %", "70 %", "80 %", "90 %", "95 %", "80 % of budget"] == rows[first : first + 7]


def test_a_line_says_which_threshold_the_record_supports(capsys: pytest.CaptureFixture[str]) -> None:
    """The lowest at which enough of the calls were right, and whether they were as probable as stated."""
    right = trial("ada", final=200, calls={each: Call(40, each) for each in THRESHOLDS})
    wrong = trial("bob", final=90, calls={each: Call(40, each) for each in THRESHOLDS if each < 0.8})
    said = printed(capsys, [right] * 25 + [wrong] * 10).splitlines()[-3:]

    assert [
        "This record supports calls from 80 % on, the lowest at which 85 % of at least 20 calls were right.",
        "At 80 % the forecast was too careful: it stated 80 % on average, and 100 % were right.",
        "Of the calls made before all that was declared was used 100 % were right.",
    ] == said


def test_a_record_may_support_no_threshold(capsys: pytest.CaptureFixture[str]) -> None:
    """Then the usual one is judged."""
    wrong = [trial(f"u{each}", final=90, calls={at: Call(40, at) for at in THRESHOLDS}) for each in range(30)]

    assert [
        "This record supports no threshold: at none of them were 85 % of at least 20 calls right.",
        "At 80 % the forecast was too sure: it stated 80 % on average, and 0 % were right.",
        "Of the calls made before all that was declared was used 0 % were right.",
    ] == printed(capsys, wrong).splitlines()[-3:]


@pytest.mark.parametrize("final", [150.0, 1e9])
def test_lines_fit_on_a_terminal(capsys: pytest.CaptureFixture[str], final: float) -> None:
    """Of a hundred columns, also where amounts are far apart."""
    wide = [trial(f"u{each}", final=final, quantiles=(1, 1, 1, 1, 1, 10 * final, 10 * final)) for each in range(3)]
    lines = printed(capsys, [*many(2000, users=25), *wide], **ruled()).splitlines()

    assert [] == [line for line in lines if len(line) > 100]


def test_nothing_forecast_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    """No table of blanks."""
    nothing = "The ledger has no run yet that has ended and can be replayed: there is nothing to score.\n"

    assert nothing == printed(capsys, [])


def test_json_has_figures_intervals_and_rules(capsys: pytest.CaptureFixture[str]) -> None:
    """By the paths that the figures have."""
    told: dict[str, Any] = json.loads(printed(capsys, many(500, users=25), as_json=True, **ruled()))

    assert (500, 500, 0.1, {}) == (told["runs"], told["trials"], told["tolerance"], told["left_out"])
    assert told["coverage"]["80"]["jobs"]["0.25"] == pytest.approx(0.852)
    low, high = told["interval"]["coverage"]["80"]["jobs"]["0.25"]
    assert low < 0.852 < high
    assert {"declared", "budget_80"} == set(told["baselines"])
    assert told["baselines"]["budget_80"]["alert"]["rule"]["n"] > 0
    assert told["supported"] == 0.5


def written(tmp_path: Path, name: str, content: bytes) -> str:
    path = tmp_path / name
    path.write_bytes(content)
    return str(path)


@pytest.mark.parametrize("packed", [False, True])
def test_files_are_read_plain_or_compressed(tmp_path: Path, packed: bool) -> None:
    """Whatever their names are; what was left out of both is told."""
    pack = gzip.compress if packed else bytes
    files = (written(tmp_path, "r", pack(RUNS)), written(tmp_path, "p", pack(PROGRESS)))
    found, left_out = read(*files)

    assert [("7", ((2800.0, 0.5),))] == [(run.job_id, run.progress) for run in found]
    assert [
        "1 row left out: a number or time is out of range",
        "1 row left out: progress of a job that is not among the runs",
        f"  {files[0]}:3: num_devices is 0",
        f"  {files[1]}:3: there is no run '9'",
    ] == list(left_out_lines(left_out))


def test_runs_without_progress_are_read(tmp_path: Path) -> None:
    """It is not needed."""
    assert ((),) == tuple(run.progress for run in read(written(tmp_path, "r", RUNS), None)[0])


def test_files_that_cannot_be_read_are_told(tmp_path: Path) -> None:
    """Not there, damaged, or nothing in it that could be taken."""
    damaged = written(tmp_path, "d", gzip.compress(RUNS * 100)[:-20])
    useless = written(tmp_path, "u", RUNS.replace(b"ada,1000", b"ada,9000"))
    empty = written(tmp_path, "e", RUNS.splitlines()[0])

    with pytest.raises(Unavailable, match="cannot be read; No such file"):
        read(str(tmp_path / "none"), None)
    with pytest.raises(Rejected, match="is damaged"):
        read(damaged, None)
    with pytest.raises(Rejected, match=r"no run that can be taken; .*:2: end_s 4600 lies before start_s 9000"):
        read(useless, None)
    with pytest.raises(Rejected, match="has no run that can be taken; it has its first line alone"):
        read(empty, None)


def test_runs_of_a_file_are_replayed_and_scored(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Each that declares is forecast at submit; a row that is left out is counted."""
    head = "job_id,user,start_s,end_s,num_devices,declared_device_hours"
    rows = [
        f"{each},user-{each % 4},{each * 5000},{each * 5000 + 3600},2,{2 if each else ''}" for each in range(30)
    ]
    runs = written(tmp_path, "runs.csv", "\n".join([head, *rows, "30,user-1,9,3,2,2"]).encode())
    backtest(runs=runs, as_json=True)

    told = json.loads(capsys.readouterr().out)
    assert (30, 29, 4, {"order": 1}) == (told["runs"], told["trials"], told["users"], told["left_out"])
    assert (29, 0.0) == (told["n"]["submit"], told["overrun"]["jobs"])
    assert {"declared", "last_two", "used_by_progress", "budget_80"} == set(told["baselines"])


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"progress": "p.csv"}, "belongs to --runs"),
        ({"runs": "r.csv", "ledger": "sqlite:///l.db"}, "stands beside --ledger"),
        ({"runs": "-", "progress": "-"}, "cannot both be standard input"),
        ({"runs": "r.csv", "tolerance": float("nan")}, "is a number, as 0.1"),
    ],
)
def test_options_that_cannot_be_honoured_are_usage_errors(options: dict[str, Any], words: str) -> None:
    """Before a file is opened."""
    with pytest.raises(typer.BadParameter, match=words):
        backtest(**options)


def test_a_file_that_is_not_there_ends_the_command() -> None:
    """With the code of what is unavailable, and a line."""
    ended = gpuwatch("backtest", "--runs", "/nowhere/runs.csv")

    assert (69, "gpuwatch: /nowhere/runs.csv: cannot be read; No such file or directory\n") == (
        ended.returncode, ended.stderr,
    )  # fmt: skip


@pytest.mark.data
@pytest.mark.skipif(not SAMPLE.exists(), reason="the public sample data are not beside the checkout")
def test_public_runs_are_read_whole() -> None:
    """1,082 training runs and 30,938 reports; none is left out."""
    found, left_out = read(str(SAMPLE / "runs.csv"), str(SAMPLE / "progress.csv.gz"))

    assert (1082, 30_938, {}) == (len(found), sum(len(run.progress) for run in found), dict(left_out.counts))
