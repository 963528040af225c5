"""`gpuwatch install` and `uninstall`: what they write, leave and refuse."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from gpuwatch import cli
from gpuwatch.cli import install_system
from gpuwatch.cli.install_files import Record, files_of, in_unit, refuse_closed, refuse_hidden
from gpuwatch.errors import ConfigurationError, Forbidden, Unavailable

ROOT = Path(__file__).parents[2]
PROGRAM = ("--program", "/opt/gpuwatch/bin/gpuwatch")
UNITS = "etc/systemd/system"

without_systemd = pytest.mark.skipif(
    install_system.RUNS.is_dir(), reason="systemd runs here: it would be installed"
)


def run(*arguments: str, answer: str | None = None) -> Result:
    """A command as the command line runs it."""
    return CliRunner().invoke(cli.application(["install", "uninstall"]), [*arguments], input=answer)


def install(root: Path, *more: str) -> list[str]:
    """What an installation below `root` says."""
    result = run("install", *more, "--prefix", str(root), *PROGRAM)
    assert 0 == result.exit_code, result.output
    return result.stdout.splitlines()


def tree(root: Path) -> dict[str, str]:
    """Every file and link below a folder, and what it holds."""
    return {
        str(path.relative_to(root)): os.readlink(path) if path.is_symlink() else path.read_text()
        for path in root.rglob("*")
        if path.is_symlink() or path.is_file()
    }


def test_everything_of_the_units_folder_is_written_and_starts_the_program(tmp_path: Path) -> None:
    """By rule: units, users, folders, the configuration; who may read them does not depend on the mask."""
    mask = os.umask(0o077)
    try:
        said = install(tmp_path, "all")
    finally:
        os.umask(mask)
    found = tree(tmp_path)

    systemd = ROOT / "systemd"
    units = {path.name for path in systemd.iterdir() if path.suffix in (".service", ".slice", ".socket", ".timer")}
    folders = {
        f"etc/{kind}/{path.name}" for kind in ("sysusers.d", "tmpfiles.d") for path in (systemd / kind).iterdir()
    }
    wants = {f"{UNITS}/multi-user.target.wants/gpuwatch-{role}.service" for role in ("agent", "accounting")}
    assert {f"{UNITS}/{name}" for name in units} | folders | wants <= found.keys()
    for role in ("agent", "accounting"):
        unit = found[f"{UNITS}/gpuwatch-{role}.service"]
        assert f"\nExecStart=/opt/gpuwatch/bin/gpuwatch {role}\n" in unit
        assert "/usr/bin/gpuwatch" not in unit
    assert (ROOT / "deploy" / "gpuwatch.toml").read_text() == found["etc/gpuwatch/gpuwatch.toml"]
    assert {0o644} == {
        stat.S_IMODE((tmp_path / path).stat().st_mode) for path in found if "wants" not in path and "." in path[1:]
    } - {0o600}
    assert "installed" == said[-1]


def test_second_run_changes_nothing(tmp_path: Path) -> None:
    """And says so."""
    install(tmp_path, "all")
    before = tree(tmp_path)

    assert ["nothing changed: all of it is installed"] == install(tmp_path, "all")
    assert before == tree(tmp_path)


def test_one_daemon_brings_nothing_of_the_other(tmp_path: Path) -> None:
    """A node has no accounting; the other one may come later."""
    install(tmp_path)
    assert not [path for path in tree(tmp_path) if "accounting" in path]

    said = install(tmp_path, "accounting")
    assert [f"wrote    {tmp_path / UNITS}/gpuwatch-accounting.service"] == [
        line for line in said if line.startswith("wrote")
    ]


def test_what_somebody_changed_is_left(tmp_path: Path) -> None:
    """A configuration and a unit that are not as they were written; what is as it was written is renewed."""
    install(tmp_path)
    configuration, unit = tmp_path / "etc/gpuwatch/gpuwatch.toml", tmp_path / UNITS / "gpuwatch-agent.service"
    configuration.write_text('[site]\ncluster = "hydra"\n')
    unit.write_text(unit.read_text() + "# ours\n")
    record = Record.read(tmp_path)
    # As an earlier version wrote it.
    old = tmp_path / UNITS / "gpuwatch.slice"
    old.write_text("[Slice]\n")
    record.files[f"/{UNITS}/gpuwatch.slice"] = files_of(("agent",), "x")[0].__class__(Path(), b"[Slice]\n").digest
    record.write(tmp_path)

    said = install(tmp_path)

    assert [
        f"left     {configuration}: was changed here",
        f"left     {unit}: was changed here",
        f"renewed  {old}",
        "installed",
    ] == said
    assert '[site]\ncluster = "hydra"\n' == configuration.read_text()


def test_configuration_that_was_there_before_is_not_ours(tmp_path: Path) -> None:
    """Neither overwritten nor removed."""
    configuration = tmp_path / "etc/gpuwatch/gpuwatch.toml"
    configuration.parent.mkdir(parents=True)
    configuration.write_text("# mine\n")

    said = install(tmp_path)
    run("uninstall", "--prefix", str(tmp_path))

    assert f"left     {configuration}: was there before" in said
    assert {"etc/gpuwatch/gpuwatch.toml": "# mine\n"} == tree(tmp_path)


def test_uninstall_removes_what_was_written_and_keeps_what_is_yours(tmp_path: Path) -> None:
    """State, ledger, the configuration, and a unit that somebody changed."""
    install(tmp_path, "all")
    for path in ("var/lib/gpuwatch/state.json", "var/lib/gpuwatch-accounting/ledger.db"):
        (tmp_path / path).parent.mkdir(parents=True)
        (tmp_path / path).write_text("kept")
    changed = tmp_path / UNITS / "gpuwatch-accounting.service"
    changed.write_text("# mine\n")

    result = run("uninstall", "--prefix", str(tmp_path))

    assert f"left     {changed}: was changed here" in result.stdout
    assert f"left     {tmp_path}/etc/gpuwatch/gpuwatch.toml: the configuration is yours" in result.stdout
    assert {
        f"{UNITS}/gpuwatch-accounting.service", "etc/gpuwatch/gpuwatch.toml",
        "var/lib/gpuwatch/state.json", "var/lib/gpuwatch-accounting/ledger.db",
    } == tree(tmp_path).keys()  # fmt: skip
    assert "nothing changed: nothing of it is installed\n" == run("uninstall", "--prefix", str(tmp_path)).stdout


def test_uninstall_of_one_keeps_what_the_other_needs(tmp_path: Path) -> None:
    """The users and folders are for both."""
    install(tmp_path, "all")

    run("uninstall", "accounting", "--prefix", str(tmp_path))

    found = tree(tmp_path).keys()
    assert not [path for path in found if "accounting" in path]
    assert {f"{UNITS}/gpuwatch-agent.service", "etc/sysusers.d/gpuwatch.conf", f"{UNITS}/gpuwatch.slice"} <= found


@pytest.mark.parametrize(("answer", "gone"), [("y\n", True), ("n\n", False)])
def test_purge_asks_and_never_removes_a_ledger(tmp_path: Path, answer: str, gone: bool) -> None:
    """The agent's state and the configuration go; where a ledger lies is left."""
    install(tmp_path)
    for path in ("var/lib/gpuwatch/state.json", "var/lib/gpuwatch-accounting/ledger.db", "etc/gpuwatch/token"):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text("kept")

    result = run("uninstall", "--purge", "--prefix", str(tmp_path), answer=answer)

    assert (0 if gone else 1) == result.exit_code
    assert (not gone) == (tmp_path / "etc/gpuwatch").exists() == (tmp_path / "var/lib/gpuwatch").exists()
    assert "kept" == (tmp_path / "var/lib/gpuwatch-accounting/ledger.db").read_text()


def test_purge_leaves_a_ledger_that_lies_in_the_agents_folder(tmp_path: Path) -> None:
    """Wherever it was put."""
    install(tmp_path)
    ledger = tmp_path / "var/lib/gpuwatch/ledger.db"
    ledger.parent.mkdir(parents=True)
    ledger.write_text("kept")

    result = run("uninstall", "--purge", "--yes", "--prefix", str(tmp_path))

    assert f"{ledger} is a ledger, as it seems" in result.stdout
    assert ["var/lib/gpuwatch/ledger.db"] == [*tree(tmp_path)]


def test_dry_run_says_everything_and_does_nothing(tmp_path: Path) -> None:
    """Of installing, and of removing."""
    planned = run("install", "all", "--dry-run", "--prefix", str(tmp_path), *PROGRAM)
    assert {} == tree(tmp_path)
    done = install(tmp_path, "all")
    before = tree(tmp_path)
    removal = run("uninstall", "--dry-run", "--prefix", str(tmp_path))

    written = [line.split()[-1] for line in done if line.startswith(("wrote", "linked"))]
    assert written == [line.split()[-1] for line in planned.stdout.splitlines()]
    assert before == tree(tmp_path)
    assert f"would remove  {tmp_path / UNITS}/gpuwatch-agent.service" in removal.stdout.splitlines()


@without_systemd
def test_dry_run_for_this_machine_needs_neither_root_nor_systemd() -> None:
    """It says which commands it would run, the units last."""
    planned = run("install", "--dry-run", "--program", "/bin/true").stdout.splitlines()

    commands = [line.removeprefix("would run     ") for line in planned if line.startswith("would run")]
    assert "systemctl daemon-reload" in commands
    assert ["systemctl enable gpuwatch-agent.service", "systemctl restart gpuwatch-agent.service"] == commands[-2:]
    assert [line for line in commands if line.startswith(("systemd-sysusers", "useradd"))]


@without_systemd
@pytest.mark.parametrize(
    ("command", "instead"), [("install", "`gpuwatch up`"), ("uninstall", "--prefix / removes")]
)
def test_without_systemd_it_says_what_to_do_instead(command: str, instead: str) -> None:
    """Exit code 69."""
    error = run(command).exception

    assert isinstance(error, Unavailable)
    assert f"{command}: systemd does not run this machine; " in str(error)
    assert instead in str(error)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may install")
def test_without_root_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """Exit code 77, and what works without."""
    monkeypatch.setattr(install_system, "RUNS", Path("/"))

    error = run("install").exception

    assert isinstance(error, Forbidden)
    assert "only root can" in str(error)


@pytest.mark.integration
@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_another_user_is_told_that_only_root_can(tmp_path: Path) -> None:
    """As on a machine with systemd, which a mount of its own shows."""
    script = (
        "mount -t tmpfs none /run && mkdir -p /run/systemd/system && exec setpriv --reuid 65534 --clear-groups "
        f"{sys.executable} -c 'from gpuwatch.cli import main; main()' install"
    )
    if subprocess.run(["setpriv", "--reuid", "65534", "--clear-groups", sys.executable, "-c", ""]).returncode:
        pytest.skip("another user cannot start the interpreter of these tests")
    done = subprocess.run(
        ["unshare", "--mount", "sh", "-c", script], capture_output=True, text=True, timeout=30, cwd=ROOT
    )

    assert (77, True) == (done.returncode, "only root can" in done.stderr), done.stderr


@pytest.mark.parametrize(
    ("path", "setting"),
    [
        ("/home/ada/venv/bin/gpuwatch", "ProtectHome="), ("/root/bin/gpuwatch", "ProtectHome="),
        ("/tmp/gpuwatch", "PrivateTmp="), ("/var/tmp/x/gpuwatch", "PrivateTmp="),
    ],
)  # fmt: skip
def test_program_that_the_unit_hides_is_refused(path: str, setting: str) -> None:
    """With the setting that hides it, and where to install instead."""
    error = run("install", "--prefix", "/nowhere", "--program", path).exception

    assert isinstance(error, ConfigurationError)
    assert f"which the unit hides ({setting})" in str(error)
    assert "python3 -m venv /opt/gpuwatch" in str(error)


def test_link_into_a_home_is_refused_as_well(tmp_path: Path) -> None:
    """The interpreter of a virtual environment is a link."""
    link = tmp_path / "python"
    link.symlink_to("/root/python")

    with pytest.raises(ConfigurationError, match="/root/python: is below /root"):
        refuse_hidden([link])


def test_program_that_the_user_of_the_unit_cannot_reach_is_refused(tmp_path: Path) -> None:
    """A virtual environment made under a mask of 077."""
    program = tmp_path / "bin" / "gpuwatch"
    program.parent.mkdir()
    program.touch(0o755)
    program.parent.chmod(0o700)

    with pytest.raises(ConfigurationError, match=rf"cannot get there; run: chmod o\+rx {program.parent}"):
        refuse_closed([program])


def test_words_are_quoted_as_units_have_it() -> None:
    """A path with blanks is one word, and nothing is a specifier or a variable."""
    assert "/opt/gpuwatch/bin/gpuwatch" == in_unit(["/opt/gpuwatch/bin/gpuwatch"])
    assert '"/opt/my %%h $$x/python" -m gpuwatch' == in_unit(["/opt/my %h $x/python", "-m", "gpuwatch"])


def test_package_on_this_machine_is_in_the_way(tmp_path: Path) -> None:
    """Its unit would be hidden by ours, and be forgotten."""
    (tmp_path / "gpuwatch-agent.service").touch()

    with pytest.raises(Unavailable, match=r"a package has installed gpuwatch here; use that one"):
        install_system.refuse_other_installations(["gpuwatch-agent.service"], [tmp_path])


def test_users_are_made_where_they_are_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    """By systemd-sysusers, else one by one; not at all where they are there."""
    conf = (ROOT / "systemd/sysusers.d/gpuwatch.conf").read_bytes()
    monkeypatch.setenv("PATH", "/nowhere")

    path = Path("/etc/sysusers.d/gpuwatch.conf")
    one_by_one = install_system.making_users(path, conf, lambda name: name == "gpuwatch")

    assert [] == install_system.making_users(path, conf, lambda _name: True)
    ((*options, name),) = one_by_one
    assert ("useradd", "gpuwatch-accounting") == (options[0], name)
    assert "/var/lib/gpuwatch-accounting" in options


def test_record_that_cannot_be_read_is_said(tmp_path: Path) -> None:
    """Guessing what is ours could remove what is not."""
    install(tmp_path)
    (tmp_path / "etc/gpuwatch/.installed.json").write_text("{")

    error = run("uninstall", "--prefix", str(tmp_path)).exception

    assert isinstance(error, Unavailable)
    assert "remove it, and nothing counts as ours" in str(error)


def test_record_has_digests_and_nothing_else(tmp_path: Path) -> None:
    """It is noted as soon as something is written."""
    install(tmp_path)
    document = json.loads((tmp_path / "etc/gpuwatch/.installed.json").read_text())

    assert {"files", "links", "roles"} == set(document)
    assert ["agent"] == document["roles"]
    assert {64} == {len(digest) for digest in document["files"].values()}
