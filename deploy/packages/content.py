"""What a package holds, and where: one rule for each kind of file, so that new units and rules come along."""

from __future__ import annotations

import gzip
import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator, Mapping
from email import message_from_string
from email.message import Message
from pathlib import Path

import tree

REPOSITORY = tree.HERE.parents[1]
UNIT_SUFFIXES = {".service", ".slice", ".socket", ".timer", ".target", ".path", ".mount"}
CONFIGURATION = "etc/gpuwatch/gpuwatch.toml"
DOCUMENTS = "usr/share/doc/gpuwatch"

_LAUNCHER = """\
#!{prefix}/bin/python3 -I
from gpuwatch.cli import main

main()
"""
_COMPLETIONS = {
    "bash": "usr/share/bash-completion/completions/gpuwatch",
    "zsh": "usr/share/zsh/site-functions/_gpuwatch",
    "fish": "usr/share/fish/vendor_completions.d/gpuwatch.fish",
}
_SHARED = {
    "deploy/slurm": "slurm",
    "deploy/prometheus": "prometheus",
    "deploy/alertmanager": "alertmanager",
    "grafana/dashboards": "grafana",
}


def fill(root: Path, library: Path, version: str, epoch: int) -> None:
    """Put gpuwatch and everything beside it into `root`, which has the private interpreter already."""
    packages = library / "site-packages"
    _install_program(root, packages, version, epoch)
    tree.compile_python(root, packages / "gpuwatch")
    tree.compile_python(root, packages / "gpuwatch_client")
    for source, target in _files():
        _copy(source, root / target)
    (root / "etc/gpuwatch/conf.d").mkdir(parents=True)
    _write_completions(root)
    _write_manual(root)
    _write_copyright(root, packages)
    level(root)


def units(root: Path) -> list[str]:
    """The services of a filled tree that can be enabled, the agent first."""
    folder = root / "usr/lib/systemd/system"
    names = [path.name for path in folder.glob("*.service") if "[Install]" in path.read_text()]
    return sorted(names, key=lambda name: (name != "gpuwatch-agent.service", name))


def level(root: Path) -> None:
    """Give all files the rights they have in a package, whatever the umask here."""
    for path in root.rglob("*"):
        if not path.is_symlink():
            path.chmod(0o755 if path.is_dir() or path.stat().st_mode & 0o100 else 0o644)


def _install_program(root: Path, packages: Path, version: str, epoch: int) -> None:
    with zipfile.ZipFile(_wheel(root.parent, version, epoch)) as wheel:
        for name in wheel.namelist():
            if ".data/" not in name and not name.endswith("/RECORD"):
                wheel.extract(name, packages)
    launcher = root / "opt/gpuwatch/bin/gpuwatch"
    launcher.write_text(_LAUNCHER.format(prefix=tree.PREFIX))
    launcher.chmod(0o755)
    (root / "usr/bin").mkdir(parents=True)
    (root / "usr/bin/gpuwatch").symlink_to(tree.PREFIX / "bin" / "gpuwatch")


def _wheel(work: Path, version: str, epoch: int) -> Path:
    """Build the wheel from a copy: the version that is written into the source must not change the checkout's."""
    source = work / "source"
    for name in _sources():
        _copy(REPOSITORY / name, source / name)
    environment = os.environ | {"SETUPTOOLS_SCM_PRETEND_VERSION": version, "SOURCE_DATE_EPOCH": str(epoch)}
    code = f"from hatchling.build import build_wheel; build_wheel({str(work)!r})"
    subprocess.run([sys.executable, "-c", code], cwd=source, env=environment, timeout=120, check=True)
    (wheel,) = work.glob("*.whl")
    return wheel


def _sources() -> list[str]:
    """The files of the project: what git knows or would add, or all where there is no git."""
    command = ["git", "-C", str(REPOSITORY), "ls-files", "-co", "--exclude-standard"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode == 0:
        names = done.stdout.splitlines()
    else:
        names = [str(path.relative_to(REPOSITORY)) for path in REPOSITORY.rglob("*") if path.is_file()]
    left_out = ("tests/", "dist/", "build/", ".")
    return [name for name in names if not name.startswith(left_out) and (REPOSITORY / name).is_file()]


def _files() -> Iterator[tuple[Path, str]]:
    for path in sorted((REPOSITORY / "systemd").rglob("*")):
        if path.is_file():
            yield path, _place_of(path.relative_to(REPOSITORY / "systemd"))
    for source, name in _SHARED.items():
        for path in sorted((REPOSITORY / source).rglob("*")):
            relative = path.relative_to(REPOSITORY / source)
            if path.is_file() and "tests" not in relative.parts:
                yield path, f"usr/share/gpuwatch/{name}/{relative}"
    for name in ("gpuwatch.toml", "alerts.toml", "web-config.yml"):
        yield REPOSITORY / "deploy" / name, f"usr/share/gpuwatch/{name}"
    yield REPOSITORY / "deploy/gpuwatch.toml", CONFIGURATION
    for name in ("README.md", "CHANGELOG.md", "LICENSE"):
        yield REPOSITORY / name, f"{DOCUMENTS}/{name}"


def _place_of(path: Path) -> str:
    """Where a file of systemd/ goes; what is there to choose from (drop-ins) goes where systemd does not look."""
    if path.suffix == ".preset":
        return f"usr/lib/systemd/system-preset/{path.name}"
    if path.parts[0] in ("sysusers.d", "tmpfiles.d"):
        return f"usr/lib/{path}"
    if len(path.parts) == 1 and path.suffix in UNIT_SUFFIXES:
        return f"usr/lib/systemd/system/{path}"
    return f"usr/share/gpuwatch/systemd/{path}"


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(source, target)


def _run(root: Path, environment: Mapping[str, str]) -> str:
    """What the packed gpuwatch says: the first proof that it runs elsewhere than where it was made."""
    home = root / tree.PREFIX.relative_to("/")
    command = [str(home / "bin" / name) for name in ("python3", "gpuwatch")]
    command.insert(1, "-IB")
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
    if done.returncode or not done.stdout:
        raise SystemExit(f"the packed gpuwatch does not run: {done.stderr}")
    return str(done.stdout)


def _write_completions(root: Path) -> None:
    for shell, place in _COMPLETIONS.items():
        (root / place).parent.mkdir(parents=True)
        # zsh looks for its mark in the first line, and runs the file as the function of the first completion.
        more = '_gpuwatch_completion "$@"\n' if shell == "zsh" else ""
        (root / place).write_text(_run(root, {"_GPUWATCH_COMPLETE": f"source_{shell}"}).strip() + "\n" + more)


def _write_manual(root: Path) -> None:
    page = root / "usr/share/man/man1/gpuwatch.1.gz"
    page.parent.mkdir(parents=True)
    page.write_bytes(gzip.compress((REPOSITORY / "docs/gpuwatch.1").read_bytes(), 9, mtime=0))


def _write_copyright(root: Path, packages: Path) -> None:
    lines = ["gpuwatch is under the Apache License 2.0, which is beside this file.", ""]
    lines += [f"{tree.PREFIX} carries these, each under its own licence:", ""]
    for metadata in sorted(packages.glob("*.dist-info/METADATA")):
        about = message_from_string(metadata.read_text(encoding="utf-8"))
        if about["Name"] != "gpuwatch":
            lines.append(f"- {about['Name']} {about['Version']}: {_licence_of(about)}")
    lines += ["", f"Their texts: {packages.relative_to(root)}/*.dist-info/; of the interpreter and its libraries:"]
    lines += [f"- /{path.relative_to(root)}" for path in sorted((root / "opt/gpuwatch/licenses").iterdir())]
    (root / DOCUMENTS / "copyright").write_text("\n".join(lines) + "\n")


def _licence_of(about: Message) -> str:
    named = str(about.get("License-Expression") or about.get("License") or "")
    classified = [
        text.rsplit(" :: ", 1)[-1] for text in about.get_all("Classifier", []) if text.startswith("License :: ")
    ]
    # Some give the whole text where a name is asked for.
    return named if named and "\n" not in named and len(named) < 80 else ", ".join(classified) or "see its folder"
