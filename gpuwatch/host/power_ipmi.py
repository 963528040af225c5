"""The power of the whole chassis, as its management controller says: `ipmitool dcmi power reading`.

A controller may take seconds to answer, or never do. It is asked in a thread of its own, at its own pace and with
a deadline; whoever reads gets the newest answer that can be believed, or none once it is old.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import threading
import time
import weakref
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from gpuwatch.errors import Rejected, Unavailable
from gpuwatch.host.power_counts import Sampled

DEVICES = (Path("/dev/ipmi0"), Path("/dev/ipmi/0"), Path("/dev/ipmidev/0"))
# A controller that missed this many answers is not known any more.
MOST_MISSED = 3
_READING = re.compile(rb"^\s*Instantaneous power reading\s*:\s*(-?[0-9]{1,9})\s*Watts\s*$", re.MULTILINE)
_INACTIVE = re.compile(rb"^\s*Power reading state is\s*:\s*deactivated\s*$", re.MULTILINE)
_MOST_OUTPUT = 64 * 1024


def watts_of(output: bytes, most_watts: float) -> float:
    """The reading in what `ipmitool` printed; `Rejected`, the reason first, where none can be believed."""
    if _INACTIVE.search(output):
        raise Rejected("deactivated: the controller does not measure power")
    found = _READING.search(output)
    if found is None:
        raise Rejected("no_number: ipmitool printed no power reading")
    watts = float(found[1])
    if watts <= 0:
        raise Rejected(f"too_low: {watts:g} W, of a chassis that answers")
    if watts > most_watts:
        raise Rejected(f"too_high: {watts:g} W, above host.power.max_watts = {most_watts:g}")
    return watts


def device() -> Path | None:
    """The node's IPMI device, whether or not it may be opened."""
    return next((path for path in DEVICES if os.path.lexists(path)), None)


def may_be_asked(path: Path | None) -> bool:
    """Whether this process may open the device."""
    return path is not None and os.access(path, os.R_OK | os.W_OK)


def is_installed(command: str) -> bool:
    """Whether there is such a program."""
    return shutil.which(command) is not None


def asked(command: str, timeout_seconds: float) -> bytes:
    """What `ipmitool` prints; `Unavailable` where it does not end in time, or not well."""
    program = shutil.which(command)
    if program is None:
        raise Unavailable(f"{command}: no such program; install ipmitool, or set host.power.ipmi_command")
    # A group of its own, so that what it started ends with it.
    process = subprocess.Popen(
        [program, "dcmi", "power", "reading"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env={"PATH": os.defpath, "LC_ALL": "C"},
        start_new_session=True,
    )
    with process:
        try:
            output, _ = process.communicate(timeout=timeout_seconds)
        except subprocess.TimeoutExpired:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, signal.SIGKILL)
            raise Unavailable(f"{command}: no answer within {timeout_seconds:g} s") from None
    if process.returncode:
        raise Unavailable(f"{command}: ended with status {process.returncode}")
    return output[:_MOST_OUTPUT]


@dataclass(slots=True)
class Told:
    """What was learned of a chassis so far; shared between the thread that asks and the one that reads."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    ended: threading.Event = field(default_factory=threading.Event)
    sampled: Sampled = field(default_factory=Sampled)
    whole: bool = True
    """Whether nothing was missed since the reader looked last."""
    rejected: dict[str, int] = field(default_factory=dict)
    message: str = "ipmitool has not answered yet"


@dataclass(frozen=True, slots=True)
class Pace:
    """What is asked, how often, how long an answer is waited for, and what is believed."""

    command: str
    interval_seconds: float
    timeout_seconds: float
    most_watts: float

    @property
    def fresh_seconds(self) -> float:
        """How long an answer is shown, and how far apart two may be that are integrated."""
        return MOST_MISSED * self.interval_seconds + self.timeout_seconds


class Chassis:
    """Asks in a daemon thread, which ends with this object."""

    def __init__(self, pace: Pace, clock: Callable[[], float] = time.monotonic) -> None:
        self._pace = pace
        self._clock = clock
        self._told = Told()
        weakref.finalize(self, self._told.ended.set)
        arguments = (self._told, pace, clock)
        threading.Thread(target=_ask_again_and_again, args=arguments, name="host ipmi", daemon=True).start()

    def read(self) -> tuple[float | None, float | None, dict[str, int]]:
        """Watts; joules since the start, None where time was missed; what was not believed since the last look."""
        told = self._told
        with told.lock:
            rejected, told.rejected = told.rejected, {}
            whole, told.whole = told.whole, True
            then = told.sampled.time
            if then is None or self._clock() - then > self._pace.fresh_seconds:
                return None, None, rejected
            return told.sampled.watts, told.sampled.joules if whole else None, rejected

    @property
    def message(self) -> str:
        """Why there is no reading; empty where there is one."""
        with self._told.lock:
            return self._told.message


def _ask_again_and_again(told: Told, pace: Pace, clock: Callable[[], float]) -> None:
    while not told.ended.is_set():
        _ask(told, pace, clock)
        told.ended.wait(pace.interval_seconds)


def _ask(told: Told, pace: Pace, clock: Callable[[], float]) -> None:
    try:
        watts = watts_of(asked(pace.command, pace.timeout_seconds), pace.most_watts)
    except (Rejected, Unavailable, OSError) as exc:
        reason = str(exc).partition(":")[0] if isinstance(exc, Rejected) else "no_answer"
        with told.lock:
            told.rejected[reason] = told.rejected.get(reason, 0) + 1
            told.message = str(exc)
    else:
        with told.lock:
            told.whole = told.sampled.advance(clock(), watts, pace.fresh_seconds) and told.whole
            told.message = ""
