"""What a statement looks like in any format: sections of facts, tables, sentences and plots; not yet escaped."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple

PlotName = Literal["burn-up", "days", "states", "energy"]


class Fact(NamedTuple):
    """A name, what is known of it, and how far to trust that."""

    name: str
    value: str
    note: str = ""


@dataclass(frozen=True, slots=True)
class Facts:
    """A list of facts."""

    rows: tuple[Fact, ...]


@dataclass(frozen=True, slots=True)
class Table:
    """A table whose first `left` columns are words and whose others are numbers; `total`: the last row is one.

    `folded`: it is long, and shown only to who asks for it, where the format can do that.
    """

    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    left: int = 1
    total: bool = False
    caption: str = ""
    folded: bool = False


@dataclass(frozen=True, slots=True)
class Sentences:
    """Sentences, one after the other; `listed`: each stands by itself."""

    texts: tuple[str, ...]
    listed: bool = False


@dataclass(frozen=True, slots=True)
class Plot:
    """A picture, in formats that have any; `caption` says in words what it shows."""

    name: PlotName
    caption: str


Block = Facts | Table | Sentences | Plot


@dataclass(frozen=True, slots=True)
class Section:
    """A section under its title."""

    name: str
    title: str
    blocks: tuple[Block, ...]
