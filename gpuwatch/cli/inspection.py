"""What `gpuwatch check` finds out about a node: each thing is tried, as the agent would, and nothing is changed.

Everything that could hang (a driver, a device node) is asked in a daemon thread with a deadline.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from functools import partial
from typing import Any

from gpuwatch import config
from gpuwatch.agent.job_files import refusal_of_parent
from gpuwatch.agent.tokens import secret_of
from gpuwatch.cli.findings import Finding, Status, running_agent, why, within
from gpuwatch.cli.storage_inspection import writable
from gpuwatch.errors import Absent, Unavailable
from gpuwatch.jobs.base import JobsReading, NodeView
from gpuwatch.model import Device, Reading, series_of
from gpuwatch.settings import Settings


class Sources:
    """The agent's plugins, built as the agent builds them, and the devices they find."""

    def __init__(self, settings: Settings, timeout_seconds: float) -> None:
        self._settings = settings
        self.timeout_seconds = timeout_seconds
        self._sources: dict[str, Any] = {}
        self._source_of: dict[str, Any] = {}
        self.devices: dict[str, Device] = {}

    def build(self) -> Iterator[Finding]:
        """Build each plugin; one that cannot be built is a mistake that keeps the agent from running."""
        for room in ("devices", "host", "jobs", "sinks"):
            for name in getattr(self._settings.agent, room):
                what = f"{room}.{name}"
                try:
                    self._sources[what] = self._within(config.build, room, name, self._settings)
                except Exception as exc:  # noqa: BLE001 - a plugin may raise anything
                    yield Finding(what, "failed", why(exc), getattr(exc, "exit_code", 1))
                else:
                    if room != "devices":
                        yield Finding(what, "ok", "loaded")

    def scan(self, now: float) -> Iterator[Finding]:
        """Scan each device source once."""
        for what, source in self._of("devices"):
            try:
                found = list(self._within(source.scan, now))
            except Absent as exc:
                yield Finding(what, "ok", f"nothing to read here; {why(exc)}")
                continue
            except Exception as exc:  # noqa: BLE001 - a plugin may raise anything, and one bad thing stays alone
                yield Finding(what, "warning", why(exc))
                continue
            self.devices |= {device.uid: device for device in found}
            self._source_of |= {device.uid: source for device in found}
            yield Finding(what, "ok" if found else "warning", _counted(found))

    def probe(self, now: float) -> Iterator[Finding]:
        """Read each device, host source and job source once."""
        readings: dict[str, Reading] = {}
        for uid, device in self.devices.items():
            finding, reading = self._probe(f"read device {uid}", partial(self._source_of[uid].read, device, now))
            if isinstance(reading, Reading):
                readings[uid] = reading
            yield finding
        for what, source in self._of("devices"):
            yield from self._reported(what, source)
        for what, source in self._of("host"):
            yield self._probe(f"read {what}", partial(source.read, now))[0]
            yield from self._reported(what, source)
        # Who holds a device is told by the processes that its reading lists.
        view = NodeView(now, self.devices, readings)
        for what, source in self._of("jobs"):
            yield self._probe(f"read {what}", partial(source.read, view))[0]

    def _reported(self, what: str, source: Any) -> Iterator[Finding]:
        """What a source itself says of how it reads."""
        if (report := getattr(source, "report", None)) is None:
            return
        try:
            told = self._within(report)
        except Exception as exc:  # noqa: BLE001 - as above
            yield Finding(what, "warning", why(exc))
            return
        for each in told:
            yield Finding(f"{what}: {each.what}", "ok" if each.ok else "warning", each.detail, todo=each.todo)

    def sinks(self) -> list[tuple[str, Any]]:
        """The outputs, by what they are called here; they are not started."""
        return self._of("sinks")

    def required(self) -> Finding:
        """Whether there is a device, where one is required."""
        if self.devices:
            return Finding("required device", "ok", f"{len(self.devices)} found")
        return Finding("required device", "failed", "none found; the agent would exit", Unavailable.exit_code)

    def close(self) -> None:
        """Let go of the drivers."""
        for _, source in self._of("devices"):
            with suppress(Exception):
                self._within(source.close)

    def _of(self, room: str) -> list[tuple[str, Any]]:
        return [(what, source) for what, source in self._sources.items() if what.startswith(f"{room}.")]

    def _within(self, call: Callable[..., Any], *arguments: Any) -> Any:
        return within(self.timeout_seconds, partial(call, *arguments))

    def _probe(self, what: str, read: Callable[[], Any]) -> tuple[Finding, Any]:
        try:
            reading = self._within(read)
        except Absent as exc:
            return Finding(what, "ok", f"nothing to read here; {why(exc)}"), None
        except Exception as exc:  # noqa: BLE001 - a plugin may raise anything, and one bad thing stays alone
            return Finding(what, "warning", why(exc)), None
        if isinstance(reading, JobsReading):
            told = f"{len(reading.alive)} jobs, {len(reading.unknown)} devices of unknown holder"
            return Finding(what, "ok", told), reading
        count = sum(1 for _ in series_of(reading))
        return Finding(what, "ok" if count else "warning", f"{count} values"), reading


def _counted(devices: Iterable[Device]) -> str:
    """`8 × NVIDIA H100 80GB HBM3 (driver 570.86)`, for each model there is."""
    counts: dict[str, int] = {}
    for device in devices:
        name = device.model + (f" (driver {device.driver})" if device.driver else "")
        counts[name] = counts.get(name, 0) + 1
    return ", ".join(f"{count} × {name}" for name, count in counts.items()) or "no device"


def socket_directory(settings: Settings) -> Finding:
    """Whether the socket that jobs speak to can be made."""
    return writable("socket directory", settings.agent.socket.parent)


def usage_token(settings: Settings) -> Iterator[Finding]:
    """Whether the token of the usage API can be read, where one is configured."""
    path = settings.agent.usage_token_file
    if path is None:
        return
    try:
        empty = not path.read_bytes().strip()
    except OSError as exc:
        yield Finding("usage token", "failed", f"{path}: {exc.strerror or exc}", Unavailable.exit_code)
    else:
        failed = Finding("usage token", "failed", f"{path}: empty", Unavailable.exit_code)
        yield failed if empty else Finding("usage token", "ok", f"{path}: readable")


def jobs_directory(settings: Settings) -> Finding:
    """Whether jobs can say something in files, and whether the agent would believe it."""
    path, what = settings.agent.jobs_directory, "jobs directory"
    try:
        refusal = refusal_of_parent(path.lstat(), {0, os.geteuid()})
        if path.is_symlink() or not path.is_dir():
            refusal = "is no directory"
        if refusal is None:
            os.listdir(path)  # noqa: PTH208 - only whether it may be
    except FileNotFoundError:
        refusal = None
    except OSError as exc:
        refusal = f"cannot be read: {exc.strerror or exc}"
    if refusal is not None:
        return Finding(what, "warning", f"{path}: {refusal}; nothing in it is read")
    there = path.exists()
    return Finding(what, "ok", f"{path}: jobs may write there" if there else f"{path}: none, jobs write no files")


def job_tokens(settings: Settings) -> Iterator[Finding]:
    """Whether jobs can speak over HTTP, where that is configured."""
    path = settings.agent.job_token_file
    if path is None:
        return
    try:
        secret_of(path)
    except Unavailable as exc:
        yield Finding("job tokens", "warning", f"{exc}; jobs cannot speak over HTTP")
    else:
        yield Finding("job tokens", "ok", f"{path}: readable; jobs may speak over HTTP")


def port(what: str, listen: str, taken_is: Status, exit_code: int) -> Finding:
    """Whether an address can be bound now."""
    host, _, number = listen.rpartition(":")
    host = host.strip("[]")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((host, int(number)))
    except OSError as exc:
        return Finding(what, taken_is, f"{listen}: {exc.strerror or exc}", exit_code)
    return Finding(what, "ok", f"{listen}: free")


def ports(settings: Settings) -> Iterator[Finding]:
    """The agent's address, and accounting's, which another node may have."""
    if running_agent(settings):
        yield Finding("agent address", "ok", f"{settings.agent.listen}: the running agent's")
    else:
        yield port("agent address", settings.agent.listen, "failed", Unavailable.exit_code)
    yield port("accounting address", settings.accounting.listen, "warning", 0)
