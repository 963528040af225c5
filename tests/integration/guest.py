"""A machine of one's own: a bare Debian, without Python, booted by a real systemd in systemd-nspawn.

A guest has its own processes, devices, control groups and network; its root is a file system in memory over one
that is made once. Everything is mounted in a mount namespace of its own and ends with it.
"""

from __future__ import annotations

import ctypes
import http.client
import os
import secrets
import shutil
import signal
import subprocess
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Protocol, TypeVar

import psutil

from tests.integration.debian import ANSWER_SECONDS, environment, stop, wait_until

BOOT_SECONDS = 30.0
STOP_SECONDS = 15.0
PATH = "/usr/sbin:/usr/bin:/sbin:/bin"
_CLONE_NEWNET = 0x40000000
_CGROUPS = Path("/sys/fs/cgroup")
_LIBC = ctypes.CDLL(None, use_errno=True)

Answer = TypeVar("Answer")

_BOOT = """\
set -e
mkdir -p /run/systemd/nspawn
mount -t tmpfs tmpfs /run/systemd/nspawn
mount -t tmpfs -o size=1g tmpfs "$WORK"
mkdir "$WORK/upper" "$WORK/work" "$WORK/root"
mount -t overlay overlay -o "lowerdir=$LOWER,upperdir=$WORK/upper,workdir=$WORK/work" "$WORK/root"
echo "$NAME" >"$WORK/root/etc/hostname"
: >"$WORK/root/etc/machine-id"
boot() (
    for group in $GROUPS_OF_GUEST; do
        mkdir -p "$group"
        sh -c 'echo $PPID' >"$group/cgroup.procs"
    done
    exec setpriv --pdeathsig TERM "$@" -D "$WORK/root" --machine="$NAME" --hostname="$NAME"
)
# 133: the guest asks to be started anew.
while result=0; boot "$@" || result=$?; [ "$result" = 133 ]; do :; done
exit "$result"
"""
# Without the capabilities and the call, DeviceAllow= and IPAddressDeny= are accepted and not enforced.
_NSPAWN = (
    "--register=no", "--keep-unit", "--console=read-only", "--capability=all", "--system-call-filter=bpf",
    "--resolv-conf=off", "--timezone=off", "--boot",
)  # fmt: skip


WORK = "/opt/gpuwatch/bin/python3 -I -m gpuwatch.devices.demo_load --driver /srv/demo --steps 100000"
"""What a job does with them; `--devices` says with which."""


class NoGuest(Exception):
    """Why there can be no guest here."""


def _groups(name: str) -> list[Path]:
    """A control group of its own in each hierarchy that systemd uses; without, all guests would be in one."""
    split = [_CGROUPS / hierarchy for hierarchy in ("unified", "systemd")]
    return [folder / name for folder in split if folder.is_dir()] or [_CGROUPS / name]


class Guest:
    """A running machine; `lower` is the root it begins with, and is not changed.

    `files` are there before it boots; without a network of its own it is in that of this machine.
    """

    def __init__(
        self,
        nspawn: Path,
        lower: Path,
        folder: Path,
        name: str,
        private_network: bool = True,
        files: Mapping[str, str] | None = None,
    ) -> None:
        self.name = f"{name}-{secrets.token_hex(3)}"
        self.log = folder / f"{self.name}.log"
        self._groups = _groups(self.name)
        work = folder / self.name
        work.mkdir(parents=True)
        variables = {
            "WORK": str(work), "LOWER": f"{self._own(folder, files or {})}:{lower}", "NAME": self.name,
            "GROUPS_OF_GUEST": " ".join(str(group) for group in self._groups),
            "SYSTEMD_NSPAWN_UNIFIED_HIERARCHY": "1",
        }  # fmt: skip
        options = [*_NSPAWN, *(["--private-network"] if private_network else [])]
        # It ends with who started it, also where that one is killed.
        outer = ["setpriv", "--pdeathsig", "TERM", "unshare", "--mount", "--propagation", "private"]
        with self.log.open("wb") as log:
            self._nspawn = subprocess.Popen(
                [*outer, "sh", "-c", _BOOT, "sh", str(nspawn), *options],
                env={**environment(nspawn), **variables},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self.leader = 0
        try:
            wait_until(self._booted, BOOT_SECONDS, f"guest {name} is up")
        except AssertionError as exc:
            self.stop()
            raise NoGuest(f"{exc}: {self._last_words()}") from exc

    def _own(self, folder: Path, files: Mapping[str, str]) -> Path:
        layer = folder / f"{self.name}.files"
        layer.mkdir()
        for path, text in files.items():
            file = layer / path.lstrip("/")
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text)
        return layer

    def reboot(self) -> None:
        """Shut it down in order and start it again, with the same disk."""
        before = self.leader
        self.run("systemctl", "reboot")

        def another() -> bool:
            self.leader = self._init()
            return self.leader not in (0, before) and self._nspawn.poll() is None

        wait_until(another, BOOT_SECONDS, f"{self.name} shuts down")
        wait_until(self._booted, BOOT_SECONDS, f"{self.name} is up again")

    def _last_words(self) -> str:
        lines = self.log.read_text(errors="replace").splitlines()
        return next((line for line in reversed(lines) if line.strip()), "nspawn said nothing")

    def _booted(self) -> bool:
        if self._nspawn.poll() is not None:
            raise AssertionError(f"systemd-nspawn ended with {self._nspawn.returncode}")
        self.leader = self.leader or self._init()
        if not self.leader:
            return False
        return self.run("systemctl", "is-system-running", check=False).stdout.strip() in ("running", "degraded")

    def _init(self) -> int:
        with suppress(psutil.NoSuchProcess):
            for child in psutil.Process(self._nspawn.pid).children(recursive=True):
                if child.name() == "systemd" and child.parent().name() == "systemd-nspawn":
                    return int(child.pid)
        return 0

    def run(self, *command: str, check: bool = True, timeout: float = 60) -> subprocess.CompletedProcess[str]:
        """Run a command in the guest as root; fails with what it says where it fails."""
        inside = ["env", "-i", f"PATH={PATH}", "HOME=/root", "LC_ALL=C.UTF-8", "DEBIAN_FRONTEND=noninteractive"]
        done = subprocess.run(
            ["nsenter", "-t", str(self.leader), "-a", *inside, *command],
            stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=timeout, check=False,
        )  # fmt: skip
        if check and done.returncode:
            said = f"{done.stdout[-2000:]}{done.stderr[-2000:]}"
            raise AssertionError(f"{' '.join(command)}: {done.returncode}: {said}")
        return done

    def says(self, *command: str) -> str:
        """What a command in the guest prints."""
        return self.run(*command).stdout.strip()

    def path(self, path: str) -> Path:
        """A file of the guest, as it is seen from here."""
        return Path(f"/proc/{self.leader}/root{path}")

    def write(self, path: str, text: str, mode: int = 0o644) -> None:
        """Write a file of the guest."""
        self.path(path).parent.mkdir(parents=True, exist_ok=True)
        self.path(path).write_text(text)
        self.path(path).chmod(mode)

    def copy(self, file: Path, path: str) -> str:
        """Copy a file into the guest; where it is there."""
        shutil.copyfile(file, self.path(path))
        return path

    def drop_in(self, unit: str, name: str, text: str) -> None:
        """Give a unit a drop-in, which systemd knows of at once."""
        self.write(f"/etc/systemd/system/{unit}.d/{name}.conf", text)
        self.run("systemctl", "daemon-reload")

    def show(self, unit: str, key: str) -> str:
        """A property of a unit."""
        return self.says("systemctl", "show", "--property", key, "--value", unit)

    def journal(self, unit: str) -> str:
        """All that a unit has said."""
        return self.says("journalctl", "--no-pager", "--output=cat", "-u", unit)

    def in_network(self, call: Callable[[], Answer]) -> Answer:
        """Call something in a thread that is in the guest's network, and in nothing else of the guest's."""

        def enter() -> Answer:
            with open(f"/proc/{self.leader}/ns/net", "rb") as namespace:
                if _LIBC.setns(namespace.fileno(), _CLONE_NEWNET):
                    raise OSError(ctypes.get_errno(), "setns")
            return call()

        with ThreadPoolExecutor(1) as thread:
            return thread.submit(enter).result()

    def get(self, path: str, port: int = 9838, token: str = "") -> str:
        """What is served in the guest; empty where nobody serves anything, or not without a token."""
        return self.in_network(lambda: fetch(path, port, token))

    def stop(self) -> None:
        """Take its power away, and leave nothing behind."""
        if self.leader and self._nspawn.poll() is None:
            with suppress(ProcessLookupError):
                os.kill(self.leader, signal.SIGKILL)
            with suppress(subprocess.TimeoutExpired):
                self._nspawn.wait(STOP_SECONDS)
        stop(self._nspawn, STOP_SECONDS)
        for group in self._groups:
            wait_until(lambda group=group: _removed(group), STOP_SECONDS, f"{group} can be removed")


class Guests(Protocol):
    """Starts a guest: on a root of its own, under a name, in this machine's network, with files there."""

    def __call__(
        self,
        lower: Path = ...,
        name: str = ...,
        private_network: bool = ...,
        files: Mapping[str, str] | None = ...,
    ) -> Guest: ...


def fetch(path: str, port: int, token: str = "") -> str:
    """The page of a server on this loopback; empty where it does not answer with one."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=ANSWER_SECONDS)
    try:
        connection.request("GET", path, headers={"Authorization": f"Bearer {token}"} if token else {})
        answer = connection.getresponse()
        text = answer.read().decode()
        return text if answer.status == 200 else ""
    except (OSError, http.client.HTTPException):
        return ""
    finally:
        connection.close()


def _removed(group: Path) -> bool:
    """Remove a control group and those below; False while processes are in it that are about to end."""
    if not group.exists():
        return True
    for folder, _, _ in sorted(os.walk(group), reverse=True):
        with suppress(OSError):
            os.rmdir(folder)
    return not group.exists()
