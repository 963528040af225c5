"""A job as text."""

from __future__ import annotations

from gpuwatch.accounting.views import JobView
from gpuwatch.cli.job_views import detail_lines
from gpuwatch.ledger.quality import Figure, Quality
from gpuwatch.ledger.scopes import Revision
from gpuwatch.model import EMPTY, Expectation, Scope
from tests.cli.charts import HOUR, T0, estimate
from tests.ledger.made import job, run


def test_what_is_expected_is_not_the_first_that_is_declared() -> None:
    """Energy is declared, and nothing of device-hours: what they may come to is nobody's declaration."""
    figure = Figure("states", EMPTY, 0.0, 0.0)
    like = Expectation(Scope("job", "7"), "device-hours", {0.1: 10 * HOUR, 0.9: 12 * HOUR}, 30, "30 jobs of ada")
    energy = (Revision(estimate(3.6e6, "energy", "J"), True),)
    view = JobView(job(run(), revisions=energy), {}, (), Quality(figure, figure, figure), expectation=like)

    lines = [*detail_lines(view, (), (), T0)]
    at = next(number for number, line in enumerate(lines) if line.startswith("  declared"))
    assert lines[at].startswith("  declared   1 kWh energy")
    assert "             expected 10 to 12 device-hours: 30 jobs of ada" == lines[at + 1]
