"""Each of the everyday questions has one command, and the answer is right where it is known."""

from __future__ import annotations

import json
from typing import Any

import pytest
import typer

from gpuwatch.cli import campaign as campaigns
from gpuwatch.cli.budget import budget
from gpuwatch.cli.compare import compare
from gpuwatch.cli.declarations import declarations
from gpuwatch.cli.estimate_like import like
from gpuwatch.cli.jobs import jobs, show
from gpuwatch.cli.nodes import nodes
from gpuwatch.cli.waste import idle, waste
from gpuwatch.errors import Unavailable
from tests.questions.cluster import HOUR


def told(capsys: pytest.CaptureFixture[str]) -> Any:
    return json.loads(capsys.readouterr().out)


def lines(capsys: pytest.CaptureFixture[str]) -> list[str]:
    return capsys.readouterr().out.splitlines()


def test_who_holds_idle_devices_right_now(ledger: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Carol, two of them, for six hours."""
    idle(ledger=ledger, as_json=True)

    assert [("401", "carol", ["GPU-12", "GPU-13"])] == [
        (each["job"], each["user"], each["devices"]) for each in told(capsys)
    ]


def test_how_many_hours_has_my_group_left_and_will_we_make_it(
    ledger: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """670 of 1,000; at the pace of this week until the middle of December."""
    budget("ml", ledger=ledger)

    found = lines(capsys)
    assert "  left        670; 538 once all that is committed is used" in found
    assert "              runs out on 2025-12-12, in 16.6 d, at the pace of the last 7 days" in found


def test_what_is_running_and_what_will_overrun(ledger: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Three jobs; eve's comes first, which overruns surely."""
    jobs(ledger=ledger, running=True)

    head, first, *others = lines(capsys)
    assert ["701", "long", "eve", "144", "100", "240", "above", "99", "%", "60", "%"] == first.split()
    assert ("P OVER" in head, ["401", "501"]) == (True, [each.split()[0] for each in others])


def test_running_jobs_as_json_are_those_alone(ledger: str, capsys: pytest.CaptureFixture[str]) -> None:
    """In the same documents as all others."""
    jobs(ledger=ledger, running=True, as_json=True)

    assert {"401", "501", "701"} == {each["job"] for each in told(capsys)}


def test_why_is_this_job_slower_than_the_other(ledger: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Twice as slow: by its clock, which heat held down, then by idle time, in which it waited for storage."""
    compare("202", "201", ledger=ledger, as_json=True)

    found = told(capsys)
    assert ("step", 2.0) == (found["per"], found["ratio"])
    assert ["clock", "hw_thermal", "idle", "storage_wait", "cycles"] == [
        each["kind"] for each in found["differences"]
    ]
    assert [0.53, 0.40, 0.07] == [
        round(each["explains_ratio"], 2) for each in found["differences"] if not each["within_previous"]
    ]


def test_what_cannot_be_compared_is_refused(ledger: str) -> None:
    """One that is not there, and a job with itself."""
    with pytest.raises(Unavailable, match="'999': not in the ledger"):
        compare("202", "999", ledger=ledger)
    with pytest.raises(typer.BadParameter, match="is the same job"):
        compare("202", "202", ledger=ledger)


def test_which_device_of_this_job_is_the_odd_one(ledger: str, capsys: pytest.CaptureFixture[str]) -> None:
    """The hot one, first and marked."""
    show("701", ledger=ledger, devices=True)

    found = lines(capsys)
    assert ["*", "gw2", "GPU-27"] == found[1].split()[:3]
    assert found[-1].startswith(
        "* GPU-27 on gw2: has its clocks held down 56 % of the time, its 3 others 0 %; runs at"
    )


def test_what_did_this_papers_runs_cost_with_those_that_failed(
    ledger: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """30 device-hours and 60 EUR, a third of it for the run that failed; and by the rows of a table."""
    campaigns.show("paper", ledger=ledger)
    found = lines(capsys)
    campaigns.show("paper", ledger=ledger, by="tag:table")

    assert "  charged    30 device-hours" in found
    assert any("60 EUR by rates" in line for line in found)
    assert "             1 failed: 10 device-hours (33 %)" in found
    assert ["1", "2", "2", "30", "10", "15", "kWh", "60.00", "EUR"] == lines(capsys)[1].split()


def test_whose_declarations_are_always_wrong_and_by_what_factor(
    ledger: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Bob's, of whom every job takes twice of it."""
    declarations(record=True, ledger=ledger, as_json=True)

    found = {each["name"]: each for each in told(capsys)["groups"]}
    assert (6, 2.0, "too little") == tuple(found["bob"][key] for key in ("jobs", "ratio", "always"))
    assert (0, None) == (found["ada"]["jobs"], found["ada"]["ratio"])


def test_the_record_is_one_of_three_that_may_be_asked(ledger: str) -> None:
    """And is not told over the API."""
    with pytest.raises(typer.BadParameter, match="one of the three"):
        declarations("job:701", record=True, ledger=ledger)
    with pytest.raises(typer.BadParameter, match="needs the ledger"):
        declarations(record=True, api="http://127.0.0.1:1")


def test_what_did_we_lose_this_month(ledger: str, capsys: pytest.CaptureFixture[str]) -> None:
    """24 of 338 device-hours: 20 idle, 4 lost to the run that failed after its last report."""
    waste(since="2025-11", ledger=ledger, as_json=True)

    total = told(capsys)["total"]
    assert (338, 20, 4, 8) == tuple(
        round(total[f"{name}_hours"]) for name in ("device", "idle", "lost", "unknown")
    )


def test_what_will_this_new_run_need(ledger: str, capsys: pytest.CaptureFixture[str]) -> None:
    """What bob's sweeps came to: 14 device-hours in the middle, twice of what he declares."""
    like(user="bob", name="sweep-9", declared="10", ledger=ledger, as_json=True)

    found = told(capsys)
    assert pytest.approx(14 * HOUR) == found["spreads"]["device-hours"]["quantiles"]["0.5"]
    assert pytest.approx(20 * HOUR) == found["applied"]["quantiles"]["0.5"]


@pytest.mark.parametrize(
    ("job", "expected"),
    [
        ("701", ["states of 100 %, energy of 100 % of the charged time",
                 "energy by the device's own counter, about ±5 %", "held 100 % of what was allocated"]),
        ("501", ["states of 0 %, energy of 0 % of the charged time", "missing: node gw9 has no agent"]),
    ],
)  # fmt: skip
def test_can_these_figures_be_trusted(
    ledger: str, capsys: pytest.CaptureFixture[str], job: str, expected: list[str]
) -> None:
    """Coverage, method, residual, and what is missing."""
    show(job, ledger=ledger)

    found = lines(capsys)
    at = next(place for place, line in enumerate(found) if line.startswith("  measured "))
    assert expected == [line[13:] for line in found[at : at + len(expected)]]


def test_what_changed_in_the_forecast_since_yesterday_and_why(
    ledger: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """It has more than doubled, as a step takes eight times what it took."""
    show("701", ledger=ledger)

    expected = (
        "device-hours before: 2025-11-24 12:00Z: 80 to 120, now 200 to 280 device-hours: a step takes 8 times what"
        " it took until then"
    )
    assert expected in (line.strip() for line in lines(capsys))


def test_which_nodes_are_not_measured(ledger: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Gw9, on which nothing is."""
    nodes(ledger=ledger, as_json=True)
    every = told(capsys)
    nodes(ledger=ledger, unmeasured=True, as_json=True)

    assert [("gw9", 0.0, None), ("gw1", 1.0), ("gw2", 1.0)] == [
        (each["node"], each["coverage_ratio"], each["heard"]) if each["heard"] is None
        else (each["node"], round(each["coverage_ratio"], 6))
        for each in every
    ]  # fmt: skip
    assert ["gw9"] == [each["node"] for each in told(capsys)]
