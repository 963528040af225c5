"""Make a deb of a filled tree."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import content
from package import DESCRIPTION, NAME, SUMMARY, Package

ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64", "ppc64le": "ppc64el"}
SCRIPTS = ("preinst", "postinst", "prerm", "postrm")


def build(package: Package, output: Path) -> Path:
    """Write the deb into a folder."""
    architecture = ARCHITECTURES.get(package.machine, package.machine)
    target = output / f"{NAME}_{package.system_version()}_{architecture}.deb"
    folder = package.root / "DEBIAN"
    folder.mkdir()
    try:
        (folder / "control").write_text(_control(package, architecture))
        (folder / "conffiles").write_text(f"/{content.CONFIGURATION}\n")
        for name in SCRIPTS:
            (folder / name).write_text("#!/bin/sh\n" + package.script(f"deb.{name}"))
            (folder / name).chmod(0o755)
        compression = ["-Zzstd", "-z1"] if package.fast else ["-Zxz", "-z6"]
        command = ["dpkg-deb", "--root-owner-group", *compression, "--build", str(package.root), str(target)]
        environment = os.environ | {"SOURCE_DATE_EPOCH": str(package.epoch)}
        subprocess.run(command, env=environment, stdout=subprocess.DEVNULL, timeout=600, check=True)
    finally:
        for path in folder.iterdir():
            path.unlink()
        folder.rmdir()
    return target


def _control(package: Package, architecture: str) -> str:
    depends = f"libc6 (>= {package.glibc()}), libgcc-s1, libstdc++6"
    fields = {
        "Package": NAME,
        "Version": package.system_version(),
        "Architecture": architecture,
        "Maintainer": "gpuwatch <maintainers@gpuwatch.invalid>",
        "Installed-Size": str(_kibibytes(package.root)),
        "Depends": depends,
        "Recommends": "ca-certificates",
        "Section": "admin",
        "Priority": "optional",
        "Description": "\n".join([SUMMARY, *(f" {line}" for line in DESCRIPTION)]),
    }
    return "".join(f"{key}: {value}\n" for key, value in fields.items())


def _kibibytes(root: Path) -> int:
    """As dpkg-gencontrol counts: each file in whole kibibytes, one for each folder and link."""
    sizes = (path.stat().st_size if path.is_file() and not path.is_symlink() else 1 for path in root.rglob("*"))
    return sum(-(-size // 1024) for size in sizes)
