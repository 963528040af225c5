"""What a view of the page asks: operations of the API itself, so that it shows nothing that they would not give.

Each part of a view has some seconds of its own. One that is not read in time says so, and the others stand.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from sqlalchemy.exc import DBAPIError

from gpuwatch import hygiene
from gpuwatch.ledger.deadline import limited
from gpuwatch.web.answers import jobs_with_burnups
from gpuwatch.web.api_documents import Document
from gpuwatch.web.api_operations import OPERATIONS
from gpuwatch.web.operations import Operation, Question
from gpuwatch.web.page.html import Html, tag
from gpuwatch.web.parameters import name_of, values_of

PART_SECONDS = 8.0

log = logging.getLogger("gpuwatch.web")

Burnups = Mapping[tuple[str, str], Sequence[Sequence[float]]]
"""Points of time and device-seconds, by cluster and job."""

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
    seconds: float = PART_SECONDS
    """So long may one question to the ledger take."""

    @property
    def now(self) -> float:
        """Unix seconds."""
        return self.question.now

    def ask(self, path: str, name: str = "", **asked: str | None) -> Document | None:
        """The document of an operation of the API; `Rejected` for what the API refuses."""
        operation = _BY_PATH[path]
        named = name_of("name", name) if operation.named else ""
        with limited(self.question.connection, self.seconds):
            return operation.answer(self._asking(operation, asked, named))

    def jobs(self, **asked: str | None) -> tuple[Document, Burnups]:
        """A page of jobs as `/jobs` has them, and their burn-ups by cluster and job as `/burnups` has them."""
        with limited(self.question.connection, self.seconds):
            jobs, burnups = jobs_with_burnups(self._asking(_BY_PATH["/jobs"], asked, ""))
        return jobs, {(each["cluster"], each["job"]): each["points"] for each in burnups["burnups"]}

    def _asking(self, operation: Operation, asked: Mapping[str, str | None], name: str) -> Question:
        values = values_of(operation.parameters, [(key, value) for key, value in asked.items() if value])
        return replace(self.question, values=values, name=name)

    def said(self, path: str, name: str = "", **asked: str | None) -> Document:
        """The same of an operation that always has an answer."""
        found = self.ask(path, name, **asked)
        assert found is not None, path
        return found

    def part(self, what: str, make: Callable[[], Html | None], elsewhere: str = "", key: str = "") -> Html | None:
        """A part of a view, or the word that it could not be read in time.

        With `elsewhere` that leads to the view that has it by itself, where the script takes the part `key` from.
        """
        try:
            return make()
        except DBAPIError as exc:
            if not elsewhere:
                log.warning("part of the page was not read part=%s reason=%s", what, hygiene.log(str(exc.orig)))
        if elsewhere:
            return tag(
                "p", f"{what}: they take longer than an overview may. ", tag("a", what, href=elsewhere),
                class_="note", data_later=key,
            )  # fmt: skip
        late = (
            f"{what}: the ledger did not answer within {self.seconds:.0f} s; it is asked again with the next pass."
        )
        return tag("p", late, class_="late")
