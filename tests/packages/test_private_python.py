"""The interpreter of the package on a machine with the C library and nothing else: no Python, shell or /proc."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
import trustme

from gpuwatch.cli import COMMANDS
from tests.packages.conftest import VERSION, Unpacked

pytestmark = [
    pytest.mark.integration,
    pytest.mark.xdist_group("packages"),
    pytest.mark.skipif(os.geteuid() != 0, reason="only root may change the root of a process"),
]
PYTHON = "/opt/gpuwatch/bin/python3"
AUTHORITIES = ("etc/ssl/certs/ca-certificates.crt", "etc/pki/tls/certs/ca-bundle.crt", "etc/ssl/ca-bundle.pem")

Run = Callable[..., subprocess.CompletedProcess[str]]


def _system_libraries(root: Path) -> set[Path]:
    """What the binaries of the package load from the machine, its loader included."""
    binaries = [str(path) for path in (root / "opt").rglob("*.so*") if path.is_file()]
    program = next((root / "opt/gpuwatch/bin").glob("python3.*"))
    told = subprocess.run(
        ["ldd", str(program), *binaries], capture_output=True, text=True, timeout=120, check=False
    )
    found = {Path(name) for name in re.findall(r"(/\S+) \(0x", told.stdout)}
    return {path for path in found if not path.is_relative_to(root)}


@pytest.fixture(scope="module")
def bare(unpacked: Unpacked, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files of the package with the C library."""
    root = tmp_path_factory.mktemp("bare") / "root"
    shutil.copytree(unpacked.root, root, symlinks=True, copy_function=os.link)
    for library in _system_libraries(unpacked.root):
        target = root / str(library).lstrip("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(library, target)
    (root / "tmp").mkdir()
    return root


@pytest.fixture(scope="module")
def run(bare: Path) -> Run:
    """Runs a program of the bare machine; fails if it does."""

    def start(*command: str, env: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[str]:
        chroot = shutil.which("chroot", path="/usr/sbin:/sbin:/usr/bin:/bin")
        assert chroot is not None
        done = subprocess.run(
            [chroot, str(bare), *command],
            env=dict(env or {}), stdin=subprocess.DEVNULL,
            capture_output=True, text=True, timeout=120, check=False,
        )  # fmt: skip
        assert 0 == done.returncode, done.stderr
        return done

    return start


def test_machine_has_no_other_python(bare: Path) -> None:
    """And no shell."""
    programs = {path.name for path in bare.rglob("bin/*")}

    assert {"python3", "gpuwatch"} == {re.sub(r"^python3\.\d+$", "python3", name) for name in programs}


def test_program_runs_without_any_environment(run: Run) -> None:
    """From the place where it is installed, in the C locale."""
    version = run("/usr/bin/gpuwatch", "--version")
    helped = run("/usr/bin/gpuwatch", "--help")

    assert (f"gpuwatch {VERSION}\n", "") == (version.stdout, version.stderr)
    assert [] == [command for command in COMMANDS if f" {command} " not in helped.stdout]


def test_all_of_gpuwatch_and_its_extras_can_be_loaded(run: Run) -> None:
    """Every module, with dependencies from the package alone: the pins are complete."""
    code = """
import importlib, pkgutil, gpuwatch
names = [each.name for each in pkgutil.walk_packages(gpuwatch.__path__, 'gpuwatch.')]
for name in names:
    if not name.endswith(('.__main__', '.migrations.env')):  # what runs when it is loaded
        importlib.import_module(name)
import apprise, grpc, google.protobuf, kubernetes.client, kubernetes.config, psycopg, pynvml
assert apprise.Apprise().add('json://localhost')
from gpuwatch.ledger.store import open_store
open_store('/tmp/ledger.db').close()
print(len(names), psycopg.pq.__impl__)
"""
    count, implementation = run(PYTHON, "-I", "-c", code).stdout.split()

    assert 300 < int(count)
    assert "binary" == implementation


def test_every_module_of_the_standard_library_that_is_carried_can_be_loaded(run: Run) -> None:
    """TLS, SQLite, compression and all other compiled ones find their libraries."""
    code = """
import importlib, pathlib, sysconfig, os
folder = pathlib.Path(os.__file__).parent / 'lib-dynload'
names = sorted({path.name.split('.')[0] for path in folder.iterdir()})
for name in names:
    importlib.import_module(name)
print(*names)
import ssl, sqlite3, ctypes, lzma, bz2, zlib, uuid, xml.parsers.expat
"""
    names = run(PYTHON, "-I", "-c", code).stdout.split()

    assert set() == {"readline", "_tkinter", "_curses", "nis", "_gdbm"} & set(names)


def test_environment_of_a_users_python_changes_nothing(run: Run, bare: Path) -> None:
    """Modules, conda and virtual environments set these for every process of a user."""
    evil = bare / "tmp" / "evil"
    evil.mkdir()
    (evil / "gpuwatch.py").write_text("raise SystemExit('the wrong one')\n")
    for library in (bare / "opt/gpuwatch/lib").glob("lib*.so*"):
        (evil / library.name).write_text("not a library")

    hostile = {"PYTHONPATH": "/tmp/evil", "PYTHONHOME": "/nowhere", "LD_LIBRARY_PATH": "/tmp/evil", "HOME": "/tmp"}
    said = run("/usr/bin/gpuwatch", "check", "--json", env={**hostile, "PYTHONSTARTUP": "/tmp/evil/gpuwatch.py"})

    assert f'"version":"{VERSION}"' in said.stdout


@pytest.mark.parametrize("place", AUTHORITIES)
def test_authorities_are_found_where_the_distribution_keeps_them(run: Run, bare: Path, place: str) -> None:
    """Debian, RHEL and SUSE; jobs that `gpuwatch run` starts are not told."""
    bundle = bare / place
    bundle.parent.mkdir(parents=True, exist_ok=True)
    trustme.CA().cert_pem.write_to_path(str(bundle))
    code = """
import os, ssl
print(ssl.create_default_context().cert_store_stats()['x509_ca'], 'SSL_CERT_FILE' in os.environ)
"""

    said = run(PYTHON, "-I", "-c", code).stdout
    bundle.unlink()

    assert "1 False\n" == said


def test_authorities_that_the_administrator_names_are_taken(run: Run, bare: Path) -> None:
    """As every program of OpenSSL's does."""
    for name, authorities in (("etc/pki/tls/certs/ca-bundle.crt", 1), ("tmp/own.pem", 2)):
        (bare / name).parent.mkdir(parents=True, exist_ok=True)
        for _ in range(authorities):
            trustme.CA().cert_pem.write_to_path(str(bare / name), append=True)
    code = "import ssl; print(ssl.create_default_context().cert_store_stats()['x509_ca'])"

    assert "2\n" == run(PYTHON, "-I", "-c", code, env={"SSL_CERT_FILE": "/tmp/own.pem"}).stdout


def test_nothing_is_written_by_running(run: Run, bare: Path) -> None:
    """Even by root, who could."""
    before = {path: path.stat().st_mtime_ns for path in (bare / "opt").rglob("*")}

    run("/usr/bin/gpuwatch", "metrics")

    assert before == {path: path.stat().st_mtime_ns for path in (bare / "opt").rglob("*")}
