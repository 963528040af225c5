"""`make bench`: what gpuwatch costs, as one JSON object."""

from __future__ import annotations

import argparse
import json

from tests.benchmarks import node, soak


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--duration", type=float, default=60.0, help="seconds of each measurement")
    parser.add_argument("--soak", type=float, default=0.0, help="seconds of the soak; 0 leaves it out")
    arguments = parser.parse_args()
    figures = dict(node.measure(arguments.duration)) if arguments.duration else {}
    if arguments.soak:
        figures |= soak.measure(arguments.soak)
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
