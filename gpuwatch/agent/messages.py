"""What jobs may say at the agent's socket: one frozen class per type of message, and the one reader of them."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from difflib import get_close_matches
from typing import Any, NoReturn

from gpuwatch.errors import Rejected

MOST_TEXT_CHARACTERS = 16_384
MOST_STEPS = 1e15
CHANNELS = ("socket", "environment")


@dataclass(frozen=True, slots=True)
class Ping:
    """Is anybody there."""


@dataclass(frozen=True, slots=True)
class Declare:
    """What the job says it will need, in the grammar of docs/declaring.md; not yet parsed.

    `channel` is one of `CHANNELS`: whoever hands over a variable of the environment says so.
    """

    text: str
    channel: str = "socket"


@dataclass(frozen=True, slots=True)
class ReportProgress:
    """How far the job says it is; `total` None is the total that was said before."""

    step: float
    total: float | None = None


@dataclass(frozen=True, slots=True)
class StartRun:
    """The process that says so becomes the root of a run."""

    name: str = ""


@dataclass(frozen=True, slots=True)
class EndRun:
    """The run of the process that says so is over; `exit_code` as a shell shows it (128 + n for signal n)."""

    exit_code: int | None = None


Message = Ping | Declare | ReportProgress | StartRun | EndRun

TYPES: Mapping[str, type[Message]] = {
    "ping": Ping,
    "declare": Declare,
    "progress": ReportProgress,
    "run": StartRun,
    "run_end": EndRun,
}


def decode(line: bytes) -> Mapping[str, Any]:
    """One line as a JSON object; `Rejected` for anything else, with NaN, infinity and lone surrogates."""
    try:
        document = json.loads(line.decode(), parse_constant=_no_constant)
    except RecursionError as exc:
        raise Rejected("message: nested too deeply; a message is one flat JSON object") from exc
    except ValueError as exc:
        raise Rejected(f"message: not JSON in UTF-8 ({exc}); a message is {_EXAMPLE}") from exc
    if not isinstance(document, dict):
        raise Rejected(f"message: a JSON {type(document).__name__}; a message is an object, as in {_EXAMPLE}")
    return document


def parse(document: Mapping[str, Any]) -> Message:
    """The message that a JSON object is; `Rejected` says which field is wrong and what there is."""
    kind = document.get("type")
    message = TYPES.get(kind) if isinstance(kind, str) else None
    if message is None:
        raise Rejected(f"type: unknown {_shown(kind)}; there is: {', '.join(TYPES)}")
    known = [each.name for each in fields(message)]
    for name in document:
        if name != "type" and name not in known:
            near = get_close_matches(name[:60], known, n=1)
            hint = f", did you mean {near[0]!r}" if near else ""
            _refuse(str(kind), f"unknown field {_shown(name)}{hint}", f"there is: {', '.join(known) or 'none'}")
    return message(**{name: _READERS[name](document) for name in known})


@dataclass(frozen=True, slots=True)
class Written:
    """A report in a file or over HTTP: `time` in Unix seconds and `pid` are the writer's word."""

    report: ReportProgress
    time: float | None = None
    pid: int | None = None


def written(document: Mapping[str, Any]) -> Written:
    """The report that a JSON object is without its type; other fields than these four are not read."""
    report = ReportProgress(_step(document), _total(document))
    time, pid = document.get("time"), document.get("pid")
    if time is not None and (isinstance(time, bool) or not isinstance(time, int | float) or not 0 <= time < 2**33):
        _refuse("time", f"{_shown(time)} is none", "Unix seconds")
    known = isinstance(pid, int) and not isinstance(pid, bool) and 0 < pid < 2**32
    return Written(report, None if time is None else float(time), pid if known else None)


_EXAMPLE = '{"type": "progress", "step": 1200, "total": 9000}'


def _text(document: Mapping[str, Any]) -> str:
    text = document.get("text")
    if not isinstance(text, str):
        _refuse("text", f"{_shown(text)} is not a string", "as in 'device-hours=640 energy=450kWh'")
    if len(text) > MOST_TEXT_CHARACTERS:
        _refuse("text", f"{len(text)} characters", f"at most {MOST_TEXT_CHARACTERS}")
    return _encodable("text", text)


def _name(document: Mapping[str, Any]) -> str:
    name = document.get("name", "")
    if not isinstance(name, str):
        _refuse("name", f"{_shown(name)} is not a string", "as in 'llama-ft'")
    return _encodable("name", name)


def _channel(document: Mapping[str, Any]) -> str:
    channel = document.get("channel", CHANNELS[0])
    if channel not in CHANNELS:
        _refuse("channel", f"unknown {_shown(channel)}", f"there is: {', '.join(CHANNELS)}")
    return str(channel)


def _step(document: Mapping[str, Any]) -> float:
    # Not compared with the total: who trains on beyond it is farther than he thought, and that is worth knowing.
    return _number("step", document.get("step"))


def _total(document: Mapping[str, Any]) -> float | None:
    if document.get("total") is None:
        return None
    total = _number("total", document["total"])
    if total <= 0:
        _refuse("total", f"{_shown(document['total'])} is nothing to do", "a number above 0, or none")
    return total


def _exit_code(document: Mapping[str, Any]) -> int | None:
    code = document.get("exit_code")
    if code is not None and (not isinstance(code, int) or isinstance(code, bool) or not 0 <= code <= 255):
        _refuse("exit_code", f"{_shown(code)} is none", "0 to 255, 128 + n for signal n")
    return code


_READERS: Mapping[str, Callable[[Mapping[str, Any]], Any]] = {
    "text": _text,
    "channel": _channel,
    "step": _step,
    "total": _total,
    "name": _name,
    "exit_code": _exit_code,
}


def _number(field: str, given: object) -> float:
    try:
        number = float(given) if isinstance(given, int | float) and not isinstance(given, bool) else math.nan
    except OverflowError:
        number = math.inf
    if not 0 <= number <= MOST_STEPS:
        _refuse(field, f"{_shown(given)} is no number of steps", f"a number from 0 to {MOST_STEPS:g}")
    return number


def _encodable(field: str, text: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError:
        _refuse(field, f"{_shown(text)} has half of a surrogate pair", "text that UTF-8 can carry")
    return text


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a number that JSON has")


def _shown(value: object) -> str:
    if isinstance(value, list | dict):  # may be large, or too deep for repr
        return f"a JSON {type(value).__name__}"
    text = repr(value)
    return text if len(text) <= 60 else text[:60] + "…"


def _refuse(field: str, wrong: str, there_is: str) -> NoReturn:
    raise Rejected(f"{field}: {wrong}; {there_is}")
