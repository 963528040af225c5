"""One operation of the API, as it is declared once: for the server, for the OpenAPI document, and for tests."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection

from gpuwatch.accounting.alert_policy import Policy
from gpuwatch.ledger.groups import Groups
from gpuwatch.ledger.store import Store
from gpuwatch.model import EMPTY
from gpuwatch.web.api_documents import Document
from gpuwatch.web.parameters import Parameter
from gpuwatch.web.roles import Viewer

BASE = "/api/v1"
NOTHING_TOLD = Policy()


@dataclass(frozen=True, slots=True)
class Question:
    """Who asks for what: `values` by the names of parameters, `name` where the path has one.

    `groups` are the site's, with the accounts of each; `policy` says which alerts it is told of.
    """

    viewer: Viewer
    connection: Connection
    values: Mapping[str, Any]
    now: float
    name: str = ""
    groups: Groups = EMPTY
    policy: Policy = NOTHING_TOLD


@dataclass(frozen=True, slots=True)
class Operation:
    """`GET path`; `answer` runs in a thread, with a view of the ledger, and makes a document of `schema`.

    It is None where there is no such thing, or it is not the viewer's to see: he cannot tell which.
    """

    path: str
    summary: str
    answer: Callable[[Question], Document | None]
    schema: Mapping[str, Any]
    example: Any
    parameters: Sequence[Parameter] = ()
    named: str = ""
    """What the name in the path is of; empty where the path has none."""
    may_miss: bool = False
    """Whether there may be none without a name in the path."""

    @property
    def route(self) -> str:
        """The path as the server matches it; a name may have slashes (`text` is a convertor of api.py)."""
        return BASE + self.path.replace("{name}", "{name:text}")


@dataclass(frozen=True, slots=True)
class Request:
    """Who wants what changed: `body` is as the action's schema says."""

    viewer: Viewer
    store: Store
    body: Mapping[str, Any]
    now: float


@dataclass(frozen=True, slots=True)
class Action:
    """`POST path` with a JSON object whose members are all texts; `perform` runs in a thread.

    It is None where there is nothing to do it to. It raises `Forbidden` for what the viewer may not.
    """

    path: str
    summary: str
    perform: Callable[[Request], Document | None]
    schema: Mapping[str, Any]
    example: Any
    body: Mapping[str, Any]
    body_example: Any

    @property
    def route(self) -> str:
        """The path as the server matches it."""
        return BASE + self.path
