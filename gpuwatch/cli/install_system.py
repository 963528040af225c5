"""The running system as `gpuwatch install` changes it: users, folders, units."""

from __future__ import annotations

import pwd
import shlex
import shutil
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from urllib.error import HTTPError, URLError
from urllib.request import urlopen

from gpuwatch.cli.install_files import unit_of
from gpuwatch.errors import GpuwatchError, Unavailable

Command = tuple[str, ...]
Say = Callable[[str], None]

RUNS = Path("/run/systemd/system")
_LONGEST_SECONDS = 120.0
_FROM_PACKAGES = (Path("/usr/lib/systemd/system"), Path("/lib/systemd/system"))


def refuse_other_installations(units: Sequence[str], folders: Sequence[Path] = _FROM_PACKAGES) -> None:
    """Raise `Unavailable` where a package has brought the units: two installations get in each other's way."""
    for folder in folders:
        for unit in units:
            if (folder / unit).exists():
                raise Unavailable(
                    f"{folder / unit}: a package has installed gpuwatch here;"
                    f" use that one (systemctl enable --now {unit}), or remove the package"
                )


def users_in(conf: bytes) -> list[tuple[str, str, str]]:
    """Name, comment and home of the users that a file of sysusers.d makes."""
    found = []
    for line in conf.decode().splitlines():
        words = shlex.split(line, comments=True)
        if words[:1] == ["u"]:
            found.append((words[1], words[3], words[4]))
    return found


def is_user(name: str) -> bool:
    """Whether there is such a user."""
    try:
        pwd.getpwnam(name)
    except KeyError:
        return False
    return True


def making_users(conf: Path, content: bytes, known: Callable[[str], bool] = is_user) -> list[Command]:
    """How to make the users that are missing: systemd-sysusers, else useradd."""
    missing = [each for each in users_in(content) if not known(each[0])]
    if not missing:
        return []
    if shutil.which("systemd-sysusers"):
        return [("systemd-sysusers", str(conf))]
    shell = next((each for each in ("/usr/sbin/nologin", "/sbin/nologin") if Path(each).exists()), "/bin/false")
    return [
        ("useradd", "--system", "--user-group", "--no-create-home", "--home-dir", home, "--shell", shell,
         "--comment", comment, name)
        for name, comment, home in missing
    ]  # fmt: skip


def run(command: Command) -> None:
    """Run a command; `Unavailable` with what it said where it fails."""
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, errors="replace", check=False, timeout=_LONGEST_SECONDS
        )
    except (OSError, subprocess.TimeoutExpired) as exc:
        raise Unavailable(f"{shlex.join(command)}: {exc}") from exc
    if done.returncode:
        said = " ".join((done.stderr or done.stdout).split()) or f"exit code {done.returncode}"
        raise Unavailable(f"{shlex.join(command)}: {said}")


def asks(*command: str) -> bool:
    """Whether a command that answers by its exit code says yes."""
    try:
        return subprocess.run(command, capture_output=True, check=False, timeout=_LONGEST_SECONDS).returncode == 0
    except (OSError, subprocess.TimeoutExpired):
        return False


def is_active(unit: str) -> bool:
    """Whether a unit runs."""
    return asks("systemctl", "--quiet", "is-active", unit)


def is_enabled(unit: str) -> bool:
    """Whether a unit starts with the machine."""
    return asks("systemctl", "--quiet", "is-enabled", unit)


def starting(unit: str, changed: bool, start: bool) -> list[Command]:
    """How to have a unit run with what was written; nothing where it does."""
    commands: list[Command] = []
    if not is_enabled(unit):
        commands.append(("systemctl", "enable", unit))
    if start and (changed or not is_active(unit)):
        commands.append(("systemctl", "restart", unit))
    return commands


def wait_until_ready(role: str, url: str, seconds: float) -> None:
    """Until the daemon says that it is ready; `Unavailable` with its last words where it does not."""
    deadline = time.monotonic() + seconds
    while not _is_ready(url):
        if time.monotonic() > deadline or asks("systemctl", "--quiet", "is-failed", unit_of(role)):
            raise Unavailable(f"{unit_of(role)}: is not ready; {_last_words(unit_of(role))}")
        time.sleep(0.2)


def _is_ready(url: str) -> bool:
    try:
        with urlopen(f"{url}/-/ready", timeout=5) as answer:  # http and https alone: the caller's own address
            return bool(answer.status == 200)
    except HTTPError as exc:
        return exc.code in (401, 403)  # it answers, and lets nobody in who has not said who he is
    except URLError as exc:
        return "CERTIFICATE" in str(exc.reason) or "certificate" in str(exc.reason)
    except (OSError, GpuwatchError):
        return False


def _last_words(unit: str) -> str:
    command = ("journalctl", "-u", unit, "-n", "3", "--no-pager", "-o", "cat")
    try:
        said = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        said = None
    lines = " | ".join(said.stdout.strip().splitlines()) if said else ""
    return f"{lines or 'the journal has nothing'} (journalctl -u {unit})"
