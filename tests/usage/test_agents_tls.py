"""Reading agents that are served over TLS, that want a client's certificate, or a user."""

from __future__ import annotations

import base64
import ssl
from pathlib import Path
from typing import Any

import pytest
import trustme
from pydantic import ValidationError

from gpuwatch import config
from gpuwatch.errors import ConfigurationError
from gpuwatch.model import Site
from gpuwatch.settings import Settings
from gpuwatch.usage.agents import AgentsUsage
from gpuwatch.usage.base import Asking, Delivery, Failure
from tests.usage.fake_agent import FakeAgent, document, packed


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    """One for all tests: making keys takes time."""
    return trustme.CA()


def agent(authority: trustme.CA, mutual: bool = False) -> FakeAgent:
    """An agent with a certificate for the loopback, that may want one, too."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    if mutual:
        authority.configure_trust(context)
        context.verify_mode = ssl.CERT_REQUIRED
    return FakeAgent(lambda _since: packed(document()), context=context)


def trusting(folder: Path, authority: trustme.CA) -> Path:
    """The authority's certificate as a file."""
    authority.cert_pem.write_to_path(str(folder / "ca.pem"))
    return folder / "ca.pem"


def client(folder: Path, authority: trustme.CA) -> dict[str, Path]:
    """A client's certificate and key as files."""
    issued = authority.issue_cert("accounting.example.org")
    issued.cert_chain_pems[0].write_to_path(str(folder / "client.pem"))
    issued.private_key_pem.write_to_path(str(folder / "client.key"))
    return {"cert_file": folder / "client.pem", "key_file": folder / "client.key"}


def source(fake: FakeAgent, **settings: Any) -> AgentsUsage:
    """A source that reads one agent."""
    return AgentsUsage(AgentsUsage.Settings(urls=(fake.url,), timeout_seconds=5.0, **settings), Site())


def failure(reading: AgentsUsage) -> str:
    """Why the one agent cannot be read."""
    (found,) = reading.collect(Asking(0.0))
    assert isinstance(found, Failure)
    return found.message


def test_an_agent_of_a_trusted_authority_is_read_and_acknowledged(tmp_path: Path, authority: trustme.CA) -> None:
    """The site's own authority is enough."""
    with agent(authority) as fake:
        reading = source(fake, ca_file=trusting(tmp_path, authority))
        (found,) = reading.collect(Asking(0.0))
        assert isinstance(found, Delivery)
        reading.acknowledge(found)

    assert [10] == fake.acknowledged


def test_an_agent_of_a_stranger_is_not_read(tmp_path: Path, authority: trustme.CA) -> None:
    """It could be anybody; nothing is sent to it."""
    with agent(authority) as fake:
        assert "CERTIFICATE_VERIFY_FAILED" in failure(source(fake))
        assert "CERTIFICATE_VERIFY_FAILED" in failure(source(fake, ca_file=trusting(tmp_path, trustme.CA())))

    assert [] == fake.asked


def test_a_client_certificate_is_shown(tmp_path: Path, authority: trustme.CA) -> None:
    """Where the agent wants one."""
    with agent(authority, mutual=True) as fake:
        trust = trusting(tmp_path, authority)
        without = failure(source(fake, ca_file=trust))
        (found,) = source(fake, ca_file=trust, **client(tmp_path, authority)).collect(Asking(0.0))

    assert without
    assert isinstance(found, Delivery)


def test_certificates_are_read_anew_for_each_pass(tmp_path: Path, authority: trustme.CA) -> None:
    """They are renewed while accounting runs."""
    with agent(authority) as fake:
        reading = source(fake, ca_file=trusting(tmp_path, trustme.CA()))
        before = failure(reading)
        trusting(tmp_path, authority)
        (found,) = reading.collect(Asking(0.0))

    assert "CERTIFICATE_VERIFY_FAILED" in before
    assert isinstance(found, Delivery)


def test_a_user_is_shown_with_the_password_that_is_in_the_file_now(tmp_path: Path) -> None:
    """Without the line's end."""
    password = tmp_path / "password"
    with FakeAgent(lambda _since: packed(document())) as fake:
        reading = source(fake, username="accounting", password_file=password)
        for text in ("first\n", "zwölf"):
            password.write_text(text, encoding="utf-8")
            list(reading.collect(Asking(0.0)))

    shown = [base64.b64decode(str(each).removeprefix("Basic ")).decode() for each in fake.authorizations]
    assert ["accounting:first", "accounting:zwölf"] == shown


def test_files_that_cannot_be_used_are_named(tmp_path: Path, authority: trustme.CA) -> None:
    """The agents are fine, and the message says what is not."""
    broken = tmp_path / "broken.pem"
    broken.write_text("nothing")
    pair = client(tmp_path, authority)
    missing = tmp_path / "none"
    with agent(authority) as fake:
        assert f"ca_file {missing}: No such file or directory" == failure(source(fake, ca_file=missing))
        assert f"ca_file {broken}: " in failure(source(fake, ca_file=broken))
        mixed = failure(source(fake, cert_file=pair["cert_file"], key_file=broken))
        assert mixed.startswith(f"cert_file {pair['cert_file']}, key_file {broken}: ")
        assert "No such file" in failure(source(fake, username="a", password_file=missing))


@pytest.mark.parametrize(
    ("settings", "why"),
    [
        ({"cert_file": "a"}, "must name cert_file and key_file, or neither"),
        ({"key_file": "a"}, "must name cert_file and key_file, or neither"),
        ({"username": "a"}, "must name username and password_file, or neither"),
        ({"password_file": "a"}, "must name username and password_file, or neither"),
        ({"username": "a", "password_file": "b", "token_file": "c"}, "must name token_file or username, not both"),
        ({"username": "a:b", "password_file": "b"}, "must be a name without a colon"),
    ],
)
def test_half_a_setting_is_refused(settings: dict[str, Any], why: str) -> None:
    """It could not be honoured."""
    with pytest.raises(ValidationError, match=why):
        AgentsUsage.Settings(**settings)
    with pytest.raises(ConfigurationError, match=why):
        overrides = {f"usage.agents.{key}": value for key, value in settings.items()}
        config.check_plugins(config.with_overrides(Settings(), overrides), ("usage",))
