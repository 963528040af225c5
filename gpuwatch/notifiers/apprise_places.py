"""Where letters can go: the schemas of Apprise that are allowed, and how each of them is written to. Pure.

Apprise knows more than a hundred services, among them some that run commands, write files or speak to the desktop.
Here are those whose bytes the tests have read. A parameter that is not listed could load a template from a file or
an address, follow redirects, or repeat and delay by Apprise's own rules.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from gpuwatch.notifiers.letter_dialects import CHAT, COMMONMARK, DISCORD, HTML, PLAIN, Dialect

KEY_HEADER = "X-Gpuwatch-Letter"
"""Has a letter's key, the same however often it is sent."""


@dataclass(frozen=True, slots=True)
class Place:
    """A schema: how its letters are written, how long they may be, and which parameters an address may have.

    `source` is the format that Apprise is told the letter has. `host` is where it goes if the address does not say
    it. `prefixes` begin parameters that are headers and the like; `headers` are added to every letter.
    """

    dialect: Dialect
    most_bytes: int
    source: str = "text"
    parameters: frozenset[str] = frozenset()
    prefixes: str = ""
    headers: Mapping[str, str] | None = None
    host: str = ""
    fixed: str = ""


_MAIL = Place(
    PLAIN, 64_000, parameters=frozenset({"to", "from", "name", "reply", "smtp", "mode", "user", "pass", "format"}),
    prefixes="+", headers={"Auto-Submitted": "auto-generated", KEY_HEADER: "{key}"},
)  # fmt: skip
_JSON = Place(
    PLAIN, 64_000, parameters=frozenset({"method"}), prefixes="+-:",
    headers={"Idempotency-Key": "{key}", KEY_HEADER: "{key}"},
)  # fmt: skip
_SLACK = Place(CHAT, 8_000, parameters=frozenset({"to", "mode"}), host="hooks.slack.com")
_DISCORD = Place(DISCORD, 1_800, parameters=frozenset({"thread"}), host="discord.com")
_TEAMS = Place(
    COMMONMARK, 8_000, source="markdown", parameters=frozenset(
        {"id", "workflow", "sig", "signature", "ver", "api-version", "sp", "sv", "pa", "powerautomate", "route",
         "routeid"}
    ),
)  # fmt: skip
_MATTERMOST = Place(
    COMMONMARK, 3_600, parameters=frozenset({"to", "channel", "channels", "team", "botname", "mode"})
)
_MATRIX = Place(
    CHAT,
    16_000,
    parameters=frozenset({"to", "token", "version", "msgtype", "hsreq"}),
    fixed="discovery=no&e2ee=no",
)

PLACES: Mapping[str, Place] = {
    "mailto": _MAIL, "mailtos": _MAIL, "json": _JSON, "jsons": _JSON, "slack": _SLACK, "discord": _DISCORD,
    "workflow": _TEAMS, "workflows": _TEAMS, "mmost": _MATTERMOST, "mmosts": _MATTERMOST, "matrix": _MATRIX,
    "matrixs": _MATRIX,
}  # fmt: skip
"""By schema."""

_FIXED = "redirect=no&image=no&footer=no&avatar=no&overflow=upstream&retry=0&verify=yes"
"""Put behind every address: nothing is followed, drawn, cut or repeated."""


def addition(place: Place, key: str, timeout_seconds: float) -> str:
    """The parameters that are added to an address, for a letter with a key that is safe in an address."""
    seconds = f"cto={timeout_seconds:g}&rto={timeout_seconds:g}"
    headers = [f"+{name}={value.format(key=key)}" for name, value in (place.headers or {}).items()]
    return "&".join(filter(None, (_FIXED, place.fixed, seconds, *headers)))


def written(place: Place, service: Any) -> tuple[Dialect, str]:
    """How a letter to a service is written, and the format Apprise has to be told: mail may want HTML."""
    if place is not _MAIL:
        return place.dialect, place.source
    wanted = service.resolve_format("text")
    return (HTML, "html") if getattr(wanted, "value", wanted) == "html" else (PLAIN, "text")
