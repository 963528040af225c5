"""The files that `gpuwatch install` writes: what they are, whose they are now, and what is to be done with each.

A file is ours while its digest is the one that was noted when it was written. What somebody changed since is left.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from gpuwatch.cli.shared_files import shared
from gpuwatch.errors import ConfigurationError, Unavailable

Role = Literal["agent", "accounting"]
ROLES: tuple[Role, ...] = ("agent", "accounting")
Deed = Literal["new", "changed", "same", "left"]

UNITS = Path("etc/systemd/system")
CONFIGURATION = Path("etc/gpuwatch/gpuwatch.toml")
RECORD = Path("etc/gpuwatch/.installed.json")
WANTS = UNITS / "multi-user.target.wants"

_UNIT_SUFFIXES = (".service", ".slice", ".socket", ".timer", ".target", ".path")
_FOLDERS = ("sysusers.d", "tmpfiles.d")
_PROGRAM = re.compile(r"(?m)^(ExecStart=)/usr/bin/gpuwatch(?= |$)")


@dataclass(frozen=True, slots=True)
class File:
    """A file below the root, as it should be."""

    path: Path
    content: bytes

    @property
    def digest(self) -> str:
        """Of its content."""
        return digest_of(self.content)


@dataclass(frozen=True, slots=True)
class Step:
    """What is done with a file, and why it is left where it is."""

    deed: Deed
    file: File
    why: str = ""


@dataclass(slots=True)
class Record:
    """What an earlier `install` wrote, by path below the root: digests of files, targets of links."""

    files: dict[str, str] = field(default_factory=dict)
    links: dict[str, str] = field(default_factory=dict)
    roles: list[str] = field(default_factory=list)

    @classmethod
    def read(cls, root: Path) -> Record:
        """The record below `root`; an empty one where nothing was installed."""
        path = root / RECORD
        try:
            document = json.loads(path.read_text(encoding="utf-8"))
            return cls(dict(document["files"]), dict(document["links"]), list(document["roles"]))
        except FileNotFoundError:
            return cls()
        except (OSError, ValueError, KeyError, TypeError) as exc:
            raise Unavailable(f"{path}: cannot be read ({exc}); remove it, and nothing counts as ours") from exc

    def write(self, root: Path) -> None:
        """Keep it; or forget it, where nothing is left."""
        path = root / RECORD
        if not self.files and not self.links:
            path.unlink(missing_ok=True)
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        document = {"files": self.files, "links": self.links, "roles": sorted(set(self.roles))}
        path.write_text(json.dumps(document, indent=1, sort_keys=True) + "\n", encoding="utf-8")


def digest_of(content: bytes) -> str:
    """What tells whether a file was changed."""
    return hashlib.sha256(content).hexdigest()


def files_of(roles: Sequence[Role], program: str) -> list[File]:
    """Everything that the roles need, as the folder `systemd` has it; `program` is what the units start."""
    source = shared("systemd")
    files = [File(CONFIGURATION, shared("gpuwatch.toml").read_bytes())]
    for path in sorted(source.iterdir()):
        if path.suffix in _UNIT_SUFFIXES and _belongs(path.name, roles):
            files.append(File(UNITS / path.name, _starting(path, program)))
    for folder in _FOLDERS:
        files += [File(Path("etc") / folder / path.name, path.read_bytes()) for path in _conf(source / folder)]
    return files


def unit_of(role: str) -> str:
    """The name of a role's unit."""
    return f"gpuwatch-{role}.service"


def role_of(name: str) -> str | None:
    """Whose file it is by its name; None where both need it."""
    return next((role for role in ROLES if role in name), None)


def _belongs(name: str, roles: Sequence[Role]) -> bool:
    role = role_of(name)
    return role is None or role in roles


def _conf(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.conf"))


def _starting(unit: Path, program: str) -> bytes:
    text = unit.read_text(encoding="utf-8")
    if unit.suffix == ".service":
        text, count = _PROGRAM.subn(lambda found: found[1] + program, text)
        if count != 1:
            raise Unavailable(f"{unit}: does not start /usr/bin/gpuwatch; install gpuwatch anew")
    return text.encode()


def steps(files: Sequence[File], root: Path, record: Record) -> Iterator[Step]:
    """What there is to do with each file, in order."""
    for file in files:
        there = root / file.path
        try:
            content = there.read_bytes()
        except FileNotFoundError:
            yield Step("new", file)
            continue
        except OSError as exc:
            raise Unavailable(f"{there}: cannot be read; {exc.strerror}") from exc
        noted = record.files.get(f"/{file.path}")
        if content == file.content:
            yield Step("same", file)
        elif noted == digest_of(content):
            yield Step("changed", file)
        else:
            yield Step("left", file, "was changed here" if noted else "was there before")


def in_unit(program: Sequence[str]) -> str:
    """A command as ExecStart= takes it."""
    return " ".join(_word(each) for each in program)


def _word(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%").replace("$", "$$")
    return f'"{escaped}"' if re.search(r"[\s'\"\\;]", text) else escaped


_HIDDEN = {"/home": "ProtectHome=", "/root": "ProtectHome=", "/run/user": "ProtectHome=",
           "/tmp": "PrivateTmp=", "/var/tmp": "PrivateTmp="}  # fmt: skip


def refuse_hidden(paths: Sequence[Path]) -> None:
    """Raise `ConfigurationError` for what a unit could not start, with the reason."""
    mistakes = []
    for path in dict.fromkeys(form for each in paths for form in (each, each.resolve())):
        for place, setting in _HIDDEN.items():
            if path.is_relative_to(place):
                mistakes.append(
                    f"{path}: is below {place}, which the unit hides ({setting});"
                    " install gpuwatch into a place for all, as in: python3 -m venv /opt/gpuwatch"
                )
    if mistakes:
        raise ConfigurationError([*dict.fromkeys(mistakes)])


def refuse_closed(paths: Sequence[Path]) -> None:
    """Raise `ConfigurationError` for what the user of a unit could not reach."""
    for path in (each.resolve() for each in paths):
        for part in (path, *path.parents):
            if part.exists() and not part.stat().st_mode & 0o001:
                raise ConfigurationError(
                    [f"{path}: the user of the unit cannot get there; run: chmod o+rx {part}"]
                )
