"""To whom pods belong: the object at the top of their owners is what users call the job."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple
from urllib.parse import quote

from gpuwatch.errors import Unavailable
from gpuwatch.model import EMPTY
from gpuwatch.schedulers.kubernetes_api import Reader, Refused
from gpuwatch.schedulers.kubernetes_life import rows, table, text

REFRESH_SECONDS = 600.0
PATIENCE_SECONDS = 20.0
"""How long all questions of one pass may take together; what is not known by then is asked in the next."""
_DEEPEST = 8
_MOST = 50_000
# What makes jobs again and again: each of those is a job of its own.
_MAKERS = frozenset(
    {"CronJob", "CronWorkflow", "Node", "RayCronJob", "ScheduledSparkApplication", "ScheduledWorkflow"}
)
_VERSION = re.compile(r"(?:[a-z0-9][a-z0-9.-]{0,252}/)?v[0-9][a-z0-9]{0,62}")
_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9.:_-]{0,251}[A-Za-z0-9])?")
_ANNOTATIONS = ("gpuwatch.dev/estimate", "gpuwatch.dev/campaign")


class Reference(NamedTuple):
    """An owner as the owned object names it."""

    version: str
    kind: str
    name: str
    uid: str


@dataclass(frozen=True, slots=True)
class Owner:
    """An object that owns pods; `annotations` are those of gpuwatch."""

    uid: str
    kind: str
    name: str
    annotations: Mapping[str, str] = EMPTY


class _Seen(NamedTuple):
    """What was found under a uid at a moment; nothing where it may not be read, or is gone."""

    at: float
    annotations: Mapping[str, str] = EMPTY
    owner: Reference | None = None


class Owners:
    """Looks owners up and remembers them for ten minutes. Not thread-safe.

    Without the right to read a kind, what it is owned by is not known: pods then belong to the last owner known.
    """

    def __init__(self, api: Reader) -> None:
        self._api = api
        self._seen: dict[str, _Seen] = {}
        self._kinds: dict[str, tuple[float, dict[str, tuple[str, bool]]]] = {}
        self._now = 0.0
        self._deadline = 0.0
        self.failures: dict[str, None] = {}
        """What could not be looked up in this pass, each once."""

    def begin(self, now: float) -> None:
        """A new pass begins; what was not seen for long is forgotten."""
        self._now, self._deadline = now, time.monotonic() + PATIENCE_SECONDS
        self.failures = {}
        if len(self._seen) > _MOST:
            self._seen = {uid: seen for uid, seen in self._seen.items() if self._fresh(seen.at)}

    def top(self, document: Mapping[str, Any]) -> Owner | None:
        """The uppermost known owner of an object, None where nothing owns it."""
        namespace = text(table(document, "metadata"), "namespace")
        reference, found = controller(document), None
        for _ in range(_DEEPEST):
            if reference is None or reference.kind in _MAKERS:
                break
            seen = self._look(namespace, reference)
            found = Owner(reference.uid, reference.kind, reference.name, seen.annotations)
            reference = seen.owner
        return found

    def _look(self, namespace: str, reference: Reference) -> _Seen:
        known = self._seen.get(reference.uid)
        if known is not None and self._fresh(known.at):
            return known
        if time.monotonic() > self._deadline:
            return known or _Seen(0.0)
        try:
            seen = self._read(namespace, reference)
        except Refused as exc:
            self._fail(exc)
            # What is gone or forbidden stays so for a while; any other refusal is asked again in the next pass.
            seen = (known or _Seen(0.0))._replace(at=self._now if exc.status in (403, 404) else 0.0)
        except Unavailable as exc:
            self._fail(exc)
            self._deadline = 0.0
            return known or _Seen(0.0)
        self._seen[reference.uid] = seen
        return seen

    def _read(self, namespace: str, reference: Reference) -> _Seen:
        path = self._path(namespace, reference)
        if path is None:
            return _Seen(self._now)
        document = self._api.get(path)
        if text(table(document, "metadata"), "uid") != reference.uid:
            raise Refused(f"{path}: is another object of that name", 404, {}, 0.0)
        return _Seen(self._now, declared(document), controller(document))

    def _path(self, namespace: str, reference: Reference) -> str | None:
        """Where an owner is to be read: its users wrote the reference, so nothing of it is taken as it stands."""
        if not _VERSION.fullmatch(reference.version) or not _NAME.fullmatch(reference.name):
            return None
        plural, namespaced = self._kind(reference.version).get(reference.kind, ("", False))
        if not plural:
            return None
        scope = f"/namespaces/{quote(namespace, safe='')}" if namespaced else ""
        return f"{_root(reference.version)}{scope}/{plural}/{quote(reference.name, safe='')}"

    def _kind(self, version: str) -> dict[str, tuple[str, bool]]:
        """The plural of each kind of a version, and whether it is in namespaces."""
        known = self._kinds.get(version)
        if known is not None and self._fresh(known[0]):
            return known[1]
        found: dict[str, tuple[str, bool]] = {}
        try:
            for each in rows(self._api.get(_root(version)), "resources"):
                if re.fullmatch(r"[a-z0-9-]+", text(each, "name")):
                    found[text(each, "kind")] = text(each, "name"), each.get("namespaced") is True
        except Refused as exc:
            if exc.status not in (403, 404):
                raise
            self._fail(exc)
        if len(self._kinds) > _MOST:
            self._kinds.clear()
        self._kinds[version] = self._now, found
        return found

    def _fail(self, exc: Unavailable) -> None:
        if len(self.failures) < 10:
            self.failures[str(exc)] = None

    def _fresh(self, at: float) -> bool:
        return 0 <= self._now - at < REFRESH_SECONDS


def controller(document: Mapping[str, Any]) -> Reference | None:
    """The owner that controls an object."""
    for each in rows(table(document, "metadata"), "ownerReferences"):
        if each.get("controller") is True and text(each, "uid"):
            return Reference(*(text(each, key) for key in ("apiVersion", "kind", "name", "uid")))
    return None


def declared(document: Mapping[str, Any]) -> dict[str, str]:
    """Those that gpuwatch reads."""
    found = table(table(document, "metadata"), "annotations")
    return {name: text(found, name) for name in _ANNOTATIONS if text(found, name)}


def _root(version: str) -> str:
    return f"/apis/{version}" if "/" in version else f"/api/{version}"
