"""From a job that overruns to a letter in somebody's hands: a real accounting, a real mail server, a webhook."""

from __future__ import annotations

import getpass
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.http.serving import Asked, server
from tests.integration.debian import stop, wait_until
from tests.notifiers.post_office import MailServer, mail_server
from tests.usage.fake_agent import Answer, FakeAgent, document, packed

pytestmark = pytest.mark.integration

PASS_SECONDS = 1.0
SLACK_SECONDS = 5.0
"""From the crossing to the webhook may take a pass and so long."""

CONFIG = """
[accounting]
ledger = "sqlite:///{folder}/ledger.db"
listen = "127.0.0.1:0"
socket = "{folder}/api.sock"
interval_seconds = {interval}
reserve_bytes = 0
notifiers = ["log", "apprise"]
web_config_file = "/dev/null"
[alerts]
policy_file = "{folder}/alerts.toml"
floor_device_hours = 0.0
[usage.agents]
urls = ["{agent}"]
[notifiers.apprise]
owner = "mailto://127.0.0.1:{mail}/?from=gpuwatch@example.org&to={{user}}@example.org"
channels = {{ hook = "{hook}" }}
timeout_seconds = 3.0
"""

POLICY = """
[[tell]]
kinds = ["exceeded"]
to = ["owner", "hook"]
"""


class Cluster:
    """One job of ours; `over` says whether it has used more than it declared."""

    def __init__(self, folder: Path, mail: MailServer, hook: str) -> None:
        self.folder, self.over = folder, False
        self.began = time.time() - 600.0
        self.agent = FakeAgent(self._usage)
        self.mail = mail
        (folder / "alerts.toml").write_text(POLICY)
        self._hook = hook
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Begin accounting, or begin it again."""
        text = CONFIG.format(
            folder=self.folder, interval=PASS_SECONDS, agent=self.agent.url, mail=self.mail.port,
            hook=self._hook.replace("http://", "json://"),
        )  # fmt: skip
        (self.folder / "gpuwatch.toml").write_text(text)
        command = [sys.executable, "-m", "gpuwatch", "accounting", "--config", str(self.folder / "gpuwatch.toml")]
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log)

    def kill(self) -> None:
        """SIGKILL, whatever it is about to do."""
        assert self.process is not None
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def passes(self) -> int:
        """How often the agent was asked."""
        return len(self.agent.asked)

    def _usage(self, _since: int) -> Answer:
        now, started = time.time(), int(self.began)
        seconds = 720.0 if self.over else 500.0
        row = {
            "job_id": "run-1", "started": started, "uuid": "GPU-0", "model": "H100", "seq": 10, "open": True,
            "last_seen": now, "share": 1.0, "basis": "whole", "held_seconds": seconds, "busy_seconds": seconds,
            "memory_byte_seconds": 1e12, "tensor_seconds": None, "energy_unmeasured_seconds": 0.0,
            "state_seconds": {"working": seconds}, "energy_joules": {"counter": 600.0 * seconds},
            "throttled_seconds": {},
        }  # fmt: skip
        said = {
            "seq": 5, "time": self.began + 1.0, "job_id": "run-1", "started": started, "channel": "socket",
            "uid": os.getuid(), "pid": 42, "text": "device-hours=0.16",
        }  # fmt: skip
        begun = {
            "seq": 1, "time": self.began, "kind": "run_started", "job_id": "run-1", "name": "llama-<b>ft",
            "uid": os.getuid(),
        }  # fmt: skip
        return packed(document(now=now, rows=[row], declarations=[said], events=[begun], seq=int(now * 10)))


class Webhook:
    """Takes what is posted, once it is `well`; remembers when."""

    def __init__(self) -> None:
        self.well = True
        self.asked: list[tuple[float, Asked]] = []
        self.refused = 0

    def respond(self, asked: Asked) -> tuple[int, dict[str, str], bytes]:
        if not self.well:
            self.refused += 1
            return 500, {}, b"not today"
        self.asked.append((time.monotonic(), asked))
        return 200, {}, b"{}"


Made = tuple[Cluster, Webhook]


@pytest.fixture
def made(tmp_path: Path) -> Iterator[Made]:
    hook = Webhook()
    with ExitStack() as stack:
        mail = stack.enter_context(mail_server())
        url = stack.enter_context(server(hook.respond))
        cluster = Cluster(tmp_path, mail, url)
        stack.enter_context(cluster.agent)
        cluster.start()
        try:
            yield cluster, hook
        finally:
            if cluster.process is not None:
                stop(cluster.process)


def settled(cluster: Cluster, passes: int = 3) -> None:
    """So many more passes, in which nothing may happen."""
    at = cluster.passes() + passes
    wait_until(lambda: cluster.passes() >= at, 30.0, "passes go on")


def test_an_overrun_is_in_its_owners_hands_within_a_pass_and_five_seconds(made: Made) -> None:
    """By mail and by webhook, once each, with what was declared, used, and to be done; before that not a word."""
    cluster, hook = made
    settled(cluster)
    assert ([], []) == (hook.asked, cluster.mail.messages)

    cluster.over, crossed = True, time.monotonic()
    wait_until(lambda: hook.asked and cluster.mail.messages, 30.0, "both are told", 0.02)
    took = hook.asked[0][0] - crossed
    settled(cluster)

    assert took < PASS_SECONDS + SLACK_SECONDS
    (message,) = cluster.mail.messages
    assert f"{getpass.getuser()}@example.org" == message["To"]
    assert "gpuwatch: job run-1 (llama-<b>ft) used 25 % more device-hours than declared" == message["Subject"]
    text = message.get_body(("plain",)).get_content()  # type: ignore[union-attr]
    assert "declared: 0.16 device-hours" in text and "used: 0.2 device-hours" in text
    assert "gpuwatch show run-1" in text
    ((_, asked),) = hook.asked
    assert "run-1" in json.loads(asked.body)["title"]
    assert asked.headers["idempotency-key"]


def test_a_webhook_that_is_ill_holds_up_no_mail_and_is_told_when_it_is_well(made: Made) -> None:
    """Once, though accounting is killed and begins again meanwhile."""
    cluster, hook = made
    hook.well, cluster.over = False, True

    wait_until(lambda: cluster.mail.messages and hook.refused, 30.0, "mail is told")
    settled(cluster)  # the pass that told it has noted that it did
    cluster.kill()
    cluster.start()
    hook.well = True
    # It is tried again half a minute after it refused.
    wait_until(lambda: hook.asked, 90.0, "the webhook is told")
    settled(cluster)

    assert (1, 1) == (len(cluster.mail.messages), len(hook.asked))


def test_whoever_is_killed_at_any_moment_tells_at_least_once_and_with_one_key(made: Made) -> None:
    """Ten times at random, around the moment of telling."""
    cluster, hook = made
    chance = random.Random(3)
    settled(cluster, 1)
    cluster.over = True
    for _ in range(10):
        time.sleep(chance.uniform(0.0, 1.6))
        cluster.kill()
        cluster.start()
    wait_until(lambda: hook.asked and cluster.mail.messages, 60.0, "both are told")
    settled(cluster)

    keys: Callable[[list[Any]], int] = lambda those: len(set(those))  # noqa: E731
    assert 1 == keys([asked.headers["idempotency-key"] for _, asked in hook.asked])
    assert 1 == keys([message["X-Gpuwatch-Letter"] for message in cluster.mail.messages])
    assert len(hook.asked) <= 2 and len(cluster.mail.messages) <= 2
