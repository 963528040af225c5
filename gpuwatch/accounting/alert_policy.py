"""What a site wants to be told of, and whom: the policy file (docs/alerts.md). What no rule tells is observed.

An observed alert is evaluated, recorded and exported like any other, and nobody hears of it: how often it would
have been right is known before anybody is told (`gpuwatch alerts --would-have`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, PrivateAttr, ValidationError

from gpuwatch import config
from gpuwatch.errors import ConfigurationError
from gpuwatch.model import Alert
from gpuwatch.notifiers.kinds import KINDS, kind_of

ALL = ("*",)


def _kinds(kinds: tuple[str, ...]) -> tuple[str, ...]:
    for kind in kinds:
        if kind != "*" and kind not in KINDS:
            raise ValueError(f'must list kinds of alerts, or "*"; {kind!r} is none of {", ".join(KINDS)}')
    return kinds


Word = Annotated[str, Field(min_length=1, max_length=128)]
Words = Annotated[tuple[Word, ...], Field(strict=False, min_length=1)]
Kinds = Annotated[Words, AfterValidator(_kinds)]
Share = Annotated[float, Field(gt=0, le=1)]
Seconds = Annotated[float, Field(ge=60, le=30 * 86_400)]


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class Rule(_Table):
    """Which alerts: of these kinds, of jobs of these accounts and partitions (patterns with `*` and `?`)."""

    kinds: Kinds = Field(description='kinds of alerts, docs/alerts.md; ["*"] for all')
    accounts: Words = Field(default=ALL, description="accounts, with * and ?; what has no account is of all")
    partitions: Words = Field(default=ALL, description="partitions, likewise")

    def admits(self, alert: Alert) -> bool:
        """Whether the alert is one of them; what has no account or partition matches only `*`."""
        concern = alert.concern
        return (
            ("*" in self.kinds or alert.kind in self.kinds)
            and _matches(concern.account, self.accounts)
            and _matches(concern.partition, self.partitions)
        )


class TellRule(Rule):
    """And who is told of them."""

    notifiers: Words = Field(default=ALL, description="by which of `accounting.notifiers`; default: by all")
    to: tuple[Word, ...] = Field(
        default=(), strict=False,
        description="people, for notifiers that tell people: owner, account, operators, or one of their channels; "
        "default: the owner of a job, operators where it is for them",
    )  # fmt: skip


class Thresholds(_Table):
    """From when on something is worth an alert, where no estimate says so."""

    idle_seconds: Seconds = Field(
        default=1800.0, description="idle: a job that did not work on any of its devices for so long"
    )
    hung_seconds: Seconds = Field(
        default=900.0, description="hung: a job whose devices reported busy at idle power for so long"
    )
    no_start_seconds: Seconds = Field(
        default=1800.0, description="no_start: a job that holds devices for so long and has not worked yet"
    )
    stalled_seconds: Seconds = Field(
        default=1800.0,
        description="stalled_progress: no step for so long, and for four times as long as ever between two",
    )
    throttled_ratio: Share = Field(
        default=0.25, description="throttled: clocks held down for this part of the time"
    )
    window_seconds: Seconds = Field(
        default=1800.0, description="throttled, outlier_device: judged by the time since so long ago"
    )
    outlier_ratio: Share = Field(
        default=0.25,
        description="outlier_device: its clock, or its power with the clock, so much below that of the others",
    )
    outlier_devices: int = Field(
        default=4, ge=3, le=10_000, description="outlier_device: of jobs of so many devices"
    )
    unmeasured_seconds: Seconds = Field(
        default=1800.0, description="unmeasured: no agent told of a running job's devices for so long"
    )
    rate_factor: Annotated[float, Field(gt=1, le=1000)] = Field(
        default=2.0, description="rate: so many times what is not exceeded on nine of ten days before"
    )
    rate_device_hours: Annotated[float, Field(ge=0)] = Field(
        default=24.0, description="rate: days with fewer device-hours are not told of"
    )
    pace_ratios: tuple[Share, Share, Share] = Field(
        default=(0.5, 0.8, 1.0), strict=False, description="pace: marks of a budget that are told of, rising"
    )
    pace_unused_ratio: Share = Field(
        default=0.25, description="pace: so much of a budget unused at the end of its period, at the present pace"
    )
    pace_last_ratio: Share = Field(
        default=0.2, description="pace: unused budget is told of in this last part of its period"
    )


class LetterLimits(_Table):
    """How often a person is written to."""

    a_day: int = Field(default=3, ge=1, le=1000, description="letters to one recipient in any 24 hours")
    second_after_seconds: Annotated[float, Field(ge=0, le=86_400)] = Field(
        default=3600.0, description="the second letter of a day comes no sooner after the first; the third waits "
        "eight times as long after the second",
    )  # fmt: skip
    changes: int = Field(default=20, ge=1, le=1000, description="alerts that a letter has; the rest is a number")


class Policy(_Table):
    """The policy file."""

    tell: tuple[TellRule, ...] = Field(default=(), strict=False, description="alerts that are told")
    observe: tuple[Rule, ...] = Field(
        default=(), strict=False, description="alerts that are not, although a rule of `tell` has them"
    )
    thresholds: Thresholds = Field(default_factory=Thresholds)
    letters: LetterLimits = Field(default_factory=LetterLimits)
    _known: dict[tuple[str, ...], Telling] = PrivateAttr(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Telling:
    """By which notifiers an alert is told (`*`: by all), and to whom by those that tell people."""

    notifiers: frozenset[str] = frozenset()
    to: frozenset[str] = frozenset()

    def __bool__(self) -> bool:
        return bool(self.notifiers)

    def by(self, notifier: str) -> bool:
        """Whether a notifier tells it."""
        return notifier in self.notifiers or "*" in self.notifiers


NOBODY = Telling()


def telling(policy: Policy, alert: Alert) -> Telling:
    """Who is told of an alert: all whom a rule of `tell` names; `NOBODY` where it is observed."""
    asked = (alert.kind, alert.scope.kind, alert.concern.account, alert.concern.partition)
    found = policy._known.get(asked)
    if found is None:
        # A site has few of these, and thousands of alerts.
        found = policy._known[asked] = _telling(policy, alert)
    return found


def _telling(policy: Policy, alert: Alert) -> Telling:
    if any(rule.admits(alert) for rule in policy.observe):
        return NOBODY
    rules = [rule for rule in policy.tell if rule.admits(alert)]
    default = "operators"
    if kind_of(alert.kind).audience == "owner":
        default = "account" if alert.scope.kind == "account" else "owner"
    return Telling(
        frozenset(name for rule in rules for name in rule.notifiers),
        frozenset(name for rule in rules for name in rule.to or (default,)),
    )


def load_policy(path: Path | None, told: Sequence[str] = ()) -> Policy:
    """The policy of a file, where `told` are kinds that all are told of besides; `ConfigurationError`."""
    policy = Policy() if path is None else config.load_table(path, Policy)
    if not told:
        return policy
    try:
        rule = TellRule(kinds=tuple(told))
    except ValidationError as exc:
        wrong = exc.errors(include_url=False)[0]["msg"].removeprefix("Value error, ")
        raise ConfigurationError([f"alerts.tell: {', '.join(told)!r} is not possible; it {wrong}"]) from exc
    return policy.model_copy(update={"tell": (*policy.tell, rule)})


def _matches(value: str, patterns: Sequence[str]) -> bool:
    return any(pattern == "*" or (bool(value) and fnmatchcase(value, pattern)) for pattern in patterns)
