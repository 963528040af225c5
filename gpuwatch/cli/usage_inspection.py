"""What `gpuwatch check` finds out about where accounting is to read usage; another node may run it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial

from gpuwatch import config
from gpuwatch.cli.findings import Finding, why, within
from gpuwatch.model import Probe
from gpuwatch.settings import Settings

_PATIENCE = 12.0


def usage(settings: Settings, probe: bool, timeout_seconds: float, now: float) -> Iterator[Finding]:
    """Build each usage source; with `probe` let it try out where it reads.

    A node without a word of accounting in its configuration is not where accounting runs.
    """
    if not (settings.says("accounting") or settings.says("usage")):
        return
    for name in settings.accounting.usage:
        what = f"usage.{name}"
        try:
            source = within(timeout_seconds, partial(config.build, "usage", name, settings))
        except Exception as exc:  # noqa: BLE001 - a plugin may raise anything
            yield Finding(what, "warning", why(exc))
            continue
        if not probe:
            yield Finding(what, "ok", "loaded; --probe asks it")
            continue
        # A thousand agents, or several questions to a server, each with a limit of its own.
        yield from probed(what, source.check, timeout_seconds * _PATIENCE, now)


def probed(
    what: str, check: Callable[[float], Sequence[Probe]], timeout_seconds: float, now: float
) -> Iterator[Finding]:
    """What a plugin's trial of the places that it talks to came to."""
    try:
        probes = within(timeout_seconds, partial(check, now))
    except Exception as exc:  # noqa: BLE001 - a plugin may raise anything
        yield Finding(f"ask {what}", "warning", why(exc))
        return
    yield from (
        Finding(f"ask {what}: {each.what}", "ok" if each.ok else "warning", each.detail) for each in probes
    )
