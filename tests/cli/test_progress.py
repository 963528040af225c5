"""`gpuwatch progress`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpuwatch.agent.messages import ReportProgress
from gpuwatch.cli.progress import parsed, progress
from gpuwatch.errors import DeclarationError, Rejected, Unavailable
from tests.agent.listener import Listener, listening


@pytest.fixture
def agent(tmp_path: Path) -> Iterator[Listener]:
    """An agent to speak to."""
    with listening(tmp_path / "s") as listener:
        yield listener


@pytest.mark.parametrize(
    ("steps", "message"),
    [
        ("1200/9000", ReportProgress(1200.0, 9000.0)),
        ("1200", ReportProgress(1200.0, None)),
        ("0.5/3", ReportProgress(0.5, 3.0)),
        ("1e3/1e+6", ReportProgress(1000.0, 1_000_000.0)),
    ],
)
def test_steps_reach_the_agent(agent: Listener, steps: str, message: ReportProgress) -> None:
    """With a total and without."""
    progress(steps, agent.path)

    assert [message] == agent.messages


@pytest.mark.parametrize(
    "steps", ["", "/", "1/", "/9", "-1/9", "1/9/2", "many", "1 / 9", "nan/9", "1/inf", "٣/٩", "1\n"]
)
def test_anything_else_is_a_mistake(agent: Listener, steps: str) -> None:
    """Nothing is sent, and the form is shown."""
    with pytest.raises(DeclarationError, match=r"is not STEP/TOTAL; write for example 1200/9000"):
        progress(steps, agent.path)
    assert agent.messages == []


@given(st.integers(0, 10**9), st.integers(1, 10**9))
def test_whole_steps_are_read_as_they_are(step: int, total: int) -> None:
    """No digit is lost."""
    assert {"step": step, "total": total} == parsed(f"{step}/{total}")


def test_refusal_of_the_agent_is_raised(agent: Listener) -> None:
    """In its words."""
    with pytest.raises(Rejected, match="step: 1e\\+16 is no number of steps"):
        progress("1e16/9", agent.path)


def test_missing_agent_is_unavailable(tmp_path: Path) -> None:
    """A script may test for it by the exit code."""
    with pytest.raises(Unavailable, match="no agent at"):
        progress("1/9", str(tmp_path / "none"))
