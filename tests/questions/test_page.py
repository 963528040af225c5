"""The page of everyday questions shows what the commands print."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from gpuwatch.cli import application
from tests.goldens import compare

PAGE = Path(__file__).parents[2] / "docs" / "questions.md"
_BLOCK = re.compile(r"```console\n\$ gpuwatch (.*)\n((?:.*\n)*?)```")


@pytest.fixture
def answers(ledger: str, capsys: pytest.CaptureFixture[str]):
    """What a command prints, each line as it is."""

    def answer(command: str) -> str:
        words = shlex.split(command)
        application([words[0]])([*words, "--ledger", ledger], standalone_mode=False)
        return capsys.readouterr().out

    return answer


def test_every_sample_is_what_the_command_prints(answers, request: pytest.FixtureRequest) -> None:
    """Run with --update-golden to write them anew, and review the difference."""
    page = PAGE.read_text(encoding="utf-8")

    actual = _BLOCK.sub(lambda found: f"```console\n$ gpuwatch {found[1]}\n{answers(found[1])}```", page)

    compare(PAGE, actual, update=request.config.getoption("--update-golden"))


def test_each_of_the_twelve_questions_has_one_command() -> None:
    """A heading, a sentence, and a sample below each."""
    parts = PAGE.read_text(encoding="utf-8").split("\n## ")[1:]

    assert 12 == len(parts)
    assert [1] * 12 == [part.count("```console") for part in parts]
