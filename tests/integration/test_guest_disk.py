"""A node whose disk is full, read-only or memory: what the agent does under a real systemd."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.integration.debian import wait_until
from tests.integration.guest import Guest, Guests
from tests.integration.guest_root import Image
from tests.integration.guest_watch import value

pytestmark = [pytest.mark.integration, pytest.mark.xdist_group("guest")]

AGENT = "gpuwatch-agent.service"
STATE = "/var/lib/gpuwatch"
SECONDS = 30.0


@pytest.fixture(scope="module")
def node(guests: Guests, image: Image) -> Iterator[Guest]:
    """A node whose agent keeps its state on a file system of its own, in memory."""
    guest = guests(image.root, "disk")
    yield guest
    guest.stop()


@pytest.fixture
def disk(node: Guest) -> Iterator[str]:
    """A fresh disk of 512 KiB for the agent's state; the agent is not running."""
    node.run("systemctl", "stop", AGENT)
    node.run("mount", "-t", "tmpfs", "-o", "size=512k", "state", STATE)
    yield STATE
    node.run("systemctl", "stop", AGENT)
    node.run("umount", STATE)


def _saved(node: Guest) -> float | None:
    page = node.get("/metrics")
    return value(page, "gpuwatch_agent_state_saved") if page else None


def _status(node: Guest) -> str:
    return node.show(AGENT, "StatusText")


def test_a_full_disk_is_told_and_mended_while_the_agent_goes_on(node: Guest, disk: str) -> None:
    """It is in the metrics, in the status line and in the journal; with space again it saves again."""
    node.run("systemctl", "start", AGENT)
    wait_until(lambda: _saved(node) == 1, SECONDS, "the state is saved")
    pid = node.show(AGENT, "MainPID")

    node.run("sh", "-c", f"cat /dev/zero >{disk}/rubbish", check=False)
    wait_until(lambda: _saved(node) == 0, SECONDS, "a save fails")
    wait_until(lambda: "state not saved" in _status(node), SECONDS, "the status line says so")
    full = node.get("/metrics")
    node.run("rm", f"{disk}/rubbish")
    wait_until(lambda: _saved(node) == 1, SECONDS, "the state is saved again")
    wait_until(lambda: "state not saved" not in _status(node), SECONDS, "the status line says nothing of it")

    assert 1 == value(full, "gpuwatch_device_up", uuid="demo:0")
    assert pid == node.show(AGENT, "MainPID")
    journal = node.journal(AGENT)
    assert "cannot be saved; No space left on device" in journal
    assert "state saved again" in journal


@pytest.mark.parametrize(
    ("spoil", "mend", "told"),
    [
        (f"cat /dev/zero >{STATE}/rubbish", f"rm {STATE}/rubbish", "No space left on device"),
        (f"mount -o remount,ro {STATE}", f"mount -o remount,rw {STATE}", "Read-only file system"),
    ],
    ids=["full", "read-only"],
)
def test_an_agent_that_can_keep_nothing_says_why_and_is_tried_again(
    node: Guest, disk: str, spoil: str, mend: str, told: str
) -> None:
    """Its counters would begin anew each time: it ends with the reason, and runs seconds after that is mended."""
    node.run("chown", "gpuwatch:gpuwatch", disk)
    node.run("sh", "-c", spoil, check=False)

    node.run("systemctl", "start", AGENT, check=False)
    wait_until(lambda: int(node.show(AGENT, "NRestarts")) > 0, SECONDS, "systemd tries again")
    node.run("sh", "-c", mend)
    wait_until(lambda: _saved(node) == 1, SECONDS, "the agent runs once it can write")

    assert told in node.journal(AGENT)
