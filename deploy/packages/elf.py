"""What the binaries of a tree need of the machine they will run on: libraries, and the C library's version."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterable, Iterator
from pathlib import Path

# The C library in all its parts, and the run-time libraries of the compilers: each distribution has them, and
# wheels are built to need no others (the manylinux policy).
SYSTEM = re.compile(
    r"^(ld-linux.*|lib(c|m|dl|rt|pthread|util|resolv|anl|nsl|mvec|gcc_s|stdc\+\+|atomic))\.so\.\d+$"
)
_GLIBC = re.compile(rb"\x00GLIBC_(\d+)\.(\d+)(?:\.\d+)?(?=\x00)")
_RESOLVED = re.compile(r"^\s*(\S+) => (/\S+) \(0x", re.MULTILINE)


def binaries(folder: Path) -> Iterator[Path]:
    """Every ELF file below a folder, in order of name."""
    for path in sorted(folder.rglob("*")):
        if path.is_file() and not path.is_symlink() and is_elf(path):
            yield path


def is_elf(path: Path) -> bool:
    """Whether a file begins as programs and libraries do."""
    with path.open("rb") as file:
        return file.read(4) == b"\x7fELF"


def glibc_of(paths: Iterable[Path]) -> tuple[int, int]:
    """The newest version of the C library that any of these binaries asks for."""
    asked = (match for path in paths for match in _GLIBC.findall(path.read_bytes()))
    return max(((int(major), int(minor)) for major, minor in asked), default=(2, 17))


def libraries_of(path: Path) -> dict[str, Path]:
    """The libraries that a binary loads here, with those of its libraries, but for what every machine has."""
    told = subprocess.run(["ldd", str(path)], capture_output=True, text=True, timeout=60, check=False).stdout
    return {name: Path(found) for name, found in _RESOLVED.findall(told) if not SYSTEM.match(name)}


def needed_by(path: Path) -> list[str]:
    """The libraries that a binary itself names."""
    return _patchelf("--print-needed", str(path)).split()


def look_for_libraries_in(path: Path, folder: Path, installed: Path) -> None:
    """Have a binary find its libraries in `folder`, wherever both are moved; `installed` is where that will be."""
    relative = os.path.relpath(folder, path.parent)
    # A program learns where it is from /proc, which a chroot may not have.
    places = f"$ORIGIN/{relative}:{installed}" if relative != "." else "$ORIGIN"
    # RPATH and not RUNPATH: modules and conda set LD_LIBRARY_PATH to a libssl of their own, which must not win.
    _patchelf("--force-rpath", "--set-rpath", places, str(path))


def strip(path: Path) -> None:
    """Take out debug symbols, where the machine has what it takes."""
    if shutil.which("strip"):
        subprocess.run(["strip", "--strip-unneeded", str(path)], timeout=60, check=True)


def _patchelf(*arguments: str) -> str:
    done = subprocess.run(["patchelf", *arguments], capture_output=True, text=True, timeout=60, check=False)
    if done.returncode:
        raise SystemExit(f"patchelf {' '.join(arguments)}: {done.stderr.strip()}")
    return done.stdout
