"""An agent that starts before anybody has set the clock."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from gpuwatch import config, service
from gpuwatch.cli.node import Node
from gpuwatch.settings import Settings


def _node(folder: Path, node: str) -> Node:
    return Node(
        config.with_overrides(
            Settings(),
            {
                "site.node": node, "agent.devices": [], "agent.host": [], "agent.jobs": [],
                "agent.listen": "127.0.0.1:0", "agent.state_directory": str(folder / "state"),
                "agent.socket": str(folder / "agent.sock"), "agent.jobs_directory": str(folder / "jobs"),
            },
        )
    )  # fmt: skip


@pytest.mark.parametrize(("wall", "said"), [(0.0, True), (service.RELEASED + 1, False), (5e9, True)])
def test_clock_that_nobody_set_is_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, wall: float, said: bool
) -> None:
    """Once, at the start; the agent serves all the same."""
    monkeypatch.setattr("time.time", lambda: wall)

    with _node(tmp_path, "n0") as node:
        node.tick(1.0)
        assert node.agent.ready()

    assert said == any("the wall clock cannot be right" in record.getMessage() for record in caplog.records)


def test_renamed_node_is_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """With the name of before and that of now."""
    caplog.set_level(logging.WARNING)
    for name in ("n0", "n0", "n1"):
        with _node(tmp_path, name):
            pass

    (told,) = [record.getMessage() for record in caplog.records if "called otherwise" in record.getMessage()]
    assert told.endswith(" before=default/n0 now=default/n1")
