"""What guests boot from: a bare Debian without Python, and the same with the package installed. Both are kept."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.integration.debian import REPOSITORY, UNPACKED
from tests.integration.guest import PATH, NoGuest

CACHE = REPOSITORY / ".cache" / "guest"
PACKAGES = ("apt", "dbus", "iproute2", "procps", "systemd", "systemd-sysv")
"""What a bare machine has beside what is essential to Debian: no Python, no libraries of ours."""

ROOTFS_SECONDS = 240.0
KEPT_SECONDS = 3600.0

DEMO = """\
[agent]
devices = ["demo"]
[devices.demo]
driver_directory = "/srv/demo"
"""
"""The configuration of a node with simulated devices."""


@dataclass(frozen=True, slots=True)
class Debs:
    """A package and its successor."""

    first: Path
    second: Path


@dataclass(frozen=True, slots=True)
class Image:
    """A root in which the package was installed while no systemd ran there, and what dpkg said."""

    root: Path
    returncode: int
    stderr: str


def _apt(*arguments: str) -> str:
    done = subprocess.run(arguments, capture_output=True, text=True, timeout=60, check=False)
    return done.stdout


def _sources() -> tuple[str, str]:
    """The release of this Debian, and the line of the mirror that this machine is configured with."""
    text = Path("/etc/os-release").read_text()
    release = dict(line.split("=", 1) for line in text.splitlines() if "=" in line)
    codename = release.get("VERSION_CODENAME", "")
    targets = _apt(
        "apt-get", "indextargets", "--format", "$(REPO_URI) $(RELEASE) $(COMPONENT)", "Created-By: Packages"
    )
    for line in targets.splitlines():
        if line.split()[1:] == [codename, "main"]:
            return codename, f"deb {line}"
    raise NoGuest(f"no mirror of Debian {codename or '(unknown)'} is configured here")


def _proxies() -> str:
    """How apt reaches its mirror here."""
    lines = _apt("apt-config", "dump", "Acquire").splitlines()
    return "\n".join(line for line in lines if "::Proxy" in line or "::CaInfo" in line)


def rootfs(mmdebstrap: Path) -> Path:
    """The root of a bare Debian, from the cache or made now; `NoGuest` says why it cannot be had."""
    codename, source = _sources()
    key = hashlib.sha256("\0".join((codename, *PACKAGES)).encode()).hexdigest()[:12]
    target = CACHE / f"{codename}-{key}"
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not target.exists():
            _make_rootfs(mmdebstrap, codename, source, target)
    return target


def _make_rootfs(mmdebstrap: Path, codename: str, source: str, target: Path) -> None:
    unfinished = CACHE / "unfinished"
    shutil.rmtree(unfinished, ignore_errors=True)
    options = [
        "--mode=root", "--variant=essential", f"--include={','.join(PACKAGES)}", "--skip=check/qemu",
        "--dpkgopt=force-unsafe-io", '--aptopt=APT::Sandbox::User "root"', "--aptopt=Acquire::Retries 1",
        *(f"--aptopt={line}" for line in _proxies().splitlines()),
    ]  # fmt: skip
    # Its helpers are unpacked beside it.
    path = f"{UNPACKED / 'usr/bin'}:{os.environ['PATH']}:/usr/sbin:/sbin"
    done = subprocess.run(
        [str(mmdebstrap), *options, codename, str(unfinished), source],
        env={**os.environ, "PATH": path, "TMPDIR": str(CACHE)},
        stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=ROOTFS_SECONDS, check=False,
    )  # fmt: skip
    if done.returncode:
        shutil.rmtree(unfinished, ignore_errors=True)
        raise NoGuest(f"mmdebstrap: {(done.stderr.strip() or 'said nothing').splitlines()[-1]}")
    unfinished.rename(target)


def in_chroot(root: Path, *command: str) -> subprocess.CompletedProcess[str]:
    """Run a command in a root where no systemd runs, as who makes an image does; what it started ends with it."""
    inside = ["env", "-i", f"PATH={PATH}", "LC_ALL=C.UTF-8", "DEBIAN_FRONTEND=noninteractive"]
    outer = ["unshare", "--pid", "--fork", "--kill-child", f"--mount-proc={root}/proc", "chroot", str(root)]
    return subprocess.run(
        [*outer, *inside, *command],
        stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip


def image_of(bare: Path, package: Path) -> Image:
    """The bare root with a package installed, from the cache or made now."""
    image = CACHE / f"{bare.name}-{hashlib.sha256(package.read_bytes()).hexdigest()[:12]}"
    with (CACHE / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (image / "said.json").exists():
            _clear(CACHE.glob(f"{bare.name}-*"))
            _make_image(bare, package, image)
    return Image(image / "root", **json.loads((image / "said.json").read_text()))


def _clear(images: Iterable[Path]) -> None:
    """Remove what nobody can still be using."""
    for image in images:
        if image.stat().st_mtime < time.time() - KEPT_SECONDS:
            shutil.rmtree(image, ignore_errors=True)


def _make_image(bare: Path, package: Path, image: Path) -> None:
    root = image / "root"
    shutil.rmtree(image, ignore_errors=True)
    image.mkdir()
    # Links: what is installed replaces files. The log alone is written on.
    subprocess.run(["cp", "-al", str(bare), str(root)], check=True, timeout=120)
    (root / "var/log/dpkg.log").unlink(missing_ok=True)
    shutil.copy(package, root / "root" / "package.deb")
    installed = in_chroot(root, "dpkg", "--install", "/root/package.deb")
    (root / "root" / "package.deb").unlink()
    (root / "etc/gpuwatch/conf.d/demo.toml").write_text(DEMO)
    (image / "said.json").write_text(json.dumps({"returncode": installed.returncode, "stderr": installed.stderr}))


def requirements(found: Callable[[str], Path | None]) -> Sequence[Path]:
    """systemd-nspawn and mmdebstrap; `NoGuest` where there is no root or one of them is missing."""
    if os.geteuid() != 0:
        raise NoGuest("only root can start a machine")
    programs = []
    for name in ("systemd-nspawn", "mmdebstrap"):
        program = found(name)
        if program is None:
            raise NoGuest(f"{name} is neither installed nor unpacked; `sh tests/integration/packages.sh` says why")
        programs.append(program)
    return programs
