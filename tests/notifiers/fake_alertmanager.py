"""An Alertmanager that takes alerts, or answers as a test says, and remembers what it was told."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from email.utils import formatdate
from typing import Any

from tests.http.serving import Asked, server

Document = dict[str, Any]
Refuse = Callable[[list[Document]], int]
"""The status to answer to alerts with."""


@dataclass
class FakeAlertmanager:
    """`asked` has every request, `posts` the alerts of each that had some, `taken` those it took, by scope."""

    url: str = ""
    now: float = 0.0
    status: Refuse = lambda _alerts: 200
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b"{}"
    version: object = "0.25.0"
    asked: list[Asked] = field(default_factory=list)
    posts: list[list[Document]] = field(default_factory=list)
    taken: dict[str, Document] = field(default_factory=dict)

    def respond(self, asked: Asked) -> tuple[int, Mapping[str, str], bytes]:
        """The answer to a request."""
        self.asked.append(asked)
        date = {"Date": formatdate(self.now, usegmt=True)} if self.now else {}
        if asked.path == "/api/v2/status":
            return 200, date, json.dumps({"versionInfo": {"version": self.version}}).encode()
        assert asked.path == "/api/v2/alerts"
        alerts = json.loads(asked.body)
        if alerts:
            self.posts.append(alerts)
        status = self.status(alerts)
        if status != 200:
            return status, {**date, **self.headers}, self.body
        self.taken |= {alert["labels"]["scope"]: alert for alert in alerts}
        return 200, date, b""


@contextmanager
def fake_alertmanager(**said: Any) -> Iterator[FakeAlertmanager]:
    """One that listens."""
    fake = FakeAlertmanager(**said)
    with server(fake.respond) as url:
        fake.url = url
        yield fake
