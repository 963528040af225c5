"""Packages of this checkout, built once for the same inputs and kept in .cache/, for every test that wants one."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

from tests.integration.debian import REPOSITORY, UNPACKED, binary, environment

BUILDER = REPOSITORY / "deploy" / "packages" / "build.py"
CACHE = REPOSITORY / ".cache" / "packages" / "built"
BUILD_SECONDS = 600


def built(kind: str, version: str, tools: Path | None = None) -> Path:
    """The deb or rpm of a version; `tools` is a folder with programs that the machine does not have."""
    folder = CACHE / f"{kind}-{version}"
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        place = folder / digest()
        if not (place / "done").exists():
            for stale in folder.glob("*/"):
                shutil.rmtree(stale)
            build(kind, version, place, tools)
            (place / "done").touch()
    (package,) = place.glob(f"*.{kind}")
    return package


def build(kind: str, version: str, output: Path, tools: Path | None = None, *options: str) -> Path:
    """Build a package into a folder, whether there is one already or not."""
    command = [
        sys.executable,
        str(BUILDER),
        "--format",
        kind,
        "--version",
        version,
        "--fast",
        "--output",
        str(output),
    ]
    path = os.pathsep.join([str(tools), os.environ["PATH"]] if tools else [os.environ["PATH"]])
    done = subprocess.run(
        [*command, *options],
        env={**os.environ, "PATH": path, "SOURCE_DATE_EPOCH": "1700000000"},
        capture_output=True,
        text=True,
        timeout=BUILD_SECONDS,
        check=False,
    )
    assert 0 == done.returncode, done.stderr
    return Path(done.stdout.strip())


def sources() -> list[Path]:
    """The files of the checkout, as git lists them, and those that are not committed yet."""
    command = ["git", "-C", str(REPOSITORY), "ls-files", "-co", "--exclude-standard"]
    listed = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout.splitlines()
    return [REPOSITORY / name for name in listed if (REPOSITORY / name).is_file()]


def shims(folder: Path, programs: Iterable[str]) -> Path:
    """Programs that start the unpacked ones with the libraries and the configuration that those need."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in programs:
        program = binary(name)
        assert program is not None
        libraries = environment(program).get("LD_LIBRARY_PATH", "")
        settings = f"LD_LIBRARY_PATH={libraries} RPM_CONFIGDIR={UNPACKED}/usr/lib/rpm"
        settings += f" MAGIC={UNPACKED}/usr/lib/file/magic.mgc"
        unpacked = program.is_relative_to(UNPACKED)
        (folder / name).write_text(f'#!/bin/sh\n{f"export {settings}" if unpacked else ""}\nexec {program} "$@"\n')
        (folder / name).chmod(0o755)
    return folder


def digest() -> str:
    """Of all that goes into a package: the name of the folder that `built` keeps it in."""
    found = hashlib.sha256(sys.executable.encode())
    for path in sources():
        if not path.is_relative_to(REPOSITORY / "tests"):
            found.update(str(path).encode())
            found.update(path.read_bytes())
    return found.hexdigest()[:16]
