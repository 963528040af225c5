"""Recorded telemetry as a stream of samples: gpuwatch's own CSV, and what `nvidia-smi --format=csv` prints.

The format is told by the header. Nothing is believed that is not there: an empty or bracketed cell is
unknown, a row that makes no sense is dropped and counted, and memory stays flat for a file of any size.
"""

from __future__ import annotations

import csv
import gzip
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from io import BufferedReader, TextIOWrapper
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self, cast

from gpuwatch.devices.columns import Layout, layout_of
from gpuwatch.errors import Rejected, Unavailable
from gpuwatch.hygiene import log
from gpuwatch.model import Reading

LONGEST_LINE = 65_536
MOST_DEVICES = 4096
# One wrong timestamp in the far future must not make everything after it late.
JUMP_SECONDS = 86_400.0
NOBODY = ""
"""The device to which a rejected row belongs that names none."""

Reject = Callable[[str, str], None]
"""Called with the uid of the device (or `NOBODY`) and the reason for which a row or value was dropped."""


class Sample(NamedTuple):
    """One row of a recording: a reading, and the job that holds the device from then on."""

    reading: Reading
    job_id: str | None


class Recording:
    """One file, open for reading; a context manager. `samples` may be asked for once.

    Raises `Unavailable` for a file that cannot be opened and `Rejected` for one that is no recording.
    """

    def __init__(self, path: Path, reject: Reject) -> None:
        self.path = path
        self.rows = 0
        self.model: str | None = None
        self._reject = reject
        self._uids: set[str] = set()
        self._files = ExitStack()
        try:
            self._text = self._open()
            self._layout = self._header()
        except BaseException:
            self._files.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._files.close()

    @property
    def format(self) -> str:
        """`gpuwatch` or `nvidia-smi`."""
        return self._layout.format

    def samples(self) -> Iterator[Sample]:
        """The rows that make sense, in the order of the file; values are not yet checked for range."""
        for line in self._lines():
            cells = split(line)
            layout = self._layout
            time = layout.time(cells)
            if time is None:
                self._not_a_row(line, cells)
                continue
            self.rows += 1
            uid = layout.uid(cells)
            if uid not in self._uids:
                self._meet(uid, cells)
            yield Sample(Reading(uid, time, **layout.values(cells)), layout.job_id(cells))

    def _meet(self, uid: str, cells: list[str]) -> None:
        if len(self._uids) >= MOST_DEVICES:
            raise Rejected(f"{self._name}: more than {MOST_DEVICES} devices; is the uid in the right column")
        self._uids.add(uid)
        self.model = self.model or self._layout.model(cells)

    def _not_a_row(self, line: str, cells: list[str]) -> None:
        """A header once more (also another one), or something to count."""
        layout = layout_of(cells)
        if layout is not None:
            self._layout = layout
            return
        self.rows += 1
        uid = self._layout.uid(cells) if self._layout.width == len(cells) or not self._layout.has_uid else NOBODY
        known = uid in self._uids or not self._layout.has_uid
        self._reject(uid if known else NOBODY, "unparsable" if line.endswith("\n") else "truncated")

    @property
    def _name(self) -> str:
        return log(str(self.path))

    def _open(self) -> TextIOWrapper:
        try:
            raw = self._files.enter_context(self.path.open("rb"))
            start = raw.peek(2)[:2]
            if start == b"\x1f\x8b":
                # Reads as the file itself does, which is all that is asked of it.
                raw = cast(BufferedReader, self._files.enter_context(gzip.GzipFile(fileobj=raw)))
                start = raw.peek(2)[:2]
        except (EOFError, zlib.error, gzip.BadGzipFile) as exc:
            raise Rejected(f"{self._name}: is a damaged gzip file; {exc}") from exc
        except OSError as exc:
            raise Unavailable(f"{self._name}: cannot be read; {exc.strerror or exc}") from exc
        # What PowerShell's `>` writes is UTF-16.
        encoding = "utf-16" if start in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
        return self._files.enter_context(TextIOWrapper(raw, encoding, errors="replace"))

    def _header(self) -> Layout:
        line = next(self._lines(), None)
        if line is None:
            raise Rejected(f"{self._name}: is empty; a recording begins with a line that names its columns")
        layout = layout_of(split(line))
        if layout is None:
            raise Rejected(
                f"{self._name}: is no recording, its first line is {log(line.strip()[:80])!r}; "
                "there is CSV with a column 'time_s', and that of nvidia-smi with 'timestamp' and its header"
            )
        return layout

    def _lines(self) -> Iterator[str]:
        """The lines that are not blank, none longer than `LONGEST_LINE`."""
        overlong = False
        while line := self._read_line():
            complete = line.endswith("\n")
            if overlong or (not complete and len(line) >= LONGEST_LINE):
                if not overlong:
                    self._reject(NOBODY, "unparsable")
                overlong = not complete
            elif not line.isspace():
                yield line

    def _read_line(self) -> str:
        try:
            return self._text.readline(LONGEST_LINE)
        except EOFError:
            self._reject(NOBODY, "truncated")
        except (zlib.error, gzip.BadGzipFile):
            self._reject(NOBODY, "damaged")
        except UnicodeError:
            self._reject(NOBODY, "unparsable")
        except OSError as exc:
            raise Unavailable(f"{self._name}: cannot be read on; {exc.strerror or exc}") from exc
        return ""


def split(line: str) -> list[str]:
    """The cells of one line; a quote that is never closed ends with it."""
    if '"' not in line:
        return line.split(",")
    try:
        return next(csv.reader([line], skipinitialspace=True), [])
    except csv.Error:
        return []


@dataclass(slots=True)
class Axis:
    """The time of one device: its last accepted sample, and one that waits because it lies far ahead."""

    last: float | None = None
    held: Sample | None = None


def in_order(samples: Iterable[Sample], reject: Reject) -> Iterator[Sample]:
    """The samples of each device with rising times; the others are rejected.

    A sample more than a day ahead waits for the next one of its device: if that goes on before it, the
    sample's time was wrong.
    """
    axes: dict[str, Axis] = {}
    for sample in samples:
        uid, time = sample.reading.device, sample.reading.time
        axis = axes.get(uid)
        if axis is None:
            axis = axes[uid] = Axis()
        if axis.held is not None and axis.last is not None and time > axis.last:
            held = axis.held
            if time > held.reading.time:
                axis.last = held.reading.time
                yield held
            elif time < held.reading.time:
                reject(uid, "time_jump")
            else:
                reject(uid, "time_duplicate")
                continue
            axis.held = None
        if axis.last is None or 0 < time - axis.last <= JUMP_SECONDS:
            axis.last = time
            yield sample
        elif time > axis.last:
            axis.held = sample
        else:
            reject(uid, "time_duplicate" if time == axis.last else "time_backwards")
    yield from (axis.held for axis in axes.values() if axis.held is not None)


def by_first_time(paths: Sequence[Path]) -> list[Path]:
    """Recordings in the order in which they begin; as they are given where one cannot be read twice (a pipe)."""
    if len(paths) < 2 or any(path.exists() and not path.is_file() for path in paths):
        return list(paths)
    return sorted(paths, key=_first_time)


def _first_time(path: Path) -> float:
    with Recording(path, ignore) as recording:
        first = next(recording.samples(), None)
        return float("inf") if first is None else first.reading.time


class Rejections:
    """Counts of what was dropped, by device and reason; call it as a `Reject`."""

    def __init__(self) -> None:
        self.by_uid: dict[str, Counter[str]] = {}

    def __call__(self, uid: str, reason: str, count: int = 1) -> None:
        self.by_uid.setdefault(uid, Counter())[reason] += count

    def of(self, uid: str) -> dict[str, int]:
        """The counts of one device."""
        return dict(self.by_uid.get(uid, {}))


def ignore(_uid: str, _reason: str) -> None:
    """A `Reject` that counts nothing."""
