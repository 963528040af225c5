"""Build the fake driver library with the system's C compiler, once per version of its sources."""

from __future__ import annotations

import ctypes
import hashlib
import os
import platform
import shutil
import subprocess
from functools import cache
from pathlib import Path

from tests.fake_nvml.layout import SOURCES

NAME = "libnvidia-ml.so.1"
CACHE = Path(__file__).parents[2] / ".cache" / "fake_nvml"
FLAGS = ("-O1", "-Wall", "-Wextra", "-Werror", "-fPIC", "-shared", "-Wl,-Bsymbolic", f"-Wl,-soname,{NAME}")


def compiler() -> str | None:
    """The C compiler of this machine, None where it has none."""
    return shutil.which("gcc") or shutil.which("cc")


@cache
def build() -> Path:
    """The folder that holds the library, for LD_LIBRARY_PATH; `RuntimeError` where it cannot be built."""
    sources = b"".join(source.read_bytes() for source in SOURCES)
    key = hashlib.sha256(sources + repr((FLAGS, platform.machine())).encode()).hexdigest()[:16]
    folder = CACHE / key
    if not (folder / NAME).exists():
        _compile(folder)
    return folder


def _compile(folder: Path) -> None:
    gcc = compiler()
    if gcc is None:
        raise RuntimeError("fake_nvml: no C compiler; install gcc")
    folder.mkdir(parents=True, exist_ok=True)
    unfinished = folder / f"{NAME}.{os.getpid()}"
    files = [str(source) for source in SOURCES if source.suffix == ".c"]
    built = subprocess.run(
        [gcc, *FLAGS, "-o", str(unfinished), *files, "-lpthread"], capture_output=True, text=True
    )
    if built.returncode != 0:
        raise RuntimeError(f"fake_nvml: the compiler refused it\n{built.stderr}")
    unfinished.replace(folder / NAME)


@cache
def load() -> ctypes.CDLL:
    """Load the library into this process, so that pynvml's own loading by name finds it already there.

    The dynamic linker answers for a name that equals the soname of a loaded library. It cannot be undone: a
    process that did this never sees a real driver.
    """
    return ctypes.CDLL(str(build() / NAME))


def loaded_here() -> bool:
    """Whether this process has the fake library mapped."""
    return str(CACHE) in Path("/proc/self/maps").read_text(encoding="utf-8")
