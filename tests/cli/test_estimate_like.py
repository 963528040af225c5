"""`gpuwatch estimate like`, and what is expected of jobs that declare nothing, on a ledger and through its API."""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from gpuwatch.accounting.views import views_named
from gpuwatch.cli.estimate_like import like
from gpuwatch.cli.jobs import jobs, show
from gpuwatch.declaration import parse
from gpuwatch.ledger.record_store import post_records
from gpuwatch.ledger.store import Store, open_store
from gpuwatch.schedulers.base import Live
from gpuwatch.web.api import Gate, api_routes
from gpuwatch.web.exposition import base_app
from gpuwatch.web.identity import Identity
from gpuwatch.web.names import FixedNames
from gpuwatch.web.peer_proof import PeerProof
from gpuwatch.web.roles import Access
from gpuwatch.web.server import WebServer
from tests.accounting.forecasting import forecast
from tests.ledger.batch import HOUR, record, running

NOW = time.time()
DAY = 86_400.0


def fill(store: Store) -> None:
    """Of ada twenty runs that declared half of what they took, two of them at their limit, one failed; two run."""
    records = []
    for n in range(20):
        began, lasted = NOW - (30 - n) * DAY, HOUR * (1 + n / 10)
        said = Live(NOW, f"gpuwatch: device-hours={1 + n / 10:g}")
        times = {"submitted": int(began) - 60, "started": began, "ended": began + lasted, "seen": NOW}
        state = "TIMEOUT" if n in (7, 15) else "FAILED" if n == 3 else "COMPLETED"
        records.append(record(str(n), said, name=f"train-{n}", state=state, **times))
    records.append(running("77", name="train-77", submitted=int(NOW) - 700, started=NOW - 600, seen=NOW))
    said = Live(NOW, "gpuwatch: device-hours=4")
    records.append(
        running("78", live=said, name="train-78", submitted=int(NOW) - 700, started=NOW - 600, seen=NOW)
    )
    with store.writing() as connection:
        post_records(connection, records)
    forecast(store, NOW)


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, str]]:
    """A ledger's file and the socket of an API on it, at which this process may read everything."""
    folder = tmp_path_factory.mktemp("like")
    store = open_store(str(folder / "ledger.db"))
    fill(store)
    gate = Gate(Identity([PeerProof("/x")]), FixedNames({"me": os.getuid()}), Access())
    app = base_app("test", bytes, lambda: True, lambda: True, [], api_routes(lambda: store, gate))
    server = WebServer(app, "127.0.0.1:0", unix_socket=folder / "api.sock")
    server.start()
    yield str(folder / "ledger.db"), str(folder / "api.sock")
    server.stop()
    store.close()


def printed(capsys: pytest.CaptureFixture[str], **options: Any) -> str:
    """What the command prints."""
    like(**options)
    return capsys.readouterr().out


def test_people_are_told_median_intervals_endings_and_the_nearest(
    places: tuple[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    """With what to declare, which is a declaration."""
    told = printed(capsys, user="ada", name="train-1", ledger=places[0])

    assert "21 jobs of user ada like train-1 since" in told
    assert "failed              1 job, 2.6 device-hours" in told
    assert "device-hours  median 4" in told
    assert "4 of 21 were cut short" in told
    assert "nearest" in told
    command, comment = told.splitlines()[-2:]
    amounts = parse(comment.partition("gpuwatch: ")[2].rstrip('"')).amounts[0]
    assert command.startswith("gpuwatch declare --device-hours ")
    assert 2 * HOUR < amounts.low < 4 * HOUR < amounts.likely < amounts.high


def test_a_declaration_is_held_against_what_declarations_came_to(
    places: tuple[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    """Each took twice what it declared, so 640 will be 1,280."""
    told = printed(capsys, user="ada", declared="640", ledger=places[0])

    assert "640 declared: median 1,280 device-hours" in told


def test_programs_are_told_the_same_as_a_document(
    places: tuple[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    """Device-hours at 10, 50 and 90 %, as the other estimates print them."""
    told = json.loads(printed(capsys, user="ada", as_json=True, ledger=places[0]))

    assert told["device_hours"]["q10"] < told["device_hours"]["q50"] < told["device_hours"]["q90"]
    assert told["declaration"].startswith("device-hours=")


@pytest.mark.parametrize(
    ("options", "line"),
    [
        ({"user": "ada"}, "jobs like this took "),
        ({"user": "ada", "declared": "10..20..30"}, "declarations like this came to "),
        ({"user": "bob"}, ""),
    ],
)
def test_brief_is_a_line_or_nothing(
    places: tuple[str, str], capsys: pytest.CaptureFixture[str], options: dict[str, Any], line: str
) -> None:
    """For a script that prints it at submission."""
    told = printed(capsys, brief=True, ledger=places[0], **options)

    assert told.startswith(line)
    assert bool(line) == told.endswith(")\n")
    assert bool(line) == bool(told)


@pytest.mark.parametrize("more", [{}, {"as_json": True}, {"declared": "640"}, {"brief": True}])
def test_the_api_says_the_same(
    places: tuple[str, str], capsys: pytest.CaptureFixture[str], more: dict[str, Any]
) -> None:
    """To who may read all, to the second in which it is asked."""
    of_ledger = printed(capsys, user="ada", name="train-*", ledger=places[0], **more)
    of_api = printed(capsys, user="ada", name="train-*", api=places[1], **more)

    if "as_json" in more:
        left, right = json.loads(of_ledger), json.loads(of_api)
        assert pytest.approx(left.pop("since"), abs=5.0) == right.pop("since")
        assert left == right
    else:
        assert of_ledger == of_api


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({}, "say which jobs"),
        ({"user": "ada", "declared": "-3"}, "not more than 0"),
        ({"user": "ada", "declared": "nan"}, "not a number"),
        ({"user": "ada", "since": "soon"}, "no period"),
    ],
)
def test_what_cannot_be_asked_is_a_usage_error(
    places: tuple[str, str], options: dict[str, Any], named: str
) -> None:
    """It says what is wrong."""
    with pytest.raises(typer.BadParameter, match=named):
        like(**{"ledger": places[0], **options})


def test_few_jobs_are_listed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Three have no distribution, and nothing to declare follows from them."""
    store = open_store(str(tmp_path / "ledger.db"))
    with store.writing() as connection:
        times = {"started": NOW - DAY, "ended": NOW - DAY + HOUR, "seen": NOW}
        post_records(connection, [record(str(n), submitted=int(NOW - DAY) - n, **times) for n in range(3)])
    store.close()

    told = printed(capsys, account="ml", ledger=str(store.path))
    assert "3 jobs of account ml" in told
    assert "fewer than 5" in told
    assert 3 == told.count("2 device-hours, completed")
    assert "gpuwatch declare" not in told


def test_a_job_that_declares_nothing_is_expected_something(
    places: tuple[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    """It is called expected, with what it rests on; one that declares is not, nor is one that ended."""
    show("77", ledger=places[0])
    of_ledger = capsys.readouterr().out
    show("77", api=places[1])
    of_api = capsys.readouterr().out
    for job in ("78", "1"):
        show(job, ledger=places[0])

    for told in (of_ledger, of_api):
        assert re.search(r"expected \d(\.\d)? to \d(\.\d)? device-hours: ", told)
        assert "19 jobs of ada called train-# (" in told
    assert "expected" not in capsys.readouterr().out


def test_the_table_marks_what_is_expected(places: tuple[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    """In brackets and in words, in the column where a declaration stands bare."""
    jobs(ledger=places[0])
    rows = {line.split()[0]: line for line in capsys.readouterr().out.splitlines()}

    assert "expected)" in rows["77"]
    assert "expected" not in rows["78"]


def test_an_expectation_is_no_declaration(places: tuple[str, str]) -> None:
    """No estimate is in force for the job, and its forecast says that it is held against its like."""
    store = open_store(places[0])
    with store.reading() as connection:
        view = views_named(connection, "77", NOW)[0]
    store.close()

    assert view.expectation is not None
    assert {} == view.job.estimates
    assert {("expected", None)} == {(each.against, each.declared) for each in view.forecasts.values()}
