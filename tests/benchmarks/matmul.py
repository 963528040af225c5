"""A load with known work: products of square matrices, by torch or cupy, whichever this Python has.

    python3 tests/benchmarks/matmul.py --busy 0.5

Needs nothing of gpuwatch. Prints `SECONDS FLOP` for each step, as `load.py` reads it. `--busy` is the fraction of
time that it computes: the activity that GPM has to show, where the matrices are large enough to fill the device.
"""

from __future__ import annotations

import argparse
import importlib.util
import time
from collections.abc import Callable


def product(size: int) -> Callable[[], None]:
    """One product in half precision, waited for."""
    if importlib.util.find_spec("torch"):
        import torch

        left = torch.randn(size, size, device="cuda", dtype=torch.bfloat16)
        right, out = torch.randn_like(left), torch.empty_like(left)

        def multiply() -> None:
            torch.matmul(left, right, out=out)
            torch.cuda.synchronize()

        return multiply
    if importlib.util.find_spec("cupy"):
        import cupy

        a = cupy.random.rand(size, size).astype(cupy.float16)

        def multiply_with_cupy() -> None:
            a @ a
            cupy.cuda.Device().synchronize()

        return multiply_with_cupy
    raise SystemExit("matmul: this Python has neither torch nor cupy; call it with one that has")


def main() -> None:
    """Multiply until it is killed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=8192, help="rows of the matrices")
    parser.add_argument("--busy", type=float, default=1.0, help="fraction of time to compute, 0 to 1")
    arguments = parser.parse_args()
    multiply = product(arguments.size)
    multiply()
    while True:
        began = time.perf_counter()
        multiply()
        seconds = time.perf_counter() - began
        print(seconds, 2 * arguments.size**3, flush=True)
        if arguments.busy < 1:
            time.sleep(seconds * (1 - arguments.busy) / arguments.busy)


if __name__ == "__main__":
    main()
