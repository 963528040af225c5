"""`gpuwatch top` in a terminal, in a pipe, and where neither ledger nor agent is."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from gpuwatch.cli.top import pressed
from gpuwatch.cli.top_views import Looks
from gpuwatch.ledger.record_store import post_records
from gpuwatch.ledger.store import open_store
from tests.cli.command import environment, gpuwatch
from tests.cli.terminal import Terminal
from tests.ledger.batch import running
from tests.ledger.foretold import post_forecast

DAY = 86_400
NOBODY = "http://127.0.0.1:9"


@pytest.fixture
def ledger(tmp_path: Path) -> str:
    """Twelve jobs that run, one of them of a name that is wide."""
    now = time.time()
    store = open_store(str(tmp_path / "ledger.db"))
    names = ["llama", "日本語の名前", *(f"train-{number}" for number in range(10))]
    with store.writing() as connection:
        post_records(connection, [
            running(str(100 + number), started=now - 60, seen=now, submitted=int(now - DAY), name=name)
            for number, name in enumerate(names)
        ])  # fmt: skip
        post_forecast(connection, "105", 3600.0, [None, 8.0, None, 10.0, None, 12.0, None], now)
    store.close()
    return str(tmp_path / "ledger.db")


def test_keys_sort_filter_and_quit() -> None:
    """Nothing else ends it; what is typed into a filter is text."""
    looks = Looks()

    assert "used" == pressed(looks, "s").sort  # type: ignore[union-attr]
    assert None is pressed(looks, "q")
    typing = pressed(looks, "f")
    for key in ("l", "qa", "<back>", "<up>", "<resize>"):
        assert typing is not None
        typing = pressed(typing, key)
    assert typing is not None
    assert ("lq", "lq") == (typing.typing, pressed(typing, "<enter>").text)  # type: ignore[union-attr]
    assert "" == pressed(typing, "<escape>").text  # type: ignore[union-attr]
    assert None is pressed(typing, "<quit>")
    assert (1, 0) == (pressed(looks, "<down>").past, pressed(looks, "<up>").past)  # type: ignore[union-attr]


@pytest.mark.integration
def test_it_runs_in_a_terminal_and_leaves_it_as_it_was(ledger: str) -> None:
    """Sorted, filtered, resized; only what changes is written again."""
    with Terminal("top", "--ledger", ledger, "--agent", NOBODY) as terminal:
        rows = terminal.shows("12 running")
        assert terminal.alternate
        assert any("no agent at" in row for row in rows)
        assert terminal.read_for(2.5) < 600, "a second changes the clock alone"

        terminal.type("s")
        terminal.shows("s sort (used)")
        terminal.type("f")
        terminal.shows("only jobs with: _")
        terminal.type("llama\r")
        rows = terminal.shows("1 with 'llama'")
        assert 1 == sum(" ada " in row for row in rows)
        terminal.resize(120, 30)
        rows = terminal.shows(
            lambda rows: rows[-1].startswith("q quit") and any("USED OF DECLARED" in row for row in rows)
        )
        terminal.type("q")

        assert 0 == terminal.wait()
        assert not terminal.alternate
        assert terminal.written.endswith("\x1b[?25h\x1b[?1049l")


@pytest.mark.integration
def test_without_colour_there_is_none(ledger: str) -> None:
    """Bold and reverse are no colours."""
    with Terminal("top", "--ledger", ledger, NO_COLOR="1") as terminal:
        terminal.shows("12 running")
        assert set(terminal.styles) <= {"0", "1", "7"}


@pytest.mark.integration
@pytest.mark.parametrize("signal_key", ["\x03", "\x04"])
def test_it_ends_as_terminals_end_programs(ledger: str, signal_key: str) -> None:
    """Interrupted, or at the end of its input; the terminal is given back."""
    with Terminal("top", "--ledger", ledger) as terminal:
        terminal.shows("12 running")
        terminal.type(signal_key)

        assert 0 == terminal.wait()
        assert not terminal.alternate


@pytest.mark.integration
def test_a_dumb_terminal_gets_one_look(ledger: str) -> None:
    """Without a single sequence."""
    with Terminal("top", "--ledger", ledger, TERM="dumb") as terminal:
        assert 0 == terminal.wait()
        assert "\x1b" not in terminal.written
        assert "12 running" in terminal.written


@pytest.mark.integration
def test_a_pipe_gets_one_look_and_json_the_same(ledger: str) -> None:
    """With all that is known."""
    ran = gpuwatch("top", "--ledger", ledger)
    told = json.loads(gpuwatch("top", "--ledger", ledger, "--json").stdout)

    assert (0, True, False) == (ran.returncode, "日本語の名前" in ran.stdout, "\x1b" in ran.stdout)
    assert 12 == len(told["jobs"])
    assert [36_000.0] == [each["projected_device_seconds"] for each in told["jobs"] if each["job"] == "105"]


@pytest.mark.integration
def test_letters_are_enough(ledger: str) -> None:
    """Where the locale has no more than ASCII."""
    ran = gpuwatch(
        "top", "--ledger", ledger, env=environment(LC_ALL="C", PYTHONIOENCODING="ascii:replace", PYTHONUTF8="0")
    )

    assert (0, "") == (ran.returncode, ran.stderr)
    assert ran.stdout.isascii()


@pytest.mark.integration
def test_without_ledger_and_agent_it_is_unavailable(tmp_path: Path) -> None:
    """And says what is missing, in a terminal too."""
    missing = str(tmp_path / "none.db")
    ran = gpuwatch("top", "--ledger", missing, "--agent", NOBODY)

    assert (69, True) == (ran.returncode, "there is no such file" in ran.stderr)
    with Terminal("top", "--ledger", missing, "--agent", NOBODY) as terminal:
        assert 69 == terminal.wait()
        assert not terminal.alternate
        assert "there is no such file" in terminal.written
