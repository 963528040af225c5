"""The daemon loop: deadlines, clock jumps, systemd's protocol, signals."""

from __future__ import annotations

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
from gpuwatch.errors import Locked, Unavailable


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
