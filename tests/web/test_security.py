"""What is in force: at start, after a change, and after a change that cannot be used."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest

from gpuwatch.errors import ConfigurationError
from gpuwatch.web.certificates import Validity
from gpuwatch.web.security import Security, trouble
from tests.web.authority import ALICE, Authority, config

TLS = "tls_server_config: {cert_file: cert.pem, key_file: key.pem}\n"
USERS = f"basic_auth_users: {{alice: {ALICE}}}\n"


@pytest.fixture(scope="module")
def authority() -> Authority:
    """One for all tests: making keys takes time."""
    return Authority()


def refusal(path: Path) -> str:
    """Why the file is refused at start."""
    with pytest.raises(ConfigurationError) as refused:
        Security(path)
    (mistake,) = refused.value.mistakes
    return mistake.replace(f"{path.parent}/", "")


def test_without_a_file_there_is_nothing_to_watch_and_nothing_known() -> None:
    """HTTP for everybody; the two metrics of the file are absent."""
    security = Security()
    security.look()

    assert not security.watched
    assert security.now.tls is None
    health = security.counters.health()
    assert (None, None) == (health.config_last_reload_successful, health.certificate_not_after_timestamp_seconds)


def test_at_start_a_certificate_is_loaded_and_its_end_is_known(tmp_path: Path, authority: Authority) -> None:
    """As a metric, so that it can be alerted on."""
    authority.issue(tmp_path)

    security = Security(config(tmp_path))

    assert security.now.tls is not None
    health = security.counters.health()
    assert (1.0, security.now.tls.validity.not_after) == (
        health.config_last_reload_successful,
        health.certificate_not_after_timestamp_seconds,
    )


def test_at_start_what_does_not_fit_is_refused(tmp_path: Path, authority: Authority) -> None:
    """The message names the file."""
    authority.issue(tmp_path)
    authority.issue(tmp_path, stem="other-")
    (tmp_path / "half.pem").write_bytes((tmp_path / "cert.pem").read_bytes()[:300])

    def tls(cert: str = "cert.pem", key: str = "key.pem", more: str = "") -> str:
        return refusal(config(tmp_path, f"tls_server_config: {{cert_file: {cert}, key_file: {key}{more}}}"))

    where = "web-config.yml: tls_server_config"
    assert f"{where}: other-key.pem: is not the key of cert.pem" == tls(key="other-key.pem").replace(
        f"{tmp_path}/", ""
    )
    assert f"{where}: none.pem: cannot be read; No such file or directory" == tls(cert="none.pem")
    assert f"{where}: none.pem: cannot be read; No such file or directory" == tls(key="none.pem")
    assert tls(cert="half.pem").startswith(f"{where}: half.pem: has no certificate")
    assert tls(key="cert.pem").startswith(f"{where}: cert.pem, cert.pem: cannot be loaded; ")
    more = ", client_ca_file: key.pem, client_auth_type: RequireAndVerifyClientCert"
    assert tls(more=more).startswith(f"{where}: key.pem: has no certificate of an authority; ")


def test_an_encrypted_key_is_refused_and_nobody_is_asked_for_its_password(
    tmp_path: Path, authority: Authority
) -> None:
    """A daemon has no keyboard."""
    from cryptography.hazmat.primitives import serialization

    authority.issue(tmp_path)
    key = serialization.load_pem_private_key((tmp_path / "key.pem").read_bytes(), None)
    form, kind = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    (tmp_path / "key.pem").write_bytes(
        key.private_bytes(form, kind, serialization.BestAvailableEncryption(b"secret"))
    )

    assert "key.pem: is encrypted, and nobody is there" in refusal(config(tmp_path))


def test_an_expired_certificate_is_served_at_start_and_said_once(
    tmp_path: Path, authority: Authority, caplog: pytest.LogCaptureFixture
) -> None:
    """No telemetry at all would be worse than a scraper's error."""
    authority.issue(tmp_path, lasts=timedelta(days=-3))

    with caplog.at_level(logging.INFO):
        security = Security(config(tmp_path))
        security.look()

    assert security.now.tls is not None
    assert [
        f"the certificate that is served is not valid: {tmp_path}/cert.pem: expired 3 days ago"
    ] == caplog.messages


def test_a_certificate_that_expires_while_it_is_served_is_said_once(
    tmp_path: Path, authority: Authority, caplog: pytest.LogCaptureFixture
) -> None:
    """It was valid at start."""
    authority.issue(tmp_path)
    now = [time.time()]
    security = Security(config(tmp_path), clock=lambda: now[0])
    assert security.now.tls is not None

    now[0] = security.now.tls.validity.not_after + 7200
    security.look()
    security.look()

    assert [f"the certificate that is served is not valid: {tmp_path}/cert.pem: expired 2.0 hours ago"] == (
        caplog.messages
    )


def test_files_that_did_not_change_are_not_read_again(tmp_path: Path, authority: Authority) -> None:
    """A look is a few stats."""
    authority.issue(tmp_path)
    security = Security(config(tmp_path))
    before = security.now

    security.look()

    assert security.now is before


def test_a_change_of_users_is_taken(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Without a restart."""
    security = Security(config(tmp_path, USERS))
    with caplog.at_level(logging.INFO):
        config(tmp_path, f"basic_auth_users: {{bob: {ALICE}}}\n")
        security.look()

    assert {"bob": ALICE.encode()} == security.now.config.users
    assert [f"web configuration reloaded path={tmp_path}/web-config.yml"] == caplog.messages


def test_a_certificate_that_is_named_by_a_new_file_is_watched_from_then_on(
    tmp_path: Path, authority: Authority
) -> None:
    """Also where the file itself does not change again."""
    authority.issue(tmp_path)
    authority.issue(tmp_path, stem="new-")
    security = Security(config(tmp_path))
    config(tmp_path, TLS.replace("cert.pem", "new-cert.pem").replace("key.pem", "new-key.pem"))
    security.look()
    taken = security.now

    authority.issue(tmp_path, stem="new-", lasts=timedelta(days=10))
    security.look()

    assert security.now is not taken
    assert security.now.tls is not None and taken.tls is not None
    assert security.now.tls.validity.not_after < taken.tls.validity.not_after


def half_written(folder: Path, authority: Authority) -> None:
    """The certificate's file as its writer has it for a moment."""
    (folder / "cert.pem").write_bytes((folder / "cert.pem").read_bytes()[:400])


def empty(folder: Path, authority: Authority) -> None:
    """The file as a writer that truncates it has it for a moment; a valid one, which protects nothing."""
    config(folder, "")


def without_users(folder: Path, authority: Authority) -> None:
    """The first lines of the file."""
    config(folder, TLS)


def mismatched(folder: Path, authority: Authority) -> None:
    """The certificate is new and its key is not there yet."""
    key = (folder / "key.pem").read_bytes()
    authority.issue(folder)
    (folder / "key.pem").write_bytes(key)


def expired(folder: Path, authority: Authority) -> None:
    """A certificate that nobody would accept."""
    authority.issue(folder, lasts=timedelta(days=-1))


def keyless(folder: Path, authority: Authority) -> None:
    """A key that is gone."""
    (folder / "key.pem").unlink()


def mistaken(folder: Path, authority: Authority) -> None:
    """A typing mistake."""
    config(folder, TLS + "basic_auth_user: {}\n")


@pytest.mark.parametrize(
    ("breaks", "why"),
    [
        (half_written, "has no certificate"),
        (empty, "tls_server_config would be switched off; restart to do that"),
        (without_users, "basic_auth_users would be switched off; restart to do that"),
        (mismatched, "is not the key of"),
        (expired, "expired 24.0 hours ago"),
        (keyless, "key.pem: cannot be read"),
        (mistaken, "unknown key, did you mean 'basic_auth_users'"),
    ],
)
def test_what_cannot_be_used_changes_nothing_and_is_said_once(
    tmp_path: Path,
    authority: Authority,
    caplog: pytest.LogCaptureFixture,
    breaks: Callable[[Path, Authority], None],
    why: str,
) -> None:
    """The old protection stays; the log and a metric say so until it is put right."""
    authority.issue(tmp_path)
    security = Security(config(tmp_path, TLS + USERS))
    before = security.now
    breaks(tmp_path, authority)

    security.look()
    security.look()

    assert security.now is before
    assert 0.0 == security.counters.health().config_last_reload_successful
    assert any(why in message for message in caplog.messages)
    assert len(caplog.messages) == len(set(caplog.messages))

    authority.issue(tmp_path)
    config(tmp_path, TLS + USERS)
    security.look()

    assert security.now is not before
    assert 1.0 == security.counters.health().config_last_reload_successful


def test_the_policy_for_clients_is_not_taken_back_without_a_restart(tmp_path: Path, authority: Authority) -> None:
    """Nor is it weakened."""
    authority.issue(tmp_path)
    authority.write(tmp_path / "ca.pem")
    more = ", client_ca_file: ca.pem, client_auth_type: {}}}"
    security = Security(config(tmp_path, TLS.replace("}", more.format("RequireAndVerifyClientCert"))))
    before = security.now

    config(tmp_path, TLS.replace("}", more.format("VerifyClientCertIfGiven")))
    security.look()

    assert security.now is before


def test_an_expired_certificate_may_follow_an_expired_one(tmp_path: Path, authority: Authority) -> None:
    """Nothing is lost by it, and the rest of the file is taken."""
    authority.issue(tmp_path, lasts=timedelta(days=-3))
    security = Security(config(tmp_path))
    before = security.now

    authority.issue(tmp_path, lasts=timedelta(days=-2))
    security.look()

    assert security.now is not before


@pytest.mark.parametrize(
    ("now", "said"), [(5, "is valid only in 0.0 hours"), (15, ""), (3620, "expired 1.0 hours ago")]
)
def test_trouble_is_said_in_words(now: float, said: str) -> None:
    """Too early, in time, too late."""
    assert said == trouble(Validity(10, 20), now)
