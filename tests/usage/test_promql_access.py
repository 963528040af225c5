"""Reading a server that wants to know who asks: TLS, users, tokens, tenants."""

from __future__ import annotations

import base64
import ssl
from pathlib import Path
from typing import Any

import pytest
import trustme
from pydantic import ValidationError

from gpuwatch.model import Site
from gpuwatch.usage.base import Asking, Delivery, Failure, Mark, Reached
from gpuwatch.usage.promql import PromqlUsage
from tests.usage.agent_pages import Held, Node
from tests.usage.fake_prometheus import FakePrometheus, Query, refused
from tests.usage.small_promql import SmallPromql
from tests.usage.test_promql import T0, scrapes


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    """One for all tests: making keys takes time."""
    return trustme.CA()


def store() -> SmallPromql:
    """A minute of a node with a job."""
    return SmallPromql(scrapes(Node(jobs=(Held("4711", T0),)), T0, T0 + 60))


def collect(fake: FakePrometheus, **settings: Any) -> list[Delivery | Reached | Failure]:
    """What a pass gives."""
    given = {"url": fake.url, "timeout_seconds": 5.0, **settings}
    source = PromqlUsage(PromqlUsage.Settings(**given), Site("default"))
    return list(source.collect(Asking(T0 + 90, {fake.url: Mark("windows", T0)})))


def secure(authority: trustme.CA, mutual: bool = False) -> FakePrometheus:
    """A server with a certificate for the loopback, that may want one, too."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    if mutual:
        authority.configure_trust(context)
        context.verify_mode = ssl.CERT_REQUIRED
    return FakePrometheus(store().answer, context)


def trusting(folder: Path, authority: trustme.CA) -> Path:
    """The authority's certificate as a file."""
    authority.cert_pem.write_to_path(str(folder / "ca.pem"))
    return folder / "ca.pem"


def test_a_server_of_a_trusted_authority_is_read(tmp_path: Path, authority: trustme.CA) -> None:
    """The site's own authority is enough."""
    with secure(authority) as fake:
        delivery, reached = collect(fake, ca_file=trusting(tmp_path, authority))

    assert isinstance(delivery, Delivery)
    assert isinstance(reached, Reached)


def test_a_server_of_a_stranger_is_not_read(authority: trustme.CA) -> None:
    """It could be anybody; nothing is sent to it."""
    with secure(authority) as fake:
        (failure,) = collect(fake)

    assert isinstance(failure, Failure)
    assert "CERTIFICATE_VERIFY_FAILED" in failure.message
    assert [] == fake.asked


def test_a_client_certificate_is_shown(tmp_path: Path, authority: trustme.CA) -> None:
    """Where the server wants one."""
    issued = authority.issue_cert("accounting.example.org")
    issued.cert_chain_pems[0].write_to_path(str(tmp_path / "client.pem"))
    issued.private_key_pem.write_to_path(str(tmp_path / "client.key"))
    pair = {"cert_file": tmp_path / "client.pem", "key_file": tmp_path / "client.key"}
    with secure(authority, mutual=True) as fake:
        trust = trusting(tmp_path, authority)
        (without,) = collect(fake, ca_file=trust)
        found = collect(fake, ca_file=trust, **pair)

    assert isinstance(without, Failure)
    assert isinstance(found[-1], Reached)


def test_users_tokens_and_tenants_are_shown_with_every_query(tmp_path: Path) -> None:
    """Files are read when they are needed; a refusal says what the server said."""
    (tmp_path / "secret").write_text("geheim\n", encoding="utf-8")
    basic = {"username": "accounting", "password_file": tmp_path / "secret"}
    bearer = {"token_file": tmp_path / "secret", "headers": {"X-Scope-OrgID": "gpu"}}
    there = store()

    def respond(query: Query) -> Any:
        known = ("Bearer geheim", "Basic " + base64.b64encode(b"accounting:geheim").decode())
        return there.answer(query) if query.headers.get("authorization") in known else refused(401, "no org id")

    with FakePrometheus(respond) as fake:
        by_user, by_token, stranger = collect(fake, **basic), collect(fake, **bearer), collect(fake)

    assert (2, 2) == (len(by_user), len(by_token))
    assert [Failure(fake.url, f"answered 401 Unauthorized: no org id; it stays to be read from {T0}")] == stranger
    tenants = [query.headers.get("x-scope-orgid") for query in fake.asked]
    assert ({None, "gpu"}, len(tenants) // 2) == (set(tenants), tenants.count("gpu"))


@pytest.mark.parametrize(
    ("settings", "why"),
    [
        ({"url": "prometheus:9090"}, "must be http://HOST:PORT"),
        ({"url": "https://u:p@h"}, "must not carry a password"),
        ({"username": "a"}, "must name username and password_file, or neither"),
        ({"cert_file": "a"}, "must name cert_file and key_file, or neither"),
        ({"token_file": "a", "username": "b", "password_file": "c"}, "must name token_file or username, not both"),
        ({"headers": {"Authorization": "Bearer x"}}, "must not set Authorization"),
        ({"window_seconds": 1}, "greater than or equal to 60"),
    ],
)
def test_a_setting_that_cannot_be_honoured_is_refused(settings: dict[str, Any], why: str) -> None:
    """At start."""
    with pytest.raises(ValidationError, match=why):
        PromqlUsage.Settings(**settings)
