"""Both daemons under a real systemd: what the units promise, and what becomes of them when something happens."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from tests.fake_nvml import FakeNvml, build, compiler
from tests.integration.debian import wait_until
from tests.integration.guest import Guest, Guests
from tests.integration.guest_root import Debs, Image
from tests.integration.guest_watch import Watch, epoch, samples, watched

pytestmark = [pytest.mark.integration, pytest.mark.xdist_group("guest")]

AGENT, ACCOUNTING = "gpuwatch-agent.service", "gpuwatch-accounting.service"
START_SECONDS = 20.0
RESTART_SECONDS = 20.0
INTERVAL_SECONDS = 1.0
CREDENTIALS = f"/run/credentials/{AGENT}"

_FAST = "[Service]\nWatchdogSec=3\nRestartSec=1\n"
_ACCOUNTING = """\
[accounting]
interval_seconds = 1.0
[usage.agents]
urls = ["http://127.0.0.1:9838"]
"""


_NVIDIA = """\
[site]
sysfs = "/srv/sys"
[agent]
devices = ["nvidia"]
"""
_DRIVER = """\
[Service]
Environment=FAKE_NVML_STATE=/srv/nvml/state
ReadWritePaths=/srv/nvml
"""
DEVICES = 8
DRIVER_NOT_LOADED = 9


@dataclass(frozen=True)
class Node:
    """A guest with a driver of the tests' own."""

    guest: Guest
    driver: FakeNvml


def _give_driver(guest: Guest) -> FakeNvml:
    """The fake driver where an agent looks for NVIDIA's; what it counts goes on whatever becomes of the agent."""
    guest.copy(build() / "libnvidia-ml.so.1", f"/usr/lib/{platform.machine()}-linux-gnu/libnvidia-ml.so.1")
    guest.run("install", "-d", "-m", "777", "/srv/nvml")
    driver = FakeNvml(guest.path("/srv/nvml/state"), DEVICES, latency_seconds=0.0)
    guest.run("chmod", "666", "/srv/nvml/state")
    for device in driver.devices:
        device.power_watts = 300.0
    for name, number in (("vendor", "0x10de"), ("device", "0x20b5"), ("class", "0x030200")):
        guest.write(f"/srv/sys/bus/pci/devices/0000:01:00.0/{name}", f"{number}\n")
    guest.write("/etc/gpuwatch/conf.d/nvidia.toml", _NVIDIA)
    guest.drop_in(AGENT, "driver", _DRIVER)
    return driver


@pytest.fixture(scope="module")
def machine(guests: Guests, image: Image) -> Iterator[Node]:
    """A node with both daemons and a job that holds two devices; the watchdog waits for 3 s instead of 60."""
    if compiler() is None:
        pytest.skip("the fake NVIDIA driver needs a C compiler; install gcc")
    guest = guests(image.root)
    driver = _give_driver(guest)
    guest.write("/etc/gpuwatch/conf.d/accounting.toml", _ACCOUNTING)
    guest.drop_in(AGENT, "fast", _FAST)
    guest.run("systemctl", "restart", AGENT)
    guest.run("systemctl", "start", ACCOUNTING)
    guest.run("useradd", "--create-home", "researcher")
    job = ("gpuwatch", "run", "--name", "training", "--", "sleep", "100000")
    guest.run("systemd-run", "--quiet", "--unit=training", "--property=User=researcher", *job)
    pid = wait_until(
        lambda: guest.run("pgrep", "--exact", "sleep", check=False).stdout.strip(), START_SECONDS, "the job runs"
    )
    for device in driver.devices[:2]:
        device.processes((int(pid), 2**30))
    wait_until(
        lambda: "gpuwatch_job_energy_joules_total" in guest.get("/metrics"), START_SECONDS, "a job is metered"
    )
    yield Node(guest, driver)
    guest.stop()


@pytest.fixture
def node(machine: Node) -> Guest:
    """The guest alone."""
    return machine.guest


def _pid(node: Guest, unit: str) -> str:
    return node.show(unit, "MainPID")


def _restarts(node: Guest) -> int:
    return int(node.show(AGENT, "NRestarts"))


def _serves_again(node: Guest) -> str:
    """The first page after the first reading."""

    def page() -> str:
        text = node.get("/metrics")
        return text if "gpuwatch_agent_info{" in text else ""

    served: str = wait_until(page, RESTART_SECONDS, "the agent serves again")
    return served


def _in_group_of(node: Guest, unit: str, command: str) -> str:
    """What a command says that root starts in the control group of a unit."""
    group = f"/sys/fs/cgroup{node.show(unit, 'ControlGroup')}/cgroup.procs"
    done = node.run("sh", "-c", f"echo $$ >{group} && {command}", check=False)
    return (done.stdout + done.stderr).strip()


def test_both_daemons_say_that_they_are_ready_and_are_scraped(node: Guest) -> None:
    """From outside of the guest; `systemctl status` has a line of each."""
    wait_until(
        lambda: "last pass ok" in node.show(ACCOUNTING, "StatusText"), START_SECONDS, "a pass of accounting"
    )

    # Another test's configuration may just be taken over.
    wait_until(
        lambda: node.show(AGENT, "StatusText").startswith("devices: 8, jobs: 1"),
        START_SECONDS,
        "the agent's status",
    )
    assert "gpuwatch_agent_info" in node.get("/metrics")
    assert "gpuwatch_accounting_" in node.get("/metrics", 9839)
    assert ["/gpuwatch.slice/" + unit for unit in (AGENT, ACCOUNTING)] == [
        node.show(unit, "ControlGroup") for unit in (AGENT, ACCOUNTING)
    ]


@pytest.mark.parametrize("unit", [AGENT, ACCOUNTING])
def test_a_daemon_has_no_capability_and_few_system_calls(node: Guest, unit: str) -> None:
    """As the kernel says of the process, which is not root's."""
    lines = node.path(f"/proc/{_pid(node, unit)}/status").read_text().splitlines()
    status = {key: text.split() for key, _, text in (line.partition(":") for line in lines)}

    capabilities = {status[key][0] for key in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")}
    assert {"0000000000000000"} == capabilities
    assert (["1"], ["2"]) == (status["NoNewPrivs"], status["Seccomp"])
    assert "0" not in status["Uid"]


@pytest.mark.parametrize("unit", [AGENT, ACCOUNTING])
@pytest.mark.parametrize("path", ["/etc/gpuwatch", "/usr/bin", "/opt/gpuwatch", "/home/researcher", "/var/log"])
def test_a_daemon_can_write_nothing_but_its_own(node: Guest, unit: str, path: str) -> None:
    """Not even as root, in what the daemon sees of the file systems."""
    tried = node.run("nsenter", "-t", _pid(node, unit), "-m", "touch", f"{path}/x", check=False)

    assert 1 == tried.returncode
    assert "Read-only file system" in tried.stderr or "No such file" in tried.stderr


def test_the_agent_opens_the_devices_of_its_unit_and_no_other(node: Guest) -> None:
    """The kernel's log is refused; NVIDIA's are let through whether or not the driver is loaded."""
    node.run(
        "sh",
        "-c",
        "cd /dev && rm -f log-stand-in gpu-stand-in && mknod log-stand-in c 1 11 && mknod gpu-stand-in c 195 254",
    )

    assert "" == node.run("sh", "-c", ": </dev/log-stand-in").stderr
    assert "Operation not permitted" in _in_group_of(node, AGENT, ": </dev/log-stand-in")
    assert "No such device or address" in _in_group_of(node, AGENT, ": </dev/gpu-stand-in")
    assert "" == _in_group_of(node, AGENT, ": </dev/urandom")


@pytest.mark.parametrize(("signal", "told"), [("STOP", "Watchdog timeout"), ("KILL", "status=9/KILL")])
def test_an_agent_that_hangs_or_dies_is_started_again_and_goes_on_counting(
    node: Guest, signal: str, told: str
) -> None:
    """The watchdog ends one that hangs; the next has the same epoch, and no counter on its pages falls."""
    restarts = _restarts(node)
    with watched(node) as watch:
        time.sleep(INTERVAL_SECONDS)
        node.run("kill", f"-{signal}", _pid(node, AGENT))
        wait_until(lambda: _restarts(node) > restarts, RESTART_SECONDS, "systemd restarts the agent")
        _serves_again(node)
        time.sleep(2 * INTERVAL_SECONDS)

    assert told in node.journal(AGENT)
    assert [] == watch.fallen()
    assert 1 == len({epoch(page) for page in watch.pages if "gpuwatch_agent_info{" in page})


def _upgrade(node: Guest, package: str) -> Watch:
    """What is seen while a package is installed over the other."""
    with watched(node) as watch:
        time.sleep(INTERVAL_SECONDS)
        node.run("dpkg", "--install", package)
        _serves_again(node)
        time.sleep(2 * INTERVAL_SECONDS)
    return watch


def test_an_upgrade_of_a_running_agent_leaves_no_gap(node: Guest, debs: Debs) -> None:
    """No counter falls, and devices are not unread for more than two intervals; accounting goes on too."""
    packages = [node.copy(deb, f"/root/{deb.name}") for deb in (debs.second, debs.first)]
    gaps = []
    # Where others wait for a processor as well, a start takes as many times longer.
    longest = 2 * INTERVAL_SECONDS * max(1.0, os.getloadavg()[0] / (os.cpu_count() or 1))
    for package in (*packages, *packages):
        watch = _upgrade(node, package)
        gaps.append(max(watch.gaps()))
        assert [] == watch.fallen()
        if gaps[-1] <= longest:
            break

    print(f"longest time between two readings: {', '.join(f'{gap:.2f} s' for gap in gaps)}")
    versions = {labels["version"] for name, labels, _ in _all_samples(watch) if name == "gpuwatch_agent_info"}
    assert {"1.0.0", "1.1.0"} == versions
    assert min(gaps) <= longest
    assert "active" == node.show(ACCOUNTING, "ActiveState")


def _all_samples(watch: Watch) -> list[tuple[str, dict[str, str], float]]:
    return [sample for page in watch.pages for sample in samples(page)]


def test_a_reload_takes_over_a_good_configuration_and_refuses_a_bad_one(node: Guest) -> None:
    """The same process goes on; `systemctl status` shows what is wrong, with the key and the file."""
    pid = _pid(node, AGENT)
    node.write("/etc/gpuwatch/conf.d/cluster.toml", '[site]\ncluster = "alps"\n')
    node.run("systemctl", "reload", AGENT)
    wait_until(lambda: 'cluster="alps"' in node.get("/metrics"), START_SECONDS, "the new name of the cluster")

    node.write("/etc/gpuwatch/conf.d/cluster.toml", '[site]\nclusterr = "alps"\n')
    node.run("systemctl", "reload", AGENT)
    wait_until(
        lambda: "configuration not reloaded" in node.show(AGENT, "StatusText"),
        START_SECONDS,
        "the refusal is told",
    )
    told = node.says("systemctl", "status", "--no-pager", "--full", AGENT)
    page = node.get("/metrics")
    node.path("/etc/gpuwatch/conf.d/cluster.toml").unlink()
    node.run("systemctl", "reload", AGENT)
    wait_until(lambda: 'cluster="default"' in node.get("/metrics"), START_SECONDS, "the old name of the cluster")

    assert "/etc/gpuwatch/conf.d/cluster.toml: site.clusterr: unknown key" in told
    assert 'cluster="alps"' in page
    assert pid == _pid(node, AGENT)
    wait_until(lambda: "not reloaded" not in node.show(AGENT, "StatusText"), START_SECONDS, "nothing is wrong")


def test_a_secret_comes_as_a_credential_that_only_the_daemon_reads(node: Guest) -> None:
    """A file of root's in /etc/credstore; the configuration names where systemd shows it to the agent."""
    node.write("/etc/credstore/gpuwatch.usage-token", "open sesame\n", 0o600)
    node.write(
        "/etc/gpuwatch/conf.d/token.toml", f'[agent]\nusage_token_file = "{CREDENTIALS}/gpuwatch.usage-token"\n'
    )
    node.run("systemctl", "restart", AGENT)
    _serves_again(node)
    without = node.get("/api/v1/usage?since=0")
    with_token = node.get("/api/v1/usage?since=0", token="open sesame")
    stranger = node.run(
        "runuser", "-u", "researcher", "--", "cat", f"{CREDENTIALS}/gpuwatch.usage-token", check=False
    )
    node.path("/etc/gpuwatch/conf.d/token.toml").unlink()
    node.path("/etc/credstore/gpuwatch.usage-token").unlink()
    node.run("systemctl", "restart", AGENT)
    _serves_again(node)

    assert "" == without
    assert '"epoch"' in with_token
    assert (1, "") == (stranger.returncode, stranger.stdout)


def test_a_driver_that_is_loaded_later_restarts_the_agent_once(machine: Node) -> None:
    """A node comes that the unit's list did not have at the start: exit 75, and the new list has it."""
    node, driver = machine.guest, machine.driver
    driver.fail("nvmlInitWithFlags", DRIVER_NOT_LOADED)
    node.drop_in(AGENT, "late", "[Service]\nDeviceAllow=/dev/nvidiactl rw\n")
    node.run("systemctl", "restart", AGENT)
    _serves_again(node)
    without, restarts = node.show(AGENT, "StatusText"), _restarts(node)

    # The kernel's log stands in for the driver: a character device that is there and not on the list.
    node.run("mknod", "-m", "666", "/dev/nvidiactl", "c", "1", "11")
    refused = _in_group_of(node, AGENT, ": </dev/nvidiactl")
    driver.fail("nvmlInitWithFlags", 0)
    wait_until(lambda: _restarts(node) > restarts, RESTART_SECONDS, "the agent asks to be started anew")
    wait_until(
        lambda: node.show(AGENT, "StatusText").startswith(f"devices: {DEVICES}"),
        RESTART_SECONDS,
        "devices are read",
    )
    allowed = _in_group_of(node, AGENT, ": </dev/nvidiactl")
    node.run("rm", "/dev/nvidiactl", f"/etc/systemd/system/{AGENT}.d/late.conf")
    node.run("systemctl", "daemon-reload")

    assert "nvidia down: nvidia: the kernel driver is not loaded" in without
    assert "Operation not permitted" in refused
    assert "" == allowed
    assert restarts + 1 == _restarts(node)
    assert "/dev/nvidiactl is refused to this process" in node.journal(AGENT)
