"""TLS on the wire: versions, suites, client certificates, and what is cut."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import httpx
import pytest

from gpuwatch.web.security import Security
from tests.web.authority import ALICE, PAGE, Authority, config, port_of, serving

pytestmark = pytest.mark.integration

MUTUAL = """
tls_server_config:
  cert_file: cert.pem
  key_file: key.pem
  client_ca_file: ca.pem
  client_auth_type: {policy}
  client_allowed_sans: {sans}
"""


@pytest.fixture(scope="module")
def authority() -> Authority:
    """One for all tests: making keys takes time."""
    return Authority()


@pytest.fixture
def folder(tmp_path: Path, authority: Authority) -> Path:
    """A folder with a server's certificate, its authority, and a client's certificate."""
    authority.issue(tmp_path)
    authority.issue(tmp_path, "prometheus.example.org", stem="client-")
    authority.write(tmp_path / "ca.pem")
    return tmp_path


def scrape(url: str, context: ssl.SSLContext) -> httpx.Response:
    """One scrape on a connection of its own."""
    return httpx.get(f"{url}/metrics", verify=context, headers={"accept-encoding": "identity"}, timeout=10)


def tls(**more: str) -> str:
    """A web-config file with more of TLS in it."""
    rows = "".join(f", {name}: {value}" for name, value in more.items())
    return f"tls_server_config: {{cert_file: cert.pem, key_file: key.pem{rows}}}"


def agreed(port: int, context: ssl.SSLContext) -> tuple[str, str]:
    """The version and the suite of a handshake, after an answer has come through."""
    raw = socket.create_connection(("127.0.0.1", port), timeout=10)
    with raw, context.wrap_socket(raw, server_hostname="127.0.0.1") as peer:
        peer.sendall(b"GET /-/healthy HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        assert peer.recv(15) == b"HTTP/1.1 200 OK"
        return str(peer.version()), str((peer.cipher() or ("",))[0])


def test_a_certificate_is_served_and_the_address_says_https(folder: Path, authority: Authority) -> None:
    """What is served over TLS is the same page, with the certificate's end in it."""
    with serving(Security(config(folder))) as server:
        answer = scrape(server.url, authority.context())

    assert server.url.startswith("https://127.0.0.1:")
    assert answer.content.startswith(PAGE)
    assert "gpuwatch_web_certificate_not_after_timestamp_seconds " in answer.text


def test_http_is_not_served_where_there_is_tls(folder: Path) -> None:
    """Nobody sends a password in clear by mistake; it is counted as a handshake that failed."""
    security = Security(config(folder))
    with serving(security) as server, pytest.raises(httpx.TransportError):
        httpx.get(server.url.replace("https", "http") + "/metrics", timeout=10)

    assert 1.0 == security.counters.health().connections_cut["handshake_failed"]


def test_tls_12_is_the_least_and_13_is_preferred(folder: Path, authority: Authority) -> None:
    """Without anything said."""
    context, old = authority.context(), authority.context()
    old.maximum_version = ssl.TLSVersion.TLSv1_2
    with serving(Security(config(folder))) as server:
        assert "TLSv1.3" == agreed(port_of(server), context)[0]
        assert "TLSv1.2" == agreed(port_of(server), old)[0]
    with serving(Security(config(folder, tls(min_version="TLS13")))) as server, pytest.raises(ssl.SSLError):
        agreed(port_of(server), old)
    with serving(Security(config(folder, tls(max_version="TLS12")))) as server:
        assert "TLSv1.2" == agreed(port_of(server), context)[0]


def test_suites_and_curve_are_the_ones_that_were_chosen(folder: Path, authority: Authority) -> None:
    """By their names in Go, in the order of the file."""
    suites = "[TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256, TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256]"
    context = authority.context()
    context.set_ciphers("ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-ECDSA-CHACHA20-POLY1305")
    context.maximum_version = ssl.TLSVersion.TLSv1_2

    found = []
    for text in (tls(cipher_suites=suites), tls(cipher_suites=suites, prefer_server_cipher_suites="false")):
        with serving(Security(config(folder, text))) as server:
            found.append(agreed(port_of(server), context)[1])

    assert ["ECDHE-ECDSA-CHACHA20-POLY1305", "ECDHE-ECDSA-AES128-GCM-SHA256"] == found


@pytest.mark.parametrize("curve", ["CurveP256", "CurveP384", "CurveP521", "X25519"])
def test_every_curve_can_be_agreed_upon(folder: Path, authority: Authority, curve: str) -> None:
    """Alone, as Python's ssl takes it."""
    with serving(Security(config(folder, tls(curve_preferences=f"[{curve}]")))) as server:
        assert "TLSv1.3" == agreed(port_of(server), authority.context())[0]


def test_clients_need_a_certificate_of_the_authority_where_it_is_required(
    folder: Path, authority: Authority, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """None, a stranger's and an expired one are refused."""
    stranger, late = tmp_path_factory.mktemp("stranger"), tmp_path_factory.mktemp("late")
    Authority().issue(stranger, "prometheus.example.org", stem="client-")
    authority.issue(late, "prometheus.example.org", timedelta(days=-1), stem="client-")
    security = Security(config(folder, MUTUAL.format(policy="RequireAndVerifyClientCert", sans="[]")))
    with serving(security) as server:
        assert 200 == scrape(server.url, authority.context(folder)).status_code
        for context in (authority.context(), authority.context(stranger), authority.context(late)):
            with pytest.raises(httpx.TransportError):
                scrape(server.url, context)

    assert 3.0 == security.counters.health().connections_cut["handshake_failed"]


def test_a_certificate_that_is_given_is_verified_where_none_is_required(
    folder: Path, authority: Authority
) -> None:
    """VerifyClientCertIfGiven."""
    with serving(Security(config(folder, MUTUAL.format(policy="VerifyClientCertIfGiven", sans="[]")))) as server:
        assert 200 == scrape(server.url, authority.context(folder)).status_code
        assert 200 == scrape(server.url, authority.context()).status_code


@pytest.mark.parametrize(
    ("name", "sans", "admitted"),
    [
        ("prometheus.example.org", "[other.example.org, prometheus.example.org]", True),
        ("prometheus.example.org", "[example.org]", False),
        ("::1", '["0:0::1"]', True),
        ("192.0.2.7", "[192.0.2.7]", True),
        ("192.0.2.7", "[192.0.2.70]", False),
    ],
)
def test_the_names_of_clients_are_compared_whole(
    folder: Path, authority: Authority, name: str, sans: str, admitted: bool
) -> None:
    """DNS names and addresses, in whatever form an address is written."""
    authority.issue(folder, name, stem="client-")
    security = Security(config(folder, MUTUAL.format(policy="RequireAndVerifyClientCert", sans=sans)))
    with serving(security) as server:
        if admitted:
            assert 200 == scrape(server.url, authority.context(folder)).status_code
        else:
            with pytest.raises(httpx.TransportError):
                scrape(server.url, authority.context(folder))

    assert float(not admitted) == security.counters.health().connections_cut["client_certificate"]


def served_serial(port: int, authority: Authority) -> str:
    """The serial number of the certificate that a new connection is shown."""
    raw = socket.create_connection(("127.0.0.1", port), timeout=10)
    with raw, authority.context().wrap_socket(raw, server_hostname="127.0.0.1") as peer:
        return str((peer.getpeercert() or {})["serialNumber"])


@pytest.fixture
def server_and_security(folder: Path) -> Iterator[tuple[int, Security]]:
    """A server with TLS and a user, that looks at its files when the test does."""
    security = Security(config(folder, f"{tls()}\nbasic_auth_users: {{alice: {ALICE}}}\n"))
    with serving(security) as server:
        yield port_of(server), security


def test_fault_35_a_rotated_certificate_is_served_without_a_restart(
    folder: Path, authority: Authority, server_and_security: tuple[int, Security]
) -> None:
    """New connections get the new one; one that is open goes on with the old."""
    port, security = server_and_security
    first = served_serial(port, authority)
    with httpx.Client(verify=authority.context(), auth=("alice", "wonderland"), timeout=10) as kept:
        assert 200 == kept.get(f"https://127.0.0.1:{port}/metrics").status_code

        authority.issue(folder)
        security.look()
        second = served_serial(port, authority)

        assert first != second
        assert 200 == kept.get(f"https://127.0.0.1:{port}/metrics").status_code
        assert (
            "gpuwatch_web_config_last_reload_successful 1\n" in kept.get(f"https://127.0.0.1:{port}/metrics").text
        )


@pytest.mark.parametrize("broken", ["expired", "mismatch", "half written"])
def test_fault_35_a_certificate_that_cannot_be_used_is_loud_and_the_old_one_stays(
    folder: Path,
    authority: Authority,
    server_and_security: tuple[int, Security],
    caplog: pytest.LogCaptureFixture,
    broken: str,
) -> None:
    """Expired, of another key, half written: in the log once, in the metric until it is put right."""
    port, security = server_and_security
    first = served_serial(port, authority)
    key = (folder / "key.pem").read_bytes()
    authority.issue(folder, lasts=timedelta(days=-1 if broken == "expired" else 100))
    if broken == "mismatch":
        (folder / "key.pem").write_bytes(key)
    if broken == "half written":
        (folder / "cert.pem").write_bytes((folder / "cert.pem").read_bytes()[:500])

    security.look()
    security.look()

    assert first == served_serial(port, authority)
    assert 1 == len([message for message in caplog.messages if "not taken" in message])
    url = f"https://127.0.0.1:{port}/metrics"
    page = httpx.get(url, verify=authority.context(), auth=("alice", "wonderland"), timeout=10).text
    assert "gpuwatch_web_config_last_reload_successful 0\n" in page

    authority.issue(folder)
    security.look()

    assert first != served_serial(port, authority)
    page = httpx.get(url, verify=authority.context(), auth=("alice", "wonderland"), timeout=10).text
    assert "gpuwatch_web_config_last_reload_successful 1\n" in page
