"""`gpuwatch compare`: what was measured unlike of two jobs, the most of the difference first."""

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
    from gpuwatch.accounting.views import JobView


def compare(
    job: Annotated[str, typer.Argument(help="The job that is asked about, as `gpuwatch show` takes it.")],
    other: Annotated[str, typer.Argument(help="The job that it is compared with.")],
    ledger: LedgerOption = None,
    config_file: ConfigOption = None,
    as_json: JsonOption = False,
    api: ApiOption = None,
) -> None:
    """Say why a job is slower than another: measured differences, those that can explain most come first.

    Compared are device-seconds for each step, or for all of it where one of the two reports no steps.
    """
    from gpuwatch.accounting.comparing import compared
    from gpuwatch.cli.compare_views import document_of, lines
    from gpuwatch.cli.text import terminal_width

    first, second = _views(job, other, ledger, config_file, api)
    if (first.job.cluster, first.job.scope) == (second.job.cluster, second.job.scope):
        raise typer.BadParameter(f"is the same job as the first, {first.job.scope.name}", param_hint="OTHER")
    found = compared(first, second)
    if as_json:
        print(json.dumps(document_of(found), separators=(",", ":"), allow_nan=False))
    else:
        print("\n".join(lines(found, terminal_width())))


def _views(
    job: str, other: str, ledger: str | None, config_file: Path | None, api: str | None
) -> tuple[JobView, JobView]:
    client = client_for(api, ledger, config_file)
    if client is not None:
        from gpuwatch.cli.api_views import view_of

        return view_of(client.get(f"/jobs/{job}")), view_of(client.get(f"/jobs/{other}"))
    from gpuwatch.accounting.views import views_named

    now, found = time.time(), []
    with opened(ledger, config_file) as connection:
        for name in (job, other):
            views = views_named(connection, name, now)
            if not views:
                raise Unavailable(f"job {name!r}: not in the ledger; `gpuwatch jobs` lists what is")
            found.append(views[0])
    return found[0], found[1]
