"""What is in the deb and the rpm, and what they say of themselves."""

from __future__ import annotations

import gzip
import hashlib
import re
import shutil
import subprocess
from collections.abc import Callable
from email import message_from_string
from email.message import Message
from pathlib import Path

import pytest

from tests.integration.debian import REPOSITORY
from tests.packages.built import build, digest
from tests.packages.conftest import VERSION, Unpacked

pytestmark = [pytest.mark.integration, pytest.mark.xdist_group("packages")]

OURS = ("opt/gpuwatch", "usr/share/gpuwatch", "usr/share/doc/gpuwatch", "etc/gpuwatch")


def _files(root: Path) -> set[str]:
    """All files and links, as they lie when installed."""
    return {f"/{path.relative_to(root)}" for path in root.rglob("*") if path.is_symlink() or path.is_file()}


@pytest.fixture(scope="module")
def control(unpacked: Unpacked) -> Message:
    """The fields of the deb."""
    return message_from_string((unpacked.control / "control").read_text())


def test_deb_says_what_it_is_and_needs_no_python(control: Message, deb: Path) -> None:
    """The C library and the run-time libraries of compilers are all it asks for."""
    names = {word.split()[0] for word in control["Depends"].split(", ")}

    assert ("gpuwatch", VERSION, "admin") == (control["Package"], control["Version"], control["Section"])
    assert {"libc6", "libgcc-s1", "libstdc++6"} == names
    assert f"gpuwatch_{VERSION}_{control['Architecture']}.deb" == deb.name


@pytest.mark.skipif(shutil.which("readelf") is None, reason="readelf is not installed")
def test_deb_asks_for_the_c_library_that_its_binaries_ask_for(control: Message, unpacked: Unpacked) -> None:
    """As another reader of binaries finds it."""
    binaries = [str(path) for path in (unpacked.root / "opt").rglob("*") if ".so" in path.name and path.is_file()]
    told = subprocess.run(["readelf", "-VW", *binaries], capture_output=True, text=True, timeout=120, check=False)
    asked = {int(minor) for minor in re.findall(r"Name: GLIBC_2\.(\d+)", told.stdout)}

    assert f"libc6 (>= 2.{max(asked)})" in control["Depends"]


def test_every_file_of_systemd_goes_where_it_is_looked_for(unpacked: Unpacked) -> None:
    """Units, presets, users and folders; what there is to choose from lies where systemd does not look."""
    files = _files(unpacked.root)
    for path in (REPOSITORY / "systemd").rglob("*"):
        if path.suffix in (".service", ".slice"):
            assert f"/usr/lib/systemd/system/{path.name}" in files
        if path.suffix == ".preset":
            assert f"/usr/lib/systemd/system-preset/{path.name}" in files

    assert {"/usr/lib/sysusers.d/gpuwatch.conf", "/usr/lib/tmpfiles.d/gpuwatch.conf"} <= files
    assert any("/usr/share/gpuwatch/systemd/drop-ins/" in name for name in files)
    assert [] == [name for name in files if re.match(r"/(usr/lib|etc)/systemd/system/.*\.d/", name)]


def test_configuration_is_the_sites(unpacked: Unpacked) -> None:
    """dpkg asks before it replaces it; the folder for more is there."""
    assert "/etc/gpuwatch/gpuwatch.toml\n" == (unpacked.control / "conffiles").read_text()
    assert (REPOSITORY / "deploy/gpuwatch.toml").read_text() == (
        unpacked.root / "etc/gpuwatch/gpuwatch.toml"
    ).read_text()
    assert (unpacked.root / "etc/gpuwatch/conf.d").is_dir()


def test_what_stands_beside_the_program_is_there(unpacked: Unpacked) -> None:
    """Rules, dashboards, prologs, the manual page, completions of three shells."""
    share = unpacked.root / "usr/share"
    dashboards = {path.name for path in (REPOSITORY / "grafana/dashboards").glob("*.json")}
    manual = gzip.decompress((share / "man/man1/gpuwatch.1.gz").read_bytes()).decode()

    assert (REPOSITORY / "docs/gpuwatch.1").read_text() == manual
    assert dashboards == {path.name for path in (share / "gpuwatch/grafana").iterdir()}
    assert (share / "gpuwatch/prometheus/gpuwatch-jobs.rules.yml").is_file()
    assert 0o755 == (share / "gpuwatch/slurm/prolog.sh").stat().st_mode & 0o777
    assert "_gpuwatch_completion" in (share / "bash-completion/completions/gpuwatch").read_text()
    assert (share / "zsh/site-functions/_gpuwatch").read_text().startswith("#compdef gpuwatch")
    assert "--command gpuwatch" in (share / "fish/vendor_completions.d/gpuwatch.fish").read_text()


def test_licences_of_all_that_is_carried_are_named(unpacked: Unpacked) -> None:
    """Of each Python distribution, and a text for each library."""
    said = (unpacked.root / "usr/share/doc/gpuwatch/copyright").read_text()
    home = unpacked.root / "opt/gpuwatch"
    (packages,) = home.glob("lib/python*/site-packages")
    names = {path.name.split("-")[0].replace("_", "-").lower() for path in packages.glob("*.dist-info")}

    listed = {line.split()[1].replace("_", "-").lower() for line in said.splitlines() if re.match("- [^/]", line)}
    assert names - {"gpuwatch"} == {name.replace(".", "-") for name in listed}
    assert "see its folder" not in said
    assert (home / "licenses/python.txt").is_file()


def test_nothing_of_the_building_machine_is_left(unpacked: Unpacked) -> None:
    """All belongs to root, nobody else may write, and compiled files name the places they will have."""
    modes = {path.stat().st_mode & 0o7777 for path in unpacked.root.rglob("*") if not path.is_symlink()}
    compiled = [path for path in unpacked.root.rglob("*.pyc") if b"/gpuwatch-package-" in path.read_bytes()]

    assert {0o644, 0o755} == modes
    assert [] == compiled


def test_every_module_is_compiled_and_never_compared(unpacked: Unpacked) -> None:
    """Nothing is written at run time, and no time stamp decides which code runs."""
    sources = [path for path in (unpacked.root / "opt").rglob("*.py") if path.parent.name != "bin"]
    lacking = []
    for path in sources:
        compiled = next(path.parent.glob(f"__pycache__/{path.stem}.cpython-*.pyc"), None)
        # Bytes 4 to 8 of the header: 1 is "by hash", 2 would be "compare it"
        if compiled is None or compiled.read_bytes()[4:8] != b"\1\0\0\0":
            lacking.append(str(path))

    assert 1000 < len(sources)
    assert [] == lacking


def test_the_same_input_gives_the_same_bytes(deb: Path, tmp_path: Path) -> None:
    """Built again elsewhere; interpreter and packages are made once."""
    again = build("deb", VERSION, tmp_path)
    if digest() != deb.parent.name:
        pytest.skip("somebody edits the checkout while the tests run")

    # By their digests: a difference is not to be printed.
    first, second = (hashlib.sha256(path.read_bytes()).hexdigest() for path in (deb, again))
    assert (deb.name, first) == (again.name, second)


def test_rpm_has_the_files_of_the_deb(rpm_says: Callable[..., list[str]], unpacked: Unpacked) -> None:
    """Not one more or less; it owns its folders and nobody else's."""
    listed = set(rpm_says("--list"))
    files = _files(unpacked.root)
    folders = {name for name in listed if name not in files}

    assert set() == files - listed
    assert all(name.strip("/").startswith(OURS) for name in folders)
    assert ["/etc/gpuwatch/gpuwatch.toml"] == rpm_says("--configfiles")


def test_rpm_needs_what_the_deb_needs(rpm_says: Callable[..., list[str]], control: Message) -> None:
    """By the names of libraries; of what it carries itself nothing is asked for or offered."""
    version = re.search(r"libc6 \(>= ([0-9.]+)\)", control["Depends"])
    assert version is not None
    asked = {line for line in rpm_says("--requires") if not line.startswith("rpmlib(")}

    assert {
        "/bin/sh", "libgcc_s.so.1()(64bit)", "libstdc++.so.6()(64bit)", f"libc.so.6(GLIBC_{version[1]})(64bit)",
    } == asked  # fmt: skip
    assert {"gpuwatch"} == {re.split(r"[ (]", line)[0] for line in rpm_says("--provides")}


def test_rpm_is_whole_and_belongs_to_root(rpm: Path, rpm_tools: Path, rpm_says: Callable[..., list[str]]) -> None:
    """rpm's own check of header and payload."""
    checked = subprocess.run(
        [str(rpm_tools / "rpmkeys"), "--dbpath", str(rpm.parent / "db"), "--checksig", "--nosignature", str(rpm)],
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip

    assert (0, f"{rpm}: digests OK\n") == (checked.returncode, checked.stdout)
    assert ["root root"] == sorted(set(rpm_says("--queryformat", "[%{FILEUSERNAME} %{FILEGROUPNAME}\n]")))
