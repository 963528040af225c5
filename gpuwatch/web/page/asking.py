"""What a view of the page asks: operations of the API itself, so that it shows nothing that they would not give.

Each part of a view has some seconds of its own. One that is not read in time says so, and the others stand.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from sqlalchemy.exc import DBAPIError

from gpuwatch import hygiene
from gpuwatch.ledger.deadline import limited
from gpuwatch.web.api_documents import Document
from gpuwatch.web.api_operations import OPERATIONS
from gpuwatch.web.operations import Operation, Question
from gpuwatch.web.page.html import Html, tag
from gpuwatch.web.parameters import name_of, values_of

PART_SECONDS = 4.0

log = logging.getLogger("gpuwatch.web")

_BY_PATH: Mapping[str, Operation] = {each.path: each for each in OPERATIONS}


@dataclass(frozen=True, slots=True)
class View:
    """What a view made: its title, and what is in the main part of the page."""

    title: str
    main: Html


@dataclass(frozen=True, slots=True)
class Asker:
    """Asks for one viewer; `given` are the parameters of the page's own address, `name` what its path names."""

    question: Question
    given: Mapping[str, str]
    name: str = ""

    @property
    def now(self) -> float:
        """Unix seconds."""
        return self.question.now

    def ask(self, path: str, name: str = "", **asked: str | None) -> Document | None:
        """The document of an operation of the API; `Rejected` for what the API refuses."""
        operation = _BY_PATH[path]
        values = values_of(operation.parameters, [(key, value) for key, value in asked.items() if value])
        named = name_of("name", name) if operation.named else ""
        with limited(self.question.connection, PART_SECONDS):
            return operation.answer(replace(self.question, values=values, name=named))

    def said(self, path: str, name: str = "", **asked: str | None) -> Document:
        """The same of an operation that always has an answer."""
        found = self.ask(path, name, **asked)
        assert found is not None, path
        return found

    def part(self, what: str, make: Callable[[], Html | None]) -> Html | None:
        """A part of a view, or the word that it could not be read in time."""
        try:
            return make()
        except DBAPIError as exc:
            log.warning("part of the page was not read part=%s reason=%s", what, hygiene.log(str(exc.orig)))
            return tag(
                "p", f"{what}: the ledger did not answer within {PART_SECONDS:.0f} s; it is asked again with the"
                " next pass.", class_="late",
            )  # fmt: skip
