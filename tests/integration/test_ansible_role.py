"""The Ansible role: its files, and a real machine that it sets up, once and again."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from gpuwatch import config, plugins
from tests.integration.debian import REPOSITORY, wait_until
from tests.integration.guest import Guest, Guests
from tests.integration.guest_root import Debs, in_chroot

ANSIBLE = REPOSITORY / "deploy" / "ansible"
ROLE = ANSIBLE / "roles" / "gpuwatch"
OURS = REPOSITORY / "tests" / "deploy" / "ansible"
INSTALL_SECONDS = 180
PLAY_SECONDS = 300
DEMO = {
    "site": {"cluster": "hydra"},
    "agent": {"devices": ["demo"], "interval_seconds": 0.5},
    "devices": {"demo": {"driver_directory": "/srv/demo"}},
    "meter": {"models": {"H 100": {"near_idle_ratio": 0.12}}},
}


def of_role(path: str) -> Any:
    return yaml.safe_load((ROLE / path).read_text())


def test_every_variable_is_described_with_the_default_that_it_has() -> None:
    """In the argument specification, which Ansible checks before the first task."""
    options = of_role("meta/argument_specs.yml")["argument_specs"]["main"]["options"]

    assert of_role("defaults/main.yml") == {name: each["default"] for name, each in options.items()}
    assert all(each["description"] and each["type"] for each in options.values())


def test_every_variable_is_used_and_none_is_used_that_is_not_described() -> None:
    """In tasks, handlers and templates."""
    files = [path for folder in ("tasks", "handlers", "templates") for path in (ROLE / folder).iterdir()]
    spoken = set(re.findall(r"\bgpuwatch_[a-z_]+\b", "".join(path.read_text() for path in files)))
    registered = {"gpuwatch_wheel_copied", "gpuwatch_installed"}

    assert {*of_role("defaults/main.yml"), *registered} == spoken


def test_rights_are_the_drop_ins_that_there_are() -> None:
    """Each choice is a file, and every file of rights is a choice."""
    options = of_role("meta/argument_specs.yml")["argument_specs"]["main"]["options"]
    files = {path.stem for path in (REPOSITORY / "systemd/drop-ins/gpuwatch-agent.service.d").glob("*.conf")}

    choices = options["gpuwatch_rights"]["choices"]

    assert files - {"addresses", "secrets"} == set(choices)
    assert f"{choices} | difference(gpuwatch_rights)" in (ROLE / "tasks" / "configure.yml").read_text()


def test_the_settings_of_the_example_are_settings(tmp_path: Path) -> None:
    """Of both groups of the example inventory."""
    groups = yaml.safe_load((ANSIBLE / "inventory.yml").read_text())["all"]["children"]
    tables = [groups["gpu_nodes"]["vars"], groups["gpuwatch_accounting"]["hosts"] or {}]
    tables[1] = groups["gpuwatch_accounting"].get("vars", tables[1])
    for number, table in enumerate(tables):
        file = tmp_path / f"{number}.toml"
        file.write_text(_toml(table["gpuwatch_config"]))

        assert "hydra" == config.load(file, {}, plugins.ROOMS).site.cluster


def _toml(tables: Mapping[str, Any], path: str = "") -> str:
    """Tables of plain values, as TOML."""
    values = [f"{key} = {json.dumps(each)}" for key, each in tables.items() if not isinstance(each, dict)]
    below = [
        _toml(each, f"{path}.{key}" if path else key) for key, each in tables.items() if isinstance(each, dict)
    ]
    return "\n".join([*([f"[{path}]"] if path else []), *values, *below])


@pytest.fixture(scope="module")
def playbook() -> Path:
    """ansible-playbook, installed or in an environment of its own; skipped without an index of packages."""
    installed = shutil.which("ansible-playbook")
    if installed is not None:
        return Path(installed)
    environment = REPOSITORY / ".cache" / "ansible"
    program = environment / "bin" / "ansible-playbook"
    if not program.exists():
        subprocess.run([sys.executable, "-m", "venv", str(environment)], check=True, timeout=INSTALL_SECONDS)
        pip = [
            str(environment / "bin" / "python"),
            "-m",
            "pip",
            "install",
            "--quiet",
            "--disable-pip-version-check",
        ]
        command = [*pip, "-r", str(OURS / "requirements.txt")]
        done = subprocess.run(command, capture_output=True, text=True, timeout=INSTALL_SECONDS, check=False)
        if done.returncode:
            shutil.rmtree(environment)
            pytest.skip(f"no Ansible, the role was NOT run: {done.stderr.strip()[-300:]}")
    return program


def play(
    playbook: Path, *arguments: str, variables: Mapping[str, Any] | None = None, folder: Path | None = None
) -> subprocess.CompletedProcess[str]:
    """Run ansible-playbook with its own configuration, and with these variables over all others."""
    given = []
    if variables is not None and folder is not None:
        (folder / "variables.json").write_text(json.dumps(variables))
        given = ["--extra-vars", f"@{folder / 'variables.json'}"]
    return subprocess.run(
        [str(playbook), *arguments, *given],
        cwd=ANSIBLE,
        env={
            **os.environ,
            "ANSIBLE_CONFIG": str(ANSIBLE / "ansible.cfg"),
            "ANSIBLE_CONNECTION_PLUGINS": str(OURS / "connection_plugins"),
            "ANSIBLE_NOCOLOR": "1",
            "ANSIBLE_PIPELINING": "1",
            "LC_ALL": "C.UTF-8",
        },
        capture_output=True,
        text=True,
        timeout=PLAY_SECONDS,
        check=False,
    )


@pytest.mark.integration
def test_the_example_playbook_is_one(playbook: Path) -> None:
    """`ansible-playbook --syntax-check` with the example inventory."""
    checked = play(playbook, "--syntax-check", "site.yml")

    assert (0, "") == (checked.returncode, checked.stderr)


class Host:
    """A guest with a Python, as Ansible wants one, and what plays do to it."""

    def __init__(self, playbook: Path, guest: Guest, folder: Path) -> None:
        self.guest = guest
        self._playbook, self._folder = playbook, folder
        inventory = {
            "gpu_nodes": {"hosts": {"node": {"ansible_host": str(guest.leader), "ansible_connection": "guest"}}}
        }
        (folder / "inventory.yml").write_text(yaml.safe_dump(inventory))

    def play(self, *arguments: str, **variables: Any) -> subprocess.CompletedProcess[str]:
        """The example playbook with these variables."""
        inventory = str(self._folder / "inventory.yml")
        given = {"ansible_become": False, "ansible_python_interpreter": "/usr/bin/python3", **variables}
        return play(self._playbook, "-i", inventory, "site.yml", *arguments, variables=given, folder=self._folder)


def recap(done: subprocess.CompletedProcess[str]) -> dict[str, int]:
    """How many tasks changed something, and how many failed; all that was said where one did."""
    found = re.search(r"changed=(\d+).*failed=(\d+)", done.stdout)
    assert found is not None, done.stdout + done.stderr
    if found[2] != "0":
        print(done.stdout)
    return {"changed": int(found[1]), "failed": int(found[2])}


@pytest.fixture(scope="module")
def host(
    playbook: Path, bare_root: tuple[Path, Path], guests: Guests, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Host]:
    """A machine with the Python of its distribution, which every host of Ansible has, and without gpuwatch."""
    folder = tmp_path_factory.mktemp("ansible")
    root = folder / "root"
    subprocess.run(["cp", "-a", str(bare_root[1]), str(root)], check=True, timeout=120)
    for each in ("resolv.conf", "hosts"):
        shutil.copy(f"/etc/{each}", root / "etc" / each)
    install = ["apt-get", "install", "--yes", "--no-install-recommends", "python3", "python3-apt"]
    for command in (["apt-get", "update"], install):
        done = in_chroot(root, *command)
        if done.returncode:
            pytest.skip(f"no Python for a guest, the role was NOT run: {done.stderr.strip()[-300:]}")
    yield Host(playbook, guests(root), folder)


@dataclass(frozen=True)
class SetUp:
    """What the plays said that set a machine up: with --check, for the first and for the second time."""

    host: Host
    wanted: dict[str, Any]
    foreseen: subprocess.CompletedProcess[str]
    untouched: str
    first: subprocess.CompletedProcess[str]
    second: subprocess.CompletedProcess[str]


@pytest.fixture(scope="module")
def set_up(host: Host, debs: Debs) -> SetUp:
    """A machine with both daemons, settings, secrets, a right, a setting of the unit and Slurm's scripts."""
    wanted = {
        "gpuwatch_accounting": True,
        "gpuwatch_package": str(debs.first),
        "gpuwatch_config": DEMO,
        "gpuwatch_secrets": [
            {"name": "usage-token", "content": "s3cret-of-ours"},
            {"name": "ledger-password", "content": "s3cret-of-ours", "group": "gpuwatch-accounting"},
        ],
        "gpuwatch_slurm": True,
        "gpuwatch_rights": ["rapl"],
        "gpuwatch_unit_settings": {"CPUAffinity": "0"},
    }
    foreseen = host.play("--check", **wanted)
    untouched = host.guest.run("sh", "-c", "ls /etc/gpuwatch /usr/bin/gpuwatch /var/cache/gpuwatch", check=False)
    first = host.play(**wanted)
    return SetUp(host, wanted, foreseen, untouched.stdout, first, host.play(**wanted))


@pytest.mark.integration
@pytest.mark.xdist_group("guest")
def test_a_machine_is_set_up_and_a_second_run_changes_nothing(set_up: SetUp) -> None:
    """With --check nothing is changed; then both daemons serve, the agent with the rights asked for."""
    guest = set_up.host.guest
    page = wait_until(lambda: guest.get("/metrics"), 30, "the agent serves")

    assert (0, "") == (recap(set_up.foreseen)["failed"], set_up.untouched)
    assert 0 == recap(set_up.first)["failed"]
    assert {"changed": 0, "failed": 0} == recap(set_up.second)
    assert "s3cret-of-ours" not in set_up.first.stdout + set_up.foreseen.stdout
    assert 'gpuwatch_device_up{uuid="demo:0"} 1' in page
    wait_until(lambda: guest.get("/metrics", 9839), 30, "accounting serves")
    for unit in ("gpuwatch-agent.service", "gpuwatch-accounting.service"):
        assert ["active", "enabled"] == [
            guest.says("systemctl", verb, unit) for verb in ("is-active", "is-enabled")
        ]
    for name, group in (("usage-token", "gpuwatch"), ("ledger-password", "gpuwatch-accounting")):
        assert f"640 root {group}" == guest.says("stat", "-c", "%a %U %G", f"/etc/gpuwatch/{name}")
    assert "0" == guest.show("gpuwatch-agent.service", "CPUAffinity")
    assert "cap_dac_read_search" == guest.show("gpuwatch-agent.service", "AmbientCapabilities")
    assert "755 root root" == guest.says("stat", "-c", "%a %U %G", "/etc/slurm/prolog.d/50-gpuwatch.sh")


@pytest.mark.integration
@pytest.mark.xdist_group("guest")
def test_a_mistake_is_never_put_in_place_and_other_settings_need_no_restart(set_up: SetUp) -> None:
    """What was there stays, and the words are gpuwatch's own; a good setting is taken over by the same process."""
    guest = set_up.host.guest
    file = guest.path("/etc/gpuwatch/conf.d/50-ansible.toml")
    wait_until(lambda: guest.get("/metrics"), 30, "the agent serves")
    pid = guest.show("gpuwatch-agent.service", "MainPID")
    good, bad = ({**DEMO, "meter": table} for table in ({"busy_ratio": 0.2}, {"busy_ratoi": 0.1}))

    mistaken = set_up.host.play(**{**set_up.wanted, "gpuwatch_config": bad})
    before = tomllib.loads(file.read_text())
    changed = set_up.host.play(**{**set_up.wanted, "gpuwatch_config": good})

    assert (1, DEMO) == (recap(mistaken)["failed"], before)
    assert "meter.busy_ratoi: unknown key, did you mean" in mistaken.stdout
    assert (0, good) == (recap(changed)["failed"], tomllib.loads(file.read_text()))
    assert pid == guest.show("gpuwatch-agent.service", "MainPID")


@pytest.mark.integration
@pytest.mark.parametrize(
    ("variables", "words"),
    [
        ({"gpuwatch_package": "http://example.org/gpuwatch.deb"}, "an address with gpuwatch_package_checksum"),
        ({"gpuwatch_package": "gpuwatch.zip"}, "gpuwatch_package must be a .deb or .rpm"),
        ({"gpuwatch_install": "pip"}, "gpuwatch_wheel must be a wheel"),
        ({"gpuwatch_install": "snap"}, "value of gpuwatch_install must be one of: package, pip, none"),
        (
            {"gpuwatch_package": "a.deb", "gpuwatch_rights": ["root"]},
            "value of gpuwatch_rights must be one or more",
        ),
    ],
)
def test_what_is_asked_wrongly_is_said(
    playbook: Path, variables: dict[str, Any], words: str, tmp_path: Path
) -> None:
    """Before a host is looked at."""
    inventory = {"gpu_nodes": {"hosts": {"node": {"ansible_connection": "local"}}}}
    (tmp_path / "inventory.yml").write_text(yaml.safe_dump(inventory))
    given = {"ansible_become": False, "ansible_python_interpreter": sys.executable, **variables}
    settings = ("-i", str(tmp_path / "inventory.yml"), "--check", "site.yml")
    done = play(playbook, *settings, variables=given, folder=tmp_path)

    assert 1 == recap(done)["failed"]
    assert words in done.stdout
