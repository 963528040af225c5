"""`gpuwatch jobs` and `gpuwatch show` on a ledger of their own."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gpuwatch.accounting.accountant import Accountant
from gpuwatch.accounting.overruns import Bounds
from gpuwatch.cli.jobs import aligned, jobs, print_jobs, show
from gpuwatch.errors import Unavailable
from gpuwatch.ledger.record_store import post_records
from gpuwatch.ledger.store import open_store
from gpuwatch.schedulers.base import Live
from tests.accounting.fakes import FakeNotifier, FakeSource, everything_told
from tests.cli.now import begins_now
from tests.ledger.batch import record, running
from tests.ledger.deliveries import declared, delivery, progress, row, run_ended, run_started

NOW = time.time()
START = int(NOW) - 100
beginning = begins_now()


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[str]:
    """A job that is going to overrun, one that failed, and one that says nothing of itself."""
    store = open_store(str(tmp_path / "ledger.db"))
    said = [
        declared("device-hours=0.01 energy=1kWh", time=START + 1.0, started=START, seq=2),
        declared("device-hours=0.02..0.05..0.06 campaign=llama", time=START + 2.0, started=START, seq=3),
    ]
    events = [
        run_started(time=START - 1.0), progress(90, 2000, started=START, time=NOW - 50, start_step=50),
        progress(250, started=START, time=NOW, start_step=50, best=260, lost=30),
        run_started("run-2", "[red]bad\nname", time=START - 1.0), run_ended("run-2", 3, time=NOW - 50),
    ]  # fmt: skip
    rows = [
        row(started=START, last_seen=NOW, uuid="GPU-0", energy_unmeasured_seconds=10.0),
        row("run-2", started=START, last_seen=NOW - 50, uuid="GPU-1", open=False),
        row(
            "user:ada",
            started=START - 5,
            last_seen=NOW,
            uuid="GPU-2",
            energy_joules={},
            state_seconds={"unknown": 9.0},
        ),
    ]
    source = FakeSource([delivery(rows, said, events, now=NOW)])
    Accountant(
        store, {"fake": source}, {"fake": FakeNotifier()}, Bounds(0.1, 0.0), policy=everything_told()
    ).run_pass(NOW)
    store.close()
    yield f"sqlite:///{store.path}"


def printed(capsys: pytest.CaptureFixture[str]) -> str:
    return capsys.readouterr().out


def document(capsys: pytest.CaptureFixture[str]) -> Any:
    text = printed(capsys)
    assert "\n" not in text.strip()
    return json.loads(text)


def test_jobs_are_a_table_with_human_units(ledger: str, capsys: pytest.CaptureFixture[str]) -> None:
    """One line for each job, the latest first, what is unknown left blank."""
    jobs(ledger=ledger)

    lines = [line.removesuffix(" projected device-hours") for line in printed(capsys).splitlines()]
    assert [
        "JOB       NAME           STATE       DEVICE-HOURS  ENERGY  DECLARED  PROGRESS  PROJECTED  ALERT",
        "run-1     llama-ft       running     0.028         10 Wh   0.05      25 %      0.13      ",
        "run-2     [red]bad�name  failed (3)  0.028         10 Wh",
        "user:ada                 running     0.028",
    ] == lines


def test_jobs_as_json_are_in_base_units(ledger: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Seconds and joules; unknown is null or missing."""
    jobs(ledger=ledger, as_json=True)

    first, second, third = document(capsys)
    assert ("run-1", "llama-ft", 1000, "running", "llama") == tuple(
        first[key] for key in ("job", "name", "uid", "state", "campaign")
    )
    assert (100.0, {"counter": 36_000.0}) == (first["held_device_seconds"], first["energy_joules"])
    assert (72.0, 180.0, 216.0, "s") == tuple(
        pytest.approx(first["declared"]["device-hours"][key]) if key != "unit" else "s"
        for key in ("low", "likely", "high", "unit")
    )
    assert pytest.approx(475.0, rel=0.02) == first["forecasts"]["device-hours"]["quantiles"]["0.5"]
    assert ("ended", 3) == (second["state"], second["exit_code"])
    assert ({}, None, None) == (third["energy_joules"], third["progress"], third["name"])


def test_a_ledger_may_be_a_path(ledger: str, capsys: pytest.CaptureFixture[str]) -> None:
    """As well as a URL."""
    jobs(ledger=ledger.removeprefix("sqlite:///"))

    assert "llama-ft" in printed(capsys)


def test_old_jobs_are_left_out(ledger: str, capsys: pytest.CaptureFixture[str]) -> None:
    """`--days` says how far back."""
    jobs(ledger=ledger, days=0.0)

    assert "No job in the ledger yet: a job comes here once it has held a device." in printed(capsys)


def test_the_table_of_the_demo_is_the_same(ledger: str, capsys: pytest.CaptureFixture[str]) -> None:
    """`gpuwatch up` prints it."""
    print_jobs(ledger)
    first = printed(capsys)
    jobs(ledger=ledger)

    assert first == printed(capsys)


def test_show_tells_everything_about_a_job(ledger: str, capsys: pytest.CaptureFixture[str]) -> None:
    """What was held by state, energy and its gaps, progress, projection, revisions, alerts."""
    show("run-1", ledger=ledger)

    text = printed(capsys)
    for expected in (
        "job run-1  llama-ft",
        "on gw0: 1 device H100",
        "campaign llama",
        "user id 1000",
        "0.025 device-hours working (90 %)",
        "0.0028 device-hours idle (10 %)",
        "10 Wh by method counter",
        "not measured for 10 % of the held time",
        "250 of 1,000 steps (25 %)",
        "began at step 50",
        "the total was 2,000 before",
        "went back 30 steps: that work was lost",
        "device-hours: 80 % between 0.1",
        "(declared at most 0.06)",
        "because (device-hours, wall): its burn-up at 25 % of 1,000 steps",
        "no record at this site yet (n=0)",
        "0.05 device-hours, from 0.02 device-hours to 0.06 device-hours, ",
        "by uid:1000 via socket (original, no longer in force)",
        "1 kWh energy",
        "is projected to need 0.13 device-hours",
        "raised projected device-hours",
    ):
        assert expected in text


def test_figures_that_cover_too_little_say_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A node of two has no agent: the energy is a lower bound, and what was held is less than was allocated."""
    store = open_store(str(tmp_path / "partial.db"))
    began = NOW - 7200.0
    seen = row("7", started=int(began), last_seen=NOW, held_seconds=7200.0, state_seconds={"working": 7200.0})
    told = running(started=began, seen=NOW, submitted=int(began) - 60, nodes=("gw0", "gw2"))
    told_too = FakeSource([delivery([seen], now=NOW)])
    Accountant(store, {"fake": told_too}, {}, Bounds(0.1, 0.0), policy=everything_told()).run_pass(NOW)
    with store.writing() as connection:
        post_records(connection, [told])
    store.close()

    show("7", ledger=str(store.path))
    shown = printed(capsys)
    jobs(ledger=str(store.path), as_json=True)
    (found,) = document(capsys)

    assert "≥ 10 Wh (partial: 50 % of the charged time measured; node gw2 has no agent)" in shown
    assert "held less than allocated: 50 % of it; node gw2 has no agent" in shown
    assert (pytest.approx(0.5, rel=0.01), True, True) == (
        found["coverage_ratio"], found["partial"], found["allocation_differs"]
    )  # fmt: skip


def test_show_ends_with_advice(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """In words and in JSON; what could have been saved is device-seconds."""
    store = open_store(str(tmp_path / "idle.db"))
    idle = row(
        "7", started=START, last_seen=NOW, held_seconds=7200.0, state_seconds={"idle": 3600.0, "working": 3600.0}
    )
    Accountant(store, {"fake": FakeSource([delivery([idle], now=NOW)])}, {}, Bounds(0.1, 0.0)).run_pass(NOW)
    store.close()

    show("7", ledger=str(store.path))
    last = printed(capsys).splitlines()[-1]
    show("7", ledger=str(store.path), as_json=True)

    assert last.startswith("  advice     at most 1 device-hours (50 % of what was held) were idle between work: ")
    assert [("idle", 3600.0)] == [(each["kind"], each["device_seconds"]) for each in document(capsys)["advice"]]


def test_show_finds_a_run_by_its_name(ledger: str, capsys: pytest.CaptureFixture[str]) -> None:
    """As people call it."""
    show("llama-ft", ledger=ledger, as_json=True)

    found = document(capsys)
    assert ("run-1", []) == (found["job"], found["others"])
    assert [True, False, True] == [each["in_force"] for each in found["revisions"]]
    assert ["raised"] == [each["what"] for each in found["alert_history"]]
    summary = {"held_seconds": 100.0, "energy_joules": {"counter": 36_000.0}, "busy_seconds": 80.0, "errors": {}}
    assert summary.items() <= found["by_device"]["GPU-0"].items()


def test_show_of_a_job_without_words_says_what_is_not_known(
    ledger: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nothing measured, declared or reported is said, not shown as 0."""
    show("user:ada", ledger=ledger)

    text = printed(capsys)
    for expected in (
        "energy     not measured",
        "progress   none reported",
        "declared   nothing",
        "alerts     none",
    ):
        assert expected in text


def test_a_hostile_name_stays_on_its_line(ledger: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Neither a line break nor markup of ours."""
    show("run-2", ledger=ledger)

    assert "job run-2  [red]bad�name" == printed(capsys).splitlines()[0]


def test_a_job_that_is_not_there_is_unavailable(ledger: str) -> None:
    """With where to look."""
    with pytest.raises(Unavailable, match="'run-9': not in the ledger; `gpuwatch jobs` lists"):
        show("run-9", ledger=ledger)


@pytest.mark.integration
@pytest.mark.parametrize("command", [("jobs",), ("show", "run-1")])
def test_without_a_ledger_it_exits_69(tmp_path: Path, command: tuple[str, ...]) -> None:
    """And says what to start."""
    ran = subprocess.run(
        [sys.executable, "-m", "gpuwatch", *command, "--ledger", str(tmp_path / "none.db")],
        capture_output=True,
        text=True,
        check=False,
    )

    assert (69, "") == (ran.returncode, ran.stdout)
    assert "there is no such file; start `gpuwatch accounting` or `gpuwatch up`" in ran.stderr


def test_columns_are_as_wide_as_their_widest() -> None:
    """And no line ends in blanks."""
    assert "a    b\nccc  d\ne" == aligned([("a", "b"), ("ccc", "d"), ("e", "")])


def test_the_ledger_of_ones_own_up_is_found(
    ledger: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Where nothing is configured, `gpuwatch jobs` reads what this user's `gpuwatch up` keeps."""
    own = tmp_path / "state" / "gpuwatch"
    own.mkdir(parents=True)
    (own / "ledger.db").write_bytes(Path(ledger.removeprefix("sqlite:///")).read_bytes())
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))

    jobs()
    found = capsys.readouterr().out
    jobs(ledger)
    assert capsys.readouterr().out == found


@pytest.fixture
def requeued(tmp_path: Path) -> str:
    """A batch job of two attempts, the second on one device that an agent sees, and a job without an agent."""
    store = open_store(str(tmp_path / "batch.db"))
    first = record(
        started=NOW - 900.0, ended=NOW - 600.0, submitted=START - 900, state="NODE_FAIL", rule="generic"
    )
    second = running(
        started=NOW - 100.0, seen=NOW, submitted=int(NOW - 600), rule="generic", restarts=1,
        doubt="the indices count 1", live=Live(NOW, "gpuwatch: device-hours=2"), display="7_1",
    )  # fmt: skip
    other = record(
        "8", started=NOW - 900.0, ended=NOW - 300.0, submitted=START - 900, state="TIMEOUT", exit_code=1,
        live=Live(NOW - 300.0, devices=2.0, indices={"gw1": (0, 3)}),
    )  # fmt: skip
    with store.writing() as connection:
        post_records(connection, [first, second, other])
    source = FakeSource([delivery([row("7", started=START, last_seen=NOW)], now=NOW)])
    Accountant(store, {"fake": source}, {}, Bounds(0.1, 0.0), policy=everything_told()).run_pass(NOW)
    store.close()
    return f"sqlite:///{store.path}"


def test_a_batch_job_is_listed_with_what_it_is_charged(requeued: str, capsys: pytest.CaptureFixture[str]) -> None:
    """By the id that its users know, all attempts in one line, with the batch system's word for its end."""
    jobs(ledger=requeued)

    rows = [line.split() for line in printed(capsys).splitlines()[1:]]
    assert ["7_1", "train", "running", "0.22"] == rows[0][:4]
    assert ["8", "train", "timeout", "(1)", "0.33"] == rows[1][:5]


def test_a_batch_job_shows_its_attempts(requeued: str, capsys: pytest.CaptureFixture[str]) -> None:
    """What was allocated beside what was held, attempt by attempt; the limit is no estimate."""
    show("7_1", ledger=requeued)

    text = printed(capsys)
    for expected in (
        "user ada, account ml, partition gpu",
        "allocated  0.22 device-hours, 2 devices by its gres",
        "but the indices count 1",
        "time limit 2 h: a ceiling, not an estimate",
        "attempt 1: ",
        "0.17 device-hours, node_fail",
        "attempt 2: ",
        "2 device-hours, ",
    ):
        assert expected in text


def test_a_batch_job_as_json(requeued: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Base units; what the batch system does not say is null."""
    show("7", ledger=requeued, as_json=True)

    told = document(capsys)
    assert ("7", "7_1", "ada", "ml", "gpu", None, 7200.0, 2.0, "generic") == tuple(
        told[key]
        for key in (
            "job", "display", "user", "account", "partition", "qos", "limit_seconds", "device_count",
            "device_count_rule",
        )
    )  # fmt: skip
    assert pytest.approx(800.0, abs=0.01) == told["allocated_device_seconds"]
    assert ["NODE_FAIL", "RUNNING"] == [attempt["outcome"] for attempt in told["attempts"]]


def test_devices_that_no_agent_saw_are_told_by_their_indices(
    requeued: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Which they were on their node, by the batch system's count."""
    show("8", ledger=requeued)
    assert "indices gw1: 0, 3" in printed(capsys)

    show("8", ledger=requeued, as_json=True)
    assert {"gw1": [0, 3]} == document(capsys)["device_indices"]
