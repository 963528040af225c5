"""`gpuwatch estimate pilot` on a ledger and on a file."""

from __future__ import annotations

import json
import time
from math import isfinite
from pathlib import Path
from typing import Any

import pytest
import typer
from hypothesis import given
from hypothesis import strategies as st

from gpuwatch.accounting.views import views_named
from gpuwatch.cli.api_views import view_of
from gpuwatch.cli.estimate_pilot import declaration_of, pilot
from gpuwatch.declaration import parse
from gpuwatch.errors import Rejected, Unavailable
from gpuwatch.estimates.pilot import Pilot, predict
from gpuwatch.ledger import writing
from gpuwatch.ledger.posting import read
from gpuwatch.ledger.queries import jobs_named
from gpuwatch.ledger.record_store import post_records
from gpuwatch.ledger.store import open_store
from gpuwatch.ledger.tag_store import tag
from gpuwatch.schedulers.base import Live
from gpuwatch.web.api_documents import job_document
from tests.ledger.batch import HOUR, record
from tests.ledger.deliveries import delivery, row
from tests.ledger.told import ADMIN

NOW = time.time()


@pytest.fixture
def ledger(tmp_path: Path) -> str:
    """Three runs of ada's whose hours go with their parameters, told by tags, one without, one that failed."""
    store = open_store(str(tmp_path / "ledger.db"))
    records = []
    for n, millions in enumerate((1, 4, 16)):
        times = {"started": NOW - 30 * HOUR, "ended": NOW - (30 - millions) * HOUR, "seen": NOW, "devices": 1.0}
        live = Live(NOW, f"gpuwatch: tag=params:{millions}e6 tag=tokens:1e9")
        records.append(record(str(n), live, submitted=int(NOW) - 200_000, **times))
    records.append(record("5", submitted=int(NOW) - 200_000, **times))
    records.append(record("6", live, submitted=int(NOW) - 200_000, **times, state="FAILED"))
    with store.writing() as connection:
        post_records(connection, records)
    store.close()
    return str(store.path)


def asked(capsys: pytest.CaptureFixture[str], **options: Any) -> dict[str, Any]:
    """The document of an answer."""
    pilot(as_json=True, **options)
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def test_jobs_with_tags_are_pilots(ledger: str, capsys: pytest.CaptureFixture[str]) -> None:
    """1, 4 and 16 device-hours for so many million parameters: 160 for 160 million, with an interval around."""
    told = asked(capsys, to=["params=160M"], runs="0,1,2", ledger=ledger)

    assert 160 == pytest.approx(told["device_hours"]["q50"])
    assert told["device_hours"]["q10"] < 160 < told["device_hours"]["q90"]
    assert 1.0 == pytest.approx(told["exponents"]["params"]["value"])
    assert "pilot" == parse(told["declaration"]).basis


def test_people_are_told_the_interval_the_exponents_and_what_to_declare(
    ledger: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """In a few lines."""
    pilot(to=["params=160M"], runs="0,1,2", ledger=ledger)
    told = capsys.readouterr().out

    assert told.startswith("160 device-hours; 80 % ")
    assert "goes with params to the power of 1.00" in told
    assert "10 times beyond them" in told
    assert "gpuwatch declare --device-hours " in told


def test_a_size_may_be_said_beside(ledger: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Of a run that has no tags; of several parameters it is said which."""
    sizes = {"size": ["5:params=16e6"]}
    told = asked(capsys, to=["params=160M"], runs="0,1,5", ledger=ledger, **sizes)

    assert 160 == pytest.approx(told["device_hours"]["q50"])


def test_sizes_that_were_said_after_the_fact_count(ledger: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Job 5 said no tag of its own, and was given one since; the API's documents have it, too."""
    store = open_store(ledger)
    with store.writing() as connection:
        tag(connection, ADMIN, jobs_named(connection, "5", NOW), {"params": "16e6"}, NOW)
        (view,) = views_named(connection, "5", NOW)
    store.close()
    told = asked(capsys, to=["params=160M"], runs="0,1,5", ledger=ledger)

    assert 160 == pytest.approx(told["device_hours"]["q50"])
    assert {"params": "16e6"} == view_of(job_document(view)).job.tags


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"runs": "0,1"}, "run params=1.6e.07 too"),
        ({"runs": "0,1,5"}, "run '5': has no 'params'"),
        ({"runs": "0,1,6"}, "job 6: is failed"),
        ({"runs": "0,1,2,2"}, "job 2: stands twice"),
    ],
)
def test_what_does_not_follow_is_said(ledger: str, options: dict[str, Any], named: str) -> None:
    """What more to run, what is missing, what is no measured run."""
    with pytest.raises(Rejected, match=named):
        pilot(to=["params=160M"], ledger=ledger, **options)


def test_a_run_of_which_nobody_knows_how_it_ended_is_doubted(
    ledger: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """An agent alone saw it go, perhaps killed half-way."""
    store = open_store(ledger)
    seen = row("9", started=int(NOW - 16 * HOUR), last_seen=NOW, open=False, held_seconds=16 * HOUR)
    with store.writing() as connection:
        writing.post_all(
            connection, [writing.Posted(read(told := delivery([seen], [], [], now=NOW)), told.origin)]
        )
    store.close()
    found = asked(capsys, to=["params=160M"], runs="0,1,9", size=["9=16e6"], ledger=ledger)

    assert ["nobody knows how job 9 ended; it is taken for one that came to its end"] == found["warnings"]


def test_a_job_that_is_not_there_is_said(ledger: str) -> None:
    """By its name."""
    with pytest.raises(Unavailable, match="'none': not in the ledger"):
        pilot(to=["params=160M"], runs="0,none", ledger=ledger)


def test_a_file_has_pilots_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With devices as a column, and sizes as people write them."""
    file = tmp_path / "pilots.csv"
    rows = [f"{params}M,{params * devices**0.1},{devices}" for params in (1, 4, 16) for devices in (1, 8)]
    file.write_text("\n".join(["params,device_hours,devices", *rows]), encoding="utf-8")

    told = asked(capsys, to=["params=16e6"], csv_file=file, devices=8.0)
    assert 16 * 8**0.1 == pytest.approx(told["device_hours"]["q50"])
    assert 0.1 == pytest.approx(told["exponents"]["devices"]["value"])


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("", "no column 'params'"),
        ("params\n1", "no column 'device_hours'"),
        ("params,device_hours\n1,x", "line 2, device_hours: 'x' is no number"),
        ("params,device_hours\n1", "line 2, device_hours: '' is no number"),
        ("params,device_hours\n٣,1", "line 2, params"),
        ("params,device_hours\n1,1e999", "line 2, device_hours"),
        ("a,b\n1,2,3", "no column 'params'; there is a, b"),
        ("x" * 2_000_000, "longer than"),
    ],
)
def test_a_file_that_is_none_is_refused(tmp_path: Path, text: str, named: str) -> None:
    """With the line and the column."""
    file = tmp_path / "pilots.csv"
    file.write_text(text, encoding="utf-8")

    with pytest.raises(Rejected, match=named):
        pilot(to=["params=160M"], csv_file=file)


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"to": ["params"]}, "has no '='"),
        ({"to": ["params=0"]}, "no number above 0"),
        ({"to": ["params=inf"]}, "no number above 0"),
        ({"to": ["a=1", "b=2"], "size": ["7=3"]}, "does not say of what"),
        ({"to": ["a=1"], "runs": None}, "write --runs or --csv"),
        ({"to": ["a=1"], "size": ["3=1e6"]}, "'3' is none of --runs"),
        ({"to": ["a=1"], "size": ["0=1e6"], "runs": None, "csv_file": Path("none.csv")}, "beside --csv"),
    ],
)
def test_what_cannot_be_asked_is_a_usage_error(ledger: str, options: dict[str, Any], named: str) -> None:
    """It says what is wrong."""
    with pytest.raises(typer.BadParameter, match=named):
        pilot(**{"runs": "0,1,2", "ledger": ledger, **options})


@given(
    st.lists(st.floats(1e-12, 1e12), min_size=3, max_size=5),
    st.floats(1e-3, 1e15),
    st.sampled_from((None, 0.5, 64.0)),
)
def test_the_line_to_paste_is_taken_or_said_to_be_none(
    hours: list[float], goal: float, devices: float | None
) -> None:
    """Whatever the runs came to: a line of the grammar, or no line; amounts are above 0 and never fall."""
    counts = (1.0, 1.0, 2.0, 4.0, 8.0)
    runs = [Pilot("run", {"a": 4.0**n}, each, counts[n]) for n, each in enumerate(hours)]
    try:
        told = predict(runs, {"a": goal}, devices)
    except Rejected:
        return
    text = declaration_of(told)
    amounts = list(told.quantiles.values())

    assert 0 < amounts[0] and amounts == sorted(amounts) and isfinite(amounts[-1])
    assert text is None or "pilot" == parse(text).basis
    assert text is not None or told.quantiles[0.9] > 1e11
