"""The daemon loop: deadlines, clock jumps, systemd's protocol, signals."""

from __future__ import annotations

import json
import logging
import os
import signal
import socket
import subprocess
import sys
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpuwatch import service
from gpuwatch.errors import ConfigurationError, Locked, Unavailable


@given(st.lists(st.floats(0, 5), min_size=1, max_size=50))
def test_deadlines_stay_on_the_grid_however_late_ticks_are(works):
    """A late tick swallows those it missed: deadlines stay whole intervals from the first, none is made up for."""
    pace, now, starts = service.Pace(1.0, 100.0), 100.0, []
    for work in works:
        now += pace.wait_seconds(now)
        starts.append(now)
        now += work

    assert starts[0] == 100.0
    assert starts == sorted(starts)
    assert len(starts) + pace.missed <= now - 100.0 + 2
    assert (pace.next - 100.0) % 1.0 == pytest.approx(0, abs=1e-9)


def test_missed_ticks_are_counted_and_not_run():
    """After 3.5 s of work at 1 Hz two whole deadlines have passed unserved."""
    pace = service.Pace(1.0, 0.0)
    pace.wait_seconds(0.0)

    wait = pace.wait_seconds(3.5)
    assert (pace.missed, wait) == (2, 0.0)


@pytest.mark.parametrize("jump", [-3600.0, 3600.0, 365 * 86400.0])
def test_clock_jump_is_seen_once(jump):
    """The wall clock's distance from the monotonic clock changes once, whatever the direction."""
    watch = service.ClockWatch()
    watch.jumped(10.0, 1000.0)

    assert watch.jumped(11.0, 1001.0 + jump) == pytest.approx(jump)
    assert watch.jumped(12.0, 1002.0 + jump) == 0.0
    assert watch.jumps == 1


@pytest.fixture
def systemd(tmp_path, monkeypatch):
    path = str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(path)
        sock.settimeout(5)
        monkeypatch.setenv("NOTIFY_SOCKET", path)
        yield sock


def test_systemd_hears_ready_after_the_first_tick_then_watchdog_and_status(systemd):
    """READY comes once, after a tick that returned; each tick feeds the watchdog and tells the status."""
    stop, ticks = threading.Event(), []

    def tick(now):
        ticks.append(now)
        if len(ticks) == 2:
            stop.set()

    service.run(tick, interval_seconds=0.01, status=lambda: "8 devices", stop=stop)

    told = [systemd.recv(1000).decode() for _ in range(3)]
    assert told == ["READY=1\nWATCHDOG=1\nSTATUS=8 devices", "WATCHDOG=1\nSTATUS=8 devices", "STOPPING=1"]


def test_without_systemd_nothing_is_sent_and_nothing_fails(monkeypatch):
    """Run from a terminal there is nobody to notify."""
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)

    assert service.notify("READY=1") is False


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signals_end_the_loop_and_handlers_are_put_back(number):
    """SIGTERM and SIGINT end the loop after the tick under way."""
    before = signal.getsignal(number)

    service.run(lambda _now: os.kill(os.getpid(), number), interval_seconds=0.01)
    assert signal.getsignal(number) == before


def test_hangup_reloads_before_the_next_tick():
    """SIGHUP is acted on in the loop, not in the signal handler."""
    stop, order = threading.Event(), []

    def tick(_now):
        order.append("tick")
        if len(order) == 1:
            os.kill(os.getpid(), signal.SIGHUP)
        else:
            stop.set()

    service.run(tick, interval_seconds=0.01, reload=lambda: order.append("reload"), stop=stop)
    assert order == ["tick", "reload", "tick"]


def test_what_a_tick_raises_reaches_the_caller():
    """The loop does not swallow what its owner must decide."""

    def tick(_now):
        raise RuntimeError("broken")

    with pytest.raises(RuntimeError, match="broken"):
        service.run(tick, interval_seconds=0.01)


def logged(formatter, message, exc_info=None):
    return formatter.format(logging.LogRecord("x", logging.WARNING, "", 0, message, (), exc_info))


def test_journald_gets_priorities_on_every_line():
    """A traceback is several prefixed lines, so that none is taken for another priority."""
    error = ValueError("third\nfourth")
    lines = logged(service._Priority(), "first", (ValueError, error, None)).splitlines()

    assert lines == ["<4>first", "<4>ValueError: third", "<4>fourth"]


@pytest.mark.parametrize(
    "hostile", ["a\n<3>forged", "a\rforged", "a\x1b[2Jforged", "a\u2028forged", "a\x85forged"]
)
def test_message_of_the_log_is_one_line_whatever_is_in_it(hostile):
    """A job's name cannot begin a line of the log, or play with the terminal that shows it."""
    (line,) = logged(service._Priority(), hostile).splitlines()

    assert line.startswith("<4>a\\")
    assert line.isprintable()


def as_json(message, *arguments, exc_info=None):
    record = logging.LogRecord("gpuwatch.agent", logging.WARNING, "", 0, message, arguments, exc_info)
    record.created = 1_764_000_000.25
    line = service.JsonLines().format(record)
    assert line.isprintable()
    return json.loads(line)


def test_line_of_json_has_the_fields_apart():
    """What is written as key=value in the format is a field of the object, whatever the value looks like."""
    document = as_json("source is down source=%s reason=%s seconds=%.1f", "nvidia", 'lost="x" up=1\n{}', 2.5)

    assert document == {
        "time": "2025-11-24T16:00:00.250Z", "level": "warning", "logger": "gpuwatch.agent",
        "message": "source is down", "source": "nvidia", "reason": 'lost="x" up=1\n{}', "seconds": 2.5,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("message", "arguments", "told"),
    [
        ("serving %s", ("http://x",), {"message": "serving http://x"}),
        ("at 100%% jobs=%d of %s", (3, "n0"), {"message": "at 100% of n0", "jobs": 3}),
        ("alert level=%s time=%s", ("high", None), {"message": "alert", "level_": "high", "time_": None}),
        ("nothing to say", (), {"message": "nothing to say"}),
        ("ratio=%f", (float("nan"),), {"message": "", "ratio": "nan"}),
        ("path=%s", (os.fspath,), {"message": "", "path": str(os.fspath)}),
    ],
)
def test_message_of_json_is_what_is_left(message, arguments, told):
    """Words stay words, and a field has no name of our own."""
    document = as_json(message, *arguments)

    assert told == {key: value for key, value in document.items() if key not in ("time", "level", "logger")}


def test_traceback_is_a_field_of_json():
    """It does not break the line."""
    error = ValueError("third\nfourth")

    assert as_json("first", exc_info=(ValueError, error, None))["traceback"] == "ValueError: third\nfourth"


def test_json_has_priorities_under_journald():
    """The prefix is journald's, the rest of the line the object."""
    line = logged(service._Priority(service.JsonLines()), "first")

    assert ("<4>", "first") == (line[:3], json.loads(line[3:])["message"])


def test_last_words_are_logged_line_by_line(caplog):
    """Why a daemon ends is in the log as everything else is, and its exit code says it once more."""
    with pytest.raises(SystemExit) as ended, service.last_words():
        raise ConfigurationError(["one", "two"])

    assert (78, ["one", "two"]) == (ended.value.code, [record.getMessage() for record in caplog.records])


def test_interval_may_change_while_it_runs():
    """The next deadline moves with it."""
    pace = service.Pace(1.0, 10.0)
    pace.wait_seconds(10.0)
    pace.follow(0.25)

    assert (0.25, 0.25) == (pace.interval_seconds, pytest.approx(pace.wait_seconds(10.0)))


def test_status_for_systemd_is_one_assignment_whatever_is_in_it(systemd):
    """A reason with a line break in it does not speak to systemd in our name."""
    service.notify("WATCHDOG=1", "STATUS=lost: x\nMAINPID=1")

    assert systemd.recv(4096) == b"WATCHDOG=1\nSTATUS=lost: x\\nMAINPID=1"


def test_lock_names_its_holder_and_is_free_when_released(tmp_path):
    """Another process is told who has it; afterwards it may have it."""
    lock = service.PidLock(tmp_path / "lock", "ledger 'x'")
    with pytest.raises(Locked, match=f"^ledger 'x': in use by the process {os.getpid()}$"):
        service.PidLock(tmp_path / "lock", "ledger 'x'")
    lock.release()

    service.PidLock(tmp_path / "lock", "ledger 'x'").release()


def test_lock_that_cannot_be_opened_says_why(tmp_path):
    """A missing directory is named, with the reason."""
    with pytest.raises(Unavailable, match=r"ledger: .*missing/lock' cannot be opened; No such file"):
        service.PidLock(tmp_path / "missing" / "lock", "ledger")


def test_freed_memory_is_given_back():
    """Twenty threads that each make and drop megabytes leave the process about as large as it was."""
    script = """
import sys, threading
from gpuwatch import service
service.spare_memory()
def resident():
    return int(next(line for line in open("/proc/self/status") if line.startswith("VmRSS")).split()[1])
before = resident()
gate = threading.Barrier(20)
def work():
    gate.wait()
    for size in range(100_000, 1_000_000, 50_000):
        bytes(size)
    gate.wait()
threads = [threading.Thread(target=work) for _ in range(20)]
for each in threads: each.start()
for each in threads: each.join()
print(resident() - before)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)

    assert int(done.stdout) < 3000
