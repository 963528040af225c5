"""What the processes of a Slurm job have in their environment about its devices: the user's word, but for Slurm's.

Only the first processes of a job are asked, and only those that name the job their control group is of.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from gpuwatch.errors import Unavailable
from gpuwatch.jobs.slurm_cgroups import JobGroup, processes
from gpuwatch.jobs.slurm_devices import (
    JOB_GPUS,
    LONGEST_VALUE,
    MPS,
    ORDER,
    SHARDS,
    STEP_GPUS,
    UNREADABLE,
    VISIBLE,
)

JOB = "SLURM_JOB_ID"
ESTIMATE = "GPUWATCH_ESTIMATE"
_WANTED = {
    name: f"\0{name}=".encode() for name in (JOB, ESTIMATE, JOB_GPUS, STEP_GPUS, VISIBLE, ORDER, SHARDS, MPS)
}
_MOST_BYTES = 256 * 1024


@dataclass(frozen=True, slots=True)
class Said:
    """What a job's processes say; None where none says anything. `whole`: of the job, not of its steps."""

    variables: Mapping[str, str] | None
    whole: bool = False

    @property
    def refused(self) -> bool:
        """Whether a value was too long to be looked at."""
        return self.variables is not None and UNREADABLE in self.variables.values()


def environment(procfs: str, pid: int) -> dict[str, str] | None:
    """The variables of a process that matter here, as it was started with; None where there is no such process.

    256 kB are read; a value of more than 4096 characters stands as `UNREADABLE`. Raises `Unavailable` where the
    process may not be looked at.
    """
    path = f"{procfs}/{pid}/environ"
    try:
        with Path(path).open("rb") as file:
            data = file.read(_MOST_BYTES + 1)
    except (FileNotFoundError, ProcessLookupError):
        return None
    except OSError as exc:
        raise Unavailable(f"{path}: {exc.strerror or exc}; the agent may not look at this process") from exc
    data = b"\0" + data[:_MOST_BYTES]
    found: dict[str, str] = {}
    # Looked for by name, and not taken apart: a hostile one has 256,000 variables without a name.
    for key, before in _WANTED.items():
        start = data.find(before)
        if start >= 0:
            # The first of two is what getenv finds.
            value = data[start + len(before) :].partition(b"\0")[0]
            found[key] = os.fsdecode(value) if len(value) <= LONGEST_VALUE else UNREADABLE
    return found


def ask(procfs: str, group: JobGroup, job_id: str) -> Said:
    """What the processes of a job say about its devices: of the whole job where one does, else of its steps."""
    steps: list[dict[str, str]] = []
    batch = False
    for step, pid in processes(group):
        found: dict[str, str] | None = None
        with suppress(Unavailable):
            found = environment(procfs, pid)
        if found is None or found.get(JOB) != job_id:
            continue
        if JOB_GPUS in found:
            return Said(found, whole=True)
        if found.keys() & {STEP_GPUS, VISIBLE}:
            steps.append(found)
        batch = batch or step == "step_batch"
    if steps:
        return Said(_joined(steps))
    # Slurm tells a batch script of its devices; one that was told of none has none so far.
    return Said({} if batch else None)


def named_by(procfs: str, group: JobGroup) -> str | None:
    """The job that all processes of a group which may be looked at name; None where they differ or say nothing."""
    named = set()
    for _, pid in processes(group):
        with suppress(Unavailable):
            found = environment(procfs, pid)
            if found is not None and JOB in found:
                named.add(found[JOB])
    return named.pop() if len(named) == 1 else None


def _joined(steps: list[dict[str, str]]) -> dict[str, str]:
    """Each step has a part of its job's devices: the parts together, by the better of the two variables."""
    name = STEP_GPUS if any(STEP_GPUS in each for each in steps) else VISIBLE
    values = dict.fromkeys(each[name] for each in steps if name in each)
    text = UNREADABLE if UNREADABLE in values else ",".join(values)
    return {**{key: value for key, value in steps[0].items() if key not in (STEP_GPUS, VISIBLE)}, name: text}
