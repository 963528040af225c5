"""`gpuwatch check` on a node that is not as it should be: disks, names, clocks, secrets; and what to do then."""

from __future__ import annotations

import ast
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from gpuwatch import cli, config, plugins, service
from gpuwatch.cli import remedies, storage_inspection
from gpuwatch.cli.findings import Finding
from gpuwatch.cli.shared_files import shared
from gpuwatch.settings import Settings
from tests.cli.command import gpuwatch

ROOT = Path(__file__).parents[2]
NOW = 1_764_000_000.0
needs_mounts = pytest.mark.skipif(
    os.geteuid() != 0 or not shutil.which("unshare"), reason="a file system of its own needs root and unshare"
)


def settings_of(folder: Path, **more: Any) -> Settings:
    """Settings with everything in a folder; `more` with __ for the dots."""
    overrides = {"site.node": "n0", "agent.state_directory": str(folder / "state")}
    return config.with_overrides(
        Settings(), overrides | {key.replace("__", "."): value for key, value in more.items()}
    )


def checked_on(folder: Path, options: str) -> subprocess.CompletedProcess[str]:
    """`gpuwatch check` with the state directory on a tmpfs that is mounted with the options."""
    (folder / "disk").mkdir()
    (folder / "g.toml").write_text(
        f'[agent]\ndevices = []\nlisten = "127.0.0.1:0"\nstate_directory = "{folder}/disk/state"\n'
        f'socket = "{folder}/agent.sock"\n[accounting]\nlisten = "127.0.0.1:0"\n'
    )
    script = (
        f"mount -t tmpfs -o {options} none {folder}/disk && "
        f"exec {sys.executable} -m gpuwatch check --config {folder}/g.toml"
    )
    return subprocess.run(
        ["unshare", "--mount", "sh", "-c", script], capture_output=True, text=True, check=False, timeout=60
    )


@pytest.mark.integration
@needs_mounts
def test_state_in_memory_is_a_warning(tmp_path: Path) -> None:
    """A reboot would lose what accounting has not read; the agent runs all the same."""
    done = checked_on(tmp_path, "size=400m")

    assert 0 == done.returncode, done.stderr
    assert "is in memory (tmpfs); a reboot loses the counters that accounting has not read" in done.stdout
    assert (
        "state directory  put it on a disk, or have accounting read often and after every shutdown" in done.stdout
    )


@pytest.mark.integration
@needs_mounts
def test_nearly_full_disk_is_a_warning(tmp_path: Path) -> None:
    """The agent goes on and cannot save any more."""
    done = checked_on(tmp_path, "size=1m")

    assert 0 == done.returncode, done.stderr
    assert re.search(r"WARNING +state directory +\S+: only 1 MiB free", done.stdout)
    assert re.search(r"state directory +make room below \S+/disk; until then the agent goes on", done.stdout)


@pytest.mark.integration
@needs_mounts
def test_read_only_disk_keeps_the_agent_from_running(tmp_path: Path) -> None:
    """It says so, and how to mend it, with the code with which the agent would end."""
    done = checked_on(tmp_path, "ro")

    assert 69 == done.returncode
    assert "cannot be written: read-only file system" in done.stdout
    assert re.search(r"state directory +mount the file system of \S+/disk for writing", done.stdout)


def test_file_system_is_told_by_its_device(tmp_path: Path) -> None:
    """Mounts are found by the number of the device; what is not there is of no kind."""
    device = tmp_path.stat().st_dev
    mounts = tmp_path / "mountinfo"
    mounts.write_text(
        "21 1 0:999 / /other rw - tmpfs none rw\n"
        f"22 1 {os.major(device)}:{os.minor(device)} / /mnt rw shared:1 - ramfs none rw\n"
    )

    assert "ramfs" == storage_inspection.kind_of_file_system(tmp_path, mounts)
    assert "" == storage_inspection.kind_of_file_system(tmp_path / "none", mounts)
    assert "" == storage_inspection.kind_of_file_system(tmp_path, tmp_path / "none")


def test_ledger_is_looked_at_where_accounting_is_configured(tmp_path: Path) -> None:
    """What keeps accounting from running does not keep the agent."""
    (tmp_path / "file").write_text("")
    good = settings_of(tmp_path, accounting__ledger=f"sqlite:///{tmp_path}/ledger.db")
    bad = settings_of(tmp_path, accounting__ledger=f"sqlite:///{tmp_path}/file/ledger.db")

    assert [] == [*storage_inspection.ledger_directory(settings_of(tmp_path))]
    assert "ledger directory" == next(storage_inspection.ledger_directory(good)).what
    (finding,) = storage_inspection.ledger_directory(bad)
    assert ("warning", 0) == (finding.status, finding.exit_code)
    assert "accounting cannot run here" in finding.detail


def test_renamed_host_is_told_before_the_agent_sets_its_counters_aside(tmp_path: Path) -> None:
    """The counters are of another node; whoever did not mean it is told what to set."""
    (tmp_path / "state").mkdir()
    (tmp_path / "state" / "owner").write_text("default/old0\n")

    findings = {each.what: each for each in storage_inspection.state_directory(settings_of(tmp_path))}
    again = {each.what for each in storage_inspection.state_directory(settings_of(tmp_path, site__node="old0"))}

    assert "warning" == findings["node name"].status
    assert "this is default/n0, counters kept here are of default/old0" in findings["node name"].detail
    assert 'what they were ("default/old0")' in findings["node name"].todo
    assert "node name" not in again


@pytest.mark.parametrize(
    ("now", "told"),
    [
        (0.0, "0 s since 1970 cannot be now: gpuwatch is of 2025-11-01 or later"),
        (service.RELEASED - 1, "cannot be now"),
        (5e9, "cannot be now"),
    ],
)
def test_clock_before_the_program_is_told(tmp_path: Path, now: float, told: str) -> None:
    """Nobody has set it, or its battery is empty."""
    finding = storage_inspection.wall_clock(settings_of(tmp_path), now)

    assert ("warning", True) == (finding.status, told in finding.detail)
    assert finding.todo.startswith("set it, or start NTP")


def exposed(folder: Path, mode: int) -> Path:
    """A token that everybody can get at, but for its mode."""
    for each in (folder, *folder.parents):
        if each.stat().st_uid == os.getuid() and each != Path("/"):
            each.chmod(each.stat().st_mode | 0o011)
    token = folder / "token file"
    token.write_text("s3cret")
    token.chmod(mode)
    return token


@pytest.mark.parametrize(("mode", "may"), [(0o644, "read"), (0o604, "read"), (0o602, "write")])
@pytest.mark.parametrize("command", ["agent", "check"])
def test_secret_that_everybody_gets_at_is_refused(tmp_path: Path, mode: int, may: str, command: str) -> None:
    """The daemon does not start; file, mode and the command that mends it are named."""
    token = exposed(tmp_path, mode)
    path = tmp_path / "g.toml"
    path.write_text(f'[agent]\ndevices = []\nlisten = "127.0.0.1:0"\nusage_token_file = "{token}"\n')

    # A process of its own: a daemon takes signals and the log for itself.
    done = gpuwatch(command, "--config", str(path))

    assert 78 == done.returncode
    told = f"holds a secret and everybody may {may} it (mode {mode:04o}); run: chmod o= '{token}'"
    assert f"{path}: agent.usage_token_file: {token} {told}" in done.stderr


@pytest.mark.parametrize("mode", [0o600, 0o640, 0o440])
def test_closed_secret_is_taken(tmp_path: Path, mode: int) -> None:
    """Root's, with the group of the daemon, as the documentation has it."""
    token = exposed(tmp_path, mode)

    loaded = config.load(_with(tmp_path, f'[agent]\nusage_token_file = "{token}"\n'), rooms=plugins.ROOMS)

    assert token == loaded.agent.usage_token_file


def test_secret_in_a_closed_directory_is_taken(tmp_path: Path) -> None:
    """Credentials of systemd are in one; nobody gets at them whatever their mode."""
    (tmp_path / "closed").mkdir()
    token = exposed(tmp_path / "closed", 0o644)
    (tmp_path / "closed").chmod(0o700)

    loaded = config.load(_with(tmp_path, f'[agent]\nusage_token_file = "{token}"\n'), rooms=plugins.ROOMS)

    assert token == loaded.agent.usage_token_file


@pytest.mark.parametrize(
    ("text", "rooms", "refused"),
    [
        ('[accounting]\nslurm_jwt_key_file = "TOKEN"', ("usage",), "accounting.slurm_jwt_key_file"),
        ('[accounting]\nledger_password_file = "TOKEN"', ("usage",), "accounting.ledger_password_file"),
        ('[accounting]\nledger_password_file = "TOKEN"', ("devices", "sinks"), ""),
        ('[agent]\njob_token_file = "TOKEN"', ("devices",), "agent.job_token_file"),
        ('[agent]\njob_token_file = "TOKEN"', (), ""),
        ('[accounting]\nrates_file = "TOKEN"', ("usage",), ""),
        ('[usage.agents]\ntoken_file = "TOKEN"', ("usage",), "usage.agents.token_file"),
        ('[usage.promql]\ntoken_file = "TOKEN"', ("usage",), ""),
        (
            '[agent]\nsinks = ["influxdb"]\n[sinks.influxdb.servers.main]\nurl = "http://h:1"\nbucket = "b"\n'
            'org = "o"\ntoken_file = "TOKEN"',
            ("devices", "sinks"),
            "sinks.influxdb.servers.main.token_file",
        ),
    ],
)
def test_secrets_are_those_that_the_daemon_would_read(
    tmp_path: Path, text: str, rooms: tuple[str, ...], refused: str
) -> None:
    """Of its own table and of the plugins that are chosen; other commands read none."""
    token = exposed(tmp_path, 0o644)
    path = _with(tmp_path, text.replace("TOKEN", str(token)))

    try:
        config.load(path, rooms=rooms)
        told: tuple[str, ...] = ()
    except config.ConfigurationError as exc:
        told = exc.mistakes

    assert ([f"{path}: {refused}: {token} "] if refused else []) == [each.partition("holds")[0] for each in told]


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ('[accounting]\nledger = "postgresql://ada:s3cret@h/db"', "accounting.ledger"),
        ('[accounting]\nledger = "postgresql://ada@h/db"', ""),
        (
            '[accounting]\nnotifiers = ["apprise"]\n[notifiers.apprise]\nowner = "mailtos://ada:s3cret@h?to={user}"',
            "notifiers.apprise.owner",
        ),
        (
            '[accounting]\nnotifiers = ["apprise"]\n[notifiers.apprise]\nowner = "mailto://h:25?from=a@b&to={user}@c"',
            "",
        ),
    ],
)
def test_configuration_with_a_password_in_it_is_a_secret_itself(tmp_path: Path, text: str, key: str) -> None:
    """Where everybody may read it; closed, it is taken. The password is not told."""
    path = exposed(tmp_path, 0o644)
    path.write_text(text)

    try:
        config.load(path, rooms=("usage", "notifiers"))
        told: tuple[str, ...] = ()
    except config.ConfigurationError as exc:
        told = exc.mistakes
    path.chmod(0o640)
    config.load(path, rooms=("usage", "notifiers"))

    assert ([f"{path}: {key}: has a password in it"] if key else []) == [each.partition(";")[0] for each in told]
    assert "s3cret" not in str(told)


def test_web_configuration_with_users_that_everybody_reads_is_refused(tmp_path: Path) -> None:
    """Hashes of passwords are for the daemon alone; without users there is nothing to hide."""
    from gpuwatch.web import security

    path = exposed(tmp_path, 0o644)
    path.write_text("rate_limit: {interval: 1s, burst: 5}\n")
    security.load(path)
    path.write_text("basic_auth_users: {ada: $2b$10$Vq9b2VWkOwb5yN4nM2cyTugL0hoF3y7VYDj0yT2JqYkJm3S1z9sHi}\n")

    with pytest.raises(config.ConfigurationError, match=r"holds a secret .*run: chmod o= '"):
        security.load(path)
    path.chmod(0o640)
    assert 1 == len(security.load(path).config.users)


def test_secret_that_its_group_may_change_is_a_warning(tmp_path: Path) -> None:
    """The command that mends it is what to do."""
    token = exposed(tmp_path, 0o660)

    (finding,) = storage_inspection.secrets(settings_of(tmp_path, agent__usage_token_file=str(token)))

    assert (f"{token}: its group may change it (mode 0660)", f"run: chmod g-w '{token}'") == (
        finding.detail, finding.todo,
    )  # fmt: skip


def test_key_that_two_files_set_is_told(tmp_path: Path) -> None:
    """Which file wins, over what; a secret is not shown, and the same value is no difference."""
    path = _with(tmp_path, '[agent]\nlisten = ":1"\n[accounting]\nledger = "postgresql://a"\n[site]\nnode="n"\n')
    (tmp_path / "conf.d").mkdir()
    later = tmp_path / "conf.d" / "10.toml"
    later.write_text('[agent]\nlisten = ":2"\n[accounting]\nledger = "postgresql://b"\n[site]\nnode="n"\n')

    assert (
        f"agent.listen: ':2' in {later} replaces ':1' in {path}",
        f"accounting.ledger: its value (not shown) in {later} replaces its value (not shown) in {path}",
    ) == config.load(path).replaced


def test_default_configuration_is_printed_and_is_the_defaults(tmp_path: Path) -> None:
    """What is printed is the file that is shipped: as it is it changes nothing, and it is TOML."""
    result = CliRunner().invoke(cli.application(["check", "up"]), ["check", "--print-default-config"])

    assert 0 == result.exit_code
    assert shared("gpuwatch.toml").read_text() == result.stdout
    assert Settings().model_dump() == config.load(_with(tmp_path, result.stdout)).model_dump()


UNCOMMENTED = re.findall(r"(?m)^#?(\[[a-zA-Z.]+\])|^#([a-z_]+ = .*)$", shared("gpuwatch.toml").read_text())


def test_each_key_that_is_printed_is_valid_by_itself(tmp_path: Path) -> None:
    """Whoever removes one # has a configuration that loads, where the table needs no more."""
    table, tried = "", 0
    needs_more = ("[devices.replay]", "[sinks.influxdb.servers.main]", "[meter.models.H100]")
    server = '[sinks.influxdb.servers.main]\nurl = "http://h:8086"\nbucket = "b"\norg = "o"\n'
    together = ("proxies", "proxy_user_header", "username", "password_file", "cert_file", "key_file")
    for header, line in UNCOMMENTED:
        table = header or table
        if header or table in needs_more or line.split(" ")[0] in together:
            continue
        tomllib.loads(line)
        more = server if table == "[sinks.influxdb]" else ""
        config.load(_with(tmp_path, f"{table}\n{line}\n{more}"), rooms=plugins.ROOMS)
        tried += 1

    assert tried > 120


def _with(folder: Path, text: str) -> Path:
    path = folder / "g.toml"
    path.write_text(text)
    return path


@pytest.mark.parametrize(
    "what",
    [
        "devices.nvidia", "devices.lamps", "required device", "read device GPU-1", "read host.system",
        "read jobs.slurm", "read jobs.kubernetes", "read jobs.local", "host.system", "jobs.slurm",
        "sinks.influxdb", "ask sinks.influxdb", "ask sinks.influxdb: main clock",
        "ask sinks.influxdb: influxdb spool", "socket directory", "jobs directory", "job tokens",
        "usage token", "usage API", "agent web",
        "accounting web", "agent TLS", "agent key", "agent address", "accounting address", "schedulers.slurm",
        "ask schedulers.slurm", "set-up of schedulers.slurm", "ask schedulers.kubernetes", "usage.agents",
        "ask usage.agents: http://h:1", "usage.promql", "notifiers.apprise", "ask notifiers.alertmanager: h",
        "alerts", "rates",
    ],
)  # fmt: skip
def test_whatever_is_wrong_has_something_to_do_about_it(what: str) -> None:
    """One sentence, no full stop, for anything that was never seen before; nothing where all is well."""
    advised = remedies.advised(Finding(what, "warning", "something odd"))

    assert advised.todo
    assert not advised.todo.endswith(".")
    assert "" == remedies.advised(Finding(what, "ok", "fine")).todo


def test_no_kind_of_finding_was_forgotten() -> None:
    """Whatever a source file of check calls a finding has something to do about it."""
    room = ROOT / "gpuwatch" / "cli"
    calls = [
        node
        for path in (*room.glob("*inspection.py"), room / "check.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "Finding" and len(node.args) == 3
    ]
    named = [
        [argument.value for argument in call.args[:2]]
        for call in calls
        if all(isinstance(argument, ast.Constant) for argument in call.args[:2])
        and not any(word.arg == "todo" for word in call.keywords)
    ]

    assert len(named) > 4
    assert [] == [
        what for what, status in named if status != "ok" and not remedies.todo_of(Finding(what, status, ""))
    ]
