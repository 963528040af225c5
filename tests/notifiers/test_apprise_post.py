"""Sending takes no longer than it may, whatever the other side does, and tells no secret."""

from __future__ import annotations

import logging
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import pytest

from gpuwatch.errors import Unavailable
from gpuwatch.model import Site
from gpuwatch.notifiers.apprise import AppriseNotifier
from gpuwatch.notifiers.apprise_post import MOST_HANGING, REST_SECONDS, safe_key
from tests.http.serving import Asked, server
from tests.notifiers.letters import letter
from tests.notifiers.post_office import free_port, mail_server, silent_server


class Clock:
    """Says the time that it is told."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


def notifier(clock: Clock | None = None, timeout_seconds: float = 5.0, **channels: object) -> AppriseNotifier:
    settings = AppriseNotifier.Settings(timeout_seconds=timeout_seconds, channels=channels)
    return AppriseNotifier(settings, Site(cluster="hydra"), clock or Clock())


def failure(telling: AppriseNotifier, channel: str = "ml", key: str = "key-1") -> str:
    with pytest.raises(Unavailable) as found:
        telling.send(letter(recipient=f"channel:{channel}", key=key))
    return str(found.value)


@contextmanager
def dripping(first: bytes, drop: bytes) -> Iterator[int]:
    """A server that answers a drop at a time, each in time, until it is told to stop."""
    stop = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def drip() -> None:
            with suppress(OSError):
                connection, _ = listening.accept()
                with connection:
                    connection.sendall(first)
                    while not stop.wait(0.02):
                        connection.sendall(drop)

        thread = threading.Thread(target=drip)
        thread.start()
        try:
            yield listening.getsockname()[1]
        finally:
            stop.set()
            thread.join()


def test_nobody_there_is_said_in_words() -> None:
    """Without a number of the system or an address."""
    mail = f"mailto://127.0.0.1:{free_port()}?from=g@e.org&to=a@e.org"
    telling = notifier(ml=f"json://user:SECRET@127.0.0.1:{free_port()}/SECRET", mail=mail)

    assert "channel:ml: 127.0.0.1: connection refused" == failure(telling)
    assert "channel:mail: 127.0.0.1: connection refused" == failure(telling, "mail")


@pytest.mark.parametrize("url", ["json://127.0.0.1:{}/SECRET", "mailto://127.0.0.1:{}?from=g@e.org&to=a@e.org"])
def test_a_server_that_says_nothing_is_not_waited_for(url: str) -> None:
    """It hangs, with the connection open."""
    with silent_server() as port:
        started = time.monotonic()
        told = failure(notifier(ml=url.format(port), timeout_seconds=0.2))

        assert time.monotonic() - started < 5.0
        assert told in (
            "channel:ml: 127.0.0.1: no answer in time", "channel:ml: 127.0.0.1: did not take it within 0.2 s"
        )  # fmt: skip


@pytest.mark.parametrize(
    ("url", "first", "drop"),
    [
        ("json://127.0.0.1:{}/SECRET", b"HTTP/1.1 200 OK\r\n", b"X: y\r\n"),
        ("json://127.0.0.1:{}/SECRET", b"HTTP/1.1 200 OK\r\nContent-Length: 999999999\r\n\r\n", b"x"),
        ("mailto://127.0.0.1:{}?from=g@e.org&to=a@e.org", b"", b"220-wait\r\n"),
    ],
)
def test_a_server_that_answers_a_drop_at_a_time_is_given_up(url: str, first: bytes, drop: bytes) -> None:
    """Every read is in time, and all of them never end."""
    with dripping(first, drop) as port:
        started = time.monotonic()
        telling = notifier(ml=url.format(port), timeout_seconds=0.3)

        assert "channel:ml: 127.0.0.1: did not take it within 0.3 s" == failure(telling)
        assert time.monotonic() - started < 5.0


def test_one_that_did_not_answer_is_left_alone_for_a_while() -> None:
    """Five hundred recipients are not waited for one after the other; another server is told meanwhile."""
    clock, port = Clock(), free_port()
    with mail_server() as mail:
        here = f"mailto://127.0.0.1:{mail.port}?from=g@e.org&to=a@e.org"
        telling = notifier(clock, ml=f"json://127.0.0.1:{port}/a", other=f"json://127.0.0.1:{port}/b", mail=here)
        failure(telling)

        told = "channel:other: 127.0.0.1: connection refused a moment ago; left alone for a while"
        assert told == failure(telling, "other")
        assert telling.send(letter(recipient="channel:mail"))
        clock.now += REST_SECONDS
        assert "channel:other: 127.0.0.1: connection refused" == failure(telling, "other")


def test_a_letter_that_was_taken_after_all_is_not_sent_again() -> None:
    """It had been given up; while it hangs it is not sent beside itself."""
    release, answered, asked = threading.Event(), threading.Event(), []

    def respond(found: Asked) -> tuple[int, dict[str, str], bytes]:
        asked.append(found)
        release.wait(10.0)
        answered.set()
        return 200, {}, b""

    clock = Clock()
    with server(respond) as url:
        # Its own patience is longer than ours, as that of a letter with several requests is.
        telling = notifier(clock, 0.5, ml=f"json://{url.removeprefix('http://')}/x")
        telling._services._timeout_seconds = 10.0
        assert "did not take it within 0.5 s" in failure(telling)
        clock.now += REST_SECONDS
        assert "the try before still hangs" in failure(telling)
        release.set()
        assert answered.wait(10.0)
        for thread in [each for each in threading.enumerate() if each.name == "apprise"]:
            thread.join(10.0)

        assert telling.send(letter(recipient="channel:ml"))
        assert 1 == len(asked)


def test_only_so_many_hang_at_once() -> None:
    """Threads are bounded."""
    release = threading.Event()

    def respond(_asked: Asked) -> tuple[int, dict[str, str], bytes]:
        release.wait(20.0)
        return 200, {}, b""

    clock = Clock()
    with server(respond) as url:
        telling = notifier(clock, 0.05, ml=f"json://{url.removeprefix('http://')}/x")
        telling._services._timeout_seconds = 20.0
        for number in range(MOST_HANGING):
            failure(telling, key=str(number))
            clock.now += REST_SECONDS

        assert f"{MOST_HANGING} letters hang already" in failure(telling, key="one more")
        release.set()


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_not_followed(status: int) -> None:
    """It would carry a letter, and what is in the address, to wherever it points."""
    elsewhere: list[Asked] = []

    def taken(asked: Asked) -> tuple[int, dict[str, str], bytes]:
        elsewhere.append(asked)
        return 200, {}, b""

    with server(taken) as target, server(lambda _asked: (status, {"Location": f"{target}/SECRET"}, b"")) as url:
        told = failure(notifier(ml=f"json://{url.removeprefix('http://')}/SECRET"))

    assert f"channel:ml: 127.0.0.1: answered {status}; a redirect is not followed" == told
    assert [] == elsewhere


def test_a_server_that_closes_is_tried_again() -> None:
    """It may be restarting."""
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def close() -> None:
            connection, _ = listening.accept()
            connection.close()

        thread = threading.Thread(target=close)
        thread.start()
        told = failure(notifier(ml=f"json://127.0.0.1:{listening.getsockname()[1]}/x"))
        thread.join()

    assert "channel:ml: 127.0.0.1: closed without an answer" == told


def test_no_secret_comes_into_the_log(caplog: pytest.LogCaptureFixture) -> None:
    """Not at any level, whether it was taken or not."""
    status = [200, 500, 404]

    with server(lambda _asked: (status.pop(0), {}, b"SECRET")) as url:
        telling = notifier(ml=f"json://user:SECRET@{url.removeprefix('http://')}/SECRET?+X-Token=SECRET")
        with caplog.at_level(logging.DEBUG):
            for number in range(3):
                with suppress(Exception):
                    telling.send(letter(recipient="channel:ml", key=str(number)))

    assert [] == status
    assert "SECRET" not in caplog.text


def test_keys_are_safe_in_headers_and_addresses() -> None:
    """And never two the same."""
    keys = ["a-B_1", "a b", "a\nb", "ä", "\ud800", "x" * 129, ""]

    assert "a-B_1" == safe_key(keys[0])
    assert len(keys) == len({safe_key(key) for key in keys})
    assert all(safe_key(key).replace("-", "").replace("_", "").isalnum() for key in keys)
