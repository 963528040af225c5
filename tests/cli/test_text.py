"""Lines for a terminal of some width."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from gpuwatch.cli.text import columns, cut, filled


def test_a_sentence_goes_on_below_its_beginning() -> None:
    """Behind the title of the line."""
    assert ["  advice  one two", "          three"] == filled("  advice  one two three", 18, " " * 10)
    assert ["a b c"] == filled("a b c", 0, "")


def test_the_widest_column_gives_way() -> None:
    """Until the row fits."""
    rows = [("NAME", "HOURS"), ("a" * 40, "12"), ("b", "7")]

    assert ["NAME            HOURS", "aaaaaaaaaaaaa…  12", "b               7"] == list(columns(rows, 21))
    assert "a" * 40 in next(line for line in columns(rows) if "a" in line)


_cells = st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Mn", "Cf", "Cs"]), max_size=60)


@given(st.lists(st.tuples(_cells, _cells, _cells), min_size=1), st.integers(40, 200))
def test_no_row_is_wider_than_the_terminal(rows: list[tuple[str, ...]], width: int) -> None:
    """Wide characters count twice."""
    assert all(cell_len(line) <= width for line in columns(rows, width))


def test_a_wide_character_is_not_cut_in_half() -> None:
    """The ellipsis takes its place."""
    assert "日本…" == cut("日本語です", 6)
