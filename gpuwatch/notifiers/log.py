"""Alerts as lines of the log, one for each that began or ended."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from pydantic import BaseModel, ConfigDict

from gpuwatch import hygiene
from gpuwatch.model import Site
from gpuwatch.notifiers.base import Change

_log = logging.getLogger("gpuwatch.alerts")


class LogNotifier:
    """Writes `alert raised kind=… scope=… quantity=… severity=… since=… text="…"`."""

    class Settings(BaseModel):
        """The table `[notifiers.log]`: nothing to set."""

        model_config = ConfigDict(extra="forbid", frozen=True)

    def __init__(self, settings: Settings, site: Site) -> None:
        self._cluster = site.cluster

    def notify(self, changes: Sequence[Change]) -> bool:
        """Log each change; a raised alert as a warning, a resolved one as information."""
        for change in changes:
            level = logging.WARNING if change.what == "raised" else logging.INFO
            _log.log(level, "%s", self._line(change))
        return True

    def _line(self, change: Change) -> str:
        alert = change.alert
        words = {
            "cluster": _word(self._cluster),
            "kind": _word(alert.kind),
            "scope": _word(str(alert.scope)),
            "quantity": _word(alert.quantity),
            "severity": _word(alert.severity),
            "since": f"{alert.since:.0f}",
            "value": f"{alert.value:.6g}",
            "declared": f"{alert.declared:.6g}",
            "text": _quoted(alert.text),
        }
        return f"alert {change.what} " + " ".join(f"{key}={value}" for key, value in words.items())


def _word(text: str) -> str:
    """As it is where it is one word, else quoted, so that nobody adds words of their own."""
    plain = text and not any(sign.isspace() or sign in '"=\\' for sign in text)
    return hygiene.log(text) if plain else _quoted(text)


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{hygiene.log(escaped)}"'
