"""Whether letters would get somewhere: found out without sending any."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from gpuwatch.model import Probe
from tests.http.serving import Asked, server
from tests.notifiers.letters import NOW, notifier
from tests.notifiers.post_office import chat_servers, free_port, mail_server


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def hook() -> Iterator[tuple[str, list[Asked]]]:
    asked: list[Asked] = []

    def respond(found: Asked) -> tuple[int, dict[str, str], bytes]:
        asked.append(found)
        return 200, {}, b""

    with server(respond) as url:
        yield url.removeprefix("http://"), asked


def test_a_mail_server_is_greeted_and_left() -> None:
    """No letter is sent, and nobody is logged in."""
    with mail_server() as mail:
        url = f"mailto://me:SECRET@127.0.0.1:{mail.port}?from=g@example.org&to={{user}}@example.org"
        probes = notifier(owner=url).check(NOW)

        expected = f"EHLO and NOOP on port {mail.port} (insecure); no letter sent; not logged in"
        assert [Probe("owner (mailto:// to 127.0.0.1)", True, expected)] == probes
        assert (1, []) == (len(mail.sessions), mail.envelopes)


def test_a_webhook_is_connected_to_and_asked_nothing(hook: tuple[str, list[Asked]]) -> None:
    """It could take any request for a letter."""
    host, asked = hook

    (probe,) = notifier(channels={"ml": f"json://{host}/SECRET"}).check(NOW)
    expected = f"connected to port {host.rpartition(':')[2]}; nothing sent"
    assert Probe("channels.ml (json:// to 127.0.0.1)", True, expected) == probe
    assert [] == asked


def test_what_is_not_there_is_said_of_each() -> None:
    """One that is away hides no other."""
    port = free_port()
    with mail_server() as mail:
        probes = notifier(
            operators=[
                f"json://127.0.0.1:{port}/SECRET",
                f"mailto://127.0.0.1:{mail.port}?from=g@e.org&to=a@e.org",
            ],
            people={"bob": f"mailto://127.0.0.1:{port}?from=g@e.org&to=a@e.org"},
        ).check(NOW)

        assert [("operators (json:// to 127.0.0.1)", False, "Connection refused"),
                ("operators (mailto:// to 127.0.0.1)", True),
                ("people.bob (mailto:// to 127.0.0.1)", False, "Connection refused")] == [
                    tuple(probe)[: 2 if probe.ok else 3] for probe in probes]  # fmt: skip


def test_a_mail_server_without_starttls_is_told_apart() -> None:
    """Letters would not be sent in the clear instead."""
    with mail_server() as mail:
        (probe,) = notifier(
            operators=f"mailtos://127.0.0.1:{mail.port}?from=g@e.org&to=a@e.org&mode=starttls"
        ).check(NOW)

        assert (False, "STARTTLS extension not supported by server.") == (probe.ok, probe.detail)


def test_behind_a_proxy_only_that_is_tried(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """And said."""
    with chat_servers(monkeypatch, tmp_path, lambda _posted: (200, b"ok")) as chats:
        (probe,) = notifier(channels={"ml": "discord://1/SECRET"}).check(NOW)

        assert (True, "channels.ml (discord:// to discord.com)") == (probe.ok, probe.what)
        assert probe.detail.startswith("connected to the proxy 127.0.0.1:")
        assert [] == chats.posted
