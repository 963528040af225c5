"""A runtime as a process of its own: `python -m tests.fake_tpu v4 --chips 8 [--port N] [--hold FILE …]`.

It prints its port, works at 75 % and ends when its standard input does.
"""

from __future__ import annotations

import argparse
import sys
from contextlib import ExitStack

from tests.fake_tpu.node import GENERATIONS
from tests.fake_tpu.runtime import BANDWIDTH, IDLE, PROGRAMS, QUEUE, UPTIME, Distribution, FakeRuntime


def main() -> None:
    """Serve until standard input ends."""
    parser = argparse.ArgumentParser()
    parser.add_argument("generation", choices=sorted(GENERATIONS))
    parser.add_argument("--chips", type=int, default=4)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--hold", nargs="*", default=())
    arguments = parser.parse_args()
    own = GENERATIONS[arguments.generation]
    chips = range(arguments.first, arguments.first + arguments.chips)
    devices = [chip * own.devices + each for chip in chips for each in range(own.devices)]
    runtime = FakeRuntime(
        devices, own.memory_bytes, duty_devices=list(chips) if own.duty_by_chip else None, port=arguments.port
    )
    runtime.says |= {BANDWIDTH: dict.fromkeys(devices, 40.0), IDLE: dict.fromkeys(devices, 0.5)}
    runtime.says |= {QUEUE: dict.fromkeys(devices, 2), UPTIME: {devices[0]: 120.0}}
    runtime.says[PROGRAMS] = dict.fromkeys(devices, Distribution(1.0, 2.0, (0, 50, 100, 400, 250, 150, 50, 0)))
    runtime.load(75.0, own.memory_bytes // 2)
    with ExitStack() as held:
        for path in arguments.hold:
            held.enter_context(open(path, "rb"))
        print(runtime.port, flush=True)
        sys.stdin.read()
    runtime.stop()


if __name__ == "__main__":
    main()
