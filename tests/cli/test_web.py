"""The daemons with a web-config file, as an operator meets them."""

from __future__ import annotations

import json
import re
import signal
import ssl
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from gpuwatch import config as configuration
from gpuwatch.cli import web_inspection
from gpuwatch.settings import Settings
from tests.cli.command import gpuwatch, start
from tests.web.authority import ALICE, Authority, config

TLS = "tls_server_config: {cert_file: cert.pem, key_file: key.pem}\n"
USERS = f"basic_auth_users: {{alice: {ALICE}}}\n"


@pytest.fixture(scope="module")
def authority() -> Authority:
    """One for all tests: making keys takes time."""
    return Authority()


def toml(folder: Path) -> Path:
    """Both daemons on free ports, with the web-config file of the folder."""
    path = folder / "gpuwatch.toml"
    path.write_text(
        f"""
[agent]
listen = "127.0.0.1:0"
state_directory = "{folder}/state"
socket = "{folder}/agent.sock"
devices = []
web_config_file = "{folder}/web-config.yml"
[accounting]
listen = "127.0.0.1:0"
ledger = "sqlite:///{folder}/ledger.db"
usage = []
web_config_file = "{folder}/web-config.yml"
"""
    )
    return path


def page_with(url: str, context: ssl.SSLContext, pattern: str) -> str:
    """/metrics once it matches."""
    until = time.monotonic() + 15
    while time.monotonic() < until:
        page = httpx.get(f"{url}/metrics", verify=context, auth=("alice", "wonderland")).text
        if re.search(pattern, page, re.MULTILINE):
            return page
        time.sleep(0.1)
    raise AssertionError(f"{pattern!r} did not come; there is:\n{page}")


@pytest.mark.integration
@pytest.mark.parametrize("daemon", ["agent", "accounting"])
def test_a_daemon_serves_tls_to_its_users_and_takes_a_new_certificate(
    tmp_path: Path, authority: Authority, daemon: str
) -> None:
    """Nobody is let in without the password; a certificate that is renewed is served within seconds."""
    authority.issue(tmp_path, lasts=timedelta(days=30))
    config(tmp_path, TLS + USERS)
    process = start(daemon, "--config", str(toml(tmp_path)))
    assert process.stderr is not None
    try:
        url = re.search(r"serving (https://\S+)", process.stderr.readline())
        assert url is not None
        refused = httpx.get(f"{url[1]}/metrics", verify=authority.context())
        page = page_with(url[1], authority.context(), "^gpuwatch_web_certificate_not_after_timestamp_seconds ")
        authority.issue(tmp_path, lasts=timedelta(days=60))
        before = re.findall(r"^gpuwatch_web_certificate_not_after\S* (\S+)$", page, re.MULTILINE)
        renewed = page_with(
            url[1], authority.context(), rf"^gpuwatch_web_certificate_not_after\S* (?!{re.escape(before[0])}$)"
        )
    finally:
        process.send_signal(signal.SIGTERM)
        _, told = process.communicate(timeout=20)

    assert 401 == refused.status_code
    assert "gpuwatch_web_config_last_reload_successful 1\n" in renewed
    assert f"web configuration reloaded path={tmp_path}/web-config.yml" in told
    assert 0 == process.returncode


@pytest.mark.integration
@pytest.mark.parametrize("daemon", ["agent", "accounting"])
def test_a_daemon_does_not_start_with_a_key_that_does_not_fit(
    tmp_path: Path, authority: Authority, daemon: str
) -> None:
    """78: a restart would not help; nothing was begun."""
    authority.issue(tmp_path)
    key = (tmp_path / "key.pem").read_bytes()
    authority.issue(tmp_path)
    (tmp_path / "key.pem").write_bytes(key)
    config(tmp_path)

    done = gpuwatch(daemon, "--config", str(toml(tmp_path)))

    assert 78 == done.returncode
    assert f"{tmp_path}/key.pem: is not the key of {tmp_path}/cert.pem" in done.stderr
    assert not (tmp_path / "state").exists()


@pytest.mark.integration
def test_check_tells_every_mistake_of_the_file_and_exits_78(tmp_path: Path) -> None:
    """As JSON, too."""
    config(tmp_path, "tls_server_config: {cert_file: cert.pem}\nbasic_auth_users: {alice: hunter2}\n")

    done = gpuwatch("check", "--json", "--config", str(toml(tmp_path)))

    found = {each["what"]: each for each in json.loads(done.stdout)["findings"]}
    assert 78 == done.returncode
    assert ("failed", "warning") == (found["agent web"]["status"], found["accounting web"]["status"])
    assert "key_file: missing" in found["agent web"]["detail"]
    assert "alice: its value (not shown) is no bcrypt hash" in found["agent web"]["detail"]
    assert "hunter2" not in done.stdout


def findings(folder: Path, **more: Any) -> list[tuple[str, str, str]]:
    """What check says of the agent's web server, without the folder."""
    overrides = {"agent.web_config_file": str(folder / "web-config.yml")} | {
        f"agent.{key}": value for key, value in more.items()
    }
    settings = configuration.with_overrides(Settings(), overrides)
    return [
        (each.what, each.status, each.detail.replace(f"{folder}/", ""))
        for each in web_inspection.web(settings, time.time())
        if not each.what.startswith("accounting")
    ]


def test_check_says_until_when_the_certificate_is_valid(tmp_path: Path, authority: Authority) -> None:
    """And what is asked of clients."""
    authority.issue(tmp_path)
    (tmp_path / "key.pem").chmod(0o600)
    config(tmp_path, TLS + USERS)

    (web, tls) = findings(tmp_path)

    assert ("agent web", "ok", "web-config.yml: HTTPS, 1 users") == web
    assert ("agent TLS", "ok") == tls[:2]
    assert re.fullmatch(r"cert\.pem: valid until \d{4}-\d\d-\d\d \d\d:\d\d UTC", tls[2])


@pytest.mark.parametrize(
    ("lasts", "said"),
    [
        (timedelta(days=5), r"cert\.pem: valid until .* UTC, in 5\.0 days"),
        (timedelta(days=-9), r"cert\.pem: expired 9 days ago"),
    ],
)
def test_check_warns_of_a_certificate_that_ends(
    tmp_path: Path, authority: Authority, lasts: timedelta, said: str
) -> None:
    """Two weeks ahead."""
    authority.issue(tmp_path, lasts=lasts)
    (tmp_path / "key.pem").chmod(0o600)
    config(tmp_path, TLS + USERS)

    (_, tls) = findings(tmp_path)

    assert "warning" == tls[1]
    assert re.fullmatch(said, tls[2])


def test_check_warns_of_a_key_that_everybody_may_read_and_of_passwords_in_clear(
    tmp_path: Path, authority: Authority
) -> None:
    """Both are as good as no protection."""
    authority.issue(tmp_path)
    (tmp_path / "key.pem").chmod(0o644)
    config(tmp_path, TLS + USERS)
    key = findings(tmp_path)[-1]
    config(tmp_path, USERS)
    clear = findings(tmp_path)[-1]

    assert ("agent key", "warning", "key.pem: everybody may read it") == key
    assert (
        "agent web",
        "warning",
        "web-config.yml: has users and no TLS: passwords can be read on the network",
    ) == (clear)


@pytest.mark.parametrize(
    ("text", "more", "warned"),
    [
        ("", {}, True),
        (TLS, {}, True),
        ("", {"usage_token_file": "/etc/gpuwatch/usage-token"}, False),
        ("", {"listen": "127.0.0.1:9838"}, False),
        ("", {"listen": "[::1]:9838"}, False),
        (TLS + USERS, {}, False),
        (TLS.replace("}", ", client_ca_file: ca.pem, client_auth_type: RequireAndVerifyClientCert}"), {}, False),
        (TLS.replace("}", ", client_ca_file: ca.pem, client_auth_type: VerifyClientCertIfGiven}"), {}, True),
    ],
)
def test_check_warns_where_anybody_may_acknowledge(
    tmp_path: Path, authority: Authority, text: str, more: dict[str, Any], warned: bool
) -> None:
    """It is accepted, as the contract says, and worth knowing."""
    authority.issue(tmp_path)
    authority.write(tmp_path / "ca.pem")
    config(tmp_path, text)

    found = [finding for finding in findings(tmp_path, **more) if finding[0] == "usage API"]

    assert warned == bool(found)
    assert all("may acknowledge usage that accounting has not read" in finding[2] for finding in found)
