"""Tables as Slurm's commands print them with `--parsable2`: rows by the names of their fields.

Users choose names and comments, which may contain the delimiter or a line break: a row that has too many fields,
or too few, is put together so that the fields that are not free text can be what they are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import combinations
from types import MappingProxyType

from gpuwatch.errors import Rejected
from gpuwatch.schedulers import slurm_text

Row = Mapping[str, str]
"""Cells by the name of their field in small letters."""

MAX_CHARACTERS = 2**20
"""The longest row; a user's comment is shorter."""
_MOST_LINES = 100
_MOST_EXTRA = 32

_FREE = (
    "jobname", "name", "comment", "admincomment", "admin_comment", "systemcomment", "submitline", "workdir",
    "constraints", "extra", "wckey", "stdout", "stderr", "stdin", "container", "reason", "reservation",
)  # fmt: skip
"""Fields of free text, the likeliest to have a delimiter first."""

STATES = frozenset(
    {
        "BOOT_FAIL", "CANCELLED", "COMPLETED", "COMPLETING", "CONFIGURING", "DEADLINE", "FAILED", "LAUNCH_FAILED",
        "NODE_FAIL", "OUT_OF_MEMORY", "PENDING", "PREEMPTED", "RECONFIG_FAIL", "REQUEUED", "REQUEUE_FED",
        "REQUEUE_HOLD", "RESIZING", "RESV_DEL_HOLD", "REVOKED", "RUNNING", "SIGNALING", "SPECIAL_EXIT",
        "STAGE_OUT", "STOPPED", "SUSPENDED", "TIMEOUT",
    }
)  # fmt: skip
"""The states that Slurm's documentation names."""


def names_of(header: str, delimiter: str = "|") -> tuple[str, ...]:
    """The names of the fields that a header or `--fields` lists, without widths (`JobName%30`)."""
    names = tuple(word.strip().partition("%")[0].lower() for word in header.strip("\r\n\ufeff").split(delimiter))
    return names[:-1] if names[-1] == "" else names


def is_header(line: str, delimiter: str = "|") -> bool:
    """Whether a line names fields, and is no row."""
    return bool({"jobid", "jobidraw"} & set(names_of(line, delimiter)))


def rows(lines: Iterable[str], names: Sequence[str], delimiter: str = "|") -> Iterator[Row | Rejected]:
    """The rows of a table without its header; `Rejected` (not raised) for what cannot be read as one."""
    held: list[str] = []
    for raw in lines:
        line = raw.rstrip("\r\n")
        cells = line.split(delimiter)
        if held:
            joined = "\n".join((*held, line)).split(delimiter)
            complete = len(cells) >= len(names) and _fitted(cells, names, delimiter) is not None
            if not complete and len(joined) < len(names):
                held.append(line)
                if len(held) >= _MOST_LINES or sum(map(len, held)) > MAX_CHARACTERS:
                    yield _broken(held, names)
                    held = []
                continue
            if complete:
                yield _broken(held, names)
            held, cells = [], cells if complete else joined
        elif len(cells) < len(names):
            if line.strip():
                held = [line]
            continue
        yield _row(cells, names, delimiter)
    if held:
        yield _broken(held, names)


def _row(cells: list[str], names: Sequence[str], delimiter: str) -> Row | Rejected:
    fitted = cells if len(cells) == len(names) else _fitted(cells, names, delimiter)
    if fitted is None:
        return Rejected(f"row {delimiter.join(cells)[:60]!r}: {len(cells)} fields; there should be {len(names)}")
    return dict(zip(names, fitted, strict=True))


def _broken(held: Sequence[str], names: Sequence[str]) -> Rejected:
    found = "\n".join(held)
    return Rejected(f"row {found[:60]!r}: it ends before its {len(names)} fields")


def _fitted(cells: list[str], names: Sequence[str], delimiter: str) -> list[str] | None:
    """As many cells as there are names, with the surplus in the free texts; None where it fits nowhere."""
    extra = len(cells) - len(names)
    if extra == 1 and cells[-1] == "" and _plausible(cells[:-1], names):
        return cells[:-1]  # --parsable ends each row with a delimiter
    if extra > _MOST_EXTRA:
        return None
    free = [names.index(name) for name in _FREE if name in names]
    for shares in _shares(extra, free):
        found = _merged(cells, len(names), shares, delimiter)
        if _plausible(found, names):
            return found
    return None


def _shares(extra: int, free: Sequence[int]) -> Iterator[dict[int, int]]:
    """How the surplus may be spread: in one of the fields, else in two."""
    if extra == 0:
        yield {}
        return
    for at in free:
        yield {at: extra}
    for first, second in combinations(free, 2):
        for part in range(1, extra):
            yield {first: part, second: extra - part}


def _merged(cells: Sequence[str], wanted: int, shares: Mapping[int, int], delimiter: str) -> list[str]:
    found: list[str] = []
    begin = 0
    for at in range(wanted):
        end = begin + 1 + shares.get(at, 0)
        found.append(delimiter.join(cells[begin:end]))
        begin = end
    return found


def _plausible(cells: Sequence[str], names: Sequence[str]) -> bool:
    return all(_CHECKS[name](cell) for name, cell in zip(names, cells, strict=True) if name in _CHECKS)


def _reads(read: Callable[[str], object]) -> Callable[[str], bool]:
    def check(text: str) -> bool:
        try:
            read(text)
        except Rejected:
            return False
        return True

    return check


def _decimal(text: str) -> bool:
    return not text or (text.isascii() and text.isdecimal())


_CHECKS: Mapping[str, Callable[[str], bool]] = MappingProxyType(
    {
        "state": lambda text: slurm_text.state(text) in STATES,
        **dict.fromkeys(("jobid", "jobidraw"), _reads(slurm_text.job_id)),
        **dict.fromkeys(("submit", "start", "end", "eligible"), _reads(slurm_text.moment)),
        **dict.fromkeys(("elapsed", "timelimit", "suspended"), _reads(slurm_text.seconds)),
        **dict.fromkeys(("exitcode", "derivedexitcode"), _reads(slurm_text.exit_code)),
        **dict.fromkeys(("elapsedraw", "alloccpus", "ncpus", "allocnodes", "nnodes", "restarts"), _decimal),
        **dict.fromkeys(("uid", "gid", "dbindex", "associd"), _decimal),
        "nodelist": _reads(slurm_text.node_list),
    }
)  # fmt: skip
