"""`gpuwatch budget`: what an account was granted, used and has promised, and until when that lasts."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gpuwatch.cli.jobs import ApiOption, JsonOption, LedgerOption, client_for, opened
from gpuwatch.cli.options import ConfigOption
from gpuwatch.errors import Unavailable

if TYPE_CHECKING:
    from gpuwatch.cli.api_client import ApiClient
    from gpuwatch.ledger.budgets import AccountId, Accounts, Budget


def budget(
    account: Annotated[str | None, typer.Argument(help="The account (default: all, one line each).")] = None,
    resource: Annotated[
        str, typer.Option(help="gres/gpu (devices), cpu, billing, or another TRES name.")
    ] = "gres/gpu",
    cluster: Annotated[
        str | None, typer.Option(metavar="NAME", help="The cluster, where several know the account.")
    ] = None,
    group: Annotated[
        str | None, typer.Option(metavar="NAME", help="A group of accounts of all clusters, as configured.")
    ] = None,
    ledger: LedgerOption = None,
    config_file: ConfigOption = None,
    as_json: JsonOption = False,
    api: ApiOption = None,
) -> None:
    """Show an account's budget: granted, used, promised to jobs, left, and when it runs out at the present pace.
    Sub-accounts are part of it. The batch system's figure stands beside what its jobs add up to in the ledger,
    and what running jobs may use until their time limits beside what they are expected to.
    """
    from gpuwatch.cli.budget_views import detail_lines, document, list_lines

    if group is not None:
        _only_group(account, cluster, api)
        _print_group(group, resource, ledger, config_file, as_json, time.time())
        return
    client = client_for(api, ledger, config_file)
    if client is not None:
        found = _asked(client, account, cluster, resource)
    else:
        found = _read(ledger, config_file, account, cluster, resource)
    if as_json:
        documents = [document(each) for each in found]
        print(json.dumps(documents if account is None else documents[0], separators=(",", ":"), allow_nan=False))
    else:
        print("\n".join(list_lines(found, resource) if account is None else detail_lines(found[0])))


def _read(
    ledger: str | None, config_file: Path | None, account: str | None, cluster: str | None, resource: str
) -> list[Budget]:
    from gpuwatch.accounting.expected_use import expecting
    from gpuwatch.ledger.budgets import accounts_in, budgets

    with opened(ledger, config_file) as connection:
        accounts = accounts_in(connection)
        wanted = _wanted(accounts, account, cluster)
        return list(expecting(budgets(connection, accounts, wanted, resource, time.time())))


def _asked(client: ApiClient, account: str | None, cluster: str | None, resource: str) -> list[Budget]:
    from gpuwatch.cli.api_views import budget_of

    if account is not None:
        return [budget_of(client.get(f"/budgets/{account}", cluster=cluster, resource=resource))]
    return [budget_of(each) for each in client.get("/budgets", cluster=cluster, resource=resource)["budgets"]]


def _only_group(account: str | None, cluster: str | None, api: str | None) -> None:
    for name, value in (("ACCOUNT", account), ("--cluster", cluster), ("--api", api)):
        if value is not None:
            raise typer.BadParameter("stands beside --group; write one of them", param_hint=name)


def _print_group(
    group: str, resource: str, ledger: str | None, config_file: Path | None, as_json: bool, now: float
) -> None:
    from gpuwatch import config
    from gpuwatch.accounting.expected_use import expecting, group_expecting
    from gpuwatch.cli.budget_views import group_document, group_lines
    from gpuwatch.ledger.budgets import accounts_in, budgets
    from gpuwatch.ledger.groups import GroupBudget, accounts_of

    groups = config.load(config_file).accounting.groups
    if group not in groups:
        raise Unavailable(f"group {group!r}: not in accounting.groups; there is: {', '.join(groups) or 'none'}")
    with opened(ledger, config_file) as connection:
        accounts = accounts_in(connection)
        wanted = accounts_of(groups, group, accounts)
        each = expecting(budgets(connection, accounts, wanted, resource, now))
        found = group_expecting(GroupBudget(group, resource, now, tuple(each)))
    if as_json:
        print(json.dumps(group_document(found), separators=(",", ":"), allow_nan=False))
    else:
        print("\n".join(group_lines(found)))


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
