"""How every command behaves in pipes, without colours, and when a shell completes it."""

from __future__ import annotations

from pathlib import Path

import pytest

from gpuwatch.cli import COMMANDS, application
from gpuwatch.ledger.store import open_store
from tests.cli.command import environment, gpuwatch
from tests.cli.terminal import Terminal
from tests.questions.cluster import NOW, fill

READING = (
    "jobs", "jobs --running", "jobs --by user", "show 701", "show 701 --devices", "compare 202 201", "top --once",
    "idle", "waste --from 2025-11", "nodes", "budget", "budget ml", "campaign show paper",
    "campaign show paper --by tag:table", "declarations job:701", "declarations --record",
    "declarations --refused", "estimate like --user bob", "alerts", "backtest", "ledger check",
)  # fmt: skip
"""Commands that read a ledger."""

OTHERS = frozenset({
    "up", "agent", "accounting", "run", "declare", "progress", "token", "tag", "untag", "rates", "restate",
    "import", "replay", "metrics", "check", "report",
    "install", "uninstall",
})  # fmt: skip
"""Daemons, what writes, and what reads no ledger; their tests say what they print."""

_COLOURS = frozenset(str(number) for number in (*range(30, 50), *range(90, 108)))


@pytest.fixture(scope="module")
def ledger(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The cluster of the everyday questions."""
    path: Path = tmp_path_factory.mktemp("manners") / "ledger.db"
    store = open_store(str(path))
    fill(store)
    store.close()
    return str(path)


def test_every_command_is_tried_here_or_elsewhere() -> None:
    """A new one has to be put into one of the two lists."""
    assert set(COMMANDS) <= OTHERS | {command.split()[0] for command in READING}


@pytest.mark.parametrize("command", READING)
def test_a_pipe_gets_text_alone(
    ledger: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    """No colours, no bars, no lines that end in blanks; and something at all."""
    monkeypatch.setattr("time.time", lambda: NOW)
    words = command.split()

    application([words[0]])([*words, "--ledger", ledger], standalone_mode=False)
    told = capsys.readouterr()

    assert ("", False) == (told.err, "\x1b" in told.out)
    assert told.out.strip()
    assert [] == [line for line in told.out.splitlines() if line != line.rstrip()]


@pytest.mark.parametrize("command", COMMANDS)
def test_help_in_a_pipe_has_no_colours(capsys: pytest.CaptureFixture[str], command: str) -> None:
    """Every command has some."""
    application([command])([command, "--help"], standalone_mode=False)
    told = capsys.readouterr()

    assert (False, "") == ("\x1b" in told.out, told.err)
    assert f"gpuwatch {command}" in told.out or f" {command} " in told.out


@pytest.mark.integration
@pytest.mark.parametrize("command", ["jobs --days 4000", "show 701", "idle", "waste --help", "no-such-command"])
def test_without_colour_a_terminal_gets_none(ledger: str, command: str) -> None:
    """Bold, dim and reverse are no colours; neither tables, charts nor errors have any."""
    words = command.split()
    more = [] if words[-1] in ("--help", "no-such-command") else ["--ledger", ledger]
    with Terminal(*words, *more, NO_COLOR="1") as terminal:
        terminal.wait()

        used = {each for style in terminal.styles for each in style.split(";")}
        assert set() == used & _COLOURS
        assert terminal.written.strip()


@pytest.mark.integration
def test_show_wraps_at_the_width_of_the_terminal(ledger: str) -> None:
    """What is too long goes on below its beginning."""
    with Terminal("show", "701", "--no-chart", "--ledger", ledger, lines=60) as terminal:
        terminal.wait()

        rows = terminal.rows()
        at = next(place for place, row in enumerate(rows) if row.startswith("  advice  "))
        assert rows[at + 1].startswith(" " * 15)
        assert all(len(row) <= 80 for row in rows)


@pytest.mark.integration
def test_shells_can_complete_commands_and_options() -> None:
    """As bash asks after `gpuwatch --install-completion`."""
    asked = {"_GPUWATCH_COMPLETE": "complete_bash", "COMP_WORDS": "gpuwatch comp", "COMP_CWORD": "1"}
    found = gpuwatch(env=environment(**asked))
    asked |= {"COMP_WORDS": "gpuwatch compare --js", "COMP_CWORD": "2"}
    options = gpuwatch(env=environment(**asked))

    assert (0, ["compare"]) == (found.returncode, found.stdout.split())
    assert ["--json"] == options.stdout.split()
