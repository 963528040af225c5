"""What the answer of a server to a request means for the lines that were in it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from gpuwatch import hygiene
from gpuwatch.http.times import date_of, retry_after

Verdict = Literal["stored", "later", "forbidden", "missing", "too_large", "refused"]
"""`later`: the same lines again after a while; `refused`: one of the lines is wrong, or the request as such."""

REASONS = ("network", "timeout", "auth", "not_found", "rate_limited", "too_large", "refused", "server")
"""Why a request failed, as `gpuwatch_sink_failures_total` counts it."""

DETAIL_LENGTH = 200


@dataclass(frozen=True, slots=True)
class Answer:
    """What became of a request.

    `reason` is one of `REASONS`, `detail` what the server said, safe to log. `wait_seconds` is how long it asked
    to be left alone. `time` is its clock, Unix seconds; `server` its flavor and version; each where it said so.
    """

    verdict: Verdict
    reason: str = ""
    detail: str = ""
    wait_seconds: float | None = None
    time: float | None = None
    server: tuple[str, str] | None = None


def judge(status: int, headers: Mapping[str, str], body: bytes | str, now: float) -> Answer:
    """The answer by status, headers (of any case) and body; `now` in Unix seconds, where the server tells none."""
    said = {name.lower(): value for name, value in headers.items()}
    time = date_of(said.get("date"))
    verdict, reason = _verdict(status)
    if verdict == "stored":
        return Answer(verdict, time=time, server=_server(said))
    wait = retry_after(said.get("retry-after"), now if time is None else time)
    return Answer(verdict, reason, f"{status} {_said(body)}".strip(), wait, time, _server(said))


def _verdict(status: int) -> tuple[Verdict, str]:
    if 200 <= status <= 299:
        return "stored", ""
    if status in (401, 403):
        return "forbidden", "auth"
    if status == 404:
        return "missing", "not_found"
    if status == 413:
        return "too_large", "too_large"
    if status in (408, 425, 429) or status >= 500:
        return "later", {408: "timeout", 425: "server", 429: "rate_limited"}.get(status, "server")
    # Whoever redirects is not the server that was configured; the token is not carried there.
    return ("refused" if status >= 400 else "later"), "refused"


def _server(said: Mapping[str, str]) -> tuple[str, str] | None:
    version = said.get("x-influxdb-version")
    if version is None:
        return None
    # VictoriaMetrics calls itself InfluxDB 1.8, and says its own name in another header.
    other = "victoria-metrics" if "x-server-hostname" in said else "influxdb"
    return hygiene.label(said.get("x-influxdb-build", other)), hygiene.label(version)


def _said(body: bytes | str) -> str:
    text = body.decode("utf-8", "replace") if isinstance(body, bytes) else body
    try:
        document = json.loads(text)
    except (ValueError, RecursionError):
        document = None
    if isinstance(document, dict):
        told = [document.get("message") or document.get("error"), *_of_lines(document.get("data"))]
        text = "; ".join(str(each) for each in told if each) or text
    return short(text)


def _of_lines(data: object) -> list[object]:
    """InfluxDB 3 says of each line what is wrong with it; the first is enough."""
    lines = data if isinstance(data, list) else [data]
    return [each.get("error_message") for each in lines[:1] if isinstance(each, dict)]


def short(text: str) -> str:
    """What somebody else said, on one line of at most 200 characters."""
    safe = hygiene.log(text.strip())
    return safe if len(safe) <= DETAIL_LENGTH else safe[: DETAIL_LENGTH - 1] + hygiene.CUT
