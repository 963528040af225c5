"""`gpuwatch replay` as people and programs see it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from gpuwatch.cli import application
from gpuwatch.cli.replay import duration, energy, mean_power

RECORDING = (
    "time_s,uid,utilization_ratio,power_watts,job_id\n"
    "0,GPU-1,1,300,job-1\n5,GPU-1,1,300,job-1\n10,GPU-1,,300,\n12,GPU-1,1,-9,\nx\n13,GPU-1,1,300,\n"
)


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    """A small recording with a job and two faults."""
    path = tmp_path / "recording.csv"
    path.write_text(RECORDING)
    return path


def run(*arguments: object) -> str:
    """What the command prints."""
    found = CliRunner().invoke(application(["replay", "metrics"]), ["replay", *map(str, arguments)])
    assert found.exit_code == 0, found.output
    return found.stdout


def test_json_has_devices_jobs_and_files(recording: Path) -> None:
    """One compact object with the documented keys, and what was rejected in all of them."""
    said = run("--json", recording)

    assert said.count("\n") == 1
    assert json.loads(said) == {
        "devices": [
            {
                "uid": "GPU-1",
                "seconds": 13.0,
                "joules": 3900.0,
                "method": "integrated",
                "busy_seconds": 13.0,
                "unmeasured_seconds": 0.0,
                "rejected": 1,
                "rejected_by": {"too_low": 1},
            }
        ],
        "jobs": [
            {
                "job_id": "job-1",
                "devices": ["GPU-1"],
                "held_seconds": 10.0,
                "busy_seconds": 10.0,
                "joules": 3000.0,
                "method": "integrated",
                "unmeasured_seconds": 0.0,
                "state_seconds": {"working": 5.0, "unknown": 5.0},
            }
        ],
        "files": [
            {
                "file": str(recording),
                "format": "gpuwatch",
                "rows": 6,
                "rejected": 1,
                "rejected_by": {"unparsable": 1},
            }
        ],
    }


def test_unknown_is_null_in_json(tmp_path: Path) -> None:
    """Never 0 and never NaN."""
    path = tmp_path / "times.csv"
    path.write_text("time_s,job_id\n0,j\n1,j\n")

    document = json.loads(run("--json", path))

    (device,), (job,) = document["devices"], document["jobs"]
    assert [device[key] for key in ("joules", "method", "busy_seconds")] == [None, None, None]
    assert [job[key] for key in ("joules", "method", "busy_seconds")] == [None, None, None]
    assert job["state_seconds"] == {"unknown": 1.0}


def test_people_get_an_aligned_table(recording: Path) -> None:
    """With units, nothing cut, and what was rejected and why."""
    lines = run(recording).splitlines()

    assert lines[0] == f"{recording}: 6 rows, gpuwatch: rejected 1 unparsable"
    assert " ".join(lines[1].split()) == "DEVICE TIME ENERGY MEAN METHOD BUSY UNMEASURED REJECTED"
    assert " ".join(lines[2].split()) == "GPU-1 13.0 s 1.08 Wh 300 W integrated 13.0 s 0.0 s 1"
    assert " ".join(lines[4].split()).startswith("job-1 1 10.0 s 3000 J integrated 10.0 s 0.0 s 5.0 s")
    assert lines[5] == "GPU-1: rejected 1 too low"
    assert lines[1].index("REJECTED") + len("REJECTED") == len(lines[2].rstrip())


def test_a_hostile_name_is_printed_as_it_is(tmp_path: Path) -> None:
    """Markup and escapes of a recording do nothing on the terminal."""
    path = tmp_path / "hostile.csv"
    path.write_text("time_s,uid,job_id\n0,[red]GPU[/red],\x1b[2J[link=x]\n1,[red]GPU[/red],\n")

    said = run(path)

    assert "[red]GPU[/red]" in said
    assert "[link=x]" in said
    assert "\x1b" not in said


def test_the_gap_limit_is_an_option(tmp_path: Path) -> None:
    """Rows further apart measure nothing."""
    path = tmp_path / "sparse.csv"
    path.write_text("time_s,power_watts\n0,100\n60,100\n")

    joules = [
        json.loads(run("--json", *extra, path))["devices"][0]["joules"] for extra in ((), ("--max-gap", "60"))
    ]

    assert joules == [None, 6000.0]


@pytest.mark.parametrize("value", ["nan", "inf", "-1", "soon"])
def test_a_gap_that_is_no_time_is_a_usage_error(recording: Path, value: str) -> None:
    """Said before anything is read."""
    found = CliRunner().invoke(application(["replay", "metrics"]), ["replay", str(recording), "--max-gap", value])

    assert found.exit_code == 64
    assert "max-gap" in found.output


@pytest.mark.integration
@pytest.mark.parametrize(("name", "code"), [("none.csv", 69), ("notes.txt", 65)])
def test_a_file_that_cannot_be_replayed_ends_with_its_exit_code(tmp_path: Path, name: str, code: int) -> None:
    """Missing: 69. Not a recording: 65. One line that names the file, no traceback."""
    (tmp_path / "notes.txt").write_text("nothing recorded here\n")
    ended = subprocess.run(
        [sys.executable, "-m", "gpuwatch", "replay", str(tmp_path / name)], capture_output=True, text=True
    )

    assert ended.returncode == code
    assert ended.stdout == ""
    assert ended.stderr.startswith(f"gpuwatch: {tmp_path / name}: ")
    assert ended.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (None, "-"),
        (0.0, "0.0 s"),
        (59.96, "1 min 00 s"),
        (245.0, "4 min 05 s"),
        (3599.6, "1 h 00 min"),
        (11220.0, "3 h 07 min"),
    ],
)
def test_times_are_written_for_people(seconds: float | None, text: str) -> None:
    """Seconds, then minutes, then hours."""
    assert duration(seconds) == text


@pytest.mark.parametrize(
    ("joules", "text"),
    [(None, "-"), (0.0, "0 J"), (3599.0, "3599 J"), (3600.0, "1.00 Wh"), (4.5e6, "1.25 kWh"), (7.2e9, "2.00 MWh")],
)
def test_energy_is_written_for_people(joules: float | None, text: str) -> None:
    """Joules, then the watt-hours that a bill has."""
    assert energy(joules) == text


def test_mean_power_needs_measured_time() -> None:
    """No energy or no time, no power."""
    assert [mean_power(None, 5.0), mean_power(5.0, 0.0), mean_power(1000.0, 5.0)] == ["-", "-", "200 W"]
