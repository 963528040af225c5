"""`gpuwatch declare`, and the options that it shares with `gpuwatch run`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from gpuwatch.agent.messages import Declare
from gpuwatch.cli import application
from gpuwatch.cli.declare import tell, text_of
from gpuwatch.errors import DeclarationError, Forbidden, GpuwatchError, Rejected, Unavailable
from tests.agent.listener import Listener, listening
from tests.cli.command import gpuwatch


@pytest.fixture
def agent(tmp_path: Path) -> Iterator[Listener]:
    """An agent to speak to."""
    with listening(tmp_path / "s") as listener:
        yield listener


def invoke(*arguments: str) -> Result:
    """Run the command in this process; what it raises is in the result."""
    return CliRunner().invoke(application(["declare", "progress"]), ["declare", *arguments])


def test_options_are_the_grammar(agent: Listener) -> None:
    """Every key has its option, and the text that they make is said back."""
    result = invoke(
        "--device-hours", "500..640..900", "--energy", "450kWh", "--facility-energy", "600kWh",
        "--cost", "1200EUR", "--carbon", "180kg", "--wall", "36h", "--charge", "5000",
        "--campaign", "llama-ft", "--basis", "pilot",
        "--tag", "team:a", "--tag", "phase:b", "--socket", agent.path,
    )  # fmt: skip

    text = (
        "device-hours=500..640..900h energy=450kWh facility-energy=600kWh cost=1200EUR carbon=180kg wall=36h"
        " charge=5000 campaign=llama-ft basis=pilot tag=phase:b tag=team:a"
    )
    assert (0, f"declared {text}\n") == (result.exit_code, result.output)
    assert [Declare(text)] == agent.messages


def test_words_and_options_add_up(agent: Listener) -> None:
    """As one argument or as several."""
    invoke("device-hours=640 energy=450kWh", "--wall", "2d", "--socket", agent.path)
    invoke("device-hours=640", "energy=450kWh", "--wall", "2d", "--socket", agent.path)

    assert [Declare("device-hours=640h energy=450kWh wall=2d")] * 2 == agent.messages


def test_scope_is_named_with_for(agent: Listener) -> None:
    """A campaign's amount is declared for the campaign."""
    invoke("--for", "campaign:llama-ft", "--device-hours", "7680", "--socket", agent.path)

    assert [Declare("device-hours=7680h for=campaign:llama-ft")] == agent.messages


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("--energy", "450"),
        ("--campaign", "my run"),
        ("energy=lots",),
        ("--wall", "2d", "wall=3d"),
        ("--tag", "x"),
    ],
)
def test_what_is_not_in_the_grammar_is_not_sent(agent: Listener, arguments: tuple[str, ...]) -> None:
    """The mistake is found here, with an exit code of its own."""
    result = invoke(*arguments, "--socket", agent.path)

    assert isinstance(result.exception, DeclarationError)
    assert (agent.messages, result.exception.exit_code) == ([], 64)


def test_nothing_declared_is_no_text() -> None:
    """For `gpuwatch run`, where declaring is optional."""
    assert text_of([], device_hours=None, tag=[]) == ""


def test_missing_agent_is_unavailable(tmp_path: Path) -> None:
    """With the path that was tried, and what to do."""
    with pytest.raises(Unavailable, match=r"no agent at .*/s .*start gpuwatch-agent"):
        tell({"type": "ping"}, str(tmp_path / "s"))


def test_agent_is_found_by_the_environment(agent: Listener, monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a job that `gpuwatch run` started."""
    monkeypatch.setenv("GPUWATCH_SOCKET", agent.path)

    invoke("--wall", "2d")
    assert [Declare("wall=2d")] == agent.messages


@pytest.mark.parametrize("refusal", [Rejected("no: wrong"), Forbidden("no: not you"), Unavailable("no: not now")])
def test_refusal_of_the_agent_is_raised_as_what_it_is(agent: Listener, refusal: GpuwatchError) -> None:
    """The same class, the same words, and so the same exit code."""
    agent.refusal = refusal

    with pytest.raises(type(refusal), match=str(refusal)):
        tell({"type": "ping"}, agent.path)


@pytest.mark.integration
def test_command_exits_with_the_code_of_its_mistake(agent: Listener, tmp_path: Path) -> None:
    """0, 64 for the grammar, 69 without an agent; the words are on standard error."""
    good = gpuwatch("declare", "--wall", "2d", "--socket", agent.path)
    bad = gpuwatch("declare", "--wall", "2parsecs", "--socket", agent.path)
    alone = gpuwatch("declare", "--wall", "2d", "--socket", str(tmp_path / "none"))

    assert [each.returncode for each in (good, bad, alone)] == [0, 64, 69]
    assert (good.stderr, "parsecs" in bad.stderr, "no agent at" in alone.stderr) == ("", True, True)
