"""`gpuwatch report`: the compute statement of a job, a campaign or an account; and does somebody else's add up?"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gpuwatch import hygiene
from gpuwatch.cli.jobs import LedgerOption, client_for, opened
from gpuwatch.cli.options import ConfigOption
from gpuwatch.errors import Forbidden, Rejected, Unavailable

if TYPE_CHECKING:
    from gpuwatch.reports.checks import Linted
    from gpuwatch.reports.material import Asked
    from gpuwatch.reports.statement import Statement
    from gpuwatch.settings import Settings


class Format(StrEnum):
    """How a statement is written."""

    MARKDOWN = "md"
    HTML = "html"
    JSON = "json"


JobArgument = Annotated[
    str | None,
    typer.Argument(metavar="[JOB]", help="A job: its id, an attempt (JOB@STARTED) or a name.", show_default=False),
]
CampaignOption = Annotated[str | None, typer.Option("--campaign", metavar="NAME", help="Of a campaign.")]
AccountOption = Annotated[
    str | None, typer.Option("--account", metavar="NAME", help="Of an account; needs --from or --to.")
]
FromOption = Annotated[str | None, typer.Option("--from", metavar="TIME", help="From this day, month or time on.")]
ToOption = Annotated[
    str | None, typer.Option("--to", metavar="TIME", help="Before this day, month or time (default: now).")
]
FormatOption = Annotated[
    Format | None, typer.Option("--format", help="How it is written (default: as --out ends, else md).")
]
OutOption = Annotated[
    Path | None, typer.Option("--out", metavar="FILE", help="Write it there instead of printing it.")
]
LintOption = Annotated[
    Path | None,
    typer.Option(
        "--lint",
        metavar="FILE",
        help="Check somebody else's figures: a table in CSV, Markdown or JSON. Exits 65 if they cannot be true.",
    ),
]
TagOption = Annotated[
    str, typer.Option("--by-tag", metavar="KEY", help="Add up by the values of a tag, as for the rows of a table.")
]
FlopOption = Annotated[
    str | None, typer.Option("--flop", metavar="NUMBER", help="FLOP that you counted, as 8.1e22; else by tags.")
]
AuthorOption = Annotated[
    str, typer.Option("--author", metavar="TEXT", help="Whose statement it is (default: the owner of the jobs).")
]
LicenceOption = Annotated[
    str, typer.Option("--licence", metavar="TEXT", help="Under which licence it is published, as CC-BY-4.0.")
]
PurposeOption = Annotated[
    str, typer.Option("--purpose", metavar="TEXT", help="What it was for (default: what the tag `purpose` says).")
]


ZoneOption = Annotated[
    str | None,
    typer.Option(metavar="ZONE", help="The time zone of --from and --to (default: accounting.timezone)."),
]


@dataclass(frozen=True, slots=True)
class _Written:
    """Where a statement goes, and how it is written."""

    format: Format
    out: Path | None


def report(
    job: JobArgument = None,
    campaign: CampaignOption = None,
    account: AccountOption = None,
    since: FromOption = None,
    until: ToOption = None,
    format_: FormatOption = None,
    out: OutOption = None,
    lint: LintOption = None,
    by_tag: TagOption = "",
    flop: FlopOption = None,
    author: AuthorOption = "",
    licence: LicenceOption = "",
    purpose: PurposeOption = "",
    timezone: ZoneOption = None,
    ledger: LedgerOption = None,
    config_file: ConfigOption = None,
) -> None:
    """Write the compute statement of a job, a campaign or an account: what it took, and how far to trust that.

    Failed, cancelled, restarted and debugging runs are in the totals and shown by themselves. What is not known is
    named, and never 0. Every statement is held to the identities that --lint holds others to.
    """
    names = {"job": job, "campaign": campaign, "account": account}
    if lint is not None:
        _lint(lint, format_ or Format.MARKDOWN, any(names.values()))
        return
    scope = _scope(names, since is not None or until is not None)
    _readable(ledger, config_file)
    said = {"author": author, "licence": licence, "purpose": purpose, "tag": _key(by_tag), "flop": _flop(flop)}
    made = _made(scope, (since, until, timezone), said, ledger, config_file)
    _write(made, _Written(format_ or _format_of(out), out))


def _scope(names: Mapping[str, str | None], bounded: bool) -> tuple[str, str]:
    """What the statement is of; an account goes on for ever, and is asked for by the time."""
    found = [(kind, name) for kind, name in names.items() if name]
    if len(found) != 1:
        raise typer.BadParameter("name one: a job, --campaign or --account", param_hint="JOB")
    if found[0][0] == "account" and not bounded:
        raise typer.BadParameter("is needed with --account, as in --from 2026-11", param_hint="--from")
    return found[0]


def _key(by_tag: str) -> str:
    from gpuwatch.ledger.tag_store import read_key

    key = by_tag.removeprefix("tag:")
    return read_key(key) if key else ""


def _flop(text: str | None) -> float | None:
    from gpuwatch.reports.claims import read_number

    if text is None:
        return None
    read = read_number(text)
    if read is None or read[1] or read[0].value <= 0:
        raise typer.BadParameter(f"{text[:40]!r} is no number more than 0; write 8.1e22", param_hint="--flop")
    return read[0].value


def _readable(ledger: str | None, config_file: Path | None) -> None:
    """A statement needs every row; the API gives what its caller may see of each job, and no more."""
    if client_for(None, ledger, config_file) is not None:
        todo = "run it where the ledger is, as somebody who may read it, or ask its staff for the statement"
        raise Forbidden(f"report: the ledger must be readable, its API does not have every row; {todo}")


def _made(
    scope: tuple[str, str], time_asked: tuple[str | None, str | None, str | None], said: Mapping[str, object],
    ledger: str | None, config_file: Path | None,
) -> Statement:  # fmt: skip
    from gpuwatch import config
    from gpuwatch.reports import making, reading

    settings, now = config.load(config_file), time.time()
    asked = _asked(scope, time_asked, said, settings, now)
    with opened(ledger, config_file) as connection:
        material = reading.read(connection, asked, now)
    return making.statement_of(material)


def _asked(
    scope: tuple[str, str], time_asked: tuple[str | None, str | None, str | None], said: Mapping[str, object],
    settings: Settings, now: float,
) -> Asked:  # fmt: skip
    from gpuwatch.cli.periods import Asked as Period
    from gpuwatch.reports.material import Asked

    since, until, timezone = time_asked
    period = Period.of("day", since, until, timezone or settings.accounting.timezone, now)
    bounds = (
        period.begins if since is not None else float("-inf"),
        period.ends if until is not None else float("inf"),
    )
    return Asked(scope[0], scope[1], *bounds, configuration=_digest(settings), **said)  # type: ignore[arg-type]


def _digest(settings: Settings) -> str:
    """SHA-256 of the files that configure this, in order; empty where there are none, or none may be read."""
    found = sha256()
    try:
        for path in settings.files:
            found.update(path.read_bytes())
    except OSError:
        return ""
    return found.hexdigest() if settings.files else ""


def _format_of(out: Path | None) -> Format:
    suffix = out.suffix.lower().removeprefix(".") if out is not None else ""
    return {"html": Format.HTML, "htm": Format.HTML, "json": Format.JSON}.get(suffix, Format.MARKDOWN)


def _write(made: Statement, written: _Written) -> None:
    text = _text(made, written.format)
    if written.out is None:
        print(text, end="")
        return
    beside = written.out.with_name(f".{written.out.name}.{os.getpid()}")
    try:
        beside.write_text(text, encoding="utf-8")
        beside.replace(written.out)
    except OSError as exc:
        beside.unlink(missing_ok=True)
        raise Unavailable(f"{written.out}: cannot be written; {exc.strerror}") from exc
    print(f"{written.out}: compute statement of {hygiene.log(made.title)}, {_verdict(made.lint)}", file=sys.stderr)


def _text(made: Statement, format_: Format) -> str:
    if format_ is Format.HTML:
        from gpuwatch.reports.html import html

        return html(made)
    if format_ is Format.JSON:
        from gpuwatch.reports.document import document

        return json.dumps(document(made), separators=(",", ":"), allow_nan=False, ensure_ascii=True) + "\n"
    from gpuwatch.reports.markdown import markdown

    return markdown(made)


def _verdict(linted: Linted) -> str:
    found = linted.findings
    return "every identity holds" if not found else f"{len(found)} of its identities do not hold"


def _lint(path: Path, format_: Format, named: bool) -> None:
    from gpuwatch.reports.lint import lint
    from gpuwatch.reports.lint_devices import device_known
    from gpuwatch.reports.lint_file import read_claims

    if named:
        raise typer.BadParameter("stands by itself", param_hint="--lint")
    if format_ is Format.HTML:
        raise typer.BadParameter("findings are written as md or json", param_hint="--format")
    read = read_claims(_read_text(path), str(path))
    linted = lint(read.claims, device_known)
    if format_ is Format.JSON:
        from gpuwatch.reports.document import lint_document

        print(json.dumps(lint_document(linted), separators=(",", ":"), allow_nan=False))
    else:
        from gpuwatch.reports.lint_text import lint_lines

        print("\n".join(lint_lines(linted, len(read.claims), read.unknown)))
    if linted.wrong:
        raise typer.Exit(Rejected.exit_code)


def _read_text(path: Path) -> str:
    from gpuwatch.reports.lint_file import LARGEST

    try:
        with path.open("rb") as file:
            data = file.read(LARGEST + 1)
    except OSError as exc:
        raise Unavailable(f"{path}: cannot be read; {exc.strerror}") from exc
    if len(data) > LARGEST:
        raise Rejected(f"{path}: is longer than {LARGEST // 2**20} MiB")
    return data.decode("utf-8", "replace")
