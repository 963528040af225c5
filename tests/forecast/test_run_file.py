"""Runs and progress as CSV: what is read, and what is said of rows that are wrong."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpuwatch.errors import Rejected
from gpuwatch.forecast.history import BacktestRun
from gpuwatch.forecast.run_file import KNOWN, REASONS, LeftOut, runs, with_progress

HEAD = (
    "job_id,user,account,job_name,submit_s,start_s,end_s,num_devices,num_nodes,requested_s,"
    "declared_device_hours,state\n"
)
ROW = "7,ada,nlp,train,1000,1100,4700,4,1,7200,2.5,COMPLETED\n"
RUN = BacktestRun(
    "7", "ada", "nlp", "train", 1000.0, 1100.0, 4700.0, 4.0, 1.0, 7200.0, 9000.0, "COMPLETED"
)  # fmt: skip
MARKS = "job_id,time_s,fraction\n"


def read(*rows: str, head: str = HEAD) -> tuple[list[BacktestRun], LeftOut]:
    left_out = LeftOut()
    return [*runs([head, *rows], "runs.csv", left_out).values()], left_out


def reported(*rows: str, head: str = MARKS) -> tuple[tuple[tuple[float, float], ...], LeftOut]:
    """The progress of one run."""
    left_out = LeftOut()
    return with_progress({"7": RUN}, [head, *rows], "progress.csv", left_out)["7"].progress, left_out


def test_a_row_is_a_run() -> None:
    """In base units: declared device-hours are device-seconds; 4 devices for an hour came to 4 h."""
    found, left_out = read(ROW)

    assert [RUN] == found
    assert 4 * 3600.0 == found[0].final
    assert not left_out.counts


def test_columns_stand_in_any_order_and_unknown_ones_are_passed_over() -> None:
    """Byte order mark, blanks, capitals and CRLF do not matter."""
    head = "\ufeffEnd_s, user ,job_id,colour,num_devices,start_s\r\n"

    assert [BacktestRun("7", "ada", "", "", 1100.0, 1100.0, 4700.0, 4.0)] == read(
        "4700, ada,7,red,4,1100\r\n", "\r\n", head=head
    )[0]


@pytest.mark.parametrize(("text", "state"), [
    ("completed", "COMPLETED"), ("CANCELLED by 1001", "CANCELLED"), ("CANCELLED+", "CANCELLED"),
    ("OUT_OF_ME+", "OUT_OF_MEMORY"), (" Timeout ", "TIMEOUT"), ("STRANGE+", "STRANGE"), ("", ""),
])  # fmt: skip
def test_a_state_is_read_as_batch_systems_write_it(text: str, state: str) -> None:
    """With who cancelled it, or cut off at the width of a column."""
    found, _ = read(ROW.replace("COMPLETED", text))

    assert [state] == [run.state for run in found]


def test_an_empty_cell_is_unknown() -> None:
    """Not 0; who was not submitted at a known time is known of from its start on."""
    found, left_out = read("7,,,,,1100,4700,4,,,,\n")

    assert [BacktestRun("7", "", "", "", 1100.0, 1100.0, 4700.0, 4.0)] == found
    assert not left_out.counts


@pytest.mark.parametrize(
    ("row", "reason", "words"),
    [
        ("7,ada,,,,1100,1000,4,,,,\n", "order", "end_s 1000 lies before start_s 1100"),
        ("7,ada,,,1200,1100,4700,4,,,,\n", "order", "submit_s 1200 lies after start_s 1100"),
        ("7,ada,,,,1100,1100,4,,,,\n", "nothing", "start_s and end_s are 1100"),
        ("7,ada,,,,1100,4700,0,,,,\n", "range", "num_devices is 0"),
        ("7,ada,,,,1100,4700,-4,,,,\n", "range", "num_devices '-4' is out of range"),
        ("7,ada,,,,1100,4700,,,,,\n", "number", "num_devices is missing"),
        ("7,ada,,,,1100,inf,4,,,,\n", "range", "end_s 'inf' is out of range"),
        ("7,ada,,,,1100,1652148854000,4,,,,\n", "range", "end_s '1652148854000' is out of range"),
        ("7,ada,,,,nan,4700,4,,,,\n", "number", "start_s 'nan' is no number"),
        ("7,ada,,,,1100,4700,4,,,about 3,\n", "number", "declared_device_hours 'about 3' is no number"),
        ("7,ada,,,,1100,4700,4,,,0,\n", "range", "declared_device_hours is 0"),
        (",ada,,,,1100,4700,4,,,,\n", "unreadable", "has no job id"),
        ("7\n", "number", "start_s is missing"),
        ("8,x" + "y" * 200_000 + "\n", "unreadable", "field larger than field limit (131072)"),
        ("8,x\ry\n", "unreadable", "new-line character seen in unquoted field"),
    ],
)
def test_a_wrong_row_is_left_out_and_told(row: str, reason: str, words: str) -> None:
    """With file, line and what there is; the others are taken."""
    found, left_out = read(row, ROW)

    assert [RUN] == found
    assert ({reason: 1}, [f"runs.csv:2: {words}"]) == (dict(left_out.counts), left_out.examples)


def test_a_job_id_counts_once() -> None:
    """The first row is taken."""
    found, left_out = read(ROW, ROW.replace("ada", "bob"))

    assert [RUN] == found
    assert ["runs.csv:3: job id '7' is there already; the first one counts"] == left_out.examples


def test_a_few_examples_of_each_mistake_are_told() -> None:
    """And all are counted."""
    _, left_out = read(*["7,ada,,,,1100,4700,0,,,,\n"] * 50)

    assert ({"range": 50}, 3) == (dict(left_out.counts), len(left_out.examples))


@pytest.mark.parametrize(
    ("head", "words"),
    [
        ("job,user\n", "runs.csv: lacks job_id, start_s, end_s, num_devices; its first line has 'job', 'user'"),
        ("\n", "runs.csv: lacks job_id, user, start_s, end_s, num_devices; its first line has nothing"),
        (HEAD.replace("account", "user"), "runs.csv: has the column user twice"),
        ("\x7fELF\rx\n", "runs.csv: is no CSV; new-line character seen in unquoted field in its first line"),
    ],
)
def test_a_file_without_its_columns_is_not_read(head: str, words: str) -> None:
    """The message names what is missing and what there is."""
    with pytest.raises(Rejected) as told:
        read(head=head)

    assert words == str(told.value)


def test_an_empty_file_has_no_columns() -> None:
    """Not even a first line."""
    with pytest.raises(Rejected, match="its first line has nothing"):
        runs([], "runs.csv", LeftOut())


def test_progress_is_in_the_order_of_time() -> None:
    """It may pass 1 and may fall; blanks do not matter."""
    found, left_out = reported("7,3000,0.4\n", "7,1100,0\n", " 7 , 2000,0.5 \n", "7,4700,1.2\n")

    assert ((1100.0, 0.0), (2000.0, 0.5), (3000.0, 0.4), (4700.0, 1.2)) == found
    assert not left_out.counts


@pytest.mark.parametrize(
    ("row", "reason", "words"),
    [
        ("9,2000,0.5\n", "unknown_job", "there is no run '9'"),
        ("7,1099,0.5\n", "outside", "time_s 1099 is not within 1100 to 4700"),
        ("7,4701,0.5\n", "outside", "time_s 4701 is not within 1100 to 4700"),
        ("7,2000,-0.5\n", "range", "fraction '-0.5' is out of range"),
        ("7,2000,nan\n", "number", "fraction 'nan' is no number"),
        ("7,2000,inf\n", "range", "fraction 'inf' is out of range"),
        ("7,2000,half\n", "number", "fraction 'half' is no number"),
        ("7,2000\n", "number", "fraction is missing"),
        (",2000,0.5\n", "unreadable", "has no job id"),
    ],
)
def test_wrong_progress_is_left_out_and_told(row: str, reason: str, words: str) -> None:
    """The rest of the run's is taken."""
    found, left_out = reported(row, "7,2000,0.25\n")

    assert ((2000.0, 0.25),) == found
    assert ({reason: 1}, [f"progress.csv:2: {words}"]) == (dict(left_out.counts), left_out.examples)


def test_runs_without_progress_stay() -> None:
    """They have none."""
    left_out = LeftOut()
    other = replace(RUN, job_id="8")

    found = with_progress({"7": RUN, "8": other}, [MARKS, "7,2000,0.5\n"], "progress.csv", left_out)
    assert [((2000.0, 0.5),), ()] == [each.progress for each in found.values()]


cells = st.sampled_from(["", "0", "1", "-1", "1100", "1e400", "nan", "7", '"', "x,y", "1_0", "\ud800"]) | st.text(
    max_size=5
)


@given(st.lists(st.lists(cells, max_size=14).map(",".join), max_size=6))
def test_no_row_stops_the_reading(rows: list[str]) -> None:
    """Whatever stands in a cell: a row is taken or counted, under a reason that has words, or is empty."""
    left_out = LeftOut()
    found = runs([HEAD, *(f"{row}\n" for row in rows)], "runs.csv", left_out)
    again = with_progress(found, [MARKS, *(f"{row}\n" for row in rows)], "progress.csv", left_out)

    assert set(left_out.counts) <= set(REASONS)
    assert list(found) == list(again)
    assert all(0 < run.final < 1e25 for run in found.values())


@given(st.permutations(KNOWN))
def test_the_order_of_columns_does_not_matter(order: list[str]) -> None:
    """The names count."""
    values = dict(zip(HEAD.strip().split(","), ROW.strip().split(","), strict=True))

    assert [RUN] == read(",".join(values[each] for each in order) + "\n", head=",".join(order) + "\n")[0]
