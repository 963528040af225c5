"""What a control group says of waiting for storage, and how often it is asked."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpuwatch.jobs.pressure import READ_SECONDS, StorageWaits, waited

# Linux 6.1, of a job that reads from a slow disk.
TEXT = """some avg10=12.41 avg60=9.87 avg300=4.02 total=98765432
full avg10=11.02 avg60=8.50 avg300=3.51 total=41500000
"""


def group(root: Path, text: str | bytes | None = TEXT) -> str:
    """A control group with that answer."""
    root.mkdir(exist_ok=True)
    if text is not None:
        (root / "io.pressure").write_bytes(text if isinstance(text, bytes) else text.encode())
    return str(root)


def test_time_in_which_everybody_waited_is_read(tmp_path: Path) -> None:
    """Microseconds of the line `full`."""
    assert waited(group(tmp_path)) == 41.5


@pytest.mark.parametrize(
    "text",
    [
        None,
        "",
        "some avg10=0.00 total=5\n",
        "full avg10=0.00\n",
        "full total=-1\n",
        "full total=" + "9" * 40,
        b"\xff",
    ],
    ids=["version 1, or no such kernel", "empty", "no full", "no total", "negative", "absurd", "not text"],
)
def test_group_that_does_not_say_is_unknown(tmp_path: Path, text: str | bytes | None) -> None:
    """None, not 0."""
    assert waited(group(tmp_path, text)) is None


def test_pressure_that_is_switched_off_is_unknown(tmp_path: Path) -> None:
    """The kernel refuses to open the file; a directory in its place does as well."""
    (tmp_path / "io.pressure").mkdir()

    assert waited(str(tmp_path)) is None


@given(st.binary(max_size=200))
def test_any_answer_is_read(tmp_path_factory: pytest.TempPathFactory, text: bytes) -> None:
    """Whatever is in the file, there is a time or none."""
    seconds = waited(group(tmp_path_factory.mktemp("group"), text))

    assert seconds is None or seconds >= 0


def test_groups_are_read_every_few_seconds(tmp_path: Path) -> None:
    """What was read before is not told again; a clock that was set back puts nothing off."""
    waits = StorageWaits()
    groups = {"42": group(tmp_path / "a"), "43": group(tmp_path / "b", None)}

    told = [waits.read(groups, 100.0 + now) for now in (0.0, 1.0, READ_SECONDS, -50.0, -49.0)]
    assert told == [{"42": 41.5}, {}, {"42": 41.5}, {"42": 41.5}, {}]
