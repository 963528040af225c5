"""`gpuwatch up`: where it keeps things, and that a place that was asked for is the place."""

from __future__ import annotations

import re
import signal
from pathlib import Path

import pytest

from tests.cli.command import environment, start

pytestmark = pytest.mark.integration


@pytest.mark.parametrize("configured", [False, True])
def test_given_directory_has_everything(tmp_path: Path, configured: bool) -> None:
    """Also beside a configuration file: an option that is not honoured would be ignored in silence."""
    config = tmp_path / "gpuwatch.toml"
    config.write_text('[site]\ncluster = "mine"\n')
    place = tmp_path / "place"
    options = ["--config", str(config)] if configured else []
    listen = ["--agent-listen", "127.0.0.1:0", "--accounting-listen", "127.0.0.1:0"]
    process = start("up", "--state-directory", str(place), *listen, *options, env=environment(HOME=str(tmp_path)))
    assert process.stdout is not None
    for line in process.stdout:
        if re.match(r"jobs ", line):
            break
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=20)

    assert process.returncode == 0
    assert {"agent", "ledger.db"} <= {path.name for path in place.iterdir()}
    assert not (tmp_path / ".local").exists()
