"""Apprise itself: made quiet, without anything that it could load or keep, and asked what an address is."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any
from urllib.parse import urlsplit

from gpuwatch.errors import ConfigurationError
from gpuwatch.notifiers.apprise_addresses import schema_of
from gpuwatch.notifiers.apprise_outcome import listening, silence
from gpuwatch.notifiers.apprise_places import PLACES, Place, addition


class Services:
    """Makes services of addresses; Apprise is imported here and not before."""

    def __init__(self, timeout_seconds: float) -> None:
        apprise = _library()
        self._timeout_seconds = timeout_seconds
        self._library = apprise
        self._asset = apprise.AppriseAsset(
            app_id="gpuwatch", app_desc="gpuwatch", app_url="", image_url_mask="", image_url_logo="",
            image_path_mask=False, storage_mode="memory", secure_logging=True, allow_templates=False,
            http_redirects=False, default_service_retry=0, pgp_autogen=False, pem_autogen=False, async_mode=False,
        )  # fmt: skip

    def of(self, url: str, key: str = "0") -> Any:
        """The service of an address, for a letter with a key; None where Apprise does not understand it."""
        place = PLACES[schema_of(url)]
        more = addition(place, key, self._timeout_seconds)
        with listening():
            service = self._library.Apprise.instantiate(
                f"{url}{'&' if '?' in url else '?'}{more}", asset=self._asset, suppress_exceptions=True
            )
        if service is not None:
            # Between two requests for one letter it would sleep, as long as each service wishes.
            service.request_rate_per_sec = 0
            service.redirects = False
        return service

    def mistake(self, url: str) -> str:
        """Why letters cannot be sent to an address; empty where they can. The address is not in it."""
        schema = schema_of(url)
        if not schema:
            return f"is not where letters can go; there is: {', '.join(f'{each}://' for each in PLACES)}"
        if not url.isprintable() or any(sign.isspace() for sign in url):
            return "has blanks or control characters in it"
        with listening():
            parts = self._library.URLBase.parse_url(url, verify_host=False) or {}
        if wrong := _forbidden(parts, PLACES[schema]):
            return wrong
        service = self.of(url)
        if service is None:
            return f"is not an address that Apprise understands as {schema}://"
        return _unfit(schema, service)


def _library() -> Any:
    with warnings.catch_warnings():
        # What it loads is made for older Pythons as well, and says so.
        warnings.simplefilter("ignore", DeprecationWarning)
        try:
            import apprise
        except ImportError as exc:
            message = f"notifiers.apprise: needs the extra notify: pip install '.[notify]' from its sources; {exc}"
            raise ConfigurationError([message]) from exc
        silence()
        # The first address makes it load all its services.
        apprise.Apprise.instantiate("json://localhost")
    return apprise


def where(url: str) -> str:
    """Which server an address leads to: the only part of it that is ever shown."""
    place = PLACES[schema_of(url)]
    if place.host:
        return place.host
    parts = urlsplit(url)
    return parts.hostname or schema_of(url)


def _forbidden(parts: Any, place: Place) -> str:
    given = [name for name in parts.get("qsd", {}) if name[:1] not in "+-:"]
    prefixed = [
        f"{sign}{name}" for sign in "+-:" if sign not in place.prefixes for name in parts.get(f"qsd{sign}", {})
    ]
    wrong = [*(name for name in given if name not in place.parameters), *prefixed]
    if not wrong:
        return ""
    allowed = [*sorted(place.parameters), *(f"{sign}NAME" for sign in place.prefixes)]
    return f"has a parameter {wrong[0][:40]!r}; there is: {', '.join(allowed)}"


def _unfit(schema: str, service: Any) -> str:
    if len(service) != 1:
        return "reaches several; give an array of addresses, so that one who refuses keeps it from nobody else"
    if schema.startswith("mailto") and not service.targets:
        return "names nobody to write to; to=NAME@HOST does"
    if schema.startswith("matrix") and (service.user or service.users or not _are_ids(service.rooms)):
        # A room that is named by an alias, or a person, it would make a new room for where it finds none.
        return "must be matrixs://TOKEN@HOST/!ROOM:SERVER"
    return ""


def _are_ids(rooms: Sequence[str]) -> bool:
    return bool(rooms) and all(room.startswith("!") for room in rooms)
