"""What `gpuwatch check` finds out about the batch systems that accounting is to ask; another node may run it."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

from gpuwatch import config
from gpuwatch.cli.findings import Finding, why, within
from gpuwatch.schedulers.base import Scheduler
from gpuwatch.settings import Settings

_PROBED_SECONDS = 600.0
_PATIENCE = 12.0


def schedulers(settings: Settings, probe: bool, timeout_seconds: float, now: float) -> Iterator[Finding]:
    """Build each scheduler; with `probe` ask what runs and what ended of late, and what its set-up loses."""
    for name in settings.accounting.schedulers:
        what = f"schedulers.{name}"
        try:
            scheduler = within(timeout_seconds, partial(config.build, "schedulers", name, settings))
        except Exception as exc:  # noqa: BLE001 - a plugin may raise anything
            yield Finding(what, "warning", why(exc))
            continue
        if not probe:
            yield Finding(what, "ok", "loaded; --probe asks it")
            continue
        # A batch system has several questions to answer, each with a limit of its own.
        yield from _probed(what, scheduler, timeout_seconds * _PATIENCE, now)


def _probed(what: str, scheduler: Scheduler, timeout_seconds: float, now: float) -> Iterator[Finding]:
    try:
        poll = within(timeout_seconds, partial(scheduler.poll, now - _PROBED_SECONDS, frozenset(), now))
    except Exception as exc:  # noqa: BLE001 - a plugin may raise anything
        yield Finding(f"ask {what}", "warning", why(exc))
    else:
        running = sum(record.facts.state == "RUNNING" for record in poll.records)
        yield Finding(f"ask {what}", "ok", f"{len(poll.records)} jobs told of, {running} of them running")
        yield from (Finding(f"ask {what}", "warning", failure) for failure in poll.failures)
    yield from _lost(what, scheduler, timeout_seconds)


def _lost(what: str, scheduler: Any, timeout_seconds: float) -> Iterator[Finding]:
    try:
        sentences = within(timeout_seconds, scheduler.check)
    except Exception as exc:  # noqa: BLE001 - a plugin may raise anything
        yield Finding(f"set-up of {what}", "warning", why(exc))
        return
    if not sentences:
        yield Finding(f"set-up of {what}", "ok", "nothing that accounting needs is lost")
    yield from (Finding(f"set-up of {what}", "warning", sentence) for sentence in sentences)
