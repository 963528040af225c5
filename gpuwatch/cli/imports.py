"""`gpuwatch import`: what others recorded, into the ledger. Importing twice changes nothing."""

from __future__ import annotations

import json
import os
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from datetime import UTC, tzinfo
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated
from zoneinfo import ZoneInfo

import typer

from gpuwatch import config, hygiene, plugins
from gpuwatch.cli.files import TextFile
from gpuwatch.cli.jobs import JsonOption, usual_ledger
from gpuwatch.cli.options import ConfigOption
from gpuwatch.cli.periods import zone_named
from gpuwatch.cli.waiting import waiting
from gpuwatch.errors import Rejected

if TYPE_CHECKING:
    from gpuwatch.ledger.charging import Tariffs
    from gpuwatch.ledger.store import Store
    from gpuwatch.schedulers.base import Record
    from gpuwatch.schedulers.slurm_sacct import Reading
    from gpuwatch.settings import Settings

imports = typer.Typer(no_args_is_help=True, help="Put what others recorded into the ledger.")

_BATCH = 2000
_EXAMPLES = 3
_DEVICES = (b"gres/gpu", b"gres/tpu", b'"gres"')
_LOCALTIME = Path("/etc/localtime")

FileArgument = Annotated[
    str, typer.Argument(metavar="FILE", help="The file, also compressed with gzip; - is standard input.")
]
ClusterOption = Annotated[
    str | None, typer.Option(metavar="NAME", help="The cluster it is about (default: the configured one).")
]
WriteOption = Annotated[
    str | None,
    typer.Option(
        "--ledger",
        metavar="PATH|URL",
        help="The ledger to write, made where there is none (default: as for `jobs`).",
    ),
]


@dataclass(slots=True)
class Imported:
    """What became of a file's rows, by reason where they were not taken."""

    file: str
    cluster: str
    taken: int = 0
    changed: int = 0
    skipped: Counter[str] = field(default_factory=Counter)
    examples: list[str] = field(default_factory=list)

    def skip(self, reason: str, example: str = "") -> None:
        """A row is not taken."""
        self.skipped[reason] += 1
        if example and len(self.examples) < _EXAMPLES:
            self.examples.append(hygiene.log(example))

    def tell(self, noun: str, as_json: bool) -> None:
        """Print it; `Rejected` where there were rows and none could be taken."""
        if as_json:
            document = {
                "file": self.file, "cluster": self.cluster, "taken": self.taken, "changed": self.changed,
                "skipped": dict(self.skipped), "examples": self.examples,
            }  # fmt: skip
            print(json.dumps(document, separators=(",", ":")))
        else:
            print("\n".join(self._lines(noun)))
        if self.skipped and not self.taken:
            raise Rejected(f"{self.file}: nothing could be taken of it; {_REASONS[next(iter(self.skipped))]}")

    def _lines(self, noun: str) -> Iterator[str]:
        what = noun if self.taken == 1 else f"{noun}s"
        where = f"{hygiene.log(self.file)} for cluster {hygiene.log(self.cluster)}"
        yield f"{self.taken:,} {what} taken from {where}, {self.changed:,} new or changed"
        for reason, number in sorted(self.skipped.items()):
            yield f"{number:,} not taken: {_REASONS[reason]}"
        yield from (f"  {example}" for example in self.examples)


_REASONS: Mapping[str, str] = {
    "unreadable": "rows that cannot be read",
    "key": "an id or the cluster cannot be a name",
    "not_finite": "a number is not finite",
    "range": "a number or time is out of range, or an end lies before its start",
    "type": "a field is of a wrong kind",
}


@imports.command("sacct")
def sacct(
    file: FileArgument,
    fields: Annotated[
        str | None,
        typer.Option(
            metavar="NAME,…", help="The fields of a file without header, in sacct's own names: JobID,User,Start,…"
        ),
    ] = None,
    delimiter: Annotated[str, typer.Option(help="What stands between two fields.")] = "|",
    timezone: Annotated[
        str | None,
        typer.Option(metavar="ZONE", help="Whose local time sacct printed (default: this machine's)."),
    ] = None,
    cluster: ClusterOption = None,
    ledger: WriteOption = None,
    config_file: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Import jobs as `sacct --parsable2` prints them, with header or --fields, or as `sacct --json` does.

    Steps are left out: a job's own row has its time. Accounting may run meanwhile.
    """
    if len(delimiter) != 1:
        raise typer.BadParameter("is one character", param_hint="--delimiter")
    settings = config.load(config_file, rooms=("schedulers",))
    with TextFile(file) as text:
        imported = Imported(text.name, cluster or settings.site.cluster)
        reading = _reading(settings, imported.cluster, text, timezone)
        found = _records(text, fields, delimiter, reading)
        with waiting(f"importing {hygiene.log(text.name)}") as told:
            _post(found, settings, ledger, imported, lambda: told(text.part))
    imported.tell("job", as_json)


@imports.command("allocations")
def allocations(
    file: FileArgument,
    timezone: Annotated[str, typer.Option(metavar="ZONE", help="Whose midnight days begin at.")] = "UTC",
    cluster: ClusterOption = None,
    ledger: WriteOption = None,
    config_file: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Import what accounts may use, from CSV: account,user,resource,amount,unit,starts,ends in any order.

    Amounts are hours of the resource (gres/gpu, cpu, billing), or min or s where unit says so; empty: no limit.
    The first and the last day of a period are part of it. A file with a mistake is not taken at all.
    """
    from gpuwatch.cli.allocations import grants
    from gpuwatch.ledger.record_store import post_grants

    settings = config.load(config_file)
    with TextFile(file) as text:
        imported = Imported(text.name, cluster or settings.site.cluster)
        seen = time.time() if text.changed is None else text.changed
        found = grants(text.lines(), text.name, imported.cluster, zone_named(timezone), seen)
    with closing(_opened(settings, ledger, imported.cluster)) as store, store.writing() as connection:
        posted = post_grants(connection, found)
    imported.taken, imported.changed = posted.taken, posted.changed
    imported.tell("allocation", as_json)


def tariffs_of(settings: Settings) -> Tariffs:
    """The rates that are configured."""
    from gpuwatch.ledger.charging import Tariffs
    from gpuwatch.ledger.rate_file import load_rates

    zone = settings.accounting.zone
    return Tariffs(load_rates(settings.accounting.rates_file, zone), zone)


def _reading(settings: Settings, cluster: str, text: TextFile, timezone: str | None) -> Reading:
    """How the file is to be read; where any job's TRES name devices, those that name none have none."""
    from gpuwatch.schedulers.slurm_sacct import Reading

    table = settings.schedulers.get("slurm", {})
    devices = plugins.load("schedulers", "slurm").Settings.model_validate(table).devices if table else {}
    zone = zone_named(timezone) if timezone else local_zone(os.environ)
    return Reading(cluster, devices, zone, accounted=any(map(text.has, _DEVICES)))


def _records(text: TextFile, fields: str | None, delimiter: str, reading: Reading) -> Iterator[Record | Rejected]:
    from gpuwatch.schedulers import slurm_json, slurm_rows, slurm_sacct

    lines = text.lines()
    first = next(lines, "")
    if first.lstrip("\ufeff \t\r\n").startswith("{"):
        return slurm_json.sacct_records(_again(first, lines), reading)
    if slurm_rows.is_header(first, delimiter):
        names = slurm_rows.names_of(first, delimiter)
    elif fields is not None:
        names, lines = slurm_rows.names_of(fields, ","), _again(first, lines)
    elif not first:
        return iter(())
    else:
        raise Rejected(f"{text.name}: its first line names no JobID; say with --fields what its fields are")
    _check_names(names, text.name)
    return slurm_sacct.records(lines, names, reading, delimiter)


def _check_names(names: Iterable[str], file: str) -> None:
    there = set(names)
    for needed in (("jobid", "jobidraw"), ("state",), ("submit", "eligible", "start")):
        if not there & set(needed):
            wanted = " or ".join(needed)
            raise Rejected(f"{file}: has no field {wanted}; ask sacct for JobID,JobIDRaw,State,Submit,Start,End,…")


def _again(first: str, lines: Iterator[str]) -> Iterator[str]:
    yield first
    yield from lines


def _opened(settings: Settings, ledger: str | None, cluster: str) -> Store:
    """The ledger to import into, which from now on keeps the cluster that the import is about."""
    from gpuwatch.ledger import clusters
    from gpuwatch.ledger.store import open_store

    own, password_file = settings.site.cluster, None if ledger else settings.accounting.ledger_password_file
    store = open_store(ledger or usual_ledger(settings), cluster=own, password_file=password_file)
    try:
        with store.writing() as connection:
            clusters.add_imported(connection, cluster, own, time.time())
    except BaseException:
        store.close()
        raise
    return store


def _post(
    found: Iterator[Record | Rejected], settings: Settings, ledger: str | None, imported: Imported,
    each: Callable[[], None],
) -> None:  # fmt: skip
    """Batch by batch, so that memory is bounded and nobody who writes meanwhile waits for long."""
    from gpuwatch.ledger.charging import catch_up

    tariffs = tariffs_of(settings)
    with closing(_opened(settings, ledger, imported.cluster)) as store:
        while batch := list(islice(found, _BATCH)):
            _post_batch(store, batch, imported)
            catch_up(store, imported.cluster, tariffs, time.time())
            each()


def _post_batch(store: Store, batch: Iterable[Record | Rejected], imported: Imported) -> None:
    from gpuwatch.ledger.record_store import post_records

    records: list[Record] = []
    for each in batch:
        if isinstance(each, Rejected):
            imported.skip("unreadable", str(each))
        else:
            records.append(each)
    with store.writing() as connection:
        posted = post_records(connection, records)
    imported.taken += posted.taken
    imported.changed += posted.changed
    imported.skipped.update(posted.refused)


def local_zone(environment: Mapping[str, str]) -> tzinfo:
    """This machine's time zone with its changes of the clock; UTC where it has none."""
    name = environment.get("TZ", "").removeprefix(":")
    if name:
        return zone_named(name)
    try:
        with _LOCALTIME.open("rb") as file:
            return ZoneInfo.from_file(file)
    except (OSError, ValueError):
        print("gpuwatch: this machine's time zone is not known; UTC is taken", file=sys.stderr)
        return UTC
