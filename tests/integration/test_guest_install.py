"""The package on a real Debian without Python: installed, scraped, upgraded over, removed."""

from __future__ import annotations

import time

import pytest

from tests.integration.debian import wait_until
from tests.integration.guest import Guest, Guests
from tests.integration.guest_root import DEMO, Debs, Image

pytestmark = [pytest.mark.integration, pytest.mark.xdist_group("guest")]

UNITS = ("gpuwatch-agent.service", "gpuwatch-accounting.service")
FIRST_SCRAPE_SECONDS = 60.0


def _states(guest: Guest, verb: str) -> list[str]:
    return guest.run("systemctl", verb, *UNITS, check=False).stdout.split()


def _of_gpuwatch(guest: Guest) -> list[str]:
    """The command lines of processes that run from the package."""
    return [line for line in guest.says("ps", "-eo", "args=").splitlines() if "/opt/gpuwatch/" in line]


def test_a_bare_machine_is_scraped_a_minute_after_one_command(guests: Guests, debs: Debs) -> None:
    """Without Python, network or anything of ours, with apt; the agent runs, accounting waits to be asked for."""
    guest = guests()
    guest.write("/etc/gpuwatch/conf.d/demo.toml", DEMO)
    package = guest.copy(debs.first, "/root/gpuwatch.deb")
    assert "" == guest.run("sh", "-c", "command -v python3 python", check=False).stdout

    began = time.monotonic()
    guest.run("apt-get", "install", "--yes", package)
    page = wait_until(lambda: guest.get("/metrics"), FIRST_SCRAPE_SECONDS, "the first scrape")
    took = time.monotonic() - began

    print(f"from the command to the first scrape: {took:.1f} s")
    assert took < FIRST_SCRAPE_SECONDS
    assert 'gpuwatch_device_up{uuid="demo:0"} 1' in page
    assert ["enabled", "disabled"] == _states(guest, "is-enabled")
    assert ["active", "inactive"] == _states(guest, "is-active")
    assert "" == guest.says("systemctl", "--failed", "--plain", "--no-legend")


def test_without_a_running_systemd_it_is_installed_and_not_started(image: Image) -> None:
    """In an image that is being made dpkg has nothing to complain of; the agent will start when it boots."""
    assert 0 == image.returncode, image.stderr
    assert not [line for line in image.stderr.splitlines() if "rror" in line or "ailed" in line]
    wanted = image.root / "etc/systemd/system/multi-user.target.wants"
    assert ["gpuwatch-agent.service"] == [path.name for path in wanted.glob("gpuwatch*")]


def test_removal_leaves_state_and_configuration_and_nothing_that_runs(guests: Guests, image: Image) -> None:
    """Both daemons end, their units are gone without a failure; installed again, the counters go on."""
    guest = guests(image.root)
    guest.run("systemctl", "start", UNITS[1])
    wait_until(lambda: guest.get("/metrics"), 20, "the agent serves")

    guest.run("dpkg", "--remove", "gpuwatch")

    assert [] == _of_gpuwatch(guest)
    assert {"not-found"} == {guest.show(unit, "LoadState") for unit in UNITS}
    assert {"inactive"} == {guest.show(unit, "ActiveState") for unit in UNITS}
    assert "" == guest.says("systemctl", "--failed", "--plain", "--no-legend")
    assert guest.path("/var/lib/gpuwatch/state.json").is_file()
    assert guest.path("/var/lib/gpuwatch-accounting/ledger.db").is_file()
    assert guest.path("/etc/gpuwatch/conf.d/demo.toml").is_file()
    assert not guest.path("/opt/gpuwatch").exists()
    assert not guest.path("/run/gpuwatch").exists()


def test_purging_takes_the_state_of_the_node_and_leaves_the_ledger(guests: Guests, image: Image) -> None:
    """What others will be asked for in years is not a file of a package."""
    guest = guests(image.root)
    guest.run("systemctl", "start", UNITS[1])
    wait_until(lambda: guest.get("/metrics"), 20, "the agent serves")

    purged = guest.run("dpkg", "--purge", "gpuwatch")

    assert "the ledger stays, in /var/lib/gpuwatch-accounting" in purged.stdout + purged.stderr
    assert not guest.path("/var/lib/gpuwatch").exists()
    assert not guest.path("/etc/gpuwatch").exists()
    assert guest.path("/var/lib/gpuwatch-accounting/ledger.db").is_file()
    assert [] == _of_gpuwatch(guest)
