"""Files of the site that are read again when they change."""

from __future__ import annotations

from pathlib import Path

Stamp = tuple[int, int, int] | None


def stamp_of(path: Path | None) -> Stamp:
    """What changes when a file does; None where there is none."""
    if path is None:
        return None
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_ino, found.st_size, found.st_mtime_ns
