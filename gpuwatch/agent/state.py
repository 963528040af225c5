"""The agent's state directory: a lock with its holder's pid, and the counters that survive a restart.

The state is one JSON file with a checksum, replaced as a whole; the one before it is kept beside. A file that
cannot be read is set aside, never deleted, and a new epoch begins: going on from an older file in the same epoch
could count the time since that file twice. What the older file had counted is told under its own epoch.

Beside it is the state as pages showed it last, written without waiting for the disk: it outlives a kill of the
process, and is gone on from in the same boot where it is newer.
"""

from __future__ import annotations

import errno
import logging
import secrets
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import TracebackType
from typing import ClassVar

from gpuwatch.agent.disk import Disk
from gpuwatch.agent.documents import VERSION, State, decode, encode
from gpuwatch.agent.sealed import unseal
from gpuwatch.errors import Forbidden, Unavailable
from gpuwatch.model import JobRow
from gpuwatch.service import PidLock

log = logging.getLogger("gpuwatch.agent")

SEQ_RESERVE = 10_000
_LONGEST_OWNER = 300
# What file systems say that have no second names for a file.
_NO_LINKS = (errno.EPERM, errno.ENOTSUP, errno.ENOSYS, errno.EMLINK)
_UNREADABLE = (OSError, ValueError, KeyError, TypeError, AttributeError, IndexError)


def boot_id(procfs: str = "/proc") -> str:
    """The kernel's id of this boot; empty where it has none."""
    try:
        return Path(procfs, "sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""


@dataclass(frozen=True, slots=True)
class Abandoned:
    """Counters of an epoch that will not go on: they are told as they were saved, under that epoch."""

    epoch: str
    rows: tuple[JobRow, ...]
    models: Mapping[str, str]


@dataclass(slots=True)
class Loaded:
    """What there was: a state to go on from, and what is left of others.

    Numbers up to `given` may be known to readers, whatever becomes of the disk; those of the state may be higher.
    """

    state: State
    given: int
    abandoned: list[Abandoned] = field(default_factory=list)


class StateDirectory:
    """The locked directory. A context manager; leaving it unlocks."""

    version: ClassVar[int] = VERSION

    def __init__(self, path: Path, disk: Disk | None = None) -> None:
        self.path = path
        self.disk = disk or Disk()
        self.journal = path / "journal.jsonl"
        self._file = path / "state.json"
        self._previous = path / "state.json.previous"
        self._shown = path / "state.shown"
        self._mark = path / "state.ahead"
        self._marked = False
        self._picked_up: list[Path] = []
        self._lock: PidLock | None = None

    def __enter__(self) -> StateDirectory:
        what = f"state directory {str(self.path)!r}"
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except PermissionError as exc:
            raise Forbidden(
                f"{what}: no permission to make it; set agent.state_directory (--state-directory)"
            ) from exc
        except OSError as exc:
            raise Unavailable(f"{what}: cannot be made; {exc.strerror}") from exc
        self._lock = PidLock(self.path / "lock", what)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._lock is not None:
            self._lock.release()
            self._lock = None

    def claim(self, cluster: str, node: str) -> str:
        """Note whose state this is, and set aside what an agent of another name left; its name, empty else.

        Counters that are told under a second name would count twice.
        """
        note, now = self.path / "owner", f"{cluster}/{node}"
        before = self.owner()
        if before not in ("", now):
            for path in sorted((*self.path.glob("state.json*"), *self.path.glob("journal.jsonl*"))):
                if ".of-" not in path.name:
                    self._put_aside(path, f"of-{before.replace('/', '.')}")
        if before != now:
            with suppress(OSError):
                self.disk.write(note, f"{now}\n".encode())
        return before if before != now else ""

    def owner(self) -> str:
        """Whose state it is, as `cluster/node`; empty where nobody has noted that."""
        try:
            return self.disk.read(self.path / "owner")[:_LONGEST_OWNER].decode("utf-8", "replace").strip()
        except OSError:
            return ""

    def _put_aside(self, path: Path, kind: str) -> None:
        try:
            self.disk.replace(path, unused(path, kind))
        except OSError as exc:
            raise Unavailable(f"state {str(path)!r}: cannot be set aside; {exc.strerror}") from exc

    def load(self, now_boot_id: str) -> Loaded:
        """The saved state, its numbers reserved ahead, or a new one with a new epoch; raises `Unavailable`."""
        abandoned, ahead = self._pick_up(), self._was_ahead()
        new = State(epoch=secrets.token_hex(6), boot_id=now_boot_id)
        try:
            state = self._read(self._file)
        except FileNotFoundError:
            loaded = self._after_loss(new)
        except _Foreign as exc:
            # Another version wrote it and will go on from it: its jobs are not this one's to end.
            self._set_aside(self._file, f"version-{exc.version}", exc)
            loaded = Loaded(new, new.seq)
        except _UNREADABLE as exc:
            self._set_aside(self._file, "corrupt", exc)
            loaded = self._after_loss(new)
        else:
            given = state.seq + SEQ_RESERVE
            state = self._as_shown(state, now_boot_id)
            if ahead:
                log.error("more was told than was saved; a new epoch begins epoch=%s", state.epoch)
                return self._in_new_epoch(new, state, abandoned)
            # The monotonic clock began anew with another boot, and whoever held a device is gone.
            meters = state.meters if state.boot_id == now_boot_id else {}
            seq = state.seq + SEQ_RESERVE
            loaded = Loaded(replace(state, meters=meters, boot_id=now_boot_id, seq=seq), given)
        loaded.abandoned.extend(abandoned)
        return loaded

    def _read(self, path: Path) -> State:
        document = unseal(self.disk.read(path))
        version = document["version"]
        if not 1 <= version <= self.version:
            raise _Foreign(version, self.version)
        return decode(document)

    def _as_shown(self, saved: State, now_boot_id: str) -> State:
        """The state as it was shown last, where that is newer.

        Not that of another boot: a power cut may have taken from the journal what it has forgotten.
        """
        with suppress(*_UNREADABLE):
            shown = self._read(self._shown)
            same = shown.epoch == saved.epoch and shown.boot_id == now_boot_id != ""
            if same and shown.seq > saved.seq:
                return shown
        return saved

    def _after_loss(self, new: State) -> Loaded:
        """A new epoch in which the jobs go on that the previous file knew; its counters are told under theirs."""
        try:
            previous = self._read(self._previous)
        except FileNotFoundError:
            return Loaded(new, new.seq)
        except _UNREADABLE as exc:
            log.error("previous state cannot be read either reason=%s", exc)
            return Loaded(new, new.seq)
        log.error("the previous state is told as it is epoch=%s rows=%d", previous.epoch, len(previous.rows))
        return self._in_new_epoch(new, previous, [])

    def _in_new_epoch(self, new: State, before: State, abandoned: list[Abandoned]) -> Loaded:
        known = replace(new, seq=before.seq + SEQ_RESERVE, registry=before.registry, models=before.models)
        return Loaded(known, known.seq, [_abandoned(before), *abandoned])

    def _was_ahead(self) -> bool:
        try:
            self._marked = self.disk.read(self._mark) == b"1"
        except FileNotFoundError:
            with suppress(OSError):
                self.disk.write(self._mark, b"0")
        except OSError:
            self._marked = True
        return self._marked

    def mark(self, ahead: bool) -> bool:
        """Note on the disk whether more was told than was saved; False where the disk does not take it."""
        if ahead != self._marked:
            try:
                self.disk.overwrite(self._mark, b"1" if ahead else b"0")
            except OSError as exc:
                log.warning("mark cannot be written path=%s reason=%s", self._mark, exc.strerror)
                return False
            self._marked = ahead
        return True

    def _pick_up(self) -> list[Abandoned]:
        """What an older program had to set aside, and this one can read."""
        found = []
        for path in sorted(self.path.glob("state.json.version-*")):
            if path.suffix == ".told":
                continue
            with suppress(*_UNREADABLE):
                found.append(_abandoned(self._read(path)))
                self._picked_up.append(path)
        return found

    def told(self) -> None:
        """What `load` gave as abandoned is kept elsewhere now, and on the disk; do not pick it up again."""
        for path in self._picked_up:
            with suppress(OSError):
                self.disk.replace(path, path.with_name(path.name + ".told"))
        self._picked_up = []

    def _set_aside(self, path: Path, kind: str, reason: Exception) -> None:
        aside = unused(path, kind)
        try:
            self.disk.replace(path, aside)
        except OSError as exc:
            raise Unavailable(
                f"state {str(path)!r}: cannot be read ({reason}), nor set aside; {exc.strerror}"
            ) from exc
        log.error("state cannot be read; a new epoch begins kept_as=%s reason=%s", aside.name, reason)

    def write(self, document: bytes) -> None:
        """Replace the saved state; raises `Unavailable` where the disk refuses, leaving the old one as it was."""
        temporary = self.path / "state.new"
        try:
            self.disk.write(temporary, document)
            self._keep_previous()
            self.disk.replace(temporary, self._file)
            self.disk.sync_directory(self.path)
        except OSError as exc:
            with suppress(OSError):
                self.disk.remove(temporary)
            raise Unavailable(f"state {str(self._file)!r}: cannot be saved; {exc.strerror}") from exc

    def keep(self, document: bytes) -> None:
        """Keep a state that is about to be shown: a kill leaves it or the one before, a power cut neither."""
        temporary = self.path / "state.shown.new"
        self.disk.put(temporary, 0, document)
        self.disk.replace(temporary, self._shown)

    def _keep_previous(self) -> None:
        if not self._file.exists():
            return
        second_name = self.path / "state.link"
        self.disk.remove(second_name)
        try:
            self.disk.link(self._file, second_name)
            self.disk.replace(second_name, self._previous)
        except OSError as exc:
            if exc.errno not in _NO_LINKS:
                raise
            self.disk.replace(self._file, self._previous)


class _Foreign(ValueError):
    def __init__(self, version: object, known: int) -> None:
        self.version = version
        super().__init__(f"it is of version {version}, this program knows up to {known}")


def unused(path: Path, kind: str) -> Path:
    """A name for a file that is set aside: numbered, so that none is lost over the next."""
    for number in range(1000):
        aside = path.with_name(f"{path.name}.{kind}-{number}")
        if not aside.exists():
            break
    return aside


def _abandoned(state: State) -> Abandoned:
    return Abandoned(state.epoch, tuple(state.rows.values()), state.models)


__all__ = ["SEQ_RESERVE", "Abandoned", "Loaded", "State", "StateDirectory", "boot_id", "encode", "unused"]
