"""What the callbacks for training libraries share: a library is loaded when its callback is first asked for."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib import import_module
from typing import Any

NAME = "GpuwatchCallback"


def callback_class(module: str, hooks: type, name: str, libraries: Sequence[str]) -> Any:
    """The class `GpuwatchCallback` of `module`: `hooks`, on top of the class `name` of a library.

    Of several libraries it is that of each one that is already loaded, else of the first that there is.
    """
    loaded = [each for each in libraries if each in sys.modules]
    bases = [getattr(import_module(each), name) for each in loaded]
    problem: ImportError | None = None
    for each in [] if bases else libraries:
        try:
            bases = [getattr(import_module(each), name)]
            break
        except ImportError as exc:
            problem = problem or exc
    if not bases:
        wanted = " or ".join(each.partition(".")[0] for each in libraries)
        raise ImportError(
            f"{module}: {wanted} cannot be imported ({problem}); install it, or call gpuwatch_client.progress "
            "in your own loop"
        ) from problem
    return type(NAME, (hooks, *bases), {"__module__": module, "__doc__": hooks.__doc__})
