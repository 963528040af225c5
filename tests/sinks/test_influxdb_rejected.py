"""Rejected lines are kept with when and why, in a file that stays small."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from gpuwatch.sinks.influxdb_rejected import RejectedLines

NOW = 1_764_000_000.0


def test_line_is_kept_with_time_and_reason(tmp_path: Path) -> None:
    """One entry is one line."""
    rejected = RejectedLines(tmp_path / "rejected-main.txt")

    rejected.add(NOW, "rejected", "400 unable to parse", b"a b=1 2")
    rejected.add(NOW + 1, "too_large", "413", b"x" * 10_000)

    first, second = (tmp_path / "rejected-main.txt").read_text(encoding="utf-8").splitlines()
    assert '2025-11-24T16:00:00+00:00 reason=rejected detail="400 unable to parse" a b=1 2' == first
    assert (True, "…") == (len(second) < 5000, second[-1])


def test_file_is_begun_anew_when_it_is_full(tmp_path: Path) -> None:
    """Twice the limit at most, whatever comes; the newest is always there."""
    rejected = RejectedLines(tmp_path / "rejected.txt", 1000)

    for number in range(100):
        rejected.add(NOW, "rejected", f"number {number}", b"a b=1 2")

    files = sorted(tmp_path.iterdir())
    assert ["rejected.txt", "rejected.txt.1"] == [file.name for file in files]
    assert all(file.stat().st_size <= 1100 for file in files)
    assert "number 99" in "".join(file.read_text() for file in files)


def test_disk_that_takes_nothing_is_told_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The sender goes on."""
    rejected = RejectedLines(tmp_path / "missing" / "rejected.txt")

    with caplog.at_level(logging.WARNING):
        rejected.add(NOW, "rejected", "400", b"a b=1 2")
        rejected.add(NOW, "rejected", "400", b"a b=1 2")

    assert [
        f"rejected lines are not kept file={tmp_path}/missing/rejected.txt reason=No such file or directory"
    ] == caplog.messages
