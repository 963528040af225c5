"""`make bench`: what gpuwatch costs, as one JSON object."""

from __future__ import annotations

import argparse
import json

from tests.benchmarks import node


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--duration", type=float, default=60.0, help="seconds of each measurement")
    arguments = parser.parse_args()
    print(json.dumps(node.measure(arguments.duration)))


if __name__ == "__main__":
    main()
