"""What the web server exports of itself, in both daemons alike: whom it cut or turned away, its certificate."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from gpuwatch.model import Labelled, Labels, metric, metrics_of, series_of

CUT_REASONS = (
    "handshake_timeout", "handshake_failed", "client_certificate", "header_timeout", "answer_timeout", "evicted",
    "too_many",
)  # fmt: skip
REFUSED_REASONS = ("authentication", "busy", "malformed", "rate_limit")


@dataclass(frozen=True, slots=True)
class WebHealth:
    """How the web server fares; the last two are known only where there is a web-config file."""

    connections: float = metric("gpuwatch_web_connections", "Connections that are open.", default=0.0)
    connections_cut: Labelled = metric(
        "gpuwatch_web_connections_cut_total",
        "Connections that the server ended, by reason: handshake_timeout, handshake_failed, client_certificate "
        "(not one that is allowed), header_timeout (no whole request in time), answer_timeout (not read in time), "
        "evicted (made room for a newer one), too_many (turned away).",
        "reason",
        kind="counter",
    )
    requests_refused: Labelled = metric(
        "gpuwatch_web_requests_refused_total",
        "Requests turned away, by reason: authentication (401), busy (503), malformed (400), rate_limit (429).",
        "reason",
        kind="counter",
    )
    config_last_reload_successful: float | None = metric(
        "gpuwatch_web_config_last_reload_successful",
        "1 where the web-config file and its certificates are in force as they are on disk.",
    )
    certificate_not_after_timestamp_seconds: float | None = metric(
        "gpuwatch_web_certificate_not_after_timestamp_seconds",
        "When the certificate that is served expires, Unix seconds.",
    )


CATALOGUE = tuple(each.metric for each in metrics_of(WebHealth))
"""Every metric of the web server."""


def _no_certificate() -> tuple[float | None, float | None]:
    return None, None


class Counters:
    """Counted in the server's loop, read in any thread."""

    def __init__(self) -> None:
        self.connections: Callable[[], int] = int
        """How many connections are open."""
        self.config: Callable[[], tuple[float | None, float | None]] = _no_certificate
        """Whether the last reload succeeded, and when the certificate expires."""
        self._cut: dict[Labels, float] = dict.fromkeys(CUT_REASONS, 0.0)
        self._refused: dict[Labels, float] = dict.fromkeys(REFUSED_REASONS, 0.0)
        self._rendered: tuple[WebHealth | None, bytes] = None, b""

    def cut(self, reason: str) -> None:
        """The server ended a connection."""
        self._cut[reason] += 1

    def refused(self, reason: str) -> None:
        """The server turned a request away."""
        self._refused[reason] += 1

    def health(self) -> WebHealth:
        """The counts as they are now."""
        return WebHealth(float(self.connections()), dict(self._cut), dict(self._refused), *self.config())

    def render(self) -> bytes:
        """The text exposition; the same object until something changed."""
        health, (rendered, text) = self.health(), self._rendered
        if rendered != health:
            text = exposition(health)
            self._rendered = health, text
        return text


def exposition(health: WebHealth) -> bytes:
    """The text format 0.0.4."""
    from gpuwatch.sinks.text_format import Sample, TextFormat

    samples = (Sample(described.name, (), own, value) for described, own, value in series_of(health))
    return TextFormat(CATALOGUE).write(samples).text.encode()
