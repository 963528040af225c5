"""The scenario of `gpuwatch up --demo`: which jobs run on the simulated accelerators, and what each one shows.

Every job is a real process behind the real `gpuwatch run`. A job that has ended begins again after a pause,
so that the demo goes on for as long as somebody looks at it.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

STOP_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class DemoJob:
    """One job: its name, what there is to see in it, the command, and how long after its end it begins again."""

    name: str
    shows: str
    command: tuple[str, ...]
    pause_seconds: float = 20.0


class Part(NamedTuple):
    """A job of the scenario: the devices it opens, what it declares, and what its workload does."""

    name: str
    shows: str
    devices: str
    declared: str
    load: str


# For eight devices; device 7 stays unused.
PARTS = (
    Part(
        "llama-ft",
        "declared 0.08 device-hours and 50 Wh, needs about 0.19 and 110: projected to overrun, then over",
        "0,1",
        "--device-hours 0.08 --energy 50Wh --campaign llama",
        "--steps 240 --step-seconds 1.4 --intensity 0.9 --memory-gib 68",
    ),
    Part(
        "resnet-ok",
        "waits for input every few seconds, and ends within what it declared",
        "2",
        "--device-hours 0.07 --energy 30Wh --campaign resnet",
        "--steps 120 --step-seconds 1.1 --stall-every 5 --intensity 0.6 --memory-gib 24",
    ),
    Part(
        "notebook",
        "holds a device and runs nothing",
        "3",
        "",
        "--idle --memory-gib 11",
    ),
    Part(
        "allreduce-hang",
        "works for 30 s, then spins: reported 100 % busy, power near idle; device 5 gets lost now and then",
        "4,5",
        "--device-hours 0.5 --campaign llama",
        "--steps 300 --step-seconds 1.0 --hang-after 30 --intensity 0.8 --memory-gib 52",
    ),
    Part(
        "bert-hot",
        "runs on a device that is too hot and holds its clocks down; ends within what it declared",
        "6",
        "--device-hours 0.08 --energy 50Wh --campaign bert",
        "--steps 160 --step-seconds 1.2 --intensity 1.0 --memory-gib 40",
    ),
)


def scenario(driver_directory: Path, socket: Path) -> list[DemoJob]:
    """The jobs of the demo: real runs, declared at the agent's socket, of workloads on the simulated devices."""
    gpuwatch = (sys.executable, "-m", "gpuwatch", "run")
    work = (sys.executable, "-m", "gpuwatch.devices.demo_load", "--driver", str(driver_directory))
    return [
        DemoJob(
            part.name,
            part.shows,
            (
                *(*gpuwatch, "--name", part.name, *part.declared.split(), "--socket", str(socket), "--"),
                *(*work, "--devices", part.devices, *part.load.split()),
            ),
        )
        for part in PARTS
    ]


@dataclass(slots=True)
class Place:
    """A job of the scenario with its process, and when it is to begin (again)."""

    job: DemoJob
    process: subprocess.Popen[bytes] | None = None
    starts_at: float | None = None


class DemoJobs:
    """The running jobs of a scenario. What each one prints is in `log_directory`, as NAME.log."""

    def __init__(self, jobs: Sequence[DemoJob], log_directory: Path) -> None:
        self._log_directory = log_directory
        self._places = [Place(job) for job in jobs]

    def start(self) -> None:
        """Begin all of them; the agent's socket has to be there."""
        self._log_directory.mkdir(parents=True, exist_ok=True)
        for place in self._places:
            self._begin(place)

    def poll(self, now: float) -> list[str]:
        """Begin again what ended a pause ago; the names of the jobs that run now."""
        for place in self._places:
            if place.process is not None and place.process.poll() is not None:
                place.process, place.starts_at = None, now + place.job.pause_seconds
            if place.starts_at is not None and now >= place.starts_at:
                self._begin(place)
        return [place.job.name for place in self._places if place.process is not None]

    def stop(self, timeout: float = STOP_SECONDS) -> None:
        """End all of them: SIGTERM, and SIGKILL to what has not ended in time."""
        running = [place.process for place in self._places if place.process is not None]
        for place in self._places:
            place.process = place.starts_at = None
        for process in running:
            if process.poll() is None:
                process.terminate()
        for process in running:
            try:
                process.wait(timeout)
            except subprocess.TimeoutExpired:
                # Each job is a process group of its own, so that nothing of it stays behind.
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                process.wait()

    def _begin(self, place: Place) -> None:
        with (self._log_directory / f"{place.job.name}.log").open("wb") as log:
            place.process = subprocess.Popen(
                place.job.command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        place.starts_at = None
