"""Why an alert is told or not, by the site's policy and its mutes, and what a policy says as a whole. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence

from gpuwatch.accounting.alert_policy import ALL, Policy, Rule, TellRule, telling
from gpuwatch.ledger.alert_store import Mode
from gpuwatch.ledger.mutes import Mute
from gpuwatch.model import Alert
from gpuwatch.notifiers.kinds import KINDS, kind_of

_OF_ACCOUNTS = frozenset({"pace", "rate"})
_PEOPLE = {"owner": "owners", "account": "those who look after accounts", "operators": "operators"}


def why(policy: Policy, alert: Alert, mode: Mode, muting: Mute | None = None, to_staff: bool = True) -> str:
    """Why an alert is told, or to nobody, in a sentence; `muting` is the mute that keeps it from being told.

    Only staff is told of which accounts and partitions rules are: others would learn their names.
    """
    told = telling(policy, alert)
    number = next((n for n, rule in enumerate(policy.tell, 1) if rule.admits(alert)), 0)
    if not told:
        still = "" if mode == "observed" else f"; it is {mode} until the next pass"
        return _observed(policy, alert, number, to_staff) + still
    rule = f"{_place('tell', number)} has it{_of(policy.tell[number - 1], to_staff)}"
    if muting is not None:
        return f"muted{_mute(muting)}; else it would be told: {rule}"
    people = f" to {_and(_names(told.to))}" if told.to else ""
    by = "" if "*" in told.notifiers else f" by {_and(sorted(told.notifiers))}"
    later = "" if mode == "told" else "; it is told from the next pass on"
    return f"told{people}{by}: {rule}{later}"


def _observed(policy: Policy, alert: Alert, number: int, to_staff: bool) -> str:
    for place, rule in enumerate(policy.observe, 1):
        if rule.admits(alert):
            else_told = f", before {_place('tell', number)}" if number else ""
            return f"observed: {_place('observe', place)} has it{_of(rule, to_staff)}{else_told}"
    whose = _and([f"{name} {value}" for name, value in _whose(alert) if value])
    nothing = f"observed: no rule of the policy tells `{alert.kind}`" + (f" of {whose}" if whose else "")
    near = next((n for n, rule in enumerate(policy.tell, 1) if {alert.kind, "*"} & {*rule.kinds}), 0)
    if near and to_staff:
        return f"{nothing}; {_place('tell', near)} tells it{_of(policy.tell[near - 1])}"
    if not to_staff:
        return nothing
    return f'{nothing}; alerts.tell = ["{alert.kind}"] or a rule of the policy file would'


def _whose(alert: Alert) -> Sequence[tuple[str, str]]:
    return ("account", alert.concern.account), ("partition", alert.concern.partition)


def _mute(mute: Mute) -> str:
    return f" by {mute.who or 'somebody'} (mute {mute.id}: {mute.reason})"


def _place(table: str, number: int) -> str:
    return f"rule {number} of `{table}`"


def _of(rule: Rule, to_staff: bool = True) -> str:
    """What narrows a rule down, in words; empty where nothing does."""
    if not to_staff:
        return ""
    parts = [
        f"{noun} {_or(patterns)}"
        for noun, patterns in (("account", rule.accounts), ("partition", rule.partitions))
        if "*" not in patterns
    ]
    return f" of {' and '.join(parts)}" if parts else ""


def policy_lines(policy: Policy, notifiers: Sequence[str]) -> Iterator[str]:
    """What a policy says, a line for each rule: what is told to whom by which of a site's `notifiers`."""
    for rule in policy.tell:
        yield f"{_kinds(rule.kinds)}{_of(rule)}: told to {_and(_told_to(rule))} by {_by(rule, notifiers)}"
    for each in policy.observe:
        yield f"{_kinds(each.kinds)}{_of(each)}: observed, whatever tells it"
    if not policy.tell:
        yield "nothing is told: every alert is observed, until alerts.tell or alerts.policy_file says otherwise"
    elif not any("*" in rule.kinds and not _of(rule) for rule in policy.tell):
        yield "all else is observed"


def unknown_notifiers(policy: Policy, notifiers: Sequence[str]) -> Iterator[str]:
    """Mistakes that only show beside the rest of the configuration: notifiers that the site does not have."""
    for number, rule in enumerate(policy.tell, 1):
        for name in rule.notifiers:
            if name != "*" and name not in notifiers:
                there = ", ".join(notifiers) or "none"
                yield f"{_place('tell', number)} names {name!r}, which is none of accounting.notifiers: {there}"


def _told_to(rule: TellRule) -> list[str]:
    if rule.to:
        return _names(rule.to)
    kinds = KINDS if "*" in rule.kinds else rule.kinds
    return _names({"account" if kind in _OF_ACCOUNTS else kind_of(kind).audience for kind in kinds})


def _names(to: Collection[str]) -> list[str]:
    order = [*_PEOPLE, *sorted({*to} - {*_PEOPLE})]
    return [_PEOPLE.get(each, f"channel {each}") for each in order if each in to]


def _by(rule: TellRule, notifiers: Sequence[str]) -> str:
    names = notifiers if "*" in rule.notifiers else [each for each in notifiers if each in rule.notifiers]
    return _and(names) or "nobody: no such notifier"


def _kinds(kinds: Sequence[str]) -> str:
    return "all kinds" if tuple(kinds) == ALL or "*" in kinds else ", ".join(kinds)


def _and(words: Sequence[str]) -> str:
    return _joined(words, "and")


def _or(words: Sequence[str]) -> str:
    return _joined(words, "or")


def _joined(words: Sequence[str], last: str) -> str:
    *most, end = words or [""]
    return f"{', '.join(most)} {last} {end}" if most else end
