"""Processor time and memory of jobs, as the kernel counts them for their control groups.

A version 2 group says so in `cpu.stat` and `memory.current`, a version 1 group in `cpuacct.usage` and
`memory.usage_in_bytes`, each below its own controller. What a group does not count is not known.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping

from gpuwatch.model import GroupUse

READ_SECONDS = 5.0
_USAGE = re.compile(rb"^usage_usec ([0-9]{1,18})$", re.MULTILINE | re.ASCII)
_MOST_BYTES = 4096
_BASE = "/fs/cgroup/"
_PROCESSOR, _MEMORY = ("cpuacct", "cpu,cpuacct", "cpuacct,cpu"), ("memory",)


def use_of(group: str) -> GroupUse:
    """What a control group has used since it was made, and holds now."""
    found = _USAGE.search(_content(f"{group}/cpu.stat"))
    if found is not None:
        return GroupUse(int(found[1]) * 1e-6, _number(f"{group}/memory.current"))
    nanoseconds = _of_version_1(group, _PROCESSOR, "cpuacct.usage")
    return GroupUse(
        None if nanoseconds is None else nanoseconds * 1e-9, _of_version_1(group, _MEMORY, "memory.usage_in_bytes")
    )


def _of_version_1(group: str, controllers: tuple[str, ...], file: str) -> float | None:
    """The same group lies at the same place below each controller; it may be given without one."""
    base, root, path = group.partition(_BASE)
    first, _, rest = path.partition("/")
    if rest and os.path.isdir(f"{base}{root}{first}"):  # noqa: PTH112 - as in slurm_cgroups
        path = rest
    if not path:
        return None
    numbers = (_number(f"{base}{_BASE}{each}/{path}/{file}") for each in controllers)
    return next((number for number in numbers if number is not None), None)


class GroupUses:
    """Reads the jobs' control groups every few seconds. To be used in one thread."""

    def __init__(self) -> None:
        self._read = float("-inf")

    def read(self, groups: Mapping[str, str], now: float) -> Mapping[str, GroupUse]:
        """By job, of those whose control groups (by job, as paths) say so; nothing between two reads."""
        if 0 <= now - self._read < READ_SECONDS:
            return {}
        self._read = now
        found = {job_id: use_of(group) for job_id, group in groups.items()}
        return {job_id: use for job_id, use in found.items() if use.cpu_seconds is not None}


def _number(path: str) -> float | None:
    content = _content(path).strip()
    return float(content) if content.isdigit() and len(content) <= 20 else None


def _content(path: str) -> bytes:
    try:
        file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return b""
    try:
        return os.read(file, _MOST_BYTES)
    except OSError:
        return b""
    finally:
        os.close(file)
