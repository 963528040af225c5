"""Servers behind TLS: authorities of one's own, client certificates, and their renewal."""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import Any

import pytest
import trustme

from gpuwatch.sinks.influxdb_server import Server
from gpuwatch.sinks.influxdb_settings import ServerSettings
from tests.sinks.fake_influxdb import FakeInfluxdb

LINE = b"gpuwatch_device,node=gw0 power_watts=651.25 1764000000000000000\n"


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    """One for all tests: making keys takes time."""
    return trustme.CA()


def serving(authority: trustme.CA, mutual: bool = False) -> FakeInfluxdb:
    """A server with a certificate for the loopback, that may want one, too."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    if mutual:
        authority.configure_trust(context)
        context.verify_mode = ssl.CERT_REQUIRED
    return FakeInfluxdb(context=context)


def trusting(folder: Path, authority: trustme.CA) -> Path:
    """The authority's certificate as a file."""
    authority.cert_pem.write_to_path(str(folder / "ca.pem"))
    return folder / "ca.pem"


def client(folder: Path, authority: trustme.CA) -> dict[str, Path]:
    """A client's certificate and key as files."""
    issued = authority.issue_cert("gw0.example.org")
    issued.cert_chain_pems[0].write_to_path(str(folder / "client.pem"))
    issued.private_key_pem.write_to_path(str(folder / "client.key"))
    return {"cert_file": folder / "client.pem", "key_file": folder / "client.key"}


def server_of(fake: FakeInfluxdb, **settings: Any) -> Server:
    return Server(ServerSettings(url=fake.url, bucket="gpu", timeout_seconds=5.0, **settings))


def test_authority_of_ones_own_is_trusted(authority: trustme.CA, tmp_path: Path) -> None:
    """By `ca_file`; a server that it did not certify gets nothing."""
    other = trustme.CA()
    with serving(authority) as fake, serving(other) as stranger:
        good = server_of(fake, ca_file=trusting(tmp_path, authority)).write(LINE)
        bad = server_of(stranger, ca_file=tmp_path / "ca.pem").write(LINE)

        assert ("stored", [LINE]) == (good.verdict, fake.requests)
        assert ("later", "network", True) == (bad.verdict, bad.reason, "certificate verify failed" in bad.detail)
        assert [] == stranger.requests


def test_client_certificate_is_shown(authority: trustme.CA, tmp_path: Path) -> None:
    """To a server that wants one."""
    ca_file = trusting(tmp_path, authority)
    with serving(authority, mutual=True) as fake:
        with_one = server_of(fake, ca_file=ca_file, **client(tmp_path, authority)).write(LINE)
        without = server_of(fake, ca_file=ca_file).write(LINE)

        assert ("stored", "later", "network") == (with_one.verdict, without.verdict, without.reason)


def test_renewed_authority_is_taken_without_a_restart(authority: trustme.CA, tmp_path: Path) -> None:
    """Files are looked at with each request."""
    with serving(authority) as fake:
        ca_file = trusting(tmp_path, trustme.CA())
        server = server_of(fake, ca_file=ca_file)
        before = server.write(LINE)
        trusting(tmp_path, authority)

        assert ("later", "stored") == (before.verdict, server.write(LINE).verdict)
