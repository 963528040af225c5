"""What `gpuwatch check` finds out about whom accounting is to tell of alerts; another node may run it."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from gpuwatch import config
from gpuwatch.cli.findings import Finding, why, within
from gpuwatch.cli.usage_inspection import probed
from gpuwatch.notifiers.base import Probing
from gpuwatch.settings import Settings

_PATIENCE = 4.0


def notifiers(settings: Settings, probe: bool, timeout_seconds: float, now: float) -> Iterator[Finding]:
    """Build each notifier that is chosen; with `probe` let those that can try out where they tell.

    A node where none is chosen has nothing to say of them.
    """
    if not settings.says("accounting", "notifiers"):
        return
    for name in settings.accounting.notifiers:
        what = f"notifiers.{name}"
        try:
            notifier = within(timeout_seconds, partial(config.build, "notifiers", name, settings))
        except Exception as exc:  # noqa: BLE001 - a plugin may raise anything
            yield Finding(what, "warning", why(exc))
            continue
        if not isinstance(notifier, Probing):
            yield Finding(what, "ok", "loaded")
        elif not probe:
            yield Finding(what, "ok", "loaded; --probe tries it out")
        else:
            yield from probed(what, notifier.check, timeout_seconds * _PATIENCE, now)
