"""Alerts as log lines."""

from __future__ import annotations

import logging

import pytest

from gpuwatch.model import Alert, Scope, Site
from gpuwatch.notifiers.base import Change
from gpuwatch.notifiers.log import LogNotifier


def change(name: str = "run-1", text: str = "job run-1 is over", what: str = "raised") -> Change:
    alert = Alert("projected", Scope("job", name), "energy", "warning", 1_764_000_000.4, 3.6e6, 1.8e6, text)
    return Change(what, alert)  # type: ignore[arg-type]


def lines(caplog: pytest.LogCaptureFixture, *changes: Change) -> list[str]:
    with caplog.at_level(logging.INFO, "gpuwatch.alerts"):
        assert LogNotifier(LogNotifier.Settings(), Site()).notify(changes)
    return caplog.messages


def test_a_line_has_every_field(caplog: pytest.LogCaptureFixture) -> None:
    """What happened, then key=value."""
    expected = (
        "alert raised cluster=default kind=projected scope=job:run-1 quantity=energy severity=warning "
        'since=1764000000 value=3.6e+06 declared=1.8e+06 text="job run-1 is over"'
    )
    assert [expected] == lines(caplog, change())


def test_raised_is_a_warning_and_resolved_is_not(caplog: pytest.LogCaptureFixture) -> None:
    """The level tells them apart where the text is not read."""
    lines(caplog, change(), change(what="resolved"))

    assert ["WARNING", "INFO"] == [record.levelname for record in caplog.records]


def test_a_hostile_name_stays_one_quoted_word(caplog: pytest.LogCaptureFixture) -> None:
    """Neither a second line nor a second field."""
    (line,) = lines(caplog, change('x" kind=fake\nalert raised', 'say "no"\r\n\ud800'))

    assert "\n" not in line
    assert 'scope="job:x\\" kind=fake\\nalert raised"' in line
    assert 'text="say \\"no\\"\\r\\n\\ud800"' in line
    assert line.encode()
