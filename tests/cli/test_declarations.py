"""Declaring from outside of a job, and reading what was declared: by API and out of the ledger."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from gpuwatch.agent.messages import Declare
from gpuwatch.cli import application
from gpuwatch.cli.api_client import ApiClient, usual_socket
from gpuwatch.config import load
from gpuwatch.errors import DeclarationError, Forbidden, Rejected, Unavailable
from gpuwatch.ledger.record_store import post_records
from gpuwatch.ledger.store import Store, open_store
from gpuwatch.schedulers.base import Live
from gpuwatch.web.api import Gate, api_routes
from gpuwatch.web.exposition import base_app
from gpuwatch.web.identity import Caller, Identity
from gpuwatch.web.names import FixedNames
from gpuwatch.web.roles import Access, Person
from gpuwatch.web.server import WebServer
from tests.agent.listener import Listener, listening
from tests.ledger.batch import record, running

NOW = time.time()


class Known:
    """A proof that takes everybody for ada."""

    challenge = hint = ""

    async def person(self, caller: Caller) -> Person | None:
        return Person("test", "ada")


@dataclass(frozen=True)
class Place:
    """A ledger, its API's socket, and a configuration that names both."""

    ledger: str
    socket: str
    config: str
    url: str


def fill(store: Store) -> None:
    """A job of ada's that runs, one of hers that is over, one of bob's."""
    live = Live(NOW, "gpuwatch: device-hours=4")
    with store.writing() as connection:
        post_records(
            connection,
            [
                running("77", live=live, submitted=int(NOW) - 1000, started=NOW - 900.0, seen=NOW),
                record("78", submitted=int(NOW) - 1000, started=NOW - 900.0, ended=NOW - 500.0),
                running("79", submitted=int(NOW) - 1000, started=NOW - 900.0, seen=NOW, user="bob", account="x"),
            ],
        )


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    store = open_store(str(tmp_path / "ledger.db"))
    fill(store)
    gate = Gate(Identity([Known()]), FixedNames({"ada": 1000}), Access())
    app = base_app("test", bytes, lambda: True, lambda: True, [], api_routes(lambda: store, gate))
    server = WebServer(app, "127.0.0.1:0", unix_socket=tmp_path / "api.sock")
    server.start()
    config = tmp_path / "g.toml"
    config.write_text(f'[accounting]\nledger = "sqlite:///{tmp_path}/ledger.db"\nsocket = "{tmp_path}/api.sock"\n')
    yield Place(str(tmp_path / "ledger.db"), str(tmp_path / "api.sock"), str(config), server.url)
    server.stop()
    store.close()


@pytest.fixture
def agent(tmp_path: Path) -> Iterator[Listener]:
    """An agent that takes what it is told."""
    with listening(tmp_path / "s") as listener:
        yield listener


def invoke(*arguments: str) -> Result:
    """Run a command in this process; what it raises is in the result."""
    return CliRunner().invoke(application(["declare", "declarations", "show"]), arguments)


def declared(place: Place, *arguments: str) -> Result:
    """Declare by API."""
    return invoke("declare", "--api", place.socket, *arguments)


def test_a_job_is_declared_for_by_api(place: Place) -> None:
    """What was stored is said, and read again by either way, and with the job."""
    result = declared(place, "--for", "job:77", "--device-hours", "640")

    assert (0, "declared device-hours=640h for=job:77\n") == (result.exit_code, result.output)
    by_api, of_ledger = (
        invoke("declarations", "job:77", *where) for where in (("--api", place.socket), ("--ledger", place.ledger))
    )
    assert by_api.output == of_ledger.output
    latest, first = by_api.output.splitlines()[1:]
    assert latest.startswith("  640 device-hours, ") and latest.endswith("Z by user:ada via api")
    assert first.startswith("  4") and first.endswith("Z by user:ada via comment (original, no longer in force)")
    shown = invoke("show", "77", "--ledger", place.ledger).output
    assert all(line.strip() in shown for line in (latest, first))


def test_revisions_are_printed_as_json(place: Place) -> None:
    """As the API has them, from either place."""
    declared(place, "--for", "job:77", "--energy", "5kWh")

    texts = [
        invoke("declarations", "job:77", "--json", *where).output
        for where in (("--api", place.socket), ("--ledger", place.ledger))
    ]

    document = json.loads(texts[0])
    assert document == json.loads(texts[1])
    assert ["energy", "device-hours"] == [each["quantity"] for each in document["declarations"]]


def test_what_comes_after_the_end_is_said_to(place: Place) -> None:
    """To who declares it, and to who reads it."""
    result = declared(place, "--for", "job:78", "--device-hours", "1")

    assert (0, True) == (result.exit_code, "does not count: the job has ended" in result.output)
    assert "(after the end)" in invoke("declarations", "job:78", "--ledger", place.ledger).output


def test_what_is_not_ones_own_is_refused_with_who_may(place: Place) -> None:
    """The refusal is listed."""
    result = declared(place, "--for", "job:79", "--device-hours", "1")

    assert isinstance(result.exception, Forbidden)
    assert "its owner, a coordinator of its account and admins may" in str(result.exception)
    for where in (("--api", place.socket), ("--ledger", place.ledger)):
        listed = invoke("declarations", "--refused", *where)
        assert "ada via test: device-hours=1h for=job:79: for=job:79: there is none" in listed.output
        (refusal,) = json.loads(invoke("declarations", "--refused", "--json", *where).output)
        assert "device-hours=1h for=job:79" == refusal["text"]


def test_the_agent_is_told_first_where_nothing_else_is_said(place: Place, agent: Listener) -> None:
    """In a job a campaign is declared for as before."""
    arguments = (
        "--for",
        "campaign:llama",
        "--device-hours",
        "7",
        "--config",
        place.config,
        "--socket",
        agent.path,
    )

    assert 0 == invoke("declare", *arguments).exit_code
    assert [Declare("device-hours=7h for=campaign:llama")] == agent.messages
    assert isinstance(invoke("declarations", "campaign:llama", "--ledger", place.ledger).exception, Unavailable)


@pytest.mark.parametrize("refusal", [Forbidden("no: not you"), Rejected("no: no job"), Unavailable("no: not now")])
def test_accounting_is_told_where_no_agent_takes_it(
    place: Place, agent: Listener, refusal: Forbidden | Rejected | Unavailable
) -> None:
    """As on a login node, where there is no agent, or a process outside of a job."""
    agent.refusal = refusal

    result = invoke("declare", "--for", "job:77", "--wall", "2d", "--config", place.config, "--socket", agent.path)

    assert (0, "declared wall=2d for=job:77\n") == (result.exit_code, result.output)


def test_where_nobody_takes_it_both_ways_are_named(tmp_path: Path) -> None:
    """With what was tried, and what to write."""
    config = tmp_path / "g.toml"
    config.write_text('[accounting]\nsocket = ""\n')

    result = invoke(
        "declare", "--for", "job:7", "--wall", "2d", "--config", str(config), "--socket", str(tmp_path / "none")
    )

    assert isinstance(result.exception, Unavailable)
    assert "no agent at " in str(result.exception) and "with --api http://HOST:9839" in str(result.exception)


def test_grammar_is_checked_before_anybody_is_asked(place: Place) -> None:
    """And an API is only asked about what is named."""
    assert isinstance(declared(place, "--for", "job:77", "--energy", "5kg").exception, DeclarationError)
    assert 64 == declared(place, "--energy", "5kWh").exit_code
    assert 64 == invoke("declarations").exit_code == invoke("declarations", "job:7", "--refused").exit_code
    assert isinstance(invoke("declarations", "node:7").exception, DeclarationError)


def test_over_tcp_a_body_is_part_of_what_munge_is_asked_to_prove(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Method, path, and the digest of the body, where there is one."""
    munge = tmp_path / "munge"
    munge.write_text(f'#!/bin/sh\nprintf "%s\\n" "$2" >> {tmp_path}/asked\necho MUNGE:AAAA:\n')
    munge.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    client = ApiClient(place.url, {})

    client.get("/me")
    client.post("/declarations", text="device-hours=1 for=job:77")

    asked = (tmp_path / "asked").read_text().splitlines()
    assert "gpuwatch/1 GET /api/v1/me" == asked[0]
    method, digest = asked[1].rsplit(" ", 1)
    assert ("gpuwatch/1 POST /api/v1/declarations", 64) == (method, len(digest))


def test_the_usual_socket_is_the_configured_one(
    place: Place, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Without a configuration that of this user's own gpuwatch, and none where there is none."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    assert place.socket == usual_socket(load(Path(place.config)))
    assert None is usual_socket(load(None, {"accounting.socket": ""}))

    (tmp_path / "state" / "gpuwatch").mkdir(parents=True)
    os.symlink(place.socket, tmp_path / "state" / "gpuwatch" / "api.sock")
    assert str(tmp_path / "state" / "gpuwatch" / "api.sock") == usual_socket(load(None))
