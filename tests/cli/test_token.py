"""`gpuwatch token`: what a job needs to speak over HTTP."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from gpuwatch.agent.tokens import job_token
from gpuwatch.cli import application
from gpuwatch.errors import Unavailable


def test_token_of_a_job_is_printed(tmp_path: Path) -> None:
    """And nothing else, for scripts."""
    (tmp_path / "secret").write_text("a secret of the cluster\n")
    done = CliRunner().invoke(application(["token"]), ["token", "42", "--secret-file", str(tmp_path / "secret")])

    assert (0, job_token(b"a secret of the cluster", "42") + "\n") == (done.exit_code, done.output)


def test_missing_secret_is_said(tmp_path: Path) -> None:
    """With its path."""
    command = ["token", "42", "--secret-file", str(tmp_path / "none")]
    with pytest.raises(Unavailable, match=str(tmp_path / "none")):
        CliRunner().invoke(application(["token"]), command, catch_exceptions=False)
