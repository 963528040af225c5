"""The private interpreter with all that gpuwatch needs: everything of /opt/gpuwatch but gpuwatch itself."""

from __future__ import annotations

import json
import os
import platform
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import elf

HERE = Path(__file__).resolve().parent
REQUIREMENTS = HERE / "requirements.lock"
MADE_FROM = ("tree.py", "elf.py", "sitecustomize.py", REQUIREMENTS.name)
PREFIX = Path("/opt/gpuwatch")

_PROBE = """
import json, os, sys, sysconfig
print(json.dumps({
    "executable": os.path.realpath(getattr(sys, "_base_executable", sys.executable)),
    "version": sysconfig.get_python_version(),
    "full": sys.version,
    "stdlib": sysconfig.get_path("stdlib", "posix_prefix"),
}))
"""
# What no daemon asks for: tests, editors, windows, installers, terminals, and databases of other libraries.
_UNUSED = (
    "test", "tests", "idlelib", "tkinter", "turtledemo", "turtle.py", "ensurepip", "lib2to3", "pydoc_data",
    "config-*", "site-packages", "dist-packages", "__pycache__", "*.pyc", "sitecustomize.py", "__phello__*",
    "EXTERNALLY-MANAGED", "LICENSE.txt",
    "_tkinter.*.so", "readline.*.so", "_curses*.so", "_gdbm.*.so", "_dbm.*.so", "nis.*.so", "_crypt.*.so",
    "_test*.so", "_ctypes_test.*.so", "_xx*.so", "xx*.so", "ossaudiodev.*.so",
)  # fmt: skip
# The asynchronous half of the Kubernetes client is larger than the half that is used.
_UNUSED_OF_PACKAGES = ("tests", "test", "bin", "include", "*.pyi", "*.pxd", "*.c", "*.h", "kubernetes/aio")


@dataclass(frozen=True, slots=True)
class Interpreter:
    """The interpreter that is packed: `version` as in 3.11, `full` as it calls itself."""

    executable: Path
    version: str
    full: str
    stdlib: Path


def interpreter(folder: Path | None) -> Interpreter:
    """The interpreter of a folder (`bin/python3` and `lib/`), or the one that runs this."""
    program = folder / "bin" / "python3" if folder else Path(sys.executable)
    done = subprocess.run([program, "-I", "-c", _PROBE], capture_output=True, text=True, timeout=60, check=True)
    told = json.loads(done.stdout)
    return Interpreter(Path(told["executable"]), told["version"], told["full"], Path(told["stdlib"]))


def build(source: Interpreter, root: Path, glibc: str | None) -> None:
    """Make `root`/opt/gpuwatch: interpreter, libraries, packages for this or an older C library, all compiled."""
    home = root / PREFIX.relative_to("/")
    library = home / "lib" / f"python{source.version}"
    _copy_interpreter(source, home, library)
    _carry_libraries(source, home)
    _install_packages(source, library / "site-packages", glibc)
    _copy_licences(source, home)
    _demand_complete(home)
    compile_python(root, library)


def compile_python(root: Path, folder: Path) -> None:
    """Compile what lies below `folder`: it names the place it will have, and is never compared with its source."""
    python = root / PREFIX.relative_to("/") / "bin" / "python3"
    environment = os.environ | {"PYTHONHASHSEED": "0"}
    # -B: else what the compiler itself imports is compiled on the way, with the place and the time of this build.
    command: list[str | Path] = [python, "-B", "-S", "-E", "-m", "compileall", "-q", "-f", "-s", root, "-p", "/"]
    command += ["--invalidation-mode", "unchecked-hash", folder]
    subprocess.run(command, env=environment, timeout=600, check=True)


def _copy_interpreter(source: Interpreter, home: Path, library: Path) -> None:
    (home / "bin").mkdir(parents=True)
    program = home / "bin" / f"python{source.version}"
    shutil.copy2(source.executable, program)
    program.chmod(0o755)
    (home / "bin" / "python3").symlink_to(program.name)
    shutil.copytree(source.stdlib, library, ignore=shutil.ignore_patterns(*_UNUSED))
    shutil.copy2(HERE / "sitecustomize.py", library)


def _carry_libraries(source: Interpreter, home: Path) -> None:
    """Copy the libraries that the interpreter and its modules load, and have all of them look nowhere else."""
    dynamic = home / "lib" / f"python{source.version}" / "lib-dynload"
    originals = [source.executable, *(source.stdlib / "lib-dynload" / path.name for path in dynamic.iterdir())]
    carried = {name: path for original in originals for name, path in elf.libraries_of(original).items()}
    for name, path in carried.items():
        shutil.copy2(path, home / "lib" / name)
        (home / "lib" / name).chmod(0o755)
    for binary in [*elf.binaries(home / "bin"), *elf.binaries(home / "lib")]:
        elf.strip(binary)
        elf.look_for_libraries_in(binary, home / "lib", PREFIX / "lib")
    lines = [f"{name} {path.resolve()}\n" for name, path in sorted(carried.items())]
    (home / "libraries").write_text("".join(lines))


def _install_packages(source: Interpreter, packages: Path, glibc: str | None) -> None:
    pip = [sys.executable, "-m", "pip", "--python", str(source.executable), "--disable-pip-version-check"]
    command = [*pip, "install", "--quiet", "--root-user-action", "ignore", "--no-compile", "--no-deps"]
    command += ["--require-hashes", "--only-binary", ":all:", "--target", str(packages), "-r", str(REQUIREMENTS)]
    command += _wheels_for(source, glibc) if glibc else []
    subprocess.run(command, timeout=900, check=True)
    for pattern in _UNUSED_OF_PACKAGES:
        for path in sorted(packages.rglob(pattern)):
            remove(path)
    # Both say where and by whom they were installed.
    for name in ("RECORD", "REQUESTED", "INSTALLER", "direct_url.json"):
        for path in packages.glob(f"*.dist-info/{name}"):
            path.unlink()


def _wheels_for(source: Interpreter, glibc: str) -> list[str]:
    """What makes pip choose wheels that a machine with this C library can load, not those that this one can."""
    minor = int(glibc.removeprefix("2."))
    machine = platform.machine()
    platforms = [*(f"manylinux_2_{each}_{machine}" for each in range(minor, 4, -1)), f"manylinux2014_{machine}"]
    abi = "cp" + source.version.replace(".", "")
    options = ["--implementation", "cp", "--python-version", source.version]
    options += [word for name in (abi, "abi3", "none") for word in ("--abi", name)]
    return options + [word for name in platforms for word in ("--platform", name)]


def remove(path: Path) -> None:
    """Take away a file or a folder, if it is still there."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _copy_licences(source: Interpreter, home: Path) -> None:
    """The licence of the interpreter and, where this is Debian, those of the libraries from it."""
    folder = home / "licenses"
    folder.mkdir()
    for place in (source.stdlib / "LICENSE.txt", Path(f"/usr/share/doc/python{source.version}/copyright")):
        if place.is_file():
            shutil.copy2(place, folder / "python.txt")
            break
    for line in (home / "libraries").read_text().splitlines():
        name, path = line.split()
        owner = _owner_of(path)
        if owner and (text := Path("/usr/share/doc") / owner / "copyright").is_file():
            shutil.copy2(text, folder / f"{name}.txt")
    (home / "libraries").unlink()


def _owner_of(path: str) -> str | None:
    """The Debian package that a file comes from."""
    if not shutil.which("dpkg-query"):
        return None
    # /lib is /usr/lib today, and the package may have listed either.
    for spelling in (path, path.removeprefix("/usr")):
        done = subprocess.run(["dpkg-query", "-S", spelling], capture_output=True, text=True, check=False)
        if done.returncode == 0:
            return done.stdout.split(":")[0]
    return None


def _demand_complete(home: Path) -> None:
    """Fail where a binary names a library that is neither carried nor everywhere."""
    found = list(elf.binaries(home))
    there = {path.name for path in found}
    for path in found:
        lacking = [name for name in elf.needed_by(path) if name not in there and not elf.SYSTEM.match(name)]
        if lacking:
            raise SystemExit(f"{path.relative_to(home)}: needs {', '.join(lacking)}, which nothing brings")
