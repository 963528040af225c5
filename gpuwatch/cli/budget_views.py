"""A budget as text and as JSON; amounts in hours of the resource."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any

from gpuwatch import hygiene
from gpuwatch.accounting.amounts import amount, digits
from gpuwatch.accounting.forecast_words import percent
from gpuwatch.cli.periods import columns
from gpuwatch.ledger.budgets import PACE_SECONDS, RESOURCES, Budget, Expected, UserPart, Word
from gpuwatch.ledger.groups import GroupBudget

UNITS: Mapping[str, str] = MappingProxyType(
    {"gres/gpu": "device-hours", "cpu": "CPU-hours", "billing": "billing units × hours"}
)
_HOUR = 3600.0
_DAY = 86_400.0
_FAR = 50 * 365 * _DAY
_HEAD = ("ACCOUNT", "GRANTED", "USED", "COMMITTED", "EXPECTED", "LEFT", "A DAY", "RUNS OUT", "SOURCE")


def document(budget: Budget) -> dict[str, Any]:
    """The budget for JSON: hours of the resource, times in Unix seconds; null is what is not known."""
    grant, reported, committed = budget.grant, budget.reported, budget.committed
    told = budget.resource in RESOURCES
    return {
        "account": budget.account,
        "cluster": budget.cluster,
        "resource": budget.resource,
        "granted_hours": _hours(budget.granted),
        "used_hours": _hours(budget.used),
        "left_hours": _hours(budget.left),
        "running_hours": _hours(committed.running_seconds) if told else None,
        "waiting_hours": _hours(committed.waiting_seconds) if told else None,
        "running_jobs": committed.running_jobs,
        "waiting_jobs": committed.waiting_jobs,
        "unlimited_jobs": committed.unlimited_jobs,
        **_expected_document(budget.expected),
        "left_after_committed_hours": _hours(budget.free) if told else None,
        "pace_hours_per_day": budget.pace * _DAY / _HOUR if told else None,
        "pace_days": PACE_SECONDS / _DAY,
        "runs_out": budget.runs_out,
        "source": grant.source if grant else None,
        "seen": grant.seen if grant else None,
        "starts": grant.starts if grant else None,
        "ends": grant.ends if grant else None,
        "reported_hours": _hours(reported.used_seconds) if reported else None,
        "reported_by": reported.source if reported else None,
        "reported_at": reported.seen if reported else None,
        "recorded_hours": _hours(budget.recorded_seconds) if told else None,
        "recorded_since": budget.recorded_since,
        "unknown_jobs": budget.unknown_jobs if told else None,
        "difference_hours": _hours(budget.difference) if told else None,
        "words": [_word_document(each) for each in budget.words],
        "parent": budget.parent or None,
        "within": budget.within or None,
        "accounts": list(budget.accounts),
        "coordinators": list(budget.coordinators),
        "users": [_user_document(each) for each in budget.users],
    }


def _expected_document(expected: Expected | None) -> dict[str, Any]:
    return {
        "expected_low_hours": _hours(expected.low_seconds) if expected else None,
        "expected_hours": _hours(expected.seconds) if expected else None,
        "expected_high_hours": _hours(expected.high_seconds) if expected else None,
        "expected_jobs": expected.jobs if expected else 0,
        "over_probability": expected.p_over if expected else None,
    }


def _word_document(word: Word) -> dict[str, Any]:
    return {
        "source": word.grant.source,
        "seen": word.grant.seen,
        "starts": word.grant.starts,
        "ends": word.grant.ends,
        "used_hours": _hours(word.grant.used_seconds),
        "recorded_hours": _hours(word.recorded_seconds),
    }


def _user_document(part: UserPart) -> dict[str, Any]:
    return {
        "user": part.user,
        "granted_hours": _hours(part.limit_seconds),
        "reported_hours": _hours(part.reported_seconds),
        "recorded_hours": _hours(part.recorded_seconds),
    }


def list_lines(budgets: Sequence[Budget], resource: str) -> list[str]:
    """All accounts, one line each."""
    if not budgets:
        return ["No account in the ledger yet: accounts come from a batch system, or from `gpuwatch import`."]
    rows = [
        (
            hygiene.label(each.account),
            *_cells(each),
            each.grant.source if each.grant else "",
        )
        for each in budgets
    ]
    clusters = {each.cluster for each in budgets}
    if len(clusters) > 1:
        rows = [(f"{row[0]} ({each.cluster})", *row[1:]) for row, each in zip(rows, budgets, strict=True)]
    return [*columns([_HEAD, *rows]), f"In {_unit(resource)}; a day and until when: {_PACE}."]


def group_document(found: GroupBudget) -> dict[str, Any]:
    """A group's budget for JSON, with that of each of its accounts; hours of the resource."""
    return {
        "group": found.group,
        "resource": found.resource,
        "granted_hours": _hours(found.granted),
        "used_hours": _hours(found.used),
        "left_hours": _hours(found.left),
        "committed_hours": _hours(found.committed),
        **_expected_document(found.expected),
        "left_after_committed_hours": _hours(found.free),
        "pace_hours_per_day": found.pace * _DAY / _HOUR,
        "runs_out": found.runs_out,
        "without_limit": [f"{cluster}/{account}" for cluster, account in found.without_limit],
        "accounts": [document(each) for each in found.budgets],
    }


def group_lines(found: GroupBudget) -> list[str]:
    """The accounts of a group, one line each, and the group."""
    if not found.budgets:
        return [f"No account of group {hygiene.label(found.group)} in the ledger yet."]
    rows = [
        (f"{hygiene.label(each.cluster)}/{hygiene.label(each.account)}", *_cells(each)) for each in found.budgets
    ]
    rows.append((f"group {hygiene.label(found.group)}", *_cells(found)))
    lines = columns([_HEAD[:-1], *rows])
    if found.without_limit and found.granted is not None:
        names = ", ".join("/".join(map(hygiene.label, each)) for each in found.without_limit)
        lines.append(f"No limit is known of {names}: what they used is not taken off what is left.")
    return [*lines, f"In {_unit(found.resource)}; a day and until when: {_PACE}."]


def _cells(budget: Budget | GroupBudget) -> tuple[str, ...]:
    committed = budget.committed if isinstance(budget, GroupBudget) else budget.committed.seconds
    return (
        _figure(budget.granted), _figure(budget.used), _figure(committed),
        _figure(budget.expected.seconds if budget.expected else None), _figure(budget.left),
        _figure(budget.pace * _DAY), _runs_out(budget),
    )  # fmt: skip


def detail_lines(budget: Budget) -> Iterator[str]:
    """One account, line by line."""
    yield f"account {hygiene.log(budget.account)} of cluster {budget.cluster}, {_unit(budget.resource)}"
    for title, lines in (
        ("granted", _granted(budget)),
        ("used", _used(budget)),
        ("committed", _committed(budget)),
        ("expected", _expected(budget)),
        ("left", _left(budget)),
        ("pace", _pace(budget)),
        ("part of", [budget.parent] if budget.parent else []),
        ("includes", [", ".join(budget.accounts)] if budget.accounts else []),
        ("coordinated", [f"by {', '.join(budget.coordinators)}"] if budget.coordinators else []),
    ):
        for number, line in enumerate(lines):
            yield f"  {title if number == 0 else '':11} {hygiene.log(line)}".rstrip()
    yield from _users(budget)


def _granted(budget: Budget) -> Iterator[str]:
    grant = budget.grant
    if grant is None:
        yield "no limit is known" + (f"; {budget.within}, which it is part of, has one" if budget.within else "")
        return
    period = ""
    if grant.starts is not None or grant.ends is not None:
        period = f", {_bound('from', grant.starts)} {_bound('until', grant.ends)}".rstrip()
    yield f"{_figure(grant.limit_seconds)}{period}; {grant.source} told it {_ago(budget.now, grant.seen)}"


def _used(budget: Budget) -> Iterator[str]:
    granted, used = budget.granted, budget.used
    share = f" ({100 * used / granted:.0f} %)" if granted and used is not None else ""
    for number, word in enumerate(budget.words):
        told = word.grant
        since = f" since {_day(told.starts)}" if told.starts is not None else ""
        mine = share if number == 0 and used == told.used_seconds else ""
        compared = _difference(word) if budget.resource in RESOURCES else ""
        by = f"by the word of {told.source}{since}, {_ago(budget.now, told.seen)}"
        yield f"{_figure(told.used_seconds)}{mine} {by}{compared}"
    if not budget.words and budget.resource not in RESOURCES:
        yield "not known"
    if budget.resource not in RESOURCES:
        return
    records = "nothing by the ledger's records"
    if budget.recorded_since is not None:
        mine = share if used == budget.recorded_seconds and not budget.words else ""
        records = (
            f"{_figure(budget.recorded_seconds)}{mine} by the ledger's records since {_day(budget.recorded_since)}"
        )
    yield records
    if budget.unknown_jobs:
        yield f"without {_jobs(budget.unknown_jobs)} of which nobody told how much it is"


def _difference(word: Word) -> str:
    """How it compares with the records of the same time."""
    if abs(word.difference) < 1.0:
        return "; the records say the same"
    return f"; the records say {_figure(abs(word.difference))} {'less' if word.difference > 0 else 'more'}"


def _committed(budget: Budget) -> Iterator[str]:
    committed = budget.committed
    if budget.resource not in RESOURCES:
        return
    if not (committed.running_jobs or committed.waiting_jobs):
        yield "nothing: no job runs or waits"
        return
    parts = (
        f"{_figure(seconds)} by {_jobs(jobs)} that {verb if jobs == 1 else plural}"
        for seconds, jobs, verb, plural in (
            (committed.running_seconds, committed.running_jobs, "runs", "run"),
            (committed.waiting_seconds, committed.waiting_jobs, "waits", "wait"),
        )
        if jobs
    )
    yield f"{_figure(committed.seconds)} at most, until their time limits: {', '.join(parts)}"
    if committed.unlimited_jobs:
        yield f"without {_jobs(committed.unlimited_jobs)} that {_has(committed.unlimited_jobs)} no time limit"


def _expected(budget: Budget) -> Iterator[str]:
    """What running jobs will use of what they may, and whether the account has as much."""
    expected = budget.expected
    if expected is None:
        return
    running = budget.committed.running_jobs
    of = _jobs(running) if expected.jobs >= running else f"{expected.jobs:,} of {_jobs(running)}"
    low, high = _figure(expected.low_seconds), _figure(expected.high_seconds)
    run = "runs" if running == 1 else "run"
    yield f"{_figure(expected.seconds)} more by {of} that {run}, 80 % between {low} and {high}"
    if expected.p_over is not None:
        waits = ", with what waits until its time limits" if budget.committed.waiting_seconds else ""
        yield f"more than is left with probability {percent(expected.p_over)}{waits}"


def _left(budget: Budget) -> Iterator[str]:
    if budget.left is None or budget.free is None:
        return
    after = f"; {_figure(budget.free)} once all that is committed is used" if budget.committed.seconds else ""
    yield f"{_figure(budget.left)}{after}"


def _pace(budget: Budget) -> Iterator[str]:
    if budget.resource not in RESOURCES:
        return
    yield f"{_figure(budget.pace * _DAY)} a day in the last 7 days"
    if budget.left is None:
        return
    if budget.left <= 0:
        yield "nothing is left"
    elif budget.runs_out is not None and budget.runs_out - budget.now < _FAR:
        left = amount("wall", budget.runs_out - budget.now)
        yield f"runs out on {_day(budget.runs_out)}, in {left}, {_PACE}"
    elif budget.grant and budget.grant.ends is not None:
        yield f"lasts until the period ends on {_day(budget.grant.ends)}, {_PACE}"
    else:
        yield f"does not run out, {_PACE}"


_PACE = "at the pace of the last 7 days"


def _users(budget: Budget) -> Iterator[str]:
    limited = [each for each in budget.users if each.limit_seconds is not None]
    if not limited:
        return
    rows = [
        (each.user, _figure(each.limit_seconds), _figure(each.reported_seconds), _figure(each.recorded_seconds))
        for each in limited
    ]
    yield ""
    yield from columns([("USER", "GRANTED", "USED", "BY RECORDS"), *rows])


def _runs_out(budget: Budget | GroupBudget) -> str:
    if budget.left is None:
        return ""
    if budget.left <= 0:
        return "used up"
    end = budget.runs_out
    return (
        _day(end)
        if end is not None and end - budget.now < _FAR
        else "never"
        if budget.pace <= 0
        else "not in time"
    )


def _unit(resource: str) -> str:
    return UNITS.get(resource, f"{hygiene.log(resource)} × hours")


def _figure(seconds: float | None) -> str:
    return "" if seconds is None else digits(seconds / _HOUR)


def _hours(seconds: float | None) -> float | None:
    return None if seconds is None else seconds / _HOUR


def _bound(word: str, time: float | None) -> str:
    return "" if time is None else f"{word} {_day(time)}"


def _day(time: float) -> str:
    return f"{datetime.fromtimestamp(time, UTC):%Y-%m-%d}"


def _ago(now: float, time: float) -> str:
    return f"{amount('wall', max(0.0, now - time))} ago"


def _jobs(number: int) -> str:
    return "1 job" if number == 1 else f"{number:,} jobs"


def _has(number: int) -> str:
    return "has" if number == 1 else "have"
