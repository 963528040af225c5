"""Slurm's commands as small shell scripts, each of which answers what a test says and keeps how it was asked."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

from gpuwatch.model import Site
from gpuwatch.schedulers import slurm_sacct, slurm_squeue
from gpuwatch.schedulers.slurm import SlurmScheduler

COMMANDS = ("sacct", "squeue", "scontrol", "sacctmgr", "sshare", "sreport")
QUESTIONS = {"helpformat": "sacct-fields", "config": "scontrol-config", "assoc": "sacctmgr-assoc",
             "account": "sacctmgr-account", "job": "scontrol-job"}  # fmt: skip
"""A word of a command, and what its answer is called; others are called as their command."""

START = 1_700_000_000
CONFIG = "ClusterName = gwtest\nAccountingStorageTRES = cpu,mem,node,billing,gres/gpu\n"
FIELDS = " ".join(slurm_sacct.FIELDS)


class FakeSlurm:
    """The commands, in a folder of their own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        cases = "\n".join(f"    {word}) answer={answer} ;;" for word, answer in QUESTIONS.items())
        for name in COMMANDS:
            script = folder / name
            script.write_text(
                f'#!/bin/sh\ncd {shlex.quote(str(folder))}\necho "{name} $*" >>asked\nanswer={name}\n'
                f'for word in "$@"; do case "${{word#--}}" in\n{cases}\nesac; done\n'
                'if [ -e "$answer.sh" ]; then . "./$answer.sh"; fi\n'
            )
            script.chmod(0o755)
        self.say("scontrol-config", CONFIG)
        self.say("sacct-fields", FIELDS)

    def do(self, answer: str, shell: str) -> None:
        """Let a question be answered by a piece of shell."""
        (self.folder / f"{answer}.sh").write_text(shell)

    def say(self, answer: str, *lines: str) -> None:
        """Let a question be answered by lines."""
        (self.folder / f"{answer}.txt").write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
        self.do(answer, f"cat {answer}.txt\n")

    def fail(self, answer: str, message: str) -> None:
        """Let a command complain and end with 1, as Slurm's do."""
        self.do(answer, f"echo {shlex.quote(message)} >&2\nexit 1\n")

    def asked(self) -> list[str]:
        """The commands that were run since this was last asked, with their arguments."""
        log = self.folder / "asked"
        found = log.read_text().splitlines() if log.exists() else []
        log.unlink(missing_ok=True)
        return found

    def scheduler(self, **settings: Any) -> SlurmScheduler:
        """The source under test, which asks these commands."""
        paths: dict[str, Any] = {name: str(self.folder / name) for name in COMMANDS}
        return SlurmScheduler(
            SlurmScheduler.Settings(**{"timeout_seconds": 20, "first_days": 1} | paths | settings),
            Site(cluster="here"),
        )


def queued(job: str = "12", state: str = "RUNNING", **cells: str) -> str:
    """A line of squeue."""
    row = {
        "jobidraw": job, "jobid": job, "state": state, "submit": str(START - 60), "start": str(START),
        "end": str(START + 7200), "resized": "N/A", "timelimit": "2:00:00", "restarts": "0", "alloccpus": "4",
        "alloctres": "cpu=4,mem=64G,node=1,billing=8,gres/gpu=2", "nodelist": "gw0", "partition": "gpu",
        "qos": "normal", "account": "lab", "user": "alice", "jobname": "train", "comment": "(null)",
        "admincomment": "(null)",
    }  # fmt: skip
    return slurm_squeue.DELIMITER.join({**row, **cells}.values()) + slurm_squeue.DELIMITER


def ended(job: str = "12", state: str = "COMPLETED", **cells: str) -> str:
    """A line of sacct."""
    row = dict.fromkeys((name.lower() for name in slurm_sacct.FIELDS), "") | {
        "jobidraw": job, "jobid": job, "state": state, "submit": str(START - 60), "start": str(START),
        "end": str(START + 3600), "elapsedraw": "3600", "timelimitraw": "120", "exitcode": "0:0",
        "alloctres": "billing=8,cpu=4,gres/gpu=2,node=1", "nodelist": "gw0", "partition": "gpu", "qos": "normal",
        "account": "lab", "user": "alice", "jobname": "train",
    }  # fmt: skip
    return slurm_sacct.DELIMITER.join({**row, **cells}.values())


def detail(job: str = "12", *nodes: str) -> str:
    """What scontrol prints of a job, as far as it matters here."""
    lines = nodes or ("Nodes=gw0 CPU_IDs=0-3 Mem=65536 GRES=gpu:h100:2(IDX:0-1)",)
    return "\n".join(
        [f"JobId={job} JobName=train", "   JobState=RUNNING", *(f"     {line}" for line in lines), ""]
    )
