"""`gpuwatch alerts would-have`: who would have been told what, had a policy been in force."""

from __future__ import annotations

import gc
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gpuwatch.cli.jobs import JsonOption, LedgerOption, client_for, opened
from gpuwatch.cli.options import ConfigOption, seconds_of
from gpuwatch.cli.waiting import waiting
from gpuwatch.errors import Forbidden

if TYPE_CHECKING:
    from gpuwatch.accounting.would_have_figures import WouldHave

_DAY = 86_400.0
_LEAST_SECONDS = 3600.0

PolicyOption = Annotated[
    Path | None,
    typer.Option(
        "--policy", metavar="FILE", help="Had this policy file been in force (default: every kind told)."
    ),
]


def add_to(group: typer.Typer) -> None:
    """Make it a command of the group."""
    group.command("would-have")(would_have)


def would_have(
    duration: Annotated[
        str, typer.Argument(metavar="DURATION", help="The time that is looked at, as 30d.")
    ] = "30d",
    policy: PolicyOption = None,
    ledger: LedgerOption = None,
    config_file: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Say who would have been told what, how often, and how often it was right: before anybody is told anything.

    Letters go as the policy's limits say. It reads the ledger itself; nothing is told, and nothing changes.
    """
    print_would_have(duration, policy, ledger, config_file, as_json)


def print_would_have(
    duration: str, policy: Path | None, ledger: str | None, config_file: Path | None, as_json: bool
) -> None:
    """Print it."""
    from gpuwatch.cli.alerts import print_json
    from gpuwatch.cli.would_have_views import document, lines

    seconds = seconds_of(duration, "--would-have")
    if seconds < _LEAST_SECONDS:
        raise typer.BadParameter(f"{duration!r} is too short; write 30d", param_hint="--would-have")
    if client_for(None, ledger, config_file) is not None:
        raise Forbidden(
            "alerts would-have: reads everybody's alerts out of the ledger, which is not yours to read"
        )
    found = _figures(seconds, policy, ledger, config_file, time.time())
    if as_json:
        print_json(document(found))
    else:
        print("\n".join(lines(found, policy)))


def _figures(
    seconds: float, policy: Path | None, ledger: str | None, config_file: Path | None, now: float
) -> WouldHave:
    from gpuwatch import config
    from gpuwatch.accounting.alert_policy import load_policy
    from gpuwatch.accounting.would_have import by_policy, simulate
    from gpuwatch.accounting.would_have_figures import figures
    from gpuwatch.ledger import episodes

    settings = config.load(config_file)
    in_force = load_policy(settings.alerts.policy_file, settings.alerts.tell)
    supposed = load_policy(policy, () if policy is not None else ("*",))
    limits = supposed.letters if policy is not None else in_force.letters
    begins = now - seconds
    # A hundred thousand alerts are no cycles; looking for some takes as long as the rest.
    gc.disable()
    with opened(ledger, config_file) as connection:
        there = episodes.raised_since(connection, settings.site.cluster, begins)
    with waiting(f"looking at {len(there):,} alerts"):
        told = simulate(there, by_policy(supposed), limits, now)
        return figures(there, told, seconds / _DAY, in_force)
