"""A real Alertmanager of one's own, and a webhook that keeps what it was told."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from tests.http.serving import Asked, server
from tests.integration.debian import ANSWER_SECONDS, UNPACKED, free_port
from tests.integration.time_series import Server

GROUP_SECONDS = 0.5
"""How often an Alertmanager of these tests looks whether there is something to tell."""

_CONFIGURATION = """\
route:
  receiver: hook
  group_by: ['...']
  group_wait: 100ms
  group_interval: {group:.0f}ms
  repeat_interval: 1h
receivers:
  - name: hook
    webhook_configs: [{{url: '{hook}', send_resolved: true}}]
"""

_TEMPLATES = b"/usr/share/prometheus/alertmanager"
"""Where Debian's looks for them, and nowhere else."""

Told = tuple[str, str]
"""`firing` or `resolved`, and the scope."""


@dataclass
class Hook:
    """What was told, message by message."""

    url: str = ""
    messages: list[dict[str, Any]] = field(default_factory=list)

    def respond(self, asked: Asked) -> tuple[int, Mapping[str, str], bytes]:
        """Take a message."""
        self.messages.append(json.loads(asked.body))
        return 200, {}, b""

    def told(self) -> list[Told]:
        """Every alert of every message, in the order in which they came."""
        return [(each["status"], each["labels"]["scope"]) for each in self.alerts()]

    def alerts(self) -> list[dict[str, Any]]:
        """The same, with all there is of them."""
        return [alert for message in self.messages for alert in message["alerts"]]


@contextmanager
def hook() -> Iterator[Hook]:
    """A webhook that listens."""
    made = Hook()
    with server(made.respond) as url:
        made.url = url
        yield made


def at_home(program: Path, folder: Path) -> Path:
    """The program; of one that is not installed a copy in `folder`, which has its templates below `UNPACKED`."""
    if not program.is_relative_to(UNPACKED):
        return program
    copy = folder / program.name
    copy.write_bytes(program.read_bytes().replace(_TEMPLATES, _TEMPLATES[1:] + b"/"))
    copy.chmod(0o755)
    return copy


class Alertmanager(Server):
    """An Alertmanager that tells `hook` of every alert by itself.

    With `peers`, ports of others' gossip, it agrees with them on who tells; `web` is its own web configuration,
    `inhibit` what its configuration has beside the receiver.
    """

    name = "alertmanager"
    ready_path = "/-/ready"
    directory = UNPACKED if UNPACKED.is_dir() else None

    def __init__(
        self,
        program: Path,
        folder: Path,
        hook: str,
        peers: Sequence[int] | None = None,
        web: Path | None = None,
        inhibit: str = "",
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        text = _CONFIGURATION.format(group=GROUP_SECONDS * 1000, hook=hook)
        (folder / "alertmanager.yml").write_text(text + inhibit)
        self.gossip = None if peers is None else free_port()
        self._peers = peers or ()
        self._web = web
        super().__init__(program, folder)

    def arguments(self) -> list[str]:
        listen = f"127.0.0.1:{self.gossip}" if self.gossip else ""
        return [
            f"--config.file={self._folder / 'alertmanager.yml'}", f"--storage.path={self._folder / 'data'}",
            f"--web.listen-address=127.0.0.1:{self.port}", f"--cluster.listen-address={listen}",
            *([f"--web.config.file={self._web}"] if self._web else []),
            *(f"--cluster.peer=127.0.0.1:{port}" for port in self._peers),
            "--cluster.peer-timeout=2s", "--cluster.gossip-interval=50ms", "--cluster.settle-timeout=1s",
            "--log.level=warn",
        ]  # fmt: skip

    def _ready(self, log: Path) -> bool:
        if self._web is None:
            return super()._ready(log)
        # It answers those alone who have the password.
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    def kill(self) -> None:
        """End it as a crash does."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(ANSWER_SECONDS)
            self._process = None

    def alerts(self) -> list[dict[str, Any]]:
        """What it holds to be active."""
        found: list[dict[str, Any]] = httpx.get(f"{self.url}/api/v2/alerts", timeout=ANSWER_SECONDS).json()
        return found

    def peers(self) -> int:
        """How many it is in agreement with, itself among them."""
        status = httpx.get(f"{self.url}/api/v2/status", timeout=ANSWER_SECONDS).json()
        return len(status["cluster"].get("peers", []))
