"""A pretended training job: opens simulated devices, takes its steps, reports progress as any job does.

    python -m gpuwatch.devices.demo_load --driver DIR --devices 0,1 --steps 240 --step-seconds 1.4

Standard library and `gpuwatch_client` only.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from random import Random
from types import FrameType

from gpuwatch.devices.demo_driver import Handle, Load

GIB = 2**30
STALL_SECONDS = 1.0
# What a collective's own watchdog does in the end: it aborts the process.
ABORTED = 134
LOST_PARENT_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Course:
    """What the job is going to do."""

    driver: Path
    devices: tuple[int, ...]
    steps: int = 240
    step_seconds: float = 1.0
    report_every: int = 5
    intensity: float = 0.9
    memory_gib: float = 60.0
    stall_every: int = 0
    hang_after: float | None = None
    hang_seconds: float = 600.0
    idle: bool = False


class Ended(Exception):
    """A signal asked the job to end."""


@dataclass(frozen=True, slots=True)
class World:
    """What the job needs of the world: a clock, sleep, whether its parent lives, and where progress goes."""

    clock: Callable[[], float]
    sleep: Callable[[float], None]
    orphaned: Callable[[], bool]
    progress: Callable[[int, int], object]


def run(course: Course, world: World) -> int:
    """Do all of it on all devices at once; the exit code."""
    with ExitStack() as opened:
        handles = [Handle(course.driver, index) for index in course.devices]
        for handle in handles:
            opened.callback(handle.close)
        memory = int(course.memory_gib * GIB)

        def do(phase: str, seconds: float, intensity: float = 0.0) -> None:
            for handle in handles:
                handle.set(Load(phase, intensity, memory))
            _wait(seconds, world)

        if course.idle:
            while True:
                do("idle", 3600.0)
        return _train(course, world, do)


def _train(course: Course, world: World, do: Callable[..., None]) -> int:
    began = world.clock()
    jitter = Random(course.devices[0])
    world.progress(0, course.steps)
    for step in range(1, course.steps + 1):
        if course.hang_after is not None and world.clock() - began >= course.hang_after:
            do("hang", course.hang_seconds)
            return ABORTED
        if course.stall_every and step % course.stall_every == 0:
            do("stall", STALL_SECONDS)
        do("compute", course.step_seconds * jitter.uniform(0.95, 1.05), course.intensity)
        if step % course.report_every == 0 or step == course.steps:
            world.progress(step, course.steps)
    return 0


def _wait(seconds: float, world: World) -> None:
    """Sleep, but end with the parent: work that outlives its demo is of no use to anybody."""
    until = world.clock() + seconds
    while (left := until - world.clock()) > 0:
        if world.orphaned():
            raise Ended
        world.sleep(min(left, LOST_PARENT_SECONDS))


def parse(arguments: Sequence[str]) -> Course:
    """The command line as a course."""
    parser = argparse.ArgumentParser(prog="demo_load", description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--driver", type=Path, required=True, help="the demo's driver directory")
    parser.add_argument("--devices", type=_indexes, required=True, help="devices to open, as 0,1")
    parser.add_argument("--steps", type=int, default=240, help="steps of the whole course")
    parser.add_argument("--step-seconds", type=float, default=1.0, help="time that one step takes")
    parser.add_argument("--report-every", type=int, default=5, help="steps between two reports of progress")
    parser.add_argument("--intensity", type=float, default=0.9, help="how hard it computes, 0 to 1")
    parser.add_argument("--memory-gib", type=float, default=60.0, help="memory it holds on each device")
    parser.add_argument("--stall-every", type=int, default=0, help="wait for input once in so many steps")
    parser.add_argument("--hang-after", type=float, help="seconds after which a collective never returns")
    parser.add_argument("--hang-seconds", type=float, default=600.0, help="how long it spins before it aborts")
    parser.add_argument("--idle", action="store_true", help="hold the devices and run nothing")
    return Course(**vars(parser.parse_args(arguments)))


def _indexes(text: str) -> tuple[int, ...]:
    return tuple(int(word) for word in text.split(","))


def _end(_number: int, _frame: FrameType | None) -> None:
    raise Ended


def main(arguments: Sequence[str] | None = None) -> int:
    """Run until done, or until SIGTERM, SIGINT or the death of the parent."""
    course = parse(sys.argv[1:] if arguments is None else arguments)
    from gpuwatch_client import progress

    parent = os.getppid()
    world = World(time.monotonic, time.sleep, lambda: os.getppid() != parent, progress)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _end)
    try:
        return run(course, world)
    except Ended:
        return 128 + signal.SIGTERM


if __name__ == "__main__":
    raise SystemExit(main())
