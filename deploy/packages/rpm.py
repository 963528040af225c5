"""Make an rpm of a filled tree."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import content
import tree
from package import DESCRIPTION, NAME, SUMMARY, Package

_TEMPLATE = tree.HERE / "gpuwatch.spec"
# What is ours alone, with all below it.
_OWNED = ("opt/gpuwatch", "usr/share/gpuwatch", content.DOCUMENTS)


def build(package: Package, output: Path) -> Path:
    """Write the rpm into a folder."""
    if shutil.which("rpmbuild") is None:
        raise SystemExit("rpm: there is no rpmbuild here; Debian has it in the package rpm, others in rpm-build")
    with tempfile.TemporaryDirectory(prefix="rpm-", dir=package.root.parent) as work:
        spec = Path(work) / "gpuwatch.spec"
        spec.write_text(_spec(package))
        places = {"_topdir": work, "_dbpath": f"{work}/db", "_rpmdir": str(output)}
        places["_rpmfilename"] = _name("%{ARCH}")
        defined = [word for key, value in places.items() for word in ("--define", f"{key} {value}")]
        command = ["rpmbuild", "-bb", "--quiet", "--target", package.machine, *defined, str(spec)]
        environment = os.environ | {"SOURCE_DATE_EPOCH": str(package.epoch)}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=900, check=False)
        if done.returncode:
            raise SystemExit(f"rpmbuild: {done.stderr or done.stdout}")
    return output / _name(package.machine, package.system_version())


def _name(machine: str, version: str = "%{VERSION}") -> str:
    return f"{NAME}-{version}-1.{machine}.rpm"


def _spec(package: Package) -> str:
    filled = {
        "VERSION": package.system_version(),
        "SUMMARY": SUMMARY,
        "DESCRIPTION": "\n".join(DESCRIPTION),
        "GLIBC": package.glibc(),
        "PAYLOAD": "w1.zstdio" if package.fast else "w19.zstdio",
        "ROOT": str(package.root),
        "POST": package.script("rpm.post"),
        "PREUN": package.script("rpm.preun"),
        "POSTUN": package.script("rpm.postun"),
        "FILES": "\n".join(_files(package.root)),
    }
    return re.sub(r"@([A-Z]+)@", lambda match: filled[match[1]], _TEMPLATE.read_text())


def _files(root: Path) -> Iterator[str]:
    yield from (f"/{folder}" for folder in _OWNED)
    yield from ("%dir /etc/gpuwatch", "%dir /etc/gpuwatch/conf.d", f"%config(noreplace) /{content.CONFIGURATION}")
    for path in sorted(root.rglob("*")):
        name = str(path.relative_to(root))
        owned = name.startswith(tuple(f"{folder}/" for folder in (*_OWNED, "etc")))
        if not owned and (path.is_symlink() or path.is_file()):
            yield f"/{name}"
