"""`make bench`: what gpuwatch costs, as one JSON object."""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.benchmarks import (
    alerting,
    amd,
    attack,
    backtest,
    batch,
    beside,
    calls,
    forecasts,
    influx_lines,
    influx_replay,
    ledger,
    node,
    pushing,
    report,
    soak,
    spool,
    top,
    tpu,
    ui,
    watching,
)
from tests.fake_nvml import FakeNvml


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--duration", type=float, default=60.0, help="seconds of each measurement")
    parser.add_argument("--soak", type=float, default=0.0, help="seconds of the soak; 0 leaves it out")
    gpu = parser.add_argument_group("on a real GPU", "instead of all that, see docs/measuring.md")
    gpu.add_argument("--calls", action="store_true", help="what each NVML call costs")
    gpu.add_argument("--repeats", type=int, default=calls.REPEATS, help="how often each call is made")
    gpu.add_argument("--load", metavar="COMMAND", help="measure the calls beside this load, too")
    gpu.add_argument("--beside", metavar="COMMAND", help="the agent beside this load")
    gpu.add_argument("--rounds", type=int, default=3, help="how often the agent is left out and put in")
    gpu.add_argument("--settle", type=float, default=calls.SETTLE_SECONDS, help="seconds to wait before measuring")
    gpu.add_argument("--fake", action="store_true", help="use the fake driver, to try the measurement itself")
    arguments = parser.parse_args()
    if arguments.calls or arguments.beside:
        print(json.dumps(on_gpu(arguments), indent=1))
        return
    figures: dict[str, float] = {}
    if arguments.duration:
        figures |= {**node.measure(arguments.duration), **attack.measure(), **batch.measure(), **ledger.measure()}
        figures |= {**forecasts.measure(), **backtest.measure(), **alerting.measure(), **watching.measure()}
        figures |= {**report.measure(), **ui.measure()}
        figures |= {**influx_lines.measure(), **influx_replay.measure(), **spool.measure()}
        figures |= {**pushing.measure(arguments.duration), **top.measure(), **amd.measure(arguments.duration)}
        figures |= tpu.measure(arguments.duration)
    if arguments.soak:
        figures |= soak.measure(arguments.soak)
    print(json.dumps(figures))


def on_gpu(arguments: argparse.Namespace) -> Mapping[str, Any]:
    """The measurements that need a real GPU, or the fake one in its place."""
    with tempfile.TemporaryDirectory() as directory:
        fake = FakeNvml(Path(directory) / "nvml", latency_seconds=0.0) if arguments.fake else None
        if arguments.calls:
            return calls.measure(fake, load=arguments.load, repeats=arguments.repeats, settle=arguments.settle)
        return beside.measure(
            fake,
            arguments.beside,
            duration=arguments.duration,
            rounds=arguments.rounds,
            settle=arguments.settle,
        )


if __name__ == "__main__":
    main()
