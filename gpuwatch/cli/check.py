"""`gpuwatch check`: whether the agent can run here with this configuration, and what it will not see."""

from __future__ import annotations

import json
import os
import shutil
import sys
import textwrap
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from gpuwatch import __version__, config, hygiene, plugins
from gpuwatch.cli import (
    alert_inspection,
    inspection,
    notifier_inspection,
    remedies,
    rights,
    scheduler_inspection,
    storage_inspection,
    usage_inspection,
    web_inspection,
)
from gpuwatch.cli import capture as capturing
from gpuwatch.cli.findings import Finding
from gpuwatch.cli.options import ConfigOption
from gpuwatch.cli.rights import Right
from gpuwatch.cli.shared_files import shared
from gpuwatch.errors import ConfigurationError
from gpuwatch.settings import Settings

_MARKS = {"ok": "ok", "warning": "WARNING", "failed": "FAILED"}
SYSTEMD = Path("/run/systemd/system")
OF_ACCOUNTING = frozenset({"alerts"})
"""What keeps accounting from starting, and no agent."""

# A sink may have several servers, each with a limit of its own.
_PATIENCE = 4.0
_COLOURS = {"ok": "32", "yes": "32", "warning": "33", "no": "33", "unknown": "33", "failed": "31"}


JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]
ProbeOption = Annotated[
    bool,
    typer.Option(
        "--probe",
        help="Read each device and host source once, too; ask the batch systems, try out sinks, usage sources and "
        "notifiers.",
    ),
]
RequireOption = Annotated[bool | None, typer.Option("--require-device", help="Exit 69 where no device is found.")]
TimeoutOption = Annotated[float, typer.Option(help="Seconds to wait for each source.", min=0.1)]
CaptureOption = Annotated[
    bool,
    typer.Option(
        "--capture",
        help="Check nothing; write a masked recording of what the NVIDIA driver says, one for each model.",
    ),
]
PrintOption = Annotated[
    bool,
    typer.Option(
        "--print-default-config",
        help="Check nothing; print the configuration file with every key and its default.",
    ),
]
TargetArgument = Annotated[
    Path | None,
    typer.Argument(metavar="FILE_OR_FOLDER", help="Where --capture writes (default: here).", show_default=False),
]


def check(
    config_file: ConfigOption = None,
    as_json: JsonOption = False,
    probe: ProbeOption = False,
    require_device: RequireOption = None,
    timeout: TimeoutOption = 10.0,
    capture: CaptureOption = False,
    print_default_config: PrintOption = False,
    target: TargetArgument = None,
) -> None:
    """Check the configuration and this node: what the agent finds, may do, and cannot see. Changes nothing.

    With --capture only the driver is asked, by getters that any user may call, each for at most --timeout.
    """
    if print_default_config:
        if config_file or probe or capture or as_json or target or require_device is not None:
            raise typer.BadParameter("--print-default-config goes with no other option")
        print(shared("gpuwatch.toml").read_text(encoding="utf-8"), end="")
    elif capture:
        if config_file or probe or require_device is not None:
            raise typer.BadParameter("--capture goes with --json and --timeout alone")
        capturing.run(target or Path(), timeout, as_json)
    elif target is not None:
        raise typer.BadParameter(f"{str(target)!r} says where --capture writes, which is not given")
    else:
        _check(config_file, as_json, probe, require_device, timeout)


def _check(
    config_file: Path | None, as_json: bool, probe: bool, require_device: bool | None, timeout: float
) -> None:
    overrides = {"agent.require_device": require_device}
    try:
        settings = config.load(config_file, overrides, plugins.ROOMS)
    except ConfigurationError as exc:
        if not as_json:
            raise
        _print_json({"ok": False, "mistakes": exc.mistakes})
        raise typer.Exit(exc.exit_code) from None
    sources = inspection.Sources(settings, timeout)
    findings = findings_of(settings, sources, probe, time.time())
    sources.close()
    table = list(rights.rights(rights.Roots.of(settings)))
    if as_json:
        _print_json(document(settings, sources, findings, table))
    else:
        columns = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
        print("\n".join(page(settings, findings, table, columns)))
    code = exit_code(findings)
    if code:
        raise typer.Exit(code)


def findings_of(settings: Settings, sources: inspection.Sources, probe: bool, now: float) -> list[Finding]:
    """Everything that is tried, in the order in which the agent would stumble over it."""
    files = ", ".join(map(str, settings.files)) or f"no {config.DEFAULT_PATH}: all defaults"
    findings = [Finding("configuration", "ok", files)]
    findings += [Finding("configuration", "ok", line) for line in settings.replaced]
    findings += [*sources.build(), *sources.scan(now)]
    if settings.agent.require_device:
        findings.append(sources.required())
    if probe:
        findings.extend(sources.probe(now))
        for what, sink in sources.sinks():
            findings.extend(usage_inspection.probed(what, sink.check, _PATIENCE * sources.timeout_seconds, now))
    findings.extend(storage_inspection.state_directory(settings))
    findings.extend(storage_inspection.ledger_directory(settings))
    findings.extend(storage_inspection.secrets(settings))
    findings.append(inspection.socket_directory(settings))
    findings.append(inspection.jobs_directory(settings))
    findings.extend(inspection.job_tokens(settings))
    findings.extend(inspection.usage_token(settings))
    findings.extend(web_inspection.web(settings, now))
    findings.extend(inspection.ports(settings))
    findings.extend(scheduler_inspection.schedulers(settings, probe, sources.timeout_seconds, now))
    findings.extend(usage_inspection.usage(settings, probe, sources.timeout_seconds, now))
    findings.extend(notifier_inspection.notifiers(settings, probe, sources.timeout_seconds, now))
    findings.extend(alert_inspection.alerts(settings))
    findings.extend(_rates(settings))
    findings.append(storage_inspection.wall_clock(settings, now))
    findings.append(_service_manager(SYSTEMD))
    return [remedies.advised(each) for each in findings]


def _service_manager(systemd: Path) -> Finding:
    """Who starts the daemons here, and starts them again."""
    runs = "systemd runs here; `gpuwatch install` makes a service of this program, if none is one yet"
    none = "no systemd here: something else must start the agent, and start it again (docs/operating.md)"
    return Finding("service manager", "ok", runs if systemd.is_dir() else none)


def _rates(settings: Settings) -> Iterator[Finding]:
    """Whether accounting could use its rates file, where one is configured."""
    from gpuwatch.ledger.rate_file import load_rates

    path = settings.accounting.rates_file
    if path is None:
        return
    try:
        rates = load_rates(path, settings.accounting.zone)
    except ConfigurationError as exc:
        for mistake in exc.mistakes:
            yield Finding("rates", "warning", f"accounting would not start: {mistake}")
    else:
        yield Finding("rates", "ok", f"{path}, version {rates.version}")


def exit_code(findings: Sequence[Finding]) -> int:
    """What the agent would exit with, 0 where it runs."""
    return next((finding.exit_code for finding in findings if finding.exit_code), 0)


def document(
    settings: Settings, sources: inspection.Sources, findings: Sequence[Finding], table: Sequence[Right]
) -> dict[str, Any]:
    """The same as JSON."""
    return {
        "ok": exit_code(findings) == 0,
        "version": __version__,
        "cluster": settings.site.cluster,
        "node": settings.site.node,
        "uid": os.getuid(),
        "files": [str(path) for path in settings.files],
        "devices": [asdict(device) for device in sources.devices.values()],
        "findings": [asdict(finding) for finding in findings],
        "rights": [asdict(right) for right in table],
    }


def page(
    settings: Settings, findings: Sequence[Finding], table: Sequence[Right], columns: int | None
) -> list[str]:
    """The lines an operator reads: findings, rights, what is lost, the verdict.

    With `columns`, the width of a terminal, they are wrapped and coloured.
    """
    site = settings.site
    lines = [f"gpuwatch {__version__}, node {site.node}, cluster {site.cluster}, as user {os.getuid()}", ""]
    marked = [(finding.status, _MARKS[finding.status], finding.what, finding.detail) for finding in findings]
    lines += _aligned([("", "RESULT", "WHAT", "DETAIL"), *marked], columns)
    todo = [(finding.status, finding.what, finding.todo) for finding in findings if finding.todo]
    if todo:
        lines += ["", "What to do:", *_aligned(todo, columns)]
    lines.append("")
    rows = [(right.here, right.here, right.what, right.needs, right.detail) for right in table]
    lines += _aligned([("", "HERE", "RIGHT", "NEEDS", "DETAIL"), *rows], columns)
    lost = [("", "", right.lost, right.todo) for right in table if right.lost]
    if lost:
        lines += ["", "Lost without these rights, and how to have it:", *_aligned(lost, columns)]
    if os.getuid() == 0:
        lines += ["", "You are root and the agent need not be: run this as its user to see what that one may do."]
    return [*lines, "", _verdict(findings)]


def _verdict(findings: Sequence[Finding]) -> str:
    failed = list(dict.fromkeys(finding.what for finding in findings if finding.exit_code))
    of_agent = [what for what in failed if what not in OF_ACCOUNTING]
    if of_agent:
        return f"The agent cannot run here: {', '.join(of_agent)}."
    return "The agent can run here." + (f" Accounting cannot: {', '.join(failed)}." if failed else "")


def _aligned(rows: Sequence[tuple[str, ...]], columns: int | None) -> list[str]:
    """Rows as columns; the first field of a row is not shown and says the colour of the first column."""
    safe = [(kind, [hygiene.log(cell) for cell in cells]) for kind, *cells in rows]
    widths = [max(len(cells[column]) for _, cells in safe) for column in range(len(safe[0][1]) - 1)]
    lines = []
    for kind, cells in safe:
        padded = [cell.ljust(width) for cell, width in zip(cells, widths, strict=False)]
        if columns and kind in _COLOURS:
            padded[0] = f"\x1b[{_COLOURS[kind]}m{padded[0]}\x1b[0m"
        indent = sum(widths) + 2 * len(widths)
        first, *more = _wrapped(cells[-1], indent, columns)
        lines.append("  ".join([*padded, first]).rstrip())
        lines += [" " * indent + line for line in more]
    return lines


def _wrapped(text: str, indent: int, columns: int | None) -> list[str]:
    """The last column, wrapped where the terminal leaves it some room."""
    room = (columns or 0) - indent
    return textwrap.wrap(text, room) or [""] if room >= 24 else [text]


def _print_json(value: Any) -> None:
    print(json.dumps(value, separators=(",", ":"), default=str))
