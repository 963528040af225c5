"""The driver to measure: this machine's own, or the fake one, by which the measurements themselves are tested."""

from __future__ import annotations

import os
import platform
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pynvml

from tests.fake_nvml import FakeNvml, load


class Machine:
    """This machine's driver: what `FakeNvml` is for the fake one, as far as the agent's process needs it."""

    def environment(self) -> Mapping[str, str]:
        """Nothing has to be said for it to be found."""
        return {}


@contextmanager
def opened(fake: FakeNvml | None) -> Iterator[Any]:
    """pynvml, initialised; a process that had the fake driver once never sees the real one."""
    if fake is not None:
        load()
        os.environ["FAKE_NVML_STATE"] = str(fake.path)
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError as error:
        raise SystemExit(f"benchmarks: no NVIDIA driver within reach: {error}; --fake stands in for it") from error
    try:
        yield pynvml
    finally:
        pynvml.nvmlShutdown()


def about(api: Any, handle: Any) -> dict[str, Any]:
    """What was measured on: without it a figure says nothing."""
    return {
        "device": api.nvmlDeviceGetName(handle),
        "driver": api.nvmlSystemGetDriverVersion(),
        "persistence_mode": _or_none(api, api.nvmlDeviceGetPersistenceMode, handle),
        "processor": _processor(),
        "kernel": platform.release(),
    }


def _or_none(api: Any, call: Any, handle: Any) -> Any:
    try:
        return call(handle)
    except api.NVMLError:
        return None


def _processor() -> str:
    found = re.search(r"^model name\s*: (.*)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    return found[1] if found else platform.machine()
