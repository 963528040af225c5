"""`gpuwatch install` and `uninstall`: units, users and files of an installation with pip, on a host with systemd.

Both do what is missing and nothing else: a second run changes nothing. What somebody changed is never overwritten.
"""

from __future__ import annotations

import os
import shlex
import shutil
import sys
import sysconfig
import time
from collections.abc import Iterator, Sequence
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from gpuwatch import config, hygiene, plugins
from gpuwatch.cli import install_system as system
from gpuwatch.cli.install_files import (
    CONFIGURATION,
    ROLES,
    UNITS,
    WANTS,
    Record,
    Role,
    Step,
    files_of,
    in_unit,
    refuse_closed,
    refuse_hidden,
    role_of,
    steps,
    unit_of,
)
from gpuwatch.cli.install_system import Command
from gpuwatch.errors import Forbidden, Unavailable
from gpuwatch.settings import Settings


class Which(StrEnum):
    """What is installed."""

    AGENT = "agent"
    ACCOUNTING = "accounting"
    ALL = "all"

    @property
    def roles(self) -> tuple[Role, ...]:
        """The daemons that are meant."""
        return ROLES if self is Which.ALL else ("agent",) if self is Which.AGENT else ("accounting",)


WhichArgument = Annotated[Which, typer.Argument(help="agent (every node), accounting (one host), or all.")]
PrefixOption = Annotated[
    Path | None,
    typer.Option(help="Write below this directory and touch no running system: for images and packages."),
]
DryRunOption = Annotated[bool, typer.Option("--dry-run", help="Print what would be done, and do nothing.")]
ProgramOption = Annotated[
    Path | None, typer.Option(help="What the units start (default: this program), as it is called there.")
]
NoStartOption = Annotated[bool, typer.Option("--no-start", help="Enable the units, and start nothing.")]
TimeoutOption = Annotated[float, typer.Option(help="Seconds to wait until a daemon is ready.", min=1.0)]
PurgeOption = Annotated[
    bool,
    typer.Option("--purge", help="Remove the agent's state and the configuration as well; never a ledger."),
]
YesOption = Annotated[bool, typer.Option("--yes", help="Do not ask before --purge.")]

_SAID = {"new": "wrote", "changed": "renewed", "left": "left"}
_WOULD = {"new": "would write", "changed": "would renew", "left": "would leave"}
_INSTEAD = {
    "install": "have another supervisor start `gpuwatch agent` and restart it unless it exits with 64 or 78,"
    " or run `gpuwatch up` for this machine alone; --prefix DIR writes files for an image",
    "uninstall": "--prefix / removes the files alone",
}


def install(
    which: WhichArgument = Which.AGENT,
    prefix: PrefixOption = None,
    program: ProgramOption = None,
    dry_run: DryRunOption = False,
    no_start: NoStartOption = False,
    timeout: TimeoutOption = 60.0,
) -> None:
    """Install this gpuwatch as a service of systemd: units, users, a configuration, and start it.

    A second run changes nothing, and what you changed is left as it is. `gpuwatch check` comes first; where that
    fails, nothing is installed.
    """
    root = prefix or Path("/")
    if not dry_run and prefix is None:
        _refuse_here("install")
    command = _program(program, prefix)
    if not dry_run and prefix is None:
        system.refuse_other_installations([unit_of(role) for role in which.roles])
        _check(which.roles)
    record = Record.read(root)
    found = list(steps(files_of(which.roles, command), root, record))
    if dry_run:
        _print_plan(found, which.roles, root, prefix is None, not no_start)
        return
    changed = _write(found, which.roles, root, record)
    if prefix is not None:
        changed += _enable_below(which.roles, root, record)
    else:
        changed += _bring_up(found, which.roles, not no_start)
    record.write(root)
    if prefix is None and not no_start:
        _wait(which.roles, timeout)
    print("installed" if changed else "nothing changed: all of it is installed")


def uninstall(
    which: WhichArgument = Which.ALL,
    prefix: PrefixOption = None,
    dry_run: DryRunOption = False,
    purge: PurgeOption = False,
    yes: YesOption = False,
) -> None:
    """Remove what `gpuwatch install` wrote and nobody changed; state, ledger and configuration stay.

    Users stay as well: files may belong to them.
    """
    root = prefix or Path("/")
    record = Record.read(root)
    doomed = list(_removable(record, which.roles, root))
    if dry_run:
        for path, why in doomed:
            print(f"would leave   {root / path}: {why}" if why else f"would remove  {root / path}")
        return
    if prefix is None:
        _refuse_here("uninstall")
    if purge and not yes:
        typer.confirm("Remove the agent's state and the configuration for ever?", abort=True)
    units = [unit_of(role) for role in which.roles if f"/{UNITS / unit_of(role)}" in record.files]
    if prefix is None and units:
        _do([("systemctl", "disable", "--now", *units)])
    removed = sum(_remove(root, path, why, record) for path, why in doomed)
    record.roles = [role for role in record.roles if role not in which.roles]
    if purge and not record.roles:
        removed += _purge(root, record)
    record.write(root)
    if prefix is None and removed:
        _do([("systemctl", "daemon-reload")])
    print("uninstalled" if removed else "nothing changed: nothing of it is installed")


def _program(given: Path | None, prefix: Path | None) -> str:
    """What the units start; refused where a unit could not."""
    if given is not None:
        if not given.is_absolute():
            raise typer.BadParameter(f"{str(given)!r} must be a whole path, from /", param_hint="--program")
        refuse_hidden([given])
        if prefix is None:
            if not os.access(given, os.X_OK):
                raise Unavailable(f"{given}: is no program that can be run")
            refuse_closed([given])
        return in_unit([str(given)])
    script = Path(sysconfig.get_path("scripts")) / "gpuwatch"
    interpreter, package = Path(sys.executable), Path(__file__).parents[1]
    words = [str(script.resolve())] if os.access(script, os.X_OK) else [str(interpreter), "-m", "gpuwatch"]
    used = [Path(words[0]), interpreter, package]
    refuse_hidden(used)
    refuse_closed(used)
    return in_unit(words)


def _refuse_here(what: str) -> None:
    if not system.RUNS.is_dir():
        raise Unavailable(f"{what}: systemd does not run this machine; {_INSTEAD[what]}")
    if os.geteuid() != 0:
        raise Forbidden(f"{what}: only root can; run it with sudo, or with --prefix DIR or --dry-run as anybody")


def _check(roles: Sequence[Role]) -> None:
    """`gpuwatch check`, said in short; raises where a daemon could not run."""
    from gpuwatch.cli import check, inspection

    settings = config.load(None, {}, plugins.ROOMS)
    sources = inspection.Sources(settings, 10.0)
    findings = check.findings_of(settings, sources, probe=False, now=time.time())
    sources.close()
    bad = [each for each in findings if each.exit_code]
    bad = [each for each in bad if "agent" in roles or each.what in check.OF_ACCOUNTING]
    for each in (each for each in findings if each.status == "warning"):
        print(f"warning  {each.what}: {hygiene.log(each.detail)}")
    for each in bad:
        todo = f"; {each.todo}" if each.todo else ""
        print(f"FAILED   {each.what}: {hygiene.log(each.detail)}{todo}", file=sys.stderr)
    if bad:
        print("gpuwatch: nothing was installed: `gpuwatch check` says more", file=sys.stderr)
        raise typer.Exit(bad[0].exit_code)


def _print_plan(found: Sequence[Step], roles: Sequence[Role], root: Path, running: bool, start: bool) -> None:
    for step in found:
        if step.deed != "same":
            print(f"{_WOULD[step.deed]:12}  {root / step.file.path}" + (f": {step.why}" if step.why else ""))
    for command in _commands(found, roles, start) if running else ():
        print(f"would run     {shlex.join(command)}")
    if not running:
        for role in roles:
            print(f"would link    {root / WANTS / unit_of(role)}")


def _write(found: Sequence[Step], roles: Sequence[Role], root: Path, record: Record) -> int:
    changed = 0
    for step in found:
        path = root / step.file.path
        if step.deed in ("new", "changed"):
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
                new = path.with_name(f".{path.name}.new")
                new.write_bytes(step.file.content)
                new.chmod(0o644)
                new.replace(path)
            except OSError as exc:
                raise Unavailable(f"{path}: cannot be written; {exc.strerror}") from exc
            changed += 1
        if step.deed != "left":
            record.files[f"/{step.file.path}"] = step.file.digest
        if step.deed != "same":
            print(f"{_SAID[step.deed]:8} {path}" + (f": {step.why}" if step.why else ""))
    record.roles = [*record.roles, *roles]
    # As soon as something is written it is noted whose it is, whatever fails after that.
    record.write(root)
    return changed


def _enable_below(roles: Sequence[Role], root: Path, record: Record) -> int:
    made = 0
    for role in roles:
        link, target = WANTS / unit_of(role), f"../{unit_of(role)}"
        if not (root / link).is_symlink():
            (root / link).parent.mkdir(parents=True, exist_ok=True)
            (root / link).symlink_to(target)
            print(f"linked   {root / link}")
            made += 1
        record.links[f"/{link}"] = target
    return made


def _commands(found: Sequence[Step], roles: Sequence[Role], start: bool) -> Iterator[Command]:
    """What is to be run once the files are there."""
    written = [step for step in found if step.deed in ("new", "changed")]
    for step in found:
        path = Path("/") / step.file.path
        if path.parent.name == "sysusers.d":
            yield from system.making_users(path, step.file.content)
        elif path.parent.name == "tmpfiles.d" and step in written and shutil.which("systemd-tmpfiles"):
            yield ("systemd-tmpfiles", "--create", str(path))
    units = [step for step in written if step.file.path.parent == UNITS]
    if units:
        yield ("systemctl", "daemon-reload")
    for role in roles:
        mine = [step for step in units if role_of(step.file.path.name) in (None, role)]
        yield from system.starting(unit_of(role), bool(mine), start)


def _bring_up(found: Sequence[Step], roles: Sequence[Role], start: bool) -> int:
    return _do(_commands(found, roles, start))


def _do(commands: Sequence[Command] | Iterator[Command]) -> int:
    count = 0
    for command in commands:
        print(f"run      {shlex.join(command)}", flush=True)
        system.run(command)
        count += 1
    return count


def _wait(roles: Sequence[Role], seconds: float) -> None:
    settings = config.load(None, {}, ())
    for role in roles:
        url = _url(role, settings)
        system.wait_until_ready(role, url, seconds)
        print(f"{role} is ready: {url}/metrics, systemctl status {unit_of(role)}, journalctl -u {unit_of(role)}")
    print(f"configuration: /{CONFIGURATION}, then: systemctl reload {' '.join(unit_of(role) for role in roles)}")


def _url(role: Role, settings: Settings) -> str:
    """Where a daemon of this machine answers."""
    from gpuwatch.web import web_config

    daemon = settings.agent if role == "agent" else settings.accounting
    host, _, port = daemon.listen.rpartition(":")
    host = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "[::]": "[::1]"}.get(host, host)
    path = web_config.path_of(daemon.web_config_file)
    tls = path is not None and web_config.read(path).tls is not None
    return f"{'https' if tls else 'http'}://{host}:{port}"


def _removable(record: Record, roles: Sequence[Role], root: Path) -> Iterator[tuple[Path, str]]:
    """What was installed for the roles, and why it stays where it does."""
    last = not set(record.roles) - set(roles)
    for name in (*record.links, *record.files):
        path = Path(name.lstrip("/"))
        role = role_of(path.name)
        if (role in roles or (role is None and last)) and path != CONFIGURATION:
            yield path, _why_it_stays(root / path, record.files.get(name), record.links.get(name))
        elif path == CONFIGURATION and last:
            yield path, "the configuration is yours"


def _why_it_stays(path: Path, digest: str | None, target: str | None) -> str:
    from gpuwatch.cli.install_files import digest_of

    if not os.path.lexists(path):
        return ""
    try:
        same = str(path.readlink()) == target if target is not None else digest_of(path.read_bytes()) == digest
    except OSError as exc:
        return f"cannot be read; {exc.strerror}"
    return "" if same else "was changed here"


def _remove(root: Path, path: Path, why: str, record: Record) -> int:
    if why:
        print(f"left     {root / path}: {why}")
    else:
        existed = os.path.lexists(root / path)
        (root / path).unlink(missing_ok=True)
        if existed:
            print(f"removed  {root / path}")
    record.files.pop(f"/{path}", None)
    record.links.pop(f"/{path}", None)
    return 0 if why else 1


def _purge(root: Path, record: Record) -> int:
    """The agent's state and the configuration; whatever holds a ledger stays."""
    record.files.clear()
    removed = 0
    for folder in (Path("var/lib/gpuwatch"), CONFIGURATION.parent):
        path = root / folder
        ledgers = [*path.rglob("*.db")] if path.is_dir() else []
        if ledgers:
            print(f"left     {path}: {ledgers[0]} is a ledger, as it seems; move it elsewhere first")
        elif path.is_dir():
            shutil.rmtree(path)
            print(f"removed  {path}")
            removed += 1
    kept = root / "var/lib/gpuwatch-accounting"
    if kept.exists():
        print(f"left     {kept}: a ledger is for ever; who means it removes it by hand")
    return removed
