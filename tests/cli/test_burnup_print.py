"""The chart on standard output."""

from __future__ import annotations

import io

import pytest

from gpuwatch.cli.burnup_print import print_chart
from tests.cli.test_burnup_series import NOW, SERIES, view


class Terminal(io.TextIOWrapper):
    """What somebody looks at."""

    def __init__(self, encoding: str = "utf-8", is_terminal: bool = True) -> None:
        super().__init__(io.BytesIO(), encoding)
        self._is_terminal = is_terminal

    def isatty(self) -> bool:
        return self._is_terminal

    def text(self) -> str:
        self.flush()
        assert isinstance(self.buffer, io.BytesIO)
        return self.buffer.getvalue().decode()


def printed(
    patch: pytest.MonkeyPatch, terminal: Terminal, quantity: str | None = None, wanted: bool | None = None
) -> str:
    with patch.context() as patched:
        patched.setattr("sys.stdout", terminal)
        patched.setenv("COLUMNS", "70")
        print_chart(view(SERIES), quantity, NOW, wanted)
    return terminal.text()


def test_a_terminal_gets_the_chart_in_its_width(monkeypatch: pytest.MonkeyPatch) -> None:
    """In colour, unless NO_COLOR says otherwise."""
    coloured = printed(monkeypatch, Terminal())
    monkeypatch.setenv("NO_COLOR", "1")
    plain = printed(monkeypatch, Terminal())

    assert (True, False) == ("\x1b[" in coloured, "\x1b[" in plain)
    assert 69 >= max(map(len, plain.splitlines())) > 60


def test_a_pipe_gets_it_only_where_it_is_wanted(monkeypatch: pytest.MonkeyPatch) -> None:
    """In 80 columns and without colour."""
    silent = printed(monkeypatch, Terminal(is_terminal=False))
    wanted = printed(monkeypatch, Terminal(is_terminal=False), wanted=True)

    assert "" == silent
    assert wanted.startswith("\ndevice-hours since ")
    assert "\x1b" not in wanted


def test_who_does_not_want_it_does_not_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not on a terminal either."""
    assert "" == printed(monkeypatch, Terminal(), wanted=False)


def test_where_braille_cannot_be_printed_it_is_ascii(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a terminal of Latin letters."""
    text = printed(monkeypatch, Terminal("iso-8859-1"))

    assert text.isascii()
    assert "* used" in text


def test_what_was_asked_for_and_is_not_there_is_said(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """And what was not asked for is not."""
    print_chart(view(None), None, NOW, True)
    asked = capsys.readouterr().out
    print_chart(view(None), None, NOW, None)

    assert ("\nNo burn-up of device-hours yet.\n", "") == (asked, capsys.readouterr().out)
