"""`gpuwatch tag` and `gpuwatch untag`: free tags of jobs, as the table of a paper that they are for."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Annotated

import typer

from gpuwatch.cli.job_words import jobs_meant, writing
from gpuwatch.cli.jobs import LedgerOption
from gpuwatch.cli.options import ConfigOption
from gpuwatch.errors import DeclarationError

_JOB = "job:"

WordsArgument = Annotated[
    list[str],
    typer.Argument(
        metavar="JOBS… KEY:VALUE…",
        help="Jobs as for `campaign add` (job:ID for an id with a colon), and tags.",
        show_default=False,
    ),
]
KeysArgument = Annotated[
    list[str],
    typer.Argument(
        metavar="JOBS… KEY:…", help="Jobs, and the keys of tags, each with a colon.", show_default=False
    ),
]


def tag(words: WordsArgument, ledger: LedgerOption = None, config_file: ConfigOption = None) -> None:
    """Give jobs tags, as in `gpuwatch tag 1201 1202 table:3`; of each key a job has one value."""
    from gpuwatch.ledger import tag_store

    jobs, said = split(words, "table:3")
    given, now = tag_store.read_tags(said), time.time()
    with writing(ledger, config_file) as (connection, actor):
        meant = jobs_meant(connection, actor, jobs, now)
        tag_store.tag(connection, actor, meant, given, now)
    print(f"{_count(len(meant))} tagged {' '.join(f'{key}:{value}' for key, value in given.items())}")


def untag(words: KeysArgument, ledger: LedgerOption = None, config_file: ConfigOption = None) -> None:
    """Take tags off jobs, as in `gpuwatch untag 1201 table:`."""
    from gpuwatch.ledger import tag_store

    jobs, said = split(words, "table:")
    keys = [tag_store.read_key(word.partition(":")[0]) for word in said]
    now = time.time()
    with writing(ledger, config_file) as (connection, actor):
        meant = jobs_meant(connection, actor, jobs, now)
        tag_store.untag(connection, actor, meant, keys, now)
    print(f"{_count(len(meant))} without {' '.join(keys)}")


def split(words: Sequence[str], example: str) -> tuple[list[str], list[str]]:
    """Jobs and tags apart: a word with a colon is a tag, unless it begins with `job:`."""
    jobs = [word.removeprefix(_JOB) for word in words if word.startswith(_JOB) or ":" not in word]
    tags = [word for word in words if ":" in word and not word.startswith(_JOB)]
    if not jobs or not tags:
        missing = "job" if not jobs else "tag"
        raise DeclarationError(f"tag: no {missing} named; write for example 1201 1202 {example}")
    return jobs, tags


def _count(number: int) -> str:
    return "1 job" if number == 1 else f"{number:,} jobs"
