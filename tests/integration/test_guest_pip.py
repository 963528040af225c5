"""`gpuwatch install` under a real systemd: what pip would bring is there, one command makes a service of it."""

from __future__ import annotations

import re

import pytest

from tests.integration.debian import wait_until
from tests.integration.guest import Guest, Guests
from tests.integration.guest_root import DEMO, Debs

pytestmark = [pytest.mark.integration, pytest.mark.xdist_group("guest")]

GPUWATCH = "/opt/gpuwatch/bin/gpuwatch"
UNIT = "/etc/systemd/system/gpuwatch-agent.service"


def _with_the_program_alone(guest: Guest, debs: Debs) -> Guest:
    """The program and its Python in /opt/gpuwatch, as a virtual environment would be; no unit, no user."""
    package = guest.copy(debs.first, "/root/gpuwatch.deb")
    guest.run(
        "sh", "-c", f"dpkg-deb -x {package} /root/x && mv /root/x/opt/gpuwatch /opt/gpuwatch && rm -r /root/x"
    )
    guest.write("/etc/gpuwatch/conf.d/demo.toml", DEMO)
    return guest


def test_program_becomes_a_service_and_ceases_to_be_one(guests: Guests, debs: Debs) -> None:
    """Installed, scraped, installed again without a change, refused where it must be, removed."""
    guest = _with_the_program_alone(guests(name="pip"), debs)

    refused = guest.run("setpriv", "--reuid", "65534", "--clear-groups", GPUWATCH, "install", check=False)
    installed = guest.says(GPUWATCH, "install")
    page = wait_until(lambda: guest.get("/metrics"), 20, "the agent serves")
    process = guest.show("gpuwatch-agent", "MainPID")
    again = guest.says(GPUWATCH, "install").splitlines()

    assert (77, True) == (refused.returncode, "only root can" in refused.stderr)
    assert 'gpuwatch_device_up{uuid="demo:0"} 1' in page
    assert re.search(r"^run +systemd-sysusers /etc/sysusers.d/gpuwatch.conf$", installed, re.MULTILINE)
    assert "agent is ready: http://127.0.0.1:9838/metrics" in installed
    assert "gpuwatch" == guest.show("gpuwatch-agent", "User")
    assert "enabled" == guest.says("systemctl", "is-enabled", "gpuwatch-agent")
    assert "nothing changed: all of it is installed" == again[-1]
    assert process == guest.show("gpuwatch-agent", "MainPID")
    assert "" == guest.says("systemctl", "--failed", "--plain", "--no-legend")

    # A configuration with a mistake is not what an installation goes on with.
    guest.write("/etc/gpuwatch/conf.d/wrong.toml", "[agent]\nport = 1\n")
    wrong = guest.run(GPUWATCH, "install", check=False)
    guest.path("/etc/gpuwatch/conf.d/wrong.toml").unlink()
    assert (78, True) == (wrong.returncode, "here it is agent.listen" in wrong.stderr)

    # What somebody changed stays, and is his.
    guest.write("/etc/gpuwatch/gpuwatch.toml", '[site]\ncluster = "hydra"\n')
    guest.run(GPUWATCH, "install")
    guest.run("systemctl", "reload", "gpuwatch-agent")
    wait_until(lambda: 'cluster="hydra"' in guest.get("/metrics"), 20, "the reload is taken over")
    assert process == guest.show("gpuwatch-agent", "MainPID")

    removed = guest.says(GPUWATCH, "uninstall")
    assert "left     /etc/gpuwatch/gpuwatch.toml: the configuration is yours" in removed
    assert "not-found" == guest.show("gpuwatch-agent", "LoadState")
    assert "" == guest.says("systemctl", "--failed", "--plain", "--no-legend")
    assert guest.path("/var/lib/gpuwatch/state.json").is_file()
    assert guest.path("/etc/gpuwatch/gpuwatch.toml").is_file()
    assert not guest.path(UNIT).exists()
    assert "nothing changed: nothing of it is installed" == guest.says(GPUWATCH, "uninstall")

    # Both daemons, and everything but the ledger for ever gone.
    guest.run(GPUWATCH, "install", "all", timeout=120)
    wait_until(lambda: guest.get("/-/ready", port=9839), 30, "accounting is ready")
    guest.run(GPUWATCH, "uninstall", "--purge", "--yes")
    assert not guest.path("/var/lib/gpuwatch").exists()
    assert not guest.path("/etc/gpuwatch").exists()
    assert guest.path("/var/lib/gpuwatch-accounting/ledger.db").is_file()
