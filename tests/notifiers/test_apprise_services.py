"""Which addresses are understood, and what is wrong with others, without showing them."""

from __future__ import annotations

import sys

import pytest

from gpuwatch.errors import ConfigurationError
from gpuwatch.notifiers.apprise_places import PLACES
from gpuwatch.notifiers.apprise_services import Services, where

SLACK = "slack://T1JJ3T3L2/A1BRTD4JD/TIiajkdnlazkcOXrIdevi7FQ"


@pytest.fixture(scope="module")
def services() -> Services:
    return Services(3.0)


@pytest.mark.parametrize(
    ("url", "server"),
    [
        ("mailto://mail.example.org:25?from=g@example.org&to=a@example.org", "mail.example.org"),
        (
            "mailtos://user:SECRET@mail.example.org?from=g@example.org&to=a@example.org&mode=ssl",
            "mail.example.org",
        ),
        (SLACK, "hooks.slack.com"),
        (f"{SLACK}/#general", "hooks.slack.com"),
        ("slack://xoxb-1234-1234-SECRET/@alice", "hooks.slack.com"),
        ("discord://123456/SECRET?thread=42", "discord.com"),
        ("workflows://prod.example.org:443/ID/SECRET", "prod.example.org"),
        ("mmosts://chat.example.org/hooks/SECRET?channel=gpu", "chat.example.org"),
        ("matrixs://SECRET@matrix.example.org/!abc:example.org", "matrix.example.org"),
        ("jsons://user:SECRET@hook.example.org/path?+X-Team=gpu&method=PUT", "hook.example.org"),
    ],
)
def test_addresses_of_every_place_are_understood(services: Services, url: str, server: str) -> None:
    """Only the server of an address is ever shown."""
    assert "" == services.mistake(url)
    assert server == where(url)


@pytest.mark.parametrize(
    "url",
    [
        "file:///etc/passwd", "exec://sh", "dbus://", "syslog://", "macosx://", "windows://", "gnome://",
        "https://x/SECRET", "schema.that.is.none", "", "mqtt://SECRET@h/t", "apprise://h/SECRET", "growl://h",
    ],
)  # fmt: skip
def test_other_schemas_are_not(services: Services, url: str) -> None:
    """Not even those that Apprise knows."""
    wrong = services.mistake(url)

    assert wrong.startswith("is not where letters can go; there is: mailto://, ")
    assert "SECRET" not in wrong


@pytest.mark.parametrize(
    ("url", "parameter"),
    [
        (f"{SLACK}?template=/etc/passwd", "template"), (f"{SLACK}?redirect=yes", "redirect"),
        ("discord://1/2?template=http://evil.example/x", "template"), (f"{SLACK}?retry=9", "retry"),
        ("mailto://m?from=g@e.org&to=a@e.org&cc=b@e.org", "cc"),
        ("mailto://m?from=g@e.org&to=a@e.org&bcc=b@e.org", "bcc"),
        ("mailtos://m?from=g@e.org&to=a@e.org&pgppub=/etc/passwd", "pgppub"), ("jsons://h/?verify=no", "verify"),
        (f"{SLACK}?:token=x", ":token"), ("matrixs://t@h/!r:h?mode=slack", "mode"),
        ("discord://1/2?ping=@here", "ping"),
        (f"{SLACK}?+Header=x", "+Header"), ("jsons://h/?rto=9000", "rto"),
    ],
)  # fmt: skip
def test_parameters_that_are_not_listed_are_refused(services: Services, url: str, parameter: str) -> None:
    """Some load files, others follow, repeat or copy."""
    assert services.mistake(url).startswith(f"has a parameter '{parameter}'; there is: ")


@pytest.mark.parametrize(
    ("url", "wrong"),
    [
        ("slack://SECRET", "is not an address that Apprise understands as slack://"),
        ("mailto://m", "is not an address that Apprise understands as mailto://"),
        ("mailto://m?from=g@e.org&to=nonsense", "names nobody to write to; to=NAME@HOST does"),
        ("mailto://m?from=g@e.org&to=a@e.org,b@e.org",
         "reaches several; give an array of addresses, so that one who refuses keeps it from nobody else"),
        ("matrixs://SECRET@h/#room", "must be matrixs://TOKEN@HOST/!ROOM:SERVER"),
        ("matrixs://SECRET@h/@bob:h", "must be matrixs://TOKEN@HOST/!ROOM:SERVER"),
        ("matrixs://me:SECRET@h/!r:h", "must be matrixs://TOKEN@HOST/!ROOM:SERVER"),
        ("jsons://h/a b", "has blanks or control characters in it"),
        ("jsons://h/a\r\nX: y", "has blanks or control characters in it"),
    ],
)  # fmt: skip
def test_what_cannot_be_sent_to_is_said_at_start(services: Services, url: str, wrong: str) -> None:
    """By what is wrong, without the address."""
    assert wrong == services.mistake(url)


EXAMPLES = (
    "mailto://m?from=g@e.org&to=a@e.org", "mailtos://m?from=g@e.org&to=a@e.org", SLACK, "discord://1/2",
    "workflow://h:443/a/b", "workflows://h:443/a/b", "mmost://h/t", "mmosts://h/t", "matrix://t@h/!r:h",
    "matrixs://t@h/!r:h", "json://h", "jsons://h",
)  # fmt: skip


@pytest.mark.parametrize("url", EXAMPLES)
def test_services_do_not_sleep_or_follow(services: Services, url: str) -> None:
    """Whatever is built for an address keeps to our times."""
    service = services.of(url)

    assert (0, False, 3.0, 3.0, True, 0) == (
        service.request_rate_per_sec, service.redirects, service.socket_connect_timeout,
        service.socket_read_timeout, service.verify_certificate, service.retry,
    )  # fmt: skip
    assert "gpuwatch" == service.app_id


def test_there_is_an_example_of_every_place() -> None:
    """One that is added is tried as well."""
    assert set(PLACES) == {url.partition("://")[0] for url in EXAMPLES}


def test_without_the_library_it_is_said_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is an extra."""
    monkeypatch.setitem(sys.modules, "apprise", None)

    with pytest.raises(ConfigurationError, match=r"needs the extra notify: pip install '\.\[notify\]'"):
        Services(3.0)
