"""What `gpuwatch check` finds out about where things are kept: whether they can be, and will be there tomorrow."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from gpuwatch import config, config_secrets, plugins, service
from gpuwatch.agent.state import StateDirectory
from gpuwatch.cli.findings import Finding, running_agent
from gpuwatch.errors import Forbidden, Unavailable
from gpuwatch.settings import Settings

LEAST_FREE_BYTES = 200 * 2**20
LEAST_FREE_FILES = 100
_IN_MEMORY = ("tmpfs", "ramfs")
_MOUNTS = Path("/proc/self/mountinfo")


def state_directory(settings: Settings) -> Iterator[Finding]:
    """Whether counters can be kept and will survive a reboot, how much room there is, and whose they are."""
    path, what = settings.agent.state_directory, "state directory"
    finding = writable(what, path)
    if finding.status == "failed":
        yield finding
        return
    holder = running_agent(settings)
    if holder:
        finding = Finding(what, "ok", f"{path}: an agent runs here, process {holder}")
    yield from lasting(finding, path, "a reboot loses the counters that accounting has not read")
    yield from _owner(settings)


def ledger_directory(settings: Settings) -> Iterator[Finding]:
    """The same of a ledger that is a file, where accounting is configured here."""
    url = settings.accounting.ledger
    if not settings.says("accounting") or not url.startswith("sqlite:///"):
        return
    path = Path(url.removeprefix("sqlite:///")).parent
    finding = writable("ledger directory", path)
    if finding.status == "failed":
        yield replace(
            finding, status="warning", exit_code=0, detail=f"{finding.detail}; accounting cannot run here"
        )
        return
    yield from lasting(finding, path, "a reboot loses the ledger")


def lasting(finding: Finding, path: Path, lost: str, mounts: Path = _MOUNTS) -> Iterator[Finding]:
    """The finding with what is free; warnings where that is little, or the file system is in memory."""
    existing = _existing(path)
    disk = os.statvfs(existing)
    free = disk.f_bavail * disk.f_frsize
    kind = kind_of_file_system(existing, mounts)
    if free < LEAST_FREE_BYTES:
        todo = f"make room below {existing}; until then the agent goes on and saves nothing once it is full"
        yield replace(finding, status="warning", detail=f"{path}: only {free / 2**20:.0f} MiB free", todo=todo)
    elif disk.f_files and disk.f_favail < LEAST_FREE_FILES:
        told = f"{path}: only {disk.f_favail} files can be made"
        yield replace(
            finding, status="warning", detail=told, todo=f"remove files that nobody needs below {existing}"
        )
    else:
        yield replace(finding, detail=f"{finding.detail}, {free / 2**30:.1f} GiB free")
    if kind in _IN_MEMORY:
        yield Finding(
            finding.what, "warning", f"{path}: is in memory ({kind}); {lost}",
            todo="put it on a disk, or have accounting read often and after every shutdown",
        )  # fmt: skip


def kind_of_file_system(path: Path, mounts: Path = _MOUNTS) -> str:
    """The type of the file system that a path is on; empty where that cannot be told."""
    try:
        device = path.stat().st_dev
        lines = mounts.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return ""
    number = f"{os.major(device)}:{os.minor(device)}"
    for fields in map(str.split, lines):
        if fields[2] == number and "-" in fields:
            return fields[fields.index("-") + 1]
    return ""


def writable(what: str, path: Path) -> Finding:
    """Whether there is such a directory that can be written, or it could be made."""
    existing = _existing(path)
    if not existing.is_dir():
        todo = f"remove the file {existing}, or set another path"
        return Finding(what, "failed", f"{path}: {existing} is no directory", Unavailable.exit_code, todo)
    refused = _refusal(existing)
    if refused is not None:
        wrong = "cannot be written" if existing == path else f"does not exist, and {existing} cannot be written"
        if refused == errno.EROFS:
            todo = f"mount the file system of {existing} for writing, or set another path"
            return Finding(what, "failed", f"{path}: {wrong}: read-only file system", Unavailable.exit_code, todo)
        todo = f"make {path} for the user of the daemon (the unit does so), or run this as that user"
        return Finding(what, "failed", f"{path}: {wrong} by user {os.getuid()}", Forbidden.exit_code, todo)
    return Finding(what, "ok", f"{path}: {'writable' if existing == path else 'will be made'}")


def _refusal(directory: Path) -> int | None:
    """Why nothing can be made in a directory; asked without making anything."""
    if os.statvfs(directory).f_flag & os.ST_RDONLY:
        return errno.EROFS
    return None if os.access(directory, os.W_OK | os.X_OK) else errno.EACCES


def _existing(path: Path) -> Path:
    """The path, or the nearest directory above it that exists."""
    return next((each for each in (path, *path.parents) if os.path.lexists(each)), Path("/"))


def _owner(settings: Settings) -> Iterator[Finding]:
    site = settings.site
    before, now = StateDirectory(settings.agent.state_directory).owner(), f"{site.cluster}/{site.node}"
    if before not in ("", now):
        yield Finding(
            "node name", "warning",
            f"this is {now}, counters kept here are of {before}; the agent would set them aside, and begin anew",
            todo=f'set site.cluster and site.node to what they were ("{before}") unless the new name is meant',
        )  # fmt: skip


def secrets(settings: Settings) -> Iterator[Finding]:
    """Files with secrets that more people may change than need to; those that all may read are mistakes."""
    values = settings.model_dump(exclude_unset=True)
    for path in dict.fromkeys(path for _, path in config.secret_files(values, plugins.ROOMS)):
        told = config_secrets.loose(path)
        if told:
            detail, _, command = told.partition("; run: ")
            yield Finding("secret file", "warning", f"{path}: {detail}", todo=f"run: {command}")


def wall_clock(settings: Settings, now: float) -> Finding:
    """Whether the wall clock can be right: after gpuwatch was built and after what the agent wrote last."""
    what, todo = "wall clock", "set it, or start NTP (timedatectl set-ntp true), and see that it stays"
    if not service.is_possible(now):
        built = datetime.fromtimestamp(service.RELEASED, UTC)
        told = f"{now:.0f} s since 1970 cannot be now: gpuwatch is of {built:%Y-%m-%d} or later"
        return Finding(what, "warning", told, todo=todo)
    try:
        saved = (settings.agent.state_directory / "state.json").stat().st_mtime
    except OSError:
        saved = 0.0
    if saved > now + 60:
        return Finding(what, "warning", f"{saved - now:.0f} s behind the agent's last save", todo=todo)
    return Finding(what, "ok", f"{datetime.fromtimestamp(now, UTC):%Y-%m-%d %H:%M:%S} UTC")
