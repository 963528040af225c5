"""Letters to write, ordinary ones and others."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from gpuwatch.model import Alert, Concern, Scope, Site
from gpuwatch.notifiers.apprise import AppriseNotifier
from gpuwatch.notifiers.base import Change, Letter

NOW = 1_764_000_000.0
TEXT = (
    "job 4711 is projected to need 720 kWh of energy (80 % between 640 and 810), 60 % more than the 450 declared;"
    " 212 used; because: 34 % of 9,000 steps done in 14 h; record: 17 of 19 such alerts were right here"
)
EVIL = (
    "<!channel> <@U1>", "@everyone @here @room", "<at>all</at>", "<http://evil.example|x>", "[x](http://evil.example)",
    "**b** `c` _d_", "<b>&amp;</b><img src=x>", "a\r\nBcc: x@evil.example\r\n\r\nhello", "a\u202eb\u2028c\x00d",
)  # fmt: skip
"""Names that would call, link, be bold, add headers or lines, or run backwards."""


def alert(
    kind: str = "projected", name: str = "4711", called: str = "llama-ft", text: str = "", scope: str = "job",
    value: float = 2.592e9, declared: float = 1.62e9, quantity: str = "energy", user: str = "alice", **more: Any,
) -> Alert:  # fmt: skip
    """One that was raised an hour ago."""
    text = text or TEXT.replace("job 4711", f"{scope} {name}")
    concern = Concern(user, "vision", "gpu", called)
    severity = more.pop("severity", "warning")
    return Alert(
        kind, Scope(scope, name), quantity, severity, NOW - 3600.0, value, declared, text, concern=concern, **more
    )


def raised(*args: Any, **named: Any) -> Change:
    """One that is new."""
    return Change("raised", alert(*args, **named))


def over(*args: Any, **named: Any) -> Change:
    """One that has ended."""
    ended = alert(*args, **named)
    return Change("resolved", replace(ended, text=f"the job ended: {ended.text}"))


def details(name: str) -> tuple[str, ...]:
    """As accounting has them of an overrun."""
    return (
        "declared: 450 kWh by alice at 23 Nov, 09:12",
        "used: 212 kWh, 47 % of what was declared, since 24 Nov, 01:00",
        "likely reason: its devices were idle 31 % of the time (41 device-hours)",
        "such alerts here: 17 of 19 were right",
        f"look closer: gpuwatch show {name}",
        f"declare anew: gpuwatch declare --for job:{name} …",
    )


def letter(*changes: Change, recipient: str = "user:alice", key: str = "key-1", more: int = 0) -> Letter:
    """One to the owner of what it is about."""
    return Letter(key, recipient, changes or (raised(),), NOW, more)


def named(name: str, recipient: str = "user:alice") -> Letter:
    """One about a campaign of a name, which is in its text as well."""
    text = f"campaign {name} is projected to need 720 kWh of energy; because: {name} said so"
    return letter(raised(name=name, called=name, scope="campaign", text=text), over(), recipient=recipient)


def notifier(**settings: Any) -> AppriseNotifier:
    """One of a cluster called hydra."""
    return AppriseNotifier(AppriseNotifier.Settings(**settings), Site(cluster="hydra"))
