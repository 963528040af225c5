"""Jobs as people name them on the command line, and a ledger that may be written by who asks."""

from __future__ import annotations

import os
import pwd
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gpuwatch.errors import Forbidden, Rejected, Unavailable

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from gpuwatch.ledger.campaigns import Actor
    from gpuwatch.ledger.jobs import Job

MAX_JOBS = 10_000
"""How many jobs one command may be about."""

_RANGE = re.compile(r"([0-9]{1,18})-([0-9]{1,18})")
_ARRAY = re.compile(r"([0-9]{1,18})_\*")

JobsArgument = Annotated[
    list[str],
    typer.Argument(
        metavar="JOBS…",
        help="Job ids, what is displayed (12_3; 12_* is a whole array), attempts (12@…), ranges (100-120), names.",
        show_default=False,
    ),
]
ReasonOption = Annotated[str, typer.Option(metavar="TEXT", help="Why; it is kept with who did it and when.")]


def jobs_meant(connection: Connection, actor: Actor, words: Sequence[str], now: float) -> tuple[Job, ...]:
    """The jobs that words mean, each once; `Unavailable` for a word that means none.

    A name means those jobs of it that the actor may decide about, where there are any: others have that name too.
    """
    found: dict[tuple[str, str], Job] = {}
    for word in words:
        for job in _meant(connection, actor, word, now):
            found[job.cluster, job.scope.name] = job
        if len(found) > MAX_JOBS:
            raise Rejected(f"jobs: more than {MAX_JOBS:,}; name fewer at once")
    return tuple(found.values())


def _meant(connection: Connection, actor: Actor, word: str, now: float) -> Sequence[Job]:
    from gpuwatch.ledger import queries
    from gpuwatch.ledger.campaigns import standing_of

    several = _several(connection, word)
    if several is not None:
        jobs: Sequence[Job] = queries.jobs_of(connection, several, now)
    else:
        jobs = queries.jobs_named(connection, word, now)
        if not any(word in (job.scope.name, job.job_id, job.display) for job in jobs):
            jobs = [job for job in jobs if standing_of(actor, job)] or jobs
    if not jobs:
        raise Unavailable(f"job {word!r}: not in the ledger; `gpuwatch jobs` lists what is")
    return jobs


def _several(connection: Connection, word: str) -> list[str] | None:
    """The job ids that a range or an array means; None for a word that is neither."""
    from gpuwatch.ledger import queries

    if match := _RANGE.fullmatch(word):
        first, last = int(match[1]), int(match[2])
        if not 0 <= last - first < MAX_JOBS:
            raise Rejected(f"jobs: range {word!r} is not from low to high, or has more than {MAX_JOBS:,}")
        return [str(number) for number in range(first, last + 1)]
    match = _ARRAY.fullmatch(word)
    return None if match is None else queries.tasks_of(connection, match[1])


@contextmanager
def writing(ledger: str | None, config_file: Path | None) -> Iterator[tuple[Connection, Actor]]:
    """A transaction in the ledger that is there, and who asks for it, by the kernel's word.

    Whoever owns the ledger's file, and root, is its administrator: nothing keeps them from writing what they like.
    """
    from gpuwatch import config
    from gpuwatch.cli.jobs import open_usual, usual_ledger
    from gpuwatch.ledger.campaign_store import actor_of
    from gpuwatch.ledger.campaigns import Person
    from gpuwatch.ledger.store import open_store

    settings = config.load(config_file)
    url = ledger or usual_ledger(settings)
    role = _checked_role(url)
    # Accounting makes ledgers and brings them up to date; here one that is not is refused.
    open_usual(ledger, config_file).close()
    password_file = None if ledger else settings.accounting.ledger_password_file
    store = open_store(url, cluster=settings.site.cluster, password_file=password_file)
    try:
        with store.writing() as connection:
            yield connection, actor_of(connection, Person(user_name(), os.getuid()), role)
    finally:
        store.close()


def user_name() -> str:
    """The name of who runs this command; empty where the number has none."""
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return ""


def _checked_role(url: str) -> str:
    """What the caller is to the ledger; `Forbidden` where it is a file that he may not write."""
    from gpuwatch.ledger.store import path_of

    path = path_of(url)
    if path is None:
        return "admin" if os.getuid() == 0 else "self"
    try:
        owner = path.stat().st_uid
    except OSError as exc:
        there = "start `gpuwatch accounting` or `gpuwatch up`, or name another with --ledger"
        raise Unavailable(f"ledger {str(path)!r}: cannot be reached; {there}") from exc
    if not (os.access(path, os.W_OK) and os.access(path.parent, os.W_OK)):
        todo = "ask the accounting's API for it, or run this on its host as the user that accounting runs as"
        raise Forbidden(f"ledger {str(path)!r}: you may read it and not write it; {todo}")
    return "admin" if os.getuid() in (0, owner) else "self"
