"""Tables of Slurm's commands, with what users write into their names."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpuwatch.errors import Rejected
from gpuwatch.schedulers import slurm_rows

NAMES = ("jobidraw", "jobname", "state", "start", "comment", "exitcode")


def read(*lines):
    return [row if isinstance(row, dict) else str(row) for row in slurm_rows.rows(lines, NAMES)]


def row(name="train", comment="", job="12"):
    return {"jobidraw": job, "jobname": name, "state": "COMPLETED", "start": "2020-11-16T11:59:11",
            "comment": comment, "exitcode": "0:0"}  # fmt: skip


def line(name="train", comment="", job="12"):
    return "|".join(row(name, comment, job).values())


def test_names_come_from_a_header():
    """In any case, with widths, from both kinds of parsable output."""
    expected = ("jobid", "jobname", "state")

    assert expected == slurm_rows.names_of("JobID|JobName|State\n")
    assert expected == slurm_rows.names_of("JobID%20|jobname%-30|State|")
    assert expected == slurm_rows.names_of("JobID,JobName,State", ",")


def test_a_header_is_told_from_a_row():
    """By the id's name."""
    assert [True, True, False] == [
        slurm_rows.is_header(text) for text in ("JobID|State", "State|JobIDRaw", line())
    ]


@pytest.mark.parametrize("name", ["a|b", "|", "|||", "a|COMPLETED|b", "größe|模型", "x|2020-11-16T11:59:11"])
def test_a_delimiter_in_a_name_stays_there(name):
    """The other fields are what they can be."""
    assert [row(name), row(job="13")] == read(line(name), line(job="13"))


def test_a_delimiter_in_a_comment_stays_there():
    """It is after a field that cannot have it."""
    assert [row(comment="gpuwatch: a=1 | b=2")] == read(line(comment="gpuwatch: a=1 | b=2"))


def test_delimiters_in_two_fields_stay_there():
    """Each in its own."""
    assert [row("a|b", "c|d")] == read(line("a|b", "c|d"))


def test_a_line_break_in_a_name_stays_there():
    """Also several."""
    assert [row("a\nb\nc"), row(job="13")] == read(*line("a\nb\nc").split("\n"), line(job="13"))


def test_a_row_that_breaks_off_hides_no_other():
    """It is told, and the next is read."""
    found = read("12|train|COMP", line(job="13"))

    assert [row(job="13")] == found[1:]
    assert "ends before its 6 fields" in found[0]


def test_rows_may_end_with_a_delimiter():
    """As --parsable has it."""
    assert [row()] == read(line() + "|")


def test_blank_lines_are_no_rows():
    """Nor are line ends of another system."""
    assert [row()] == read("", line() + "\r\n", "")


def test_too_many_fields_that_fit_nowhere_are_rejected():
    """Nothing is guessed."""
    (found,) = read("12|train|what|is|this|now|and|then")

    assert "8 fields; there should be 6" in found


@given(st.lists(st.text(max_size=60), max_size=20))
def test_any_lines_are_rows_or_rejected(lines):
    """Every row has every field."""
    for found in slurm_rows.rows(lines, NAMES):
        assert isinstance(found, Rejected) or set(NAMES) == set(found)
