"""Gives the agent, which is not root, what is root's alone on a node: its directories, sockets and registers.

Run as root with no capability but CHOWN. `--own` makes a directory the user's; `--grant` lets a group look into a
directory or speak to a socket, `--read` lets it read every file that fits a pattern, and none takes anything from
anybody. With `--every` it looks again: the kubelet makes its socket anew when it starts, a driver its files.
"""

from __future__ import annotations

import argparse
import errno
import glob
import os
import signal
import stat
import sys
import time
from collections.abc import Sequence
from pathlib import Path

DIRECTORY = stat.S_IRGRP | stat.S_IXGRP
SOCKET = stat.S_IRGRP | stat.S_IWGRP
FILE = stat.S_IRGRP


def own(path: str, user: int) -> bool:
    """Make a directory the user's; whether anything was changed."""
    found = os.lstat(path)
    if not stat.S_ISDIR(found.st_mode):
        raise OSError(errno.ENOTDIR, "is no directory")
    if found.st_uid == user:
        return False
    os.chown(path, user, user, follow_symlinks=False)
    return True


def grant(path: str, group: int) -> bool:
    """Let the group into a directory or speak to a socket; whether anything was changed."""
    found = os.lstat(path)
    if stat.S_ISDIR(found.st_mode):
        wanted, everybody = DIRECTORY, stat.S_IROTH | stat.S_IXOTH
    elif stat.S_ISSOCK(found.st_mode):
        wanted, everybody = SOCKET, stat.S_IROTH | stat.S_IWOTH
    else:
        raise OSError(errno.EINVAL, "is neither a directory nor a socket")
    return _let_in(path, group, found, wanted, everybody)


def read(path: str, group: int) -> bool:
    """Let the group read a file; whether anything was changed."""
    found = os.lstat(path)
    if not stat.S_ISREG(found.st_mode):
        raise OSError(errno.EINVAL, "is no plain file")
    return _let_in(path, group, found, FILE, stat.S_IROTH)


def _let_in(path: str, group: int, found: os.stat_result, wanted: int, everybody: int) -> bool:
    if found.st_mode & everybody == everybody or (found.st_gid == group and found.st_mode & wanted == wanted):
        return False
    os.chown(path, -1, group, follow_symlinks=False)
    Path(path).chmod(stat.S_IMODE(found.st_mode) | wanted)
    return True


def look(options: argparse.Namespace, said: set[str]) -> bool:
    """Do what is to be done now; whether all of it could be. Each failure is said once until it is over."""
    failed = set()
    files = [path for pattern in options.read for path in sorted(glob.glob(pattern))]  # noqa: PTH207 - absolute
    to_do = (
        (own, options.own, options.user),
        (grant, options.grant, options.group),
        (read, files, options.group),
    )
    for do, paths, who in to_do:
        for path in paths:
            try:
                if do(path, who):
                    print(f"access: {do.__name__} {path} {who}", file=sys.stderr, flush=True)
            except OSError as exc:
                failed.add(f"{path}: {exc.strerror}")
    for each in sorted(failed - said):
        print(f"access: {each}; tried again", file=sys.stderr, flush=True)
    said.clear()
    said.update(failed)
    return not failed


def main(arguments: Sequence[str] | None = None) -> int:
    """Once, or with `--every` until it is ended. What is not there yet keeps no agent down."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--user", type=int, default=65534)
    parser.add_argument("--group", type=int, default=65534)
    parser.add_argument("--own", action="append", default=[], metavar="DIRECTORY")
    parser.add_argument("--grant", action="append", default=[], metavar="PATH")
    parser.add_argument("--read", action="append", default=[], metavar="PATTERN")
    parser.add_argument("--every", type=float, default=0.0, metavar="SECONDS")
    options = parser.parse_args(arguments)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    said: set[str] = set()
    look(options, said)
    while options.every:
        time.sleep(options.every)
        look(options, said)
    return 0


if __name__ == "__main__":
    sys.exit(main())
