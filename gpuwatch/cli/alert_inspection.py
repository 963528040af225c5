"""What `gpuwatch check` finds out about which alerts are told to whom."""

from __future__ import annotations

from collections.abc import Iterator

from gpuwatch.cli.findings import Finding
from gpuwatch.errors import ConfigurationError
from gpuwatch.settings import Settings

_WHAT = "alerts"


def alerts(settings: Settings) -> Iterator[Finding]:
    """Whether the alert policy can be used, and what it says, in words; nothing where nothing is configured."""
    from gpuwatch.accounting.alert_policy import load_policy
    from gpuwatch.accounting.alert_reasons import policy_lines, unknown_notifiers

    path, told, names = settings.alerts.policy_file, settings.alerts.tell, settings.accounting.notifiers
    if path is None and not told:
        if settings.says("accounting", "notifiers"):
            yield Finding(_WHAT, "ok", "; ".join(policy_lines(load_policy(None), names)))
        return
    try:
        policy = load_policy(path, told)
    except ConfigurationError as exc:
        for mistake in exc.mistakes:
            yield Finding(_WHAT, "failed", f"accounting would not start: {mistake}", exc.exit_code)
        return
    for line in policy_lines(policy, names):
        yield Finding(_WHAT, "ok", line)
    for mistake in unknown_notifiers(policy, names):
        yield Finding(_WHAT, "warning", mistake)
