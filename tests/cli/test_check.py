"""`gpuwatch check`: every mistake, what is found, what may be done, and an exit code one can rely on."""

from __future__ import annotations

import fcntl
import json
import os
import socket
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from gpuwatch import cli, config
from gpuwatch.cli import check, findings, inspection, rights, storage_inspection
from gpuwatch.cli.findings import Finding
from gpuwatch.cli.rights import Right, Roots
from gpuwatch.errors import ConfigurationError, Unavailable
from gpuwatch.settings import Settings

NOW = 1_764_000_000.0

PLUGIN = """
import threading
from pydantic import BaseModel, ConfigDict
from gpuwatch.errors import Unavailable
from gpuwatch.model import Device, Reading

class Lamps:
    class Settings(BaseModel):
        model_config = ConfigDict(extra="forbid")
        found: int = 2
        fault: str = ""

    def __init__(self, settings, site):
        if settings.fault == "build":
            raise RuntimeError("no filament")
        self.settings, self.site = settings, site

    def scan(self, now):
        if self.settings.fault == "hang":
            threading.Event().wait()
        if self.settings.fault == "scan":
            raise Unavailable("lamp: liblamp.so is not installed\\nreally")
        return [
            Device(f"lamp:{each}", self.site.node, each, "acme", "Lamp\\x1b[2J 9000", driver="1.0")
            for each in range(self.settings.found)
        ]

    def read(self, device, now):
        if device.index:
            raise ZeroDivisionError("burnt out")
        power = {("average", "device"): 60.0}
        return Reading(device.uid, now, utilization_ratio=1.0, power_watts=power, processes=())

    def close(self):
        pass
"""


@pytest.fixture
def node(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, Any]]:
    """Overrides that keep everything in a directory of the test's own, with a device source `lamps`."""
    site = tmp_path / "site"
    (site / "lamps-1.0.dist-info").mkdir(parents=True)
    (site / "lamps.py").write_text(PLUGIN)
    (site / "lamps-1.0.dist-info" / "METADATA").write_text("Name: lamps\nVersion: 1.0\n")
    (site / "lamps-1.0.dist-info" / "entry_points.txt").write_text("[gpuwatch.devices]\nlamps = lamps:Lamps\n")
    monkeypatch.syspath_prepend(str(site))
    yield {
        "site.node": "n0",
        "agent.devices": ["lamps"],
        "agent.host": [],
        "agent.listen": "127.0.0.1:0",
        "accounting.listen": "127.0.0.1:0",
        "agent.state_directory": str(tmp_path / "state"),
        "agent.socket": str(tmp_path / "run" / "agent.sock"),
    }


def settings_of(overrides: dict[str, Any], **more: Any) -> Settings:
    """Settings with the overrides, and `more` with __ for the dots."""
    return config.with_overrides(Settings(), overrides | {key.replace("__", "."): more[key] for key in more})


def found_on(settings: Settings, probe: bool = False) -> dict[str, Finding]:
    """What check finds out, by what it is about."""
    sources = inspection.Sources(settings, timeout_seconds=1.0)
    return {finding.what: finding for finding in check.findings_of(settings, sources, probe, NOW)}


def toml(path: Path, overrides: dict[str, Any]) -> Path:
    """A configuration file that says the overrides."""
    lines = [f"{key} = {json.dumps(value)}" for key, value in overrides.items()]
    path.write_text("\n".join(lines))
    return path


def run(*arguments: str) -> Any:
    """`gpuwatch check` with arguments, as the command line would run it."""
    return CliRunner().invoke(cli.application(["check", "jobs"]), ["check", *arguments])


def test_everything_in_order_is_said_and_exits_zero(node: dict[str, Any], tmp_path: Path) -> None:
    """One line for each thing, and the verdict last."""
    result = run("--config", str(toml(tmp_path / "g.toml", node)))

    lines = result.stdout.splitlines()
    assert result.exit_code == 0
    assert "node n0, cluster default" in lines[0]
    assert [f"ok      configuration       {tmp_path / 'g.toml'}"] == [line for line in lines if "g.toml" in line]
    assert lines[-1] == "The agent can run here."
    assert "FAILED" not in result.stdout


def test_page_is_aligned_and_hostile_names_stay_on_their_line(node: dict[str, Any]) -> None:
    """A device's name cannot clear the operator's screen."""
    settings = settings_of(node)
    lines = check.page(settings, list(found_on(settings).values()), [], columns=None)

    found = next(line for line in lines if "devices.lamps" in line)
    header = next(line for line in lines if line.startswith("RESULT"))
    assert found.endswith("2 × Lamp\\x1b[2J 9000 (driver 1.0)")
    assert header.index("DETAIL") == found.index("2 ×")


def test_terminal_gets_wrapped_details_in_their_column() -> None:
    """A long reason does not break the table."""
    finding = Finding("devices.x", "warning", " ".join(["word"] * 20))

    lines = check.page(Settings(), [finding], [], columns=60)

    wrapped = [line for line in lines if "word" in line]
    assert len(wrapped) > 2
    assert all(line.startswith(" " * 20 + "word") for line in wrapped[1:])
    assert "\x1b[33mWARNING\x1b[0m" in wrapped[0]


def test_json_has_all_of_it(node: dict[str, Any], tmp_path: Path) -> None:
    """For whoever checks a thousand nodes."""
    result = run("--json", "--probe", "--config", str(toml(tmp_path / "g.toml", node)))

    document = json.loads(result.stdout)
    assert result.exit_code == 0
    assert {"ok", "version", "cluster", "node", "uid", "files", "devices", "findings", "rights"} == set(document)
    assert document["ok"] is True
    assert [device["uid"] for device in document["devices"]] == ["lamp:0", "lamp:1"]
    assert "read device lamp:0" in [finding["what"] for finding in document["findings"]]


def test_configuration_mistakes_are_raised_all_at_once(node: dict[str, Any], tmp_path: Path) -> None:
    """The command line prints them and exits with 78; with --json they are an object."""
    path = toml(tmp_path / "g.toml", node | {"agent.listen": "1", "devices.lamps.volume": 3})

    plain, as_json = run("--config", str(path)), run("--json", "--config", str(path))

    mistakes = [
        f"{path}: agent.listen: '1' is not possible; it must be HOST:PORT, as in"
        ' ":9838", "127.0.0.1:9838" or "[::1]:9838"',
        f"{path}: devices.lamps.volume: unknown key; there is: found, fault",
    ]
    assert isinstance(plain.exception, ConfigurationError)
    assert plain.exception.mistakes == tuple(mistakes)
    assert as_json.exit_code == 78
    assert {"ok": False, "mistakes": mistakes} == json.loads(as_json.stdout)


def test_no_device_is_a_warning_unless_one_is_required(node: dict[str, Any], tmp_path: Path) -> None:
    """An agent without a device runs; `--require-device` makes it exit 69, and check says so."""
    path = toml(tmp_path / "g.toml", node | {"devices.lamps.found": 0})

    relaxed, strict = run("--config", str(path)), run("--require-device", "--config", str(path))

    assert relaxed.exit_code == 0
    assert ["WARNING", "devices.lamps", "no", "device"] in [line.split() for line in relaxed.stdout.splitlines()]
    assert strict.exit_code == 69
    assert strict.stdout.splitlines()[-1] == "The agent cannot run here: required device."


@pytest.mark.parametrize(
    ("fault", "status", "detail", "exit_code"),
    [
        ("scan", "warning", "lamp: liblamp.so is not installed really", 0),
        ("hang", "warning", "no answer within 1 s", 0),
        ("build", "failed", "RuntimeError: no filament", 1),
    ],
)
def test_source_that_fails_is_told_and_the_rest_goes_on(
    node: dict[str, Any], fault: str, status: str, detail: str, exit_code: int
) -> None:
    """A driver that hangs holds up nothing; what cannot be built keeps the agent from running."""
    found = found_on(settings_of(node, devices__lamps__fault=fault))

    lamps = found["devices.lamps"]
    assert (lamps.status, lamps.detail, lamps.exit_code) == (status, detail, exit_code)
    assert found["jobs.local"].status == "ok"
    assert found["wall clock"].status == "ok"


def test_probe_reads_each_device_and_keeps_failures_apart(node: dict[str, Any]) -> None:
    """One burnt-out lamp does not hide the other."""
    found = found_on(settings_of(node), probe=True)

    assert found["read device lamp:0"] == Finding("read device lamp:0", "ok", "2 values")
    assert found["read device lamp:1"].detail == "ZeroDivisionError: burnt out"
    assert found["read jobs.local"] == Finding("read jobs.local", "ok", "0 jobs, 1 devices of unknown holder")


def test_without_probe_nothing_is_read(node: dict[str, Any]) -> None:
    """A plain check finds devices and leaves them alone."""
    assert not [what for what in found_on(settings_of(node)) if what.startswith("read ")]


def test_directories_that_do_not_exist_would_be_made(node: dict[str, Any], tmp_path: Path) -> None:
    """Check itself makes nothing."""
    found = found_on(settings_of(node))

    assert f"{tmp_path / 'run'}: will be made" == found["socket directory"].detail
    assert found["state directory"].detail.startswith(f"{tmp_path / 'state'}: will be made, ")
    assert not (tmp_path / "state").exists()


def test_directory_below_a_file_cannot_be_made(node: dict[str, Any], tmp_path: Path) -> None:
    """The nearest thing that exists is no directory."""
    (tmp_path / "state").write_text("")

    found = found_on(settings_of(node))

    assert found["state directory"].status == "failed"
    assert found["state directory"].exit_code == Unavailable.exit_code


@pytest.mark.skipif(os.getuid() == 0, reason="root may write everywhere")
def test_directory_without_permission_exits_77(node: dict[str, Any], tmp_path: Path) -> None:
    """As the agent would."""
    (tmp_path / "state").mkdir(mode=0o500)

    assert found_on(settings_of(node))["state directory"].exit_code == 77


def test_taken_port_keeps_the_agent_from_running(node: dict[str, Any]) -> None:
    """Accounting's port is another matter: it may run elsewhere."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        listen = f"127.0.0.1:{taken.getsockname()[1]}"
        found = found_on(settings_of(node, agent__listen=listen, accounting__listen=listen))

    assert (found["agent address"].status, found["agent address"].exit_code) == ("failed", 69)
    assert f"{listen}: Address already in use" == found["agent address"].detail
    assert (found["accounting address"].status, found["accounting address"].exit_code) == ("warning", 0)


def test_running_agent_is_no_fault(node: dict[str, Any], tmp_path: Path) -> None:
    """Its port is taken because it runs; check may be used at any time."""
    (tmp_path / "state").mkdir()
    with socket.create_server(("127.0.0.1", 0)) as taken, (tmp_path / "state" / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        lock.write("4242\n")
        lock.flush()
        found = found_on(settings_of(node, agent__listen=f"127.0.0.1:{taken.getsockname()[1]}"))

    assert found["state directory"].detail.startswith(f"{tmp_path / 'state'}: an agent runs here, process 4242, ")
    assert (found["agent address"].status, found["agent address"].exit_code) == ("ok", 0)


def test_lock_of_a_dead_agent_is_nobody(node: dict[str, Any], tmp_path: Path) -> None:
    """The file stays; the lock went with its holder."""
    (tmp_path / "state").mkdir()
    (tmp_path / "state" / "lock").write_text("4242\n")

    assert findings.running_agent(settings_of(node)) == ""


@pytest.mark.parametrize(("now", "status"), [(0.0, "warning"), (NOW, "ok"), (5e9, "warning")])
def test_impossible_clock_is_told(now: float, status: str) -> None:
    """A node that believes it is 1970 writes counters nobody can place."""
    assert status == storage_inspection.wall_clock(Settings(), now).status


def test_clock_before_the_last_save_is_told(node: dict[str, Any], tmp_path: Path) -> None:
    """The state file is from the future: the clock went back."""
    (tmp_path / "state").mkdir()
    (tmp_path / "state" / "state.json").write_text("{}")
    os.utime(tmp_path / "state" / "state.json", (NOW + 3600, NOW + 3600))

    assert storage_inspection.wall_clock(settings_of(node), NOW).detail == "3600 s behind the agent's last save"


@pytest.mark.parametrize(("content", "status"), [(None, "failed"), (b" \n", "failed"), (b"s3cret\n", "ok")])
def test_usage_token_must_be_readable(
    node: dict[str, Any], tmp_path: Path, content: bytes | None, status: str
) -> None:
    """A token file that is set and missing would refuse every reader."""
    if content is not None:
        (tmp_path / "token").write_bytes(content)

    found = found_on(settings_of(node, agent__usage_token_file=str(tmp_path / "token")))

    assert status == found["usage token"].status
    assert "s3cret" not in found["usage token"].detail
    assert "usage token" not in found_on(settings_of(node))


@pytest.mark.parametrize(
    ("content", "status"), [(None, "warning"), (b"too short", "warning"), (b"s3cret of the cluster\n", "ok")]
)
def test_secret_of_job_tokens_is_tried(
    node: dict[str, Any], tmp_path: Path, content: bytes | None, status: str
) -> None:
    """The agent runs without it, and no job can speak over HTTP then."""
    if content is not None:
        (tmp_path / "secret").write_bytes(content)

    found = found_on(settings_of(node, agent__job_token_file=str(tmp_path / "secret")))

    assert (status, 0) == (found["job tokens"].status, found["job tokens"].exit_code)
    assert "s3cret" not in found["job tokens"].detail
    assert "job tokens" not in found_on(settings_of(node))


@pytest.mark.parametrize(
    ("kind", "mode", "status", "told"),
    [
        ("none", 0o755, "ok", "jobs write no files"),
        ("directory", 0o755, "ok", "jobs may write there"),
        ("directory", 0o777, "warning", "may be written by others, mode 777"),
        ("file", 0o644, "warning", "is no directory"),
        ("link", 0o755, "warning", ""),
    ],
)
def test_directory_of_jobs_is_one_that_the_agent_would_believe(
    node: dict[str, Any], tmp_path: Path, kind: str, mode: int, status: str, told: str
) -> None:
    """Or there is none, as on most nodes."""
    path = tmp_path / "jobs"
    if kind == "directory":
        path.mkdir()
        path.chmod(mode)
    elif kind == "file":
        path.touch(mode)
    elif kind == "link":
        path.symlink_to(tmp_path)

    finding = inspection.jobs_directory(settings_of(node, agent__jobs_directory=str(path)))
    assert (status, 0) == (finding.status, finding.exit_code)
    assert told in finding.detail


def test_who_starts_the_daemons_is_said(tmp_path: Path) -> None:
    """systemd, or something else."""
    assert "systemd runs here" in check._service_manager(tmp_path).detail
    assert "no systemd here: something else" in check._service_manager(tmp_path / "none").detail


def test_within_gives_up_and_leaves_the_call_behind() -> None:
    """The deadline holds whatever the call does."""
    release = threading.Event()

    with pytest.raises(Unavailable, match=r"no answer within 0\.01 s"):
        findings.within(0.01, release.wait)
    release.set()

    assert findings.within(1.0, lambda: 7) == 7


@pytest.fixture
def roots(tmp_path: Path) -> Roots:
    """A node with everything, seen by a user to whom no process belongs."""
    files = {
        "dev/nvidiactl": "", "dev/nvidia0": "", "dev/nvidia1": "", "dev/nvidia-uvm": "",
        "sys/bus/pci/devices/0000:01:00.0/vendor": "0x10de\n",
        "sys/class/infiniband/mlx5_0/ports/1/counters/port_xmit_data": "7\n",
        "sys/class/powercap/intel-rapl:0/energy_uj": "12\n",
        "sys/class/hwmon/hwmon0/name": "power_meter\n", "sys/class/hwmon/hwmon0/power1_average": "1\n",
        "sys/class/hwmon/hwmon1/name": "coretemp\n", "dev/ipmi0": "",
        "proc/net/dev": "", "proc/1/cgroup": "0::/\n", "proc/1/status": "Uid:\t0\n",
        "proc/77/cmdline": "python\0", "proc/77/environ": "A=1\0", "proc/77/fd/0": "",
        "proc/2/cmdline": "",
    }  # fmt: skip
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    nobody = os.getuid() + 1
    return Roots(tmp_path / "proc", tmp_path / "sys", tmp_path / "dev", tmp_path / "kubelet.sock", nobody)


def table(roots: Roots) -> dict[str, Right]:
    """The rights by what they are for."""
    return {right.what: right for right in rights.rights(roots, timeout_seconds=1.0)}


def test_rights_that_are_there_lose_nothing(roots: Roots) -> None:
    """Each is tried on something real."""
    with socket.socket(socket.AF_UNIX) as kubelet:
        kubelet.bind(str(roots.pod_resources))
        kubelet.listen()
        found = table(roots)

    assert {"yes"} == {right.here for right in found.values()}
    assert {""} == {right.lost for right in found.values()}
    assert found["NVIDIA device nodes"].detail == "3 readable"
    assert found["environment of other users"].detail == "tried on process 77"


def test_kubelet_is_looked_for_where_the_source_of_jobs_does() -> None:
    """A kubelet may have its directory elsewhere."""
    elsewhere = Settings.model_validate({"jobs": {"kubernetes": {"socket": "/data/kubelet.sock"}}})

    assert Path("/data/kubelet.sock") == Roots.of(elsewhere).pod_resources
    assert rights.POD_RESOURCES == Roots.of(Settings()).pod_resources


def test_what_a_node_does_not_have_is_absent_and_no_loss(tmp_path: Path) -> None:
    """A CPU node is not told to install a driver."""
    (tmp_path / "proc").mkdir()
    found = table(Roots(tmp_path / "proc", tmp_path / "sys", tmp_path / "dev", tmp_path / "kubelet.sock"))

    absent = [
        "NVIDIA device nodes", "PCI devices in sysfs", "InfiniBand counters", "PodResources socket", "RAPL",
        "power meters of ACPI", "IPMI",
    ]  # fmt: skip
    assert absent == [what for what, right in found.items() if right.here == "absent"]
    assert {""} == {found[what].lost for what in absent}
    assert found["environment of other users"].here == "unknown"


def test_right_that_is_refused_says_what_is_lost(roots: Roots, tmp_path: Path) -> None:
    """The first thing that refuses is shown, with the kernel's reason."""
    (roots.dev / "nvidia1").unlink()
    (roots.dev / "nvidia1").symlink_to(tmp_path / "nowhere")
    (roots.dev / "ipmi0").unlink()
    (roots.dev / "ipmi0").mkdir()
    for name in ("proc/77/environ", "proc/1/cgroup", "sys/class/powercap/intel-rapl:0/energy_uj"):
        (tmp_path / name).unlink()
        (tmp_path / name).mkdir()
    roots.pod_resources.write_text("")

    found = table(roots)

    refused = {what: right.lost for what, right in found.items() if right.here == "no"}
    assert refused == {
        "NVIDIA device nodes": "all NVIDIA readings",
        "cgroup and uid of processes": "which job a process belongs to",
        "PodResources socket": "which pod holds a device",
        "environment of other users": "GPUWATCH_ESTIMATE, SLURM_JOB_GPUS without a prolog",
        "RAPL": "energy of the host's CPUs",
        "IPMI": "power of the chassis",
    }
    assert f"{roots.dev / 'nvidia1'}: No such file or directory" == found["NVIDIA device nodes"].detail


def test_what_is_lost_in_a_pod_is_had_by_the_chart(roots: Roots, monkeypatch: pytest.MonkeyPatch) -> None:
    """A drop-in of systemd would help nobody there; as a service it does."""
    register = roots.sysfs / "class/powercap/intel-rapl:0/energy_uj"
    register.unlink()
    register.mkdir()

    service = table(replace(roots, in_pod=False))["RAPL"]
    pod = table(replace(roots, in_pod=True))["RAPL"]
    assert "the drop-in rapl.conf of systemd/drop-ins" == service.todo
    assert "agent.hostPower.enabled of the chart" == pod.todo
    monkeypatch.setenv(rights.POD_VARIABLE, "10.0.0.1")
    assert Roots.of(Settings()).in_pod


def test_what_a_pod_was_not_given_may_be_on_its_node(roots: Roots) -> None:
    """Nobody is told that a node has no device because a pod has none."""
    (roots.dev / "ipmi0").unlink()

    assert "no IPMI on this node" == table(replace(roots, in_pod=False))["IPMI"].detail
    assert "no IPMI to be seen in this pod" == table(replace(roots, in_pod=True))["IPMI"].detail


def test_registers_that_are_not_read_are_no_loss(roots: Roots) -> None:
    """Intel has the same registers a second time, by memory (intel-rapl-mmio); they are not shown."""
    (roots.sysfs / "class/powercap/intel-rapl-mmio:0/energy_uj").mkdir(parents=True)

    assert "yes" == table(roots)["RAPL"].here


def test_page_lists_what_is_lost(roots: Roots) -> None:
    """Behind each loss how to have it."""
    (roots.procfs / "net" / "dev").unlink()

    lines = check.page(Settings(), [Finding("x", "ok", "y")], list(table(roots).values()), columns=None)

    at = lines.index("Lost without these rights, and how to have it:")
    assert lines[at + 1].startswith("  ethernet counters  see that /proc and /sys are mounted here")


def test_check_can_be_called_as_a_function(node: dict[str, Any], tmp_path: Path) -> None:
    """It exits by typer's exception only where the agent could not run."""
    path = toml(tmp_path / "g.toml", node | {"devices.lamps.found": 0, "agent.require_device": True})

    with pytest.raises(typer.Exit) as left:
        check.check(path)

    assert left.value.exit_code == 69


@pytest.mark.parametrize(("value", "status"), [("2.00", "ok"), ("-1", "warning")])
def test_rates_are_read_where_a_file_is_configured(
    node: dict[str, Any], tmp_path: Path, value: str, status: str
) -> None:
    """Accounting would not start with a mistake in it; the agent does not mind."""
    rates = tmp_path / "rates.csv"
    head = "kind,model,partition,from,to,value,unit,source,year,country"
    rates.write_text(f"{head}\nprice,,,2026-01-01,,{value},EUR,,,\n")
    path = toml(tmp_path / "g.toml", node | {"accounting.rates_file": str(rates)})

    result = run("--json", "--config", str(path))

    assert 0 == result.exit_code
    found = [each for each in json.loads(result.stdout)["findings"] if each["what"] == "rates"]
    assert [status] == [each["status"] for each in found]
