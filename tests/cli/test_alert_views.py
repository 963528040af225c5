"""Alerts as text for terminals of any width."""

from __future__ import annotations

import pytest

from gpuwatch.cli.alert_views import alert_lines, minute, mute_lines, summary
from gpuwatch.web.alert_documents import episode_document
from tests.ledger.alerted import episode

LONG = "job 4711 is projected to need 32 device-hours (80 % between 28 and 37), twice the 16 declared by ada"
ACTIVE = episode_document(episode(4711, "projected", 1_764_000_000.0, last_text=LONG, mode="told", acked_by="ada"))
GRAVE = episode_document(
    episode(1, "exceeded", 1_764_000_000.0, severity="critical", mode="told", last_text="over")
)
OVER = episode_document(episode(12, "stalled_progress", 1_764_000_000.0, 1_764_003_600.0, verdict="right"))


@pytest.mark.parametrize("columns", [80, 100, 132, 150, 200])
def test_no_line_is_wider_than_the_terminal(columns: int) -> None:
    """And nothing of what is so is lost."""
    lines = alert_lines([ACTIVE, GRAVE, OVER], columns, False)

    assert max(map(len, lines)) <= columns
    assert {*LONG.split()} <= {*" ".join(lines).split()}


def test_in_a_narrow_one_what_is_so_stands_below() -> None:
    """Behind whose it is, and when it ended."""
    lines = alert_lines([ACTIVE, OVER], 80, False)

    assert ["KIND", "SCOPE", "QUANTITY", "SINCE", "MODE"] == lines[0].split()
    assert lines[1].startswith("projected         4711   device-hours  11-24 16:00Z  told, ack ada")
    assert lines[2].startswith("    ada, ml: job 4711 is projected")
    assert "    ada, ml: ended 2025-11-24 17:00Z, right: job:12 is stalled_progress" == lines[-1]


def test_in_a_pipe_each_is_one_line() -> None:
    """Whatever its length."""
    assert 4 == len(alert_lines([ACTIVE, GRAVE, OVER], None, False))


def test_colours_are_of_what_is_told_and_grave() -> None:
    """What is over or told to nobody is faint; there are none where nobody asked."""
    head, _, _, _, grave, _, over, *_ = alert_lines([ACTIVE, GRAVE, OVER], 100, True)

    assert head.startswith("\x1b[1m")
    assert ("\x1b[31mexceeded" in grave, over.startswith("\x1b[2m")) == (True, True)
    assert "\x1b" not in "".join(alert_lines([ACTIVE, GRAVE], 100, False))


def test_what_others_wrote_cannot_move_the_cursor() -> None:
    """A job's name least of all."""
    hostile = ACTIVE | {"text": "a\x1b[2Jb\nc", "scope": "x\r", "user": "\x07"}

    assert not {"\x1b", "\r", "\x07"} & {*"".join(alert_lines([hostile], 100, False))}
    mute = {"number": 1, "scope": "job:1", "kind": None, "quantity": None, "until": None, "lifted": None,
            "lifted_by": None, "who": "x", "reason": "\x1b[31m"}  # fmt: skip
    assert "\x1b" not in "".join(mute_lines([mute], False))


def test_what_is_not_listed_is_said() -> None:
    """Observed alerts are a number, unless all are there."""
    observed = OVER | {"resolved": None}

    assert "No alert is active" == summary([], 0, False)
    assert "" == summary([ACTIVE], 1, False) == summary([ACTIVE, observed], 2, True) == summary([], 1, True)
    assert summary([observed], 0, False).startswith("No alert is told; 1 is observed")


def test_a_time_that_is_none_is_shown_as_a_number() -> None:
    """No clock is trusted."""
    assert ("2025-11-24 16:00Z", "@1000000000000000000") == (minute(1_764_000_000.0), minute(1e18))
