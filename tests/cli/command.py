"""Start `gpuwatch` as a user does: another process, its exit code and its words."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Any

GPUWATCH = (sys.executable, "-c", "from gpuwatch.cli import main; main()")


def environment(**more: str) -> dict[str, str]:
    """This process's environment without anything of gpuwatch."""
    return {name: text for name, text in os.environ.items() if not name.startswith("GPUWATCH")} | more


def gpuwatch(*arguments: str, **more: Any) -> subprocess.CompletedProcess[str]:
    """Run a command to its end."""
    options: dict[str, Any] = {"env": environment(), "capture_output": True, "text": True, "timeout": 30}
    return subprocess.run([*GPUWATCH, *arguments], check=False, **{**options, **more})


def start(*arguments: str, **more: Any) -> subprocess.Popen[str]:
    """Start a command, its output in pipes."""
    options: dict[str, Any] = {"env": environment(), "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.Popen([*GPUWATCH, *arguments], text=True, **{**options, **more})
