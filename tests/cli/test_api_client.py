"""The commands ask accounting's API where there is one to ask, and print what the ledger would have told."""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from gpuwatch.accounting.accountant import Accountant
from gpuwatch.accounting.overruns import Bounds
from gpuwatch.accounting.series import BurnUpSeries
from gpuwatch.cli.api_client import ApiClient
from gpuwatch.cli.api_views import forecast_of, series_of
from gpuwatch.cli.budget import budget
from gpuwatch.cli.compare import compare
from gpuwatch.cli.jobs import By, jobs, show
from gpuwatch.cli.top import top
from gpuwatch.errors import ConfigurationError, Forbidden, Rejected, Unavailable
from gpuwatch.ledger.forecast_store import KeptForecast
from gpuwatch.ledger.record_store import post_grants, post_records
from gpuwatch.ledger.store import Store, open_store
from gpuwatch.model import BurnUpPoint, Forecast, Scope
from gpuwatch.schedulers.base import Grant, Live
from gpuwatch.web.api import Gate, api_routes
from gpuwatch.web.api_documents import forecast_document
from gpuwatch.web.exposition import base_app
from gpuwatch.web.forecast_documents import series_document
from gpuwatch.web.identity import Identity
from gpuwatch.web.names import FixedNames
from gpuwatch.web.peer_proof import PeerProof
from gpuwatch.web.roles import Access
from gpuwatch.web.server import WebServer
from tests.accounting.fakes import FakeNotifier, FakeSource, everything_told
from tests.cli.now import begins_now
from tests.ledger.batch import record, running
from tests.ledger.deliveries import declared, delivery, progress, row, run_ended, run_started
from tests.ledger.made import job, run

NOW = time.time()
START = int(NOW) - 1000
beginning = begins_now()


def fill(store: Store) -> None:
    """Jobs with all that is shown of one: estimates, progress, alerts, attempts, doubts, indices."""
    said = [
        declared("device-hours=0.01 energy=1kWh", time=START + 1.0, started=START, seq=2),
        declared("device-hours=0.02..0.05..0.06 campaign=llama", time=START + 2.0, started=START, seq=3),
    ]
    events = [
        run_started(time=START - 1.0), progress(250, started=START, time=NOW - 9, start_step=50),
        run_started("run-2", "bad\nname", time=START - 1.0), run_ended("run-2", 3, time=NOW - 50),
    ]  # fmt: skip
    rows = [
        row(started=START, last_seen=NOW, uuid="GPU-0", energy_unmeasured_seconds=10.0),
        row("run-2", started=START, last_seen=NOW - 50, uuid="GPU-1", open=False),
        row("77", started=START, last_seen=NOW, uuid="GPU-3"),
    ]
    live = Live(NOW, "gpuwatch: device-hours=4", devices=2.0, indices={"gw0": (0, 3)})
    records = [
        running("77", live=live, started=START - 2.0, seen=NOW, rule="typed", doubt="it differs", display="77_1"),
        record(
            "78", started=START - 900.0, ended=START - 500.0, submitted=START - 950, state="REQUEUED", user="bob",
            exit_code=9, limit_seconds=None,
        ),
        running("78", started=START - 400.0, submitted=START - 499, seen=NOW, restarts=1, user="bob"),
    ]  # fmt: skip
    grants = [
        Grant("default", "ml", "", "gres/gpu", 36_000.0, 7200.0, NOW - 60, starts=START - 1e6, source="slurm"),
        Grant("default", "ml", "ada", "gres/gpu", 360.0, 7.0, NOW - 60, source="slurm"),
        Grant("default", "nlp", "", "gres/gpu", None, 5.0, NOW - 60, parent="ml", source="slurm"),
    ]
    with store.writing() as connection:
        post_records(connection, records)
        post_grants(connection, grants)
    source = FakeSource([delivery(rows, said, events, now=NOW)])
    Accountant(
        store, {"fake": source}, {"fake": FakeNotifier()}, Bounds(0.1, 0.0), policy=everything_told()
    ).run_pass(NOW)


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, str]]:
    """A ledger's file and the socket of an API on it, at which this process may read everything."""
    folder = tmp_path_factory.mktemp("api")
    store = open_store(str(folder / "ledger.db"))
    fill(store)
    gate = Gate(Identity([PeerProof("/x")]), FixedNames({"me": os.getuid()}), Access())
    app = base_app("test", bytes, lambda: True, lambda: True, [], api_routes(lambda: store, gate))
    server = WebServer(app, "127.0.0.1:0", unix_socket=folder / "api.sock")
    server.start()
    yield str(folder / "ledger.db"), str(folder / "api.sock")
    server.stop()
    store.close()


COMMANDS: dict[str, Callable[..., None]] = {
    "jobs": lambda **where: jobs(**where),
    "jobs as JSON": lambda **where: jobs(as_json=True, **where),
    "jobs that run": lambda **where: jobs(running=True, **where),
    "compare two jobs": lambda **where: compare("77", "run-1", **where),
    "one look at all that runs": lambda **where: top(once=True, **where),
    "jobs by user": lambda **where: jobs(by=By.USER, since="2020-01-01", **where),
    "jobs by day": lambda **where: jobs(by=By.DAY, as_csv=True, **where),
    "show a run": lambda **where: show("run-1", **where),
    "show a run by name": lambda **where: show("llama-ft", **where),
    "show a failed run": lambda **where: show("run-2", as_json=True, **where),
    "show a run with its chart": lambda **where: show("run-1", chart=True, **where),
    "show a job": lambda **where: show("77", **where),
    "show attempts": lambda **where: show("78", **where),
    "budgets": lambda **where: budget(**where),
    "a budget": lambda **where: budget("ml", **where),
    "a budget as JSON": lambda **where: budget("ml", as_json=True, **where),
    "a budget of another resource": lambda **where: budget("nlp", resource="energy", **where),
}


@pytest.mark.parametrize("command", COMMANDS)
def test_the_api_and_the_ledger_print_the_same(
    places: tuple[str, str], command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """But for what passes between the two."""
    ledger, socket = places

    COMMANDS[command](ledger=ledger)
    of_ledger = capsys.readouterr().out
    COMMANDS[command](api=socket)
    of_api = capsys.readouterr().out

    assert len(of_ledger) > 40
    assert skeleton(of_ledger) == skeleton(of_api)
    assert pytest.approx(figures(of_ledger), rel=0.05, abs=5.0) == figures(of_api)


NUMBER = re.compile(r"-?\d+(?:\.\d+)?(?:e[+-]?\d+)?")


def skeleton(text: str) -> str:
    """What was printed, without its figures: some are of the moment at which it was."""
    return re.sub(r" +", " ", NUMBER.sub("#", text))


def figures(text: str) -> list[float]:
    """The figures in it."""
    return [float(each) for each in NUMBER.findall(text)]


def test_what_the_api_refuses_is_said(places: tuple[str, str]) -> None:
    """Each refusal is an error of its own sort."""
    client = ApiClient(places[1])

    with pytest.raises(Unavailable, match="there is none of that name, or it is not yours to read"):
        client.get("/jobs/nothing")
    with pytest.raises(Rejected, match="limit: '0' is not possible"):
        client.get("/jobs", limit=0)
    with pytest.raises(Unavailable, match=r"API at /nowhere\.sock: FileNotFoundError"):
        ApiClient("/nowhere.sock").get("/me")
    with pytest.raises(ConfigurationError, match="write http://HOST:PORT or a socket's path"):
        ApiClient("ftp://host").get("/me")


def test_over_tcp_nobody_is_known_without_a_credential(places: tuple[str, str]) -> None:
    """The token of the session is shown where there is one."""
    gate = Gate(Identity([]), FixedNames({}), Access())
    app = base_app("test", bytes, lambda: True, lambda: True, [], api_routes(lambda: None, gate))
    server = WebServer(app, "127.0.0.1:0")
    server.start()
    try:
        with pytest.raises(Forbidden, match="no way to prove who asks is configured"):
            ApiClient(server.url, {"SLURM_JWT": "a.b.c"}).get("/me")
    finally:
        server.stop()


def test_the_socket_is_asked_where_the_ledger_is_not_to_be_read(
    places: tuple[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without an option: the configuration says where both are."""
    path = tmp_path / "g.toml"
    path.write_text(f'[accounting]\nledger = "sqlite:///{tmp_path}/none.db"\nsocket = "{places[1]}"\n')

    jobs(config_file=path)

    assert "llama-ft" in capsys.readouterr().out


def test_a_forecast_comes_through_the_api_as_it_is() -> None:
    """But for the declaration, which the job itself has."""
    told = Forecast(
        Scope("job", "7"), "energy", 5.0, {0.1: 6.0, 0.5: 7.0, 0.9: 9.0}, None, "burn-up", NOW, 0.4, NOW + 5,
        (NOW + 1, None), "expected", 8.0, 0.2, "0.5", "no record at this site yet (n=12)",
    )  # fmt: skip

    assert told == forecast_of(told.scope, "energy", forecast_document(told))


def test_a_series_comes_through_the_api_as_it_is() -> None:
    """What is not known is not known on the other side."""
    points = (BurnUpPoint(NOW - 60.0, 60.0), BurnUpPoint(NOW, 120.0, 3e4, 25.0, 100.0))
    kept = KeptForecast(START, NOW, 60.0, {0.1: 80.0, 0.5: 90.0}, None, 0.25, NOW + 30.0)
    told = BurnUpSeries(points, {"device-hours": [kept, replace(kept, declared=100.0, p_over=None)]})
    document = series_document(job(run(started=START)), told)

    assert told == series_of(json.loads(json.dumps(document)))
