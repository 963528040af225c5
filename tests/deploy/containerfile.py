"""A Containerfile, read; and its build stage, run without an engine: in a folder in place of the root."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.deploy.chart import REPOSITORY

FILE = REPOSITORY / "deploy" / "container" / "Containerfile"
CONTEXT = REPOSITORY / ".dockerignore"
_STEP_SECONDS = 300


@dataclass(frozen=True, slots=True)
class Step:
    """One instruction of a stage, stages counted from 0; what is before the first `FROM` is in stage -1."""

    stage: int
    name: str
    text: str

    @property
    def words(self) -> list[str]:
        """The words of its exec form; `ValueError` where it has another."""
        found = json.loads(self.text)
        return [str(each) for each in found]


def steps(text: str | None = None) -> list[Step]:
    """All instructions in order."""
    found, stage = [], -1
    for line in _lines(FILE.read_text() if text is None else text):
        name, _, rest = line.partition(" ")
        stage += name == "FROM"
        found.append(Step(stage, name, rest.strip()))
    return found


def _lines(text: str) -> Iterator[str]:
    kept = [line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    yield from re.sub(r"\\\n\s*", "", "\n".join(kept)).splitlines()


def context(to: Path) -> None:
    """Copy what an engine would be sent, by the ignore file: all is left out but what is named with `!`."""
    lines = [line for line in CONTEXT.read_text().splitlines() if line and not line.startswith("#")]
    assert lines[0] == "*"
    for name in (line[1:] for line in lines if line.startswith("!")):
        source, target = REPOSITORY / name, to / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__", "_version.py"))
        else:
            shutil.copy(source, target)


def build(root: Path, arguments: dict[str, str]) -> None:
    """Run the build stage with `root` in place of /: its RUN and COPY steps, as the shell of a container would."""
    sent = root / "context"
    context(sent)
    work = root / "src"
    work.mkdir()
    values = dict(arguments)
    for step in steps():
        if step.stage != 0:
            continue
        if step.name == "ARG":
            name, _, default = step.text.partition("=")
            values.setdefault(name, default)
        elif step.name == "COPY":
            _copy(sent, work, step.text.split())
        elif step.name == "RUN":
            _run(root, work, step.text, values)


def _copy(sent: Path, work: Path, words: list[str]) -> None:
    *sources, target = words
    for source in sources:
        into = work / target
        into.mkdir(parents=True, exist_ok=True)
        if (sent / source).is_dir():
            shutil.copytree(sent / source, into, dirs_exist_ok=True)
        else:
            shutil.copy(sent / source, into)


def _run(root: Path, work: Path, text: str, values: dict[str, str]) -> None:
    own = re.sub(r"(?<=[ =])/(opt|build|dist|state)(?=[/ ]|$)", rf"{root}/\1", text)
    done = subprocess.run(
        ["/bin/sh", "-ec", own],
        cwd=work,
        env={
            "PATH": "/usr/local/bin:/usr/bin:/bin",
            "HOME": str(root),
            "PIP_DISABLE_PIP_VERSION_CHECK": "1",
            **values,
        },
        capture_output=True,
        text=True,
        timeout=_STEP_SECONDS,
        check=False,
    )
    assert done.returncode == 0, f"{text}\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}"
