"""Modules that are about now begin now: all of them were imported when the run began, half an hour ago perhaps."""

from __future__ import annotations

import time
from collections.abc import Callable
from types import ModuleType

import pytest


def begins_now() -> Callable[..., None]:
    """A fixture that sets `NOW` of its module, and `START` as far before it as it was; before all others."""

    @pytest.fixture(scope="module", autouse=True)
    def beginning(request: pytest.FixtureRequest) -> None:
        module: ModuleType = request.module
        ahead = int(module.NOW) - module.START
        module.NOW = time.time()  # type: ignore[attr-defined]
        module.START = int(module.NOW) - ahead  # type: ignore[attr-defined]

    return beginning
