"""What `gpuwatch check` says of the alert policy."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from gpuwatch.cli import application

TWO = """
[[tell]]
kinds = ["exceeded", "projected"]
[[tell]]
kinds = ["idle"]
accounts = ["ml"]
notifiers = ["apprise"]
"""


def checked(tmp_path: Path, policy: str | None, more: str = "") -> tuple[int, str]:
    config = tmp_path / "g.toml"
    alerts = ""
    if policy is not None:
        (tmp_path / "alerts.toml").write_text(policy)
        alerts = f'[alerts]\npolicy_file = "{tmp_path}/alerts.toml"\n'
    config.write_text(
        f'[accounting]\n{more}\n{alerts}[agent]\nstate_directory = "{tmp_path}"\nlisten = "127.0.0.1:0"\n'
    )
    result = CliRunner().invoke(application(["check", "alerts"]), ["check", "--config", str(config)])
    lines = [line for line in result.output.splitlines() if " alerts " in line or "cannot" in line]
    return result.exit_code, "\n".join(" ".join(line.split()) for line in lines)


def test_what_is_told_to_whom_is_said_in_words(tmp_path: Path) -> None:
    """A line for each rule; a notifier that the site has not is a warning."""
    _, said = checked(tmp_path, TWO, 'notifiers = ["log"]')

    assert [
        "ok alerts exceeded, projected: told to owners by log",
        "ok alerts idle of account ml: told to owners by nobody: no such notifier",
        "ok alerts all else is observed",
        "WARNING alerts rule 2 of `tell` names 'apprise', which is none of accounting.notifiers: log",
    ] == said.splitlines()


@pytest.mark.parametrize(
    "policy", ['[[tell]]\nkinds = ["idel"]\n', "[[tell]]\nkind = 1\n", "[letters]\na_day = 0\n", "x"]
)
def test_a_policy_with_a_mistake_is_78(tmp_path: Path, policy: str) -> None:
    """The agent would run, accounting would not start."""
    code, said = checked(tmp_path, policy)

    assert 78 == code
    assert "FAILED alerts accounting would not start: " in said
    assert said.endswith("Accounting cannot: alerts.")


def test_nothing_is_said_where_nothing_is_configured(tmp_path: Path) -> None:
    """A node has no policy; accounting without one tells nobody."""
    assert "" == checked(tmp_path, None)[1]
    assert "nothing is told: every alert is observed" in checked(tmp_path, None, 'notifiers = ["log"]')[1]
