"""The page about replay says what there is."""

from __future__ import annotations

from pathlib import Path

from gpuwatch.devices.checks import REASONS
from gpuwatch.devices.columns import OWN, UIDS

PAGE = (Path(__file__).parents[2] / "docs" / "replay.md").read_text()


def test_every_column_and_reason_is_documented() -> None:
    """Columns of the own format, identities of nvidia-smi, reasons for a rejection."""
    own = {"time_s", "uid", "job_id", *OWN}
    rows = {"time_backwards", "time_duplicate", "time_jump", "unparsable", "truncated", "damaged", "counter_jump"}

    missing = [word for word in (*own, *UIDS[:1], *REASONS, *rows) if f"`{word}`" not in PAGE]

    assert missing == []
