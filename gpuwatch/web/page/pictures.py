"""Small pictures in the page, as SVG in the style sheet's colours; each says in words what it shows. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from gpuwatch.web.page.html import Html, tag
from gpuwatch.web.page.words import HOURS, Document, hours, ratio

STATES = ("working", "spinning", "idle", "unknown")
WIDTH, HEIGHT = 120, 28
_EDGE = 2.0


def burnup(job: Document, points: Sequence[Sequence[float]]) -> Html | None:
    """How a job came to what it used, where it is going, and what is declared; None where that is not kept."""
    if len(points) < 2:
        return None
    forecast = job["forecasts"].get(HOURS) if job["state"] != "ended" else None
    declared = job["declared"].get(HOURS)
    line = declared["high"] if declared else None
    ends = [forecast["quantiles"].get(each) for each in ("0.1", "0.5", "0.9")] if forecast else []
    fan = [each for each in ends if each is not None] if len(ends) == 3 else []
    last = points[-1]
    reached = max(last[1], fan[1] if fan else 0.0)
    top = max([reached, min(line, 3 * reached) if line else 0.0, min(fan[2], 2 * reached) if fan else 0.0]) or 1.0
    begin = float(job["started"])
    until = last[0] + (last[0] - begin) * (0.5 if fan else 0.0)
    paper = _Paper(begin, max(until, begin + 1.0), top)
    parts = [
        paper.fan(last, fan) if len(fan) == 3 else None,
        paper.line(line) if line is not None and line <= top else None,
        tag(
            "polyline", points=paper.path([(begin, 0.0), *((each[0], each[1]) for each in points)]), class_="used"
        ),
    ]
    return _svg(parts, _words(job, last[1], fan, line), WIDTH, HEIGHT, "burnup")


class _Paper:
    """Where times and amounts are on a small picture."""

    def __init__(self, begin: float, end: float, top: float) -> None:
        self._begin, self._end, self._top = begin, end, top

    def at(self, time: float, amount: float) -> str:
        right = WIDTH - 2 * _EDGE
        x = _EDGE + right * min(1.0, max(0.0, (time - self._begin) / (self._end - self._begin)))
        y = HEIGHT - _EDGE - (HEIGHT - 2 * _EDGE) * min(1.0, max(0.0, amount / self._top))
        return f"{x:.1f},{y:.1f}"

    def path(self, places: Sequence[tuple[float, float]]) -> str:
        return " ".join(self.at(*each) for each in places)

    def line(self, amount: float) -> Html:
        (x1, y), (x2, _) = (self.at(time, amount).split(",") for time in (self._begin, self._end))
        return tag("line", x1=x1, x2=x2, y1=y, y2=y, class_="declared")

    def fan(self, last: Sequence[float], ends: Sequence[float]) -> Html:
        now, used = last[0], last[1]
        low, middle, high = (self.at(self._end, max(each, used)) for each in ends)
        here = self.at(now, used)
        return Html(
            tag("polygon", points=f"{here} {high} {low}", class_="fan")
            + tag("polyline", points=f"{here} {middle}", class_="median")
        )


def _words(job: Document, used: float, fan: Sequence[float], line: float | None) -> str:
    said = [f"{hours(used)} device-hours used"]
    if fan:
        said.append(f"{hours(fan[0])} to {hours(fan[2])} projected")
    if line is not None:
        said.append(f"{hours(line)} declared")
    return ", ".join(said)


def states(document: Document) -> Html | None:
    """Held time by state as one bar; None where nothing was held."""
    seconds: Mapping[str, float] = document["state_seconds"]
    total = sum(seconds.values())
    if total <= 0:
        return None
    parts, left = [], 0.0
    for state in STATES:
        width = WIDTH * seconds.get(state, 0.0) / total
        if width > 0:
            parts.append(tag("rect", x=f"{left:.2f}", y="0", width=f"{width:.2f}", height="10", class_=state))
        left += width
    return _svg(parts, states_words(document), WIDTH, 10, "states")


def states_words(document: Document) -> str:
    """The same in words."""
    seconds, total = document["state_seconds"], sum(document["state_seconds"].values())
    return ", ".join(f"{ratio(seconds[each] / total)} {each}" for each in STATES if seconds.get(each, 0.0) > 0)


def bar(parts: Sequence[tuple[str, float]], whole: float, words: str) -> Html:
    """Parts of a whole, each with the class of its colour; what is beyond the whole is cut."""
    drawn, left = [tag("rect", x="0", y="0", width=str(WIDTH), height="10", class_="rest")], 0.0
    for kind, amount in parts:
        width = min(WIDTH - left, WIDTH * max(0.0, amount) / whole) if whole > 0 else 0.0
        drawn.append(tag("rect", x=f"{left:.2f}", y="0", width=f"{width:.2f}", height="10", class_=kind))
        left += width
    return _svg(drawn, words, WIDTH, 10, "states")


def _svg(parts: Sequence[Html | None], words: str, width: int, height: int, kind: str) -> Html:
    return tag(
        "svg", *parts, viewBox=f"0 0 {width} {height}", class_=kind, role="img", aria_label=words,
        preserveAspectRatio="none",
    )  # fmt: skip
