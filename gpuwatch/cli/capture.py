"""`gpuwatch check --capture`: write down what the driver says, for whoever has to develop without the machine."""

from __future__ import annotations

import errno
import json
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import typer

from gpuwatch import hygiene
from gpuwatch.cli import findings
from gpuwatch.devices import capture as recordings
from gpuwatch.errors import Forbidden, GpuwatchError, Unavailable

ADVICE = """
In it UUIDs, PCI addresses and process ids are masked; serial numbers, host and process names were not read.
To make a test case of it, put it into tests/captures/ of gpuwatch's source and run there
pytest tests/devices/test_nvidia_captures.py --update-golden"""


def run(target: Path, timeout_seconds: float, as_json: bool) -> None:
    """Record every kind of device, write the files, and say where they are."""
    try:
        written = capture(target, timeout_seconds)
    except GpuwatchError as exc:
        if not as_json:
            raise
        print(json.dumps({"ok": False, "error": str(exc)}))
        raise typer.Exit(exc.exit_code) from None
    if as_json:
        print(json.dumps({"ok": True, "captures": written}))
    else:
        print("\n".join(_page(written)))


def capture(target: Path, timeout_seconds: float) -> list[dict[str, Any]]:
    """Write recordings to a folder, or the only one to a file; `path` and what is in it, for each."""
    found = list(recordings.record(partial(findings.within, timeout_seconds)))
    to_file = target.suffix == ".json" and not target.is_dir()
    if to_file and len(found) > 1:
        names = ", ".join(recordings.file_name(each) for each in found)
        raise typer.BadParameter(
            f"{target}: one file cannot take {len(found)} kinds of device; give a folder for {names}"
        )
    written = []
    for each in found:
        path = target if to_file else target / recordings.file_name(each)
        _write(path, recordings.text_of(each))
        about = {"path": str(path), "model": each["model"], "driver": each["driver"]}
        written.append(about | {"unanswered": recordings.unanswered(each)})
    return written


def _write(path: Path, text: str) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    except OSError as exc:
        refused = exc.errno in (errno.EACCES, errno.EPERM, errno.EROFS)
        raise (Forbidden if refused else Unavailable)(f"{path}: {exc.strerror or exc}") from exc


def _page(written: Sequence[Mapping[str, Any]]) -> list[str]:
    lines = []
    for each in written:
        lines.append(hygiene.log(f"{each['path']}  {each['model']}, driver {each['driver']}"))
        if each["unanswered"]:
            lines.append(f"  incomplete: {each['unanswered']} questions got no answer; each says why (failure)")
    return [*lines, ADVICE]
