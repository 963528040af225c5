"""The table of the landing page."""

from __future__ import annotations

from dataclasses import replace

from gpuwatch.accounting import landing
from gpuwatch.accounting.accountant import Report
from gpuwatch.accounting.shown import FOREMOST
from tests.accounting.test_metrics import job, report


def test_current_scopes_are_a_table() -> None:
    """With what was held, projected and declared, in human units."""
    html = landing.body(report(job()))

    assert "<td>job:run-1</td><td>running</td><td>0.028</td><td>0.11</td>" in html
    assert "<td>0.05</td><td>10 Wh</td><td>projected device-hours</td>" in html
    assert "<td>campaign:llama</td>" in html


def test_nobody_is_named() -> None:
    """The page is open to whoever reaches the port."""
    html = landing.body(report(job()))

    assert not [word for word in ("secret", "1000", "uid") if word in html]


def test_a_hostile_job_id_is_text() -> None:
    """It does not become part of the page."""
    html = landing.body(report(job("<script>alert(1)</script>")))

    assert "<script>" not in html
    assert "&lt;script&gt;" in html


def test_nothing_to_show_is_said() -> None:
    """Before the first pass, and on an idle cluster."""
    assert ("<p>No pass yet.</p>", True) == (landing.body(None), "No job runs" in landing.body(Report(0.0, "ok")))


def test_a_long_list_is_cut() -> None:
    """The page stays small; running ones come first."""
    jobs = [replace(job(f"run-{number}"), state="ended") for number in range(FOREMOST)]

    html = landing.body(
        replace(report(job("alive")), current=replace(report().current, jobs=(*jobs, job("alive"))))
    )

    assert FOREMOST == html.count("<tr>") - 1
    assert html.index("job:alive") < html.index("job:run-0")
