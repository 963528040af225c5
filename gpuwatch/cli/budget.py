"""`gpuwatch budget`: what an account was granted, used and has promised, and until when that lasts."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Annotated

import typer

from gpuwatch.cli.jobs import JsonOption, LedgerOption, opened
from gpuwatch.cli.options import ConfigOption
from gpuwatch.errors import Unavailable

if TYPE_CHECKING:
    from gpuwatch.ledger.budgets import AccountId, Accounts


def budget(
    account: Annotated[str | None, typer.Argument(help="The account (default: all, one line each).")] = None,
    resource: Annotated[
        str, typer.Option(help="gres/gpu (devices), cpu, billing, or another TRES name.")
    ] = "gres/gpu",
    cluster: Annotated[
        str | None, typer.Option(metavar="NAME", help="The cluster, where several know the account.")
    ] = None,
    ledger: LedgerOption = None,
    config_file: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show an account's budget: granted, used, promised to jobs, left, and when it runs out at the present pace.

    Sub-accounts are part of it. The batch system's figure stands beside what its jobs add up to in the ledger.
    """
    from gpuwatch.cli.budget_views import detail_lines, document, list_lines
    from gpuwatch.ledger.budgets import accounts_in, budgets

    now = time.time()
    with opened(ledger, config_file) as connection:
        accounts = accounts_in(connection)
        wanted = _wanted(accounts, account, cluster)
        found = list(budgets(connection, accounts, wanted, resource, now))
    if as_json:
        documents = [document(each) for each in found]
        print(json.dumps(documents if account is None else documents[0], separators=(",", ":"), allow_nan=False))
    else:
        print("\n".join(list_lines(found, resource) if account is None else detail_lines(found[0])))


def _wanted(accounts: Accounts, name: str | None, cluster: str | None) -> list[AccountId]:
    there = [each for each in accounts.all if cluster in (None, each[0])]
    found = [each for each in there if name in (None, each[1])]
    if name is not None and not found:
        raise Unavailable(f"account {name!r}: not in the ledger; {_nearest(name, there)}")
    if name is not None and len(found) > 1:
        clusters = ", ".join(each[0] for each in found)
        raise typer.BadParameter(f"account {name!r} is known in {clusters}; name one", param_hint="--cluster")
    return found


def _nearest(name: str, there: list[AccountId]) -> str:
    from difflib import get_close_matches

    names = sorted({each[1] for each in there})
    near = get_close_matches(name, names, n=3) or names[:10]
    return f"there is: {', '.join(near)}" if near else "no batch system told of any account"
