"""The gate is as the configuration says, and asks who is who of the machine."""

from __future__ import annotations

import asyncio
import base64
import os
from pathlib import Path
from typing import Any

import httpx
import pytest

from gpuwatch import config as configuration
from gpuwatch.ledger.store import open_store
from gpuwatch.web.api import TREE, api_routes
from gpuwatch.web.authentication import Passwords
from gpuwatch.web.exposition import base_app
from gpuwatch.web.gate import access_of, gate_of, socket_of
from gpuwatch.web.names import KEPT_SECONDS, FixedNames, UnixNames
from gpuwatch.web.security import Security
from gpuwatch.web.server import WebServer
from tests.web.asking import ask
from tests.web.authority import ALICE, config
from tests.web.ledgers import NOW, fill


def settings(tmp_path: Path, text: str = "") -> Any:
    (tmp_path / "g.toml").write_text(text)
    return configuration.load(tmp_path / "g.toml")


def test_the_default_socket_is_made_where_its_directory_is(tmp_path: Path) -> None:
    """A chosen one always, an empty one never."""
    chosen = settings(tmp_path, '[accounting]\nsocket = "/nowhere/api.sock"')

    assert Path("/nowhere/api.sock") == socket_of(chosen)
    assert socket_of(settings(tmp_path, '[accounting]\nsocket = ""')) is None
    default = socket_of(settings(tmp_path))
    assert (default is not None) == Path("/run/gpuwatch-accounting").is_dir()


def test_roles_are_those_of_the_configuration(tmp_path: Path) -> None:
    """In a table of its own."""
    access_table = '[access]\nadmins = ["@wheel"]\nsupport = ["sam"]\ncoordinators = {ml = ["grace"]}\n'
    text = f'[site]\ncluster = "hydra"\n{access_table}'

    access = access_of(settings(tmp_path, text))

    assert ("hydra", ("@wheel",), ("sam",)) == (access.cluster, access.admins, access.support)
    assert {"ml": ("grace",)} == access.coordinators


@pytest.mark.parametrize(
    ("text", "challenge"),
    [
        ("", ""),
        ('unmunge = "/bin/true"', "Munge"),
        ('slurm_jwt_key_file = "KEY"\nunmunge = "true"', 'Bearer realm="gpuwatch", Munge'),
    ],
)
def test_what_is_configured_is_asked_for(tmp_path: Path, text: str, challenge: str) -> None:
    """Nothing else is."""
    key = tmp_path / "jwt.key"
    key.write_bytes(bytes(32))

    async def made() -> str:
        given = settings(tmp_path, f'[accounting]\nsocket = ""\n{text}'.replace("KEY", str(key)))
        return gate_of(given, Security(), Passwords()).identity.challenge

    assert challenge == asyncio.run(made())


def test_what_cannot_be_honoured_is_a_mistake_at_start(tmp_path: Path) -> None:
    """All at once."""
    given = settings(tmp_path, '[accounting]\nslurm_jwt_key_file = "/no/key"\nunmunge = "no-such-program"')

    with pytest.raises(configuration.ConfigurationError) as refused:
        gate_of(given, Security(), Passwords())
    assert (
        "accounting.slurm_jwt_key_file: /no/key: cannot be read; No such file or directory",
        "accounting.unmunge: 'no-such-program' is no program that can be run",
    ) == refused.value.mistakes


def test_a_proxy_needs_its_header_and_the_header_a_proxy(tmp_path: Path) -> None:
    """One without the other would believe everybody, or nobody."""
    for text in ('proxies = ["10.0.0.0/8"]', 'proxy_user_header = "X-Remote-User"'):
        with pytest.raises(configuration.ConfigurationError, match="must have both"):
            settings(tmp_path, f"[accounting]\n{text}")
    with pytest.raises(configuration.ConfigurationError, match="must be addresses or networks"):
        settings(tmp_path, '[accounting]\nproxies = ["here"]\nproxy_user_header = "X-User"')
    with pytest.raises(configuration.ConfigurationError, match="header of its own"):
        settings(tmp_path, '[accounting]\nproxies = ["10.0.0.1"]\nproxy_user_header = "Authorization"')


def application(tmp_path: Path, text: str, store: Any) -> Any:
    """Accounting's application as it is configured, with the user alice in its web-config file."""
    security, passwords = Security(config(tmp_path, f"basic_auth_users: {{alice: {ALICE}}}\n")), Passwords()
    names = FixedNames({"alice": 1000, "eve": os.getuid()})
    gate = gate_of(settings(tmp_path, text), security, passwords, names)
    routes = api_routes(lambda: store, gate, lambda: NOW)
    return base_app(
        "test", bytes, lambda: True, lambda: True, [], routes, security=security, bearer_paths=(TREE,),
        passwords=passwords,
    )  # fmt: skip


def test_the_api_knows_the_users_of_the_web_config_file(tmp_path: Path) -> None:
    """As themselves; other pages ask for a password as before, and no path of the API goes without identity."""
    store = open_store(str(tmp_path / "ledger.db"))
    app = application(tmp_path, '[access]\nsupport = ["alice"]', store)

    me = ask(app, "GET", "/api/v1/me", auth=("alice", "wonderland")).json()
    wrong = ask(app, "GET", "/api/v1/me", auth=("alice", "wrong"))
    nobody = ask(app, "GET", "/api/v1/jobs")
    elsewhere = [ask(app, "GET", path).status_code for path in ("/metrics", "/", "/api/v1", "/api/v10/x")]
    unknown = ask(app, "GET", "/api/v1/nothing")
    store.close()

    assert ("alice", 1000, ["support", "self"], "basic") == tuple(
        me[key] for key in ("name", "uid", "roles", "identified_by")
    )
    assert (401, "basic: name or password is wrong") == (wrong.status_code, wrong.json()["error"])
    assert (401, 'Basic realm="gpuwatch", charset="UTF-8"') == (
        nobody.status_code,
        nobody.headers["www-authenticate"],
    )
    assert [401] * 4 == elsewhere
    assert 404 == unknown.status_code


def test_at_the_socket_nobody_needs_a_password(tmp_path: Path) -> None:
    """The kernel's word counts for the API, and for nothing else; this process runs the service, so it may all."""
    store = open_store(str(tmp_path / "ledger.db"))
    fill(store)
    text = f'[accounting]\nsocket = "{tmp_path / "api.sock"}"'

    async def made() -> Any:
        return application(tmp_path, text, store)

    server = WebServer(asyncio.run(made()), "127.0.0.1:0", unix_socket=tmp_path / "api.sock")
    server.start()
    try:
        transport = httpx.HTTPTransport(uds=str(tmp_path / "api.sock"))
        with httpx.Client(transport=transport, base_url="http://gpuwatch") as client:
            me, page = client.get("/api/v1/me").json(), client.get("/metrics").status_code
            basic = base64.b64encode(b"alice:wonderland").decode()
            alice = client.get("/api/v1/me", headers={"authorization": f"Basic {basic}"}).json()
    finally:
        server.stop()
        store.close()

    assert ("eve", ["admin", "self"], "socket") == (me["name"], me["roles"], me["identified_by"])
    assert ("alice", ["self"]) == (alice["name"], alice["roles"])
    assert 401 == page


def test_the_machine_is_asked_once_a_minute() -> None:
    """Root is there on every one; who is not known has neither name nor groups."""
    now = [0.0]
    names = UnixNames(lambda: now[0])

    assert ("root", 0) == (names.name_of(0), names.uid_of("root"))
    assert "root" in names.groups_of("root")
    assert (None, None, frozenset()) == (
        names.name_of(2**31 - 7),
        names.uid_of("no such"),
        names.groups_of("no such"),
    )
    now[0] = KEPT_SECONDS + 1
    assert "root" == names.name_of(0)
