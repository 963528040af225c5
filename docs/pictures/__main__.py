"""`python -m docs.pictures [NAME…]` makes the pictures of the documentation: all, or those of the modules."""

from __future__ import annotations

import pkgutil
import sys
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path

FOLDER = Path(__file__).parent


def main(wanted: Sequence[str]) -> None:
    """Every module here that has a `make` is asked for its pictures."""
    for module in sorted(pkgutil.iter_modules([str(FOLDER)]), key=lambda each: each.name):
        if module.name == "__main__" or (wanted and module.name not in wanted):
            continue
        make = getattr(import_module(f"docs.pictures.{module.name}"), "make", None)
        for picture in make(FOLDER) if make is not None else ():
            print(picture.relative_to(FOLDER.parents[1]), picture.stat().st_size)


if __name__ == "__main__":
    main(sys.argv[1:])
