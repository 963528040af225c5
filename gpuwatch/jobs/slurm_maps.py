"""Maps of jobs to devices that a prolog wrote: our own, and those of dcgm-exporter and of jobstats.

A map is believed where only root (or the agent's own user) could have written it: directory and file belong to
one of the two and nobody else may write them. Files are read without following links or waiting for a writer.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from gpuwatch.errors import Unavailable
from gpuwatch.model import EMPTY

JOB_ID = re.compile(r"[1-9][0-9]{0,9}", re.ASCII)

_MOST_FILES = 4096
_MOST_BYTES = 65536
_SLUID = re.compile(r"s[0-9A-Z]{8,24}", re.ASCII)
_LINE = re.compile(r"([A-Z][A-Z0-9_]*)=(.*)")
_DEVICE = re.compile(r"[0-9]{1,4}(?:\.[0-9]{1,4})?|(?:GPU|MIG)-[0-9A-Za-z/-]{4,128}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Mapped:
    """What a map says of one job: the variables of its prolog, or portions of devices by name.

    `written` is when, in Unix seconds. `readable` is false where the file is not as a prolog writes it.
    """

    job_id: str
    written: float
    variables: Mapping[str, str] = EMPTY
    portions: tuple[tuple[str, float], ...] = ()
    sluid: str | None = None
    readable: bool = True


@dataclass(frozen=True, slots=True)
class MapFile:
    """A file of a map directory as it was last read; `text` is None where it was refused, `refusal` says why."""

    name: str
    written: float
    stamp: tuple[int, ...]
    text: str | None = None
    refusal: str | None = None


class MapDirectory:
    """The files of one directory, read again only when they change. Not thread-safe."""

    def __init__(self, path: str, trusted: frozenset[int] | None = None, own: bool = True) -> None:
        self.path = path
        self._own = own
        self._trusted = frozenset({0, os.geteuid()}) if trusted is None else trusted
        self._files: dict[str, MapFile] = {}
        self.refusals: dict[str, str] = {}

    def read(self) -> list[MapFile]:
        """The readable files, none where there is no such directory; what was refused is in `refusals` then.

        A directory that is there and may not be listed raises `Unavailable` where it is our own; that of another
        program is refused.
        """
        before, self._files, self.refusals = self._files, {}, {}
        try:
            refusal = _refusal(Path(self.path).stat(), self._trusted, directory=True)
            if refusal is not None:
                self.refusals[self.path] = refusal
                return []
            with os.scandir(self.path) as entries:
                for entry in islice(entries, _MOST_FILES):
                    if not entry.name.startswith("."):
                        self._look(entry, before)
                if next(entries, None) is not None:
                    self.refusals[self.path] = f"has more than {_MOST_FILES} files, the others are not read"
        except (FileNotFoundError, NotADirectoryError):
            return []
        except OSError as exc:
            if self._own:
                raise Unavailable(f"{self.path}: cannot be read; {exc.strerror or exc}") from exc
            self.refusals[self.path] = f"cannot be read: {exc.strerror or exc}"
            return []
        self.refusals |= {each.name: each.refusal for each in self._files.values() if each.refusal is not None}
        return [each for each in self._files.values() if each.text is not None]

    def _look(self, entry: os.DirEntry[str], before: Mapping[str, MapFile]) -> None:
        try:
            status = entry.stat(follow_symlinks=False)
        except OSError:
            return
        stamp = (status.st_ino, status.st_mtime_ns, status.st_size, status.st_uid, status.st_mode)
        known = before.get(entry.name)
        if known is None or known.stamp != stamp:
            known = self._open(entry, status, stamp)
        self._files[entry.name] = known

    def _open(self, entry: os.DirEntry[str], status: os.stat_result, stamp: tuple[int, ...]) -> MapFile:
        name, written = entry.name, status.st_mtime
        refusal = _refusal(status, self._trusted)
        if refusal is not None:
            return MapFile(name, written, stamp, refusal=refusal)
        try:
            descriptor = os.open(entry.path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError as exc:
            return MapFile(name, written, stamp, refusal=f"cannot be opened: {exc.strerror}")
        try:
            # Looked at again: it may be another file by now.
            refusal = _refusal(os.fstat(descriptor), self._trusted)
            data = b"" if refusal is not None else os.read(descriptor, _MOST_BYTES)
        except OSError as exc:
            return MapFile(name, written, stamp, refusal=f"cannot be read: {exc.strerror}")
        finally:
            os.close(descriptor)
        text = None if refusal is not None else data.decode("utf-8", "replace")
        return MapFile(name, written, stamp, text, refusal)


def _refusal(status: os.stat_result, trusted: frozenset[int], directory: bool = False) -> str | None:
    """Why a file or directory is not believed."""
    if not directory and not stat.S_ISREG(status.st_mode):
        return "is no regular file"
    if status.st_uid not in trusted:
        return f"belongs to uid {status.st_uid}, not to root"
    if status.st_mode & 0o022:
        return f"may be written by others, mode {stat.S_IMODE(status.st_mode):o}"
    if not directory and status.st_size > _MOST_BYTES:
        return f"has {status.st_size} bytes, more than {_MOST_BYTES}"
    return None


def own(files: Iterable[MapFile], node: str) -> Iterator[Mapped]:
    """What our own prolog wrote, `JOB.NODE`: only the files of this node, or of no node in particular."""
    for file in files:
        job_id, _, on = file.name.partition(".")
        if not JOB_ID.fullmatch(job_id) or on not in ("", node):
            continue
        lines = (_LINE.fullmatch(line) for line in (file.text or "").splitlines())
        said = {match[1]: match[2] for match in lines if match}
        sluid = said.get("SLURM_JOB_SLUID", "")
        if said.get("SLURM_JOB_ID") != job_id:
            yield Mapped(job_id, file.written, readable=False)
            continue
        yield Mapped(job_id, file.written, said, sluid=sluid if _SLUID.fullmatch(sluid) else None)


def gpustat(files: Iterable[MapFile]) -> Iterator[Mapped]:
    """What the prolog of jobstats wrote: one file per ordinal or UUID, with `JOBID UID` in it."""
    return _by_job((file, [(file.text or "").split(maxsplit=1)[:1]]) for file in files)


def dcgm(files: Iterable[MapFile]) -> Iterator[Mapped]:
    """dcgm-exporter's mapping: one file per GPU index (`N`, `N.M` for an instance), with a job id in each line.

    Jobs that are listed for the same device share it equally.
    """
    return _by_job((file, [line.split() for line in (file.text or "").splitlines()]) for file in files)


def _by_job(read: Iterable[tuple[MapFile, list[list[str]]]]) -> Iterator[Mapped]:
    portions: dict[str, dict[str, float]] = {}
    written: dict[str, float] = {}
    for file, lines in read:
        jobs = {words[0]: None for words in lines if words and JOB_ID.fullmatch(words[0])}
        if not _DEVICE.fullmatch(file.name):
            continue
        for job_id in jobs:
            portions.setdefault(job_id, {})[file.name] = 1 / len(jobs)
            written[job_id] = max(file.written, written.get(job_id, file.written))
    for job_id, each in portions.items():
        yield Mapped(job_id, written[job_id], portions=tuple(each.items()))
