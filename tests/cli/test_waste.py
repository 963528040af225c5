"""`gpuwatch waste` and `gpuwatch idle` on a ledger of their own."""

from __future__ import annotations

import csv
import json
import time
from datetime import UTC, datetime
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
import typer

from gpuwatch.cli.options import seconds_of
from gpuwatch.cli.waste import By, Holding, idle, waste
from gpuwatch.ledger import writing
from gpuwatch.ledger.posting import read
from gpuwatch.ledger.record_store import post_records
from gpuwatch.ledger.store import open_store
from tests.cli.now import begins_now
from tests.ledger.batch import running
from tests.ledger.deliveries import delivery, row, run_started

NOW = time.time()
START = int(NOW) - 7200
beginning = begins_now()


def _row(job_id: str, uuid: str, states: dict[str, float], **last: float) -> dict[str, Any]:
    """A row of a job that held a device for two hours; seconds before now at which it was last in each state."""
    seen = {state: NOW - before for state, before in last.items()}
    first = START + 60.0 if "working" in states else None
    return row(
        job_id, started=START, last_seen=NOW, uuid=uuid, held_seconds=sum(states.values()), state_seconds=states,
        last_in_state=seen, first_working=first, throttled_seconds={},
    )  # fmt: skip


@pytest.fixture
def ledger(tmp_path: Path) -> str:
    """An idle holder, one that hangs, one that works, and two devices of a batch job of which one is idle."""
    store = open_store(str(tmp_path / "ledger.db"))
    rows = [
        _row("run-1", "GPU-1", {"idle": 7200.0}, idle=0.0),
        _row("run-2", "GPU-2", {"working": 1800.0, "spinning": 5400.0}, working=5400.0, spinning=0.0),
        _row("run-3", "GPU-3", {"working": 7140.0, "idle": 60.0}, working=1.0, idle=0.0),
        _row("7", "GPU-4", {"working": 7140.0, "idle": 60.0}, working=0.0, idle=7190.0),
        _row("7", "GPU-5", {"working": 3600.0, "idle": 3600.0}, working=3600.0, idle=0.0),
    ]
    events = [
        run_started(name, title, time=START - 1.0, seq=seq)
        for seq, (name, title) in enumerate((("run-1", "=notebook"), ("run-2", "hung"), ("run-3", "works")), 1)
    ]
    told = delivery(rows, events=events, now=NOW)
    with store.writing() as connection:
        writing.post(connection, read(told), told.origin)
        post_records(connection, [running(started=NOW - 7200.0, seen=NOW, submitted=START - 60)])
    store.close()
    return f"sqlite:///{store.path}"


def printed(capsys: pytest.CaptureFixture[str], **options: Any) -> str:
    waste(**options)
    return capsys.readouterr().out


def test_waste_names_who_wasted_much_and_adds_the_others_up(
    ledger: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """The idle one first; words say what wasted means."""
    lines = printed(capsys, ledger=ledger).splitlines()

    assert [
        "JOB              DEVICE-HOURS  WASTED  SHARE   IDLE  SPINNING  LOST  UNKNOWN  UNUSED EDGES  THROTTLED",
        "run-1 =notebook             2       2  100 %      2         0     0        0             2",
        "run-2 hung                  2     1.5   75 %      0       1.5     0        0             0",
        "7 train                     4       1   25 %      1         0     0        0             1",
        "(1 other)                   2   0.017    1 %  0.017         0     0        0         0.017",
        "total                      10     4.5   45 %      3       1.5     0        0             3",
    ] == lines[:6]
    assert "Wasted is idle, spinning and lost: what could have been saved at most." in lines[7]


@pytest.mark.parametrize(
    ("by", "names"), [(By.USER, ["uid:1000", "ada"]), (By.ACCOUNT, [None, "ml"]), (By.PARTITION, [None, "gpu"])]
)
def test_waste_is_added_up_by(ledger: str, capsys: pytest.CaptureFixture[str], by: By, names: list[str]) -> None:
    """By whose it is; null is nobody's."""
    found = json.loads(printed(capsys, ledger=ledger, by=by, least=0.0, as_json=True))

    assert names == [each["name"] for each in found["groups"]]
    assert 10.0 == pytest.approx(found["total"]["device_hours"], abs=0.01)
    assert (0, 0) == (found["others"]["groups"], found["others"]["jobs"])


def test_waste_as_json_tells_all_parts(ledger: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Hours; null where nobody measured."""
    found = json.loads(printed(capsys, ledger=ledger, top=1, as_json=True))

    assert [
        {
            "name": "run-1", "title": "run-1 =notebook", "jobs": 1, "unknown_jobs": 0, "device_hours": 2.0,
            "wasted_hours": 2.0, "wasted_ratio": 1.0, "working_hours": 0.0, "idle_hours": 2.0,
            "spinning_hours": 0.0, "lost_hours": 0.0, "lost_at_most_hours": 0.0, "unknown_hours": 0.0,
            "before_first_use_hours": 2.0, "after_last_use_hours": 0.0, "throttled_hours": None,
                "wasted_cost_at_most": {},
        }
    ] == found["groups"]  # fmt: skip
    assert 3 == found["others"]["groups"]


def test_waste_as_csv_is_no_formula(ledger: str, capsys: pytest.CaptureFixture[str]) -> None:
    """One line for each that is named."""
    rows = list(csv.DictReader(StringIO(printed(capsys, ledger=ledger, as_csv=True))))

    assert ["run-1", "run-2", "7"] == [row["name"] for row in rows]
    assert ("2", "") == (rows[0]["wasted_hours"], rows[0]["throttled_hours"])


def test_waste_counts_what_lies_in_the_time_asked_for(ledger: str, capsys: pytest.CaptureFixture[str]) -> None:
    """The last hour of two."""
    hour_ago = datetime.fromtimestamp(NOW - 3600.0, UTC).isoformat()

    found = json.loads(printed(capsys, ledger=ledger, since=hour_ago, as_json=True))

    assert 5.0 == pytest.approx(found["total"]["device_hours"], rel=0.01)


def test_waste_of_nothing_is_said(ledger: str, capsys: pytest.CaptureFixture[str]) -> None:
    """In words."""
    assert "Nothing was held in that time" in printed(capsys, ledger=ledger, since="2020-01", until="2020-02")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"days": 1.0, "since": "2020-01"}, "stands beside --from"),
        ({"as_json": True, "as_csv": True}, "one of them"),
        ({"since": "yesterday"}, "no time"),
    ],
)
def test_what_cannot_be_meant_is_a_usage_error(ledger: str, options: dict[str, Any], message: str) -> None:
    """With what to write."""
    with pytest.raises(typer.BadParameter, match=message):
        waste(ledger=ledger, **options)


def test_idle_names_who_holds_devices_and_does_nothing(ledger: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Three devices do not work; the two that do are not named."""
    idle(ledger=ledger)

    assert [
        "JOB              USER      ACCOUNT  NODE  DEVICES  DOING                 FOR  LOST DEVICE-HOURS  WATTS",
        "run-1 =notebook  uid:1000           gw0   GPU-1    idle, never worked    2 h                  2      5",
        "run-2 hung       uid:1000           gw0   GPU-2    spinning            1.5 h                1.5",
        "7 train          ada       ml       gw0   GPU-5    idle                  1 h                  1",
        "Held now and not at work for 30 min or longer; lost is what could have been saved at most.",
    ] == capsys.readouterr().out.splitlines()


def test_idle_by_user_adds_up(ledger: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Jobs, devices, the longest time, and what was lost."""
    idle(ledger=ledger, by=Holding.USER)
    text = capsys.readouterr().out
    idle(ledger=ledger, by=Holding.USER, as_json=True)
    first, second = json.loads(capsys.readouterr().out)

    assert [
        "USER      JOBS  DEVICES  LONGEST  LOST DEVICE-HOURS",
        "uid:1000     2        2      2 h                3.5",
    ] == text.splitlines()[:2]
    assert ("uid:1000", 2, 2) == (first["name"], first["jobs"], first["devices"])
    assert ("ada", pytest.approx(3600.0)) == (second["name"], second["lost_device_seconds"])


def test_idle_as_json_tells_device_by_device(ledger: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Seconds and device-seconds."""
    idle(since="100m", ledger=ledger, as_json=True)

    assert [
        {
            "job": "run-1", "display": "run-1", "name": "=notebook", "user": "uid:1000", "account": None,
            "node": "gw0", "devices": ["GPU-1"], "device_share": 1.0, "doing": "idle", "worked": False,
            "seconds": pytest.approx(7200.0, abs=1), "lost_device_seconds": pytest.approx(7200.0, abs=1),
            "watts": 5.0,
        }
    ] == json.loads(capsys.readouterr().out)  # fmt: skip


def test_nobody_idle_is_said(ledger: str, capsys: pytest.CaptureFixture[str]) -> None:
    """In words for people, as an empty list for programs."""
    idle(since="1d", ledger=ledger)
    assert "Nobody holds a device that has not worked for 1 d, as far as agents say." in capsys.readouterr().out
    idle(since="1d", ledger=ledger, as_json=True)
    assert [] == json.loads(capsys.readouterr().out)


@pytest.mark.parametrize(
    ("text", "seconds"), [("90s", 90.0), ("30m", 1800.0), ("30min", 1800.0), ("2h", 7200.0), ("1.5d", 129_600.0)]
)
def test_durations_are_written_as_people_do(text: str, seconds: float) -> None:
    """A number and a unit."""
    assert seconds == seconds_of(text, "--since")


@pytest.mark.parametrize("text", ["", "30", "m", "-1h", "1e9d", "1 week", "٣h"])
def test_what_is_no_duration_is_a_usage_error(text: str) -> None:
    """With what to write."""
    with pytest.raises(typer.BadParameter, match="write 90s, 30m, 2h or 1d"):
        seconds_of(text, "--since")
