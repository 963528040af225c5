"""What a replay of a history came to, as tables for people, out of the same figures that JSON has."""

from __future__ import annotations

from collections.abc import Iterator

from gpuwatch.cli.periods import columns
from gpuwatch.forecast.scoring import LEAST_CALLS, LEAST_PRECISION, Tree, at, name_of, number_at, supported
from gpuwatch.forecast.trials import STAGES, THRESHOLDS

_WEIGHTS = {"jobs": "runs", "device_hours": "device-hours"}
_RULES = {
    "declared": "declared",
    "last_two": "mean of last two",
    "used_by_progress": "used / progress",
    "budget_80": "80 % of budget",
}
_COVERAGE_WORDS = (
    "[ ]: 95 % confidence, users drawn anew. CUT SHORT: ended by a limit or by somebody; not judged here.",
    "WIDTH: upper by lower end of 80 % intervals, the median. WINKLER: their width and misses, on",
    "logarithms; lower is better. ERROR: how far the median was off, on logarithms; 0.1 is about 10 %.",
)
_ALERT_WORDS = (
    "RIGHT: of the calls, those that became overruns (BY HOURS: by what the runs came to). EARLY: of the",
    "right ones, those before all that was declared was used. FOUND: of the overruns, those called.",
    "LEFT: what was left of the declared when a right call came, the median; below 0: it came late.",
)
_NEAR = 0.05
_USUAL = 0.8


def lines(told: Tree, runs: int) -> Iterator[str]:
    """The whole of it, of a history of so many runs."""
    trials, users = number_at(told, "trials") or 0, number_at(told, "users") or 0
    if not runs:
        yield "The ledger has no run yet that has ended and can be replayed: there is nothing to score."
        return
    if not trials:
        yield f"{runs:,} {_runs(runs)}: nothing could be forecast of any, so that there is nothing to score."
        return
    of = f"{users:,.0f} {'user' if users == 1 else 'users'}"
    yield f"{runs:,} {_runs(runs)} replayed in the order of time; {trials:,.0f} forecast, of {of}."
    yield (
        f"An overrun is more than {_percent(number_at(told, 'tolerance'))} above what was declared:"
        f" {_percent(number_at(told, 'overrun', 'jobs'))} of the runs,"
        f" {_percent(number_at(told, 'overrun', 'device_hours'))} of the device-hours."
    )
    for weight, word in _WEIGHTS.items():
        yield from ("", f"Ended within their 50, 80 and 90 % intervals, by {word}:")
        yield from columns(list(_coverage_rows(told, weight)))
    yield from _COVERAGE_WORDS
    yield from _against(told)
    yield from _alerts(told)
    yield ""
    yield from _verdict(told)


def _coverage_rows(told: Tree, weight: str) -> Iterator[tuple[str, ...]]:
    yield ("DECLARED USED", "RUNS", "CUT SHORT", "50 %", "80 %", "", "90 %", "WIDTH", "WINKLER", "ERROR")
    for stage in STAGES:
        count = number_at(told, "n", stage) or 0
        covered = [number_at(told, "coverage", percent, weight, stage) for percent in ("50", "80", "90")]
        yield (
            _stage(stage),
            f"{count:,.0f}",
            f"{number_at(told, 'cut', stage) or 0:,.0f}",
            _percent(covered[0]),
            _percent(covered[1]),
            _ends(told, "coverage", "80", weight, stage),
            _percent(covered[2]),
            _factor(number_at(told, "width", "80", weight, stage)),
            _score(number_at(told, "winkler", "80", weight, stage)),
            _score(number_at(told, "error", weight, stage)),
        )


def _against(told: Tree) -> Iterator[str]:
    """Winkler scores beside those of the rules that say an amount."""
    rules = {name: values for name, values in _baselines(told).items() if any(_counts(values))}
    if not rules:
        return
    yield from ("", "Winkler score of 80 % intervals (error of the median), by runs, beside simpler rules:")
    rows = [("DECLARED USED", "FORECAST", *(_called(name).upper() for name in rules))]
    for stage in STAGES:
        cells = (_both(values, stage) for values in (told, *rules.values()))
        rows.append((_stage(stage), *cells))
    yield from columns(rows)


def _both(values: Tree, stage: str) -> str:
    score, error = number_at(values, "winkler", "80", "jobs", stage), number_at(values, "error", "jobs", stage)
    return "" if score is None else f"{_score(score)} ({_score(error)})"


def _alerts(told: Tree) -> Iterator[str]:
    yield from ("", "Overruns called when their probability first reached a threshold:")
    head = ("AT", "CALLS", "PER RUN", "STATED", "RIGHT", "", "BY HOURS", "EARLY", "", "FOUND", "LEFT")
    rows = [head, *(_alert_row(told, name_of(each), f"{100 * each:g} %") for each in THRESHOLDS)]
    for name, values in _baselines(told).items():
        if number_at(values, "alert", "rule", "n"):
            rows.append(_alert_row(values, "rule", _called(name)))
    yield from columns(rows)
    yield from _ALERT_WORDS


def _alert_row(values: Tree, threshold: str, title: str) -> tuple[str, ...]:
    def figure(name: str, weight: str = "jobs") -> float | None:
        return number_at(values, "alert", threshold, name, weight)

    calls, per_run = number_at(values, "alert", threshold, "n") or 0, figure("per_job")
    return (
        title,
        f"{calls:,.0f}",
        "" if per_run is None else f"{per_run:.2f}",
        _percent(figure("stated")),
        _percent(figure("precision")),
        _ends(values, "alert", threshold, "precision", "jobs"),
        _percent(figure("precision", "device_hours")),
        _percent(figure("early")),
        _ends(values, "alert", threshold, "early", "jobs"),
        _percent(figure("recall")),
        _percent(figure("lead")),
    )


def _verdict(told: Tree) -> Iterator[str]:
    """Which threshold this record supports, and whether probabilities are what they say."""
    lowest = supported(told)
    least = f"{_percent(LEAST_PRECISION)} of at least {LEAST_CALLS} calls"
    if lowest is None:
        yield f"This record supports no threshold: at none of them were {least} right."
    else:
        yield f"This record supports calls from {100 * lowest:g} % on, the lowest at which {least} were right."
    threshold = _USUAL if lowest is None else lowest
    stated = number_at(told, "alert", name_of(threshold), "stated", "jobs")
    precision = number_at(told, "alert", name_of(threshold), "precision", "jobs")
    if stated is None or precision is None:
        return
    away = precision - stated
    judged = "as good as its word" if abs(away) <= _NEAR else "too sure" if away < 0 else "too careful"
    yield (
        f"At {100 * threshold:g} % the forecast was {judged}: it stated {_percent(stated)} on average, and"
        f" {_percent(precision)} were right."
    )
    early = number_at(told, "alert", name_of(threshold), "early_precision", "jobs")
    if early is not None:
        yield f"Of the calls made before all that was declared was used {_percent(early)} were right."


def _baselines(told: Tree) -> dict[str, Tree]:
    found = at(told, "baselines")
    return (
        {name: each for name, each in found.items() if isinstance(each, dict)} if isinstance(found, dict) else {}
    )


def _counts(values: Tree) -> Iterator[float]:
    return (number_at(values, "n", stage) or 0 for stage in STAGES)


def _ends(told: Tree, *path: str) -> str:
    """The 95 % interval of a figure, in percent."""
    found = at(told, "interval", *path)
    return f"[{100 * found[0]:.0f}–{100 * found[1]:.0f}]" if isinstance(found, list) else ""


def _stage(stage: str) -> str:
    return "at submit" if stage == "submit" else f"{100 * float(stage):g} %"


def _called(rule: str) -> str:
    return _RULES.get(rule, rule.replace("_", " "))


def _percent(ratio: float | None) -> str:
    return "" if ratio is None else f"{100 * ratio:.0f} %"


def _score(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"


def _factor(value: float | None) -> str:
    return "" if value is None else f"× {value:,.0f}" if value >= 100 else f"× {value:.3g}"


def _runs(count: float) -> str:
    return "run" if count == 1 else "runs"
