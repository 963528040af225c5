"""A real Prometheus scrapes over TLS, with a client's certificate and a user."""

from __future__ import annotations

import ssl
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from gpuwatch.web import counters
from gpuwatch.web.security import Security
from tests.integration.debian import Prometheus, run, wait_until
from tests.web.authority import ALICE, Authority, config, port_of, serving

pytestmark = [pytest.mark.integration, pytest.mark.xdist_group("prometheus")]

PROTECTED = f"""
tls_server_config:
  cert_file: cert.pem
  key_file: key.pem
  client_ca_file: ca.pem
  client_auth_type: RequireAndVerifyClientCert
  client_allowed_sans: [prometheus.example.org]
basic_auth_users:
  alice: {ALICE}
"""
SCRAPING = """
global: {{scrape_interval: 1s, scrape_timeout: 1s}}
scrape_configs:
  - job_name: trusted
    scheme: https
    tls_config: {{ca_file: {tls}/ca.pem, cert_file: {tls}/client-cert.pem, key_file: {tls}/client-key.pem}}
    basic_auth: {{username: alice, password: wonderland}}
    static_configs: [{{targets: ["127.0.0.1:{port}"]}}]
  - job_name: wrong-password
    scheme: https
    tls_config: {{ca_file: {tls}/ca.pem, cert_file: {tls}/client-cert.pem, key_file: {tls}/client-key.pem}}
    basic_auth: {{username: alice, password: guess}}
    static_configs: [{{targets: ["127.0.0.1:{port}"]}}]
  - job_name: no-certificate
    scheme: https
    tls_config: {{ca_file: {tls}/ca.pem}}
    basic_auth: {{username: alice, password: wonderland}}
    static_configs: [{{targets: ["127.0.0.1:{port}"]}}]
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Certificates of a server and of a client."""
    made, authority = tmp_path_factory.mktemp("tls"), Authority()
    authority.issue(made)
    authority.issue(made, "prometheus.example.org", stem="client-")
    authority.write(made / "ca.pem")
    return made


@pytest.fixture(scope="module")
def port(folder: Path) -> Iterator[int]:
    """Where the protected server listens."""
    with serving(Security(config(folder, PROTECTED))) as server:
        yield port_of(server)


def test_prometheus_is_let_in_with_certificate_and_password_and_only_with_both(
    folder: Path, port: int, prometheus_server: Callable[[str], Prometheus]
) -> None:
    """Three scrape configurations, of which one is right."""
    started = prometheus_server(SCRAPING.format(tls=folder, port=port))

    def scraped() -> dict[str, Any]:
        targets = {each["labels"]["job"]: each for each in started.targets()}
        # On a busy machine a first scrape may get no answer in its second.
        late = any("deadline exceeded" in each["lastError"] for each in targets.values())
        known = len(targets) == 3 and all(each["health"] != "unknown" for each in targets.values())
        return targets if known and not late else {}

    found = wait_until(scraped, 20, "Prometheus has scraped")
    assert {"trusted": "up", "wrong-password": "down", "no-certificate": "down"} == {
        job: each["health"] for job, each in found.items()
    }
    assert "401" in found["wrong-password"]["lastError"]
    served = wait_until(lambda: started.query('{__name__=~"gpuwatch_web_.+"}'), 20, "its series can be queried")
    assert {metric.name for metric in counters.CATALOGUE} == {labels["__name__"] for labels, _ in served}


def test_promtool_has_nothing_to_say_about_what_the_web_server_exports(
    folder: Path, port: int, promtool: Path
) -> None:
    """Names, types and helps follow the conventions of Prometheus."""
    context = ssl.create_default_context(cafile=folder / "ca.pem")
    context.load_cert_chain(folder / "client-cert.pem", folder / "client-key.pem")
    page = httpx.get(f"https://127.0.0.1:{port}/metrics", verify=context, auth=("alice", "wonderland")).text

    checked = run(promtool, "check", "metrics", stdin=page.replace("a 1\n", "", 1))

    assert (0, "", "") == (checked.returncode, checked.stdout, checked.stderr)
