"""What became of a letter: Apprise says true or false, and the reason to its log alone.

That log has addresses with their secrets in it. It is listened to while a letter is sent, and goes nowhere: what
is said of it is a status and words of our own, and for mail what the server answered.
"""

from __future__ import annotations

import logging
import re
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Literal, NamedTuple

from gpuwatch import hygiene

_MOST_LINES = 200
_LINE_LENGTH = 2000
_TOLD_LENGTH = 160

_STATUS = re.compile(r"\b(?:error|code)=(\d{3})\b")
_SLACK_ERROR = re.compile(r'"error"\s*:\s*"([a-z_]{1,40})"')
_REFUSED_RECIPIENT = re.compile(r"\{'[^']{1,320}': \((\d{3}), b(['\"])(.*?)\2\)")
_REFUSED_DATA = re.compile(r"Socket Exception: \((\d{3}), b(['\"])((?:(?!\2).)*)\2\)$")
_REFUSED_OTHER = re.compile(r"Socket Exception: \((-?\d{1,3}), b(['\"])(.*?)\2")

_FOR_GOOD = frozenset({400, 404, 410, 413, 422})
_SLACK_FOR_GOOD = frozenset(
    {"channel_not_found", "is_archived", "user_not_found", "users_not_found", "msg_too_long", "no_text",
     "invalid_blocks", "cannot_dm_bot"}
)  # fmt: skip
_MEANINGS = (
    ("proxyerror", "the proxy did not let it through"),
    ("certificate_verify_failed", "its certificate is not one to trust"),
    ("certificate verify failed", "its certificate is not one to trust"),
    ("failed to resolve", "its name is not known"),
    ("name or service not known", "its name is not known"),
    ("temporary failure in name resolution", "its name cannot be looked up now"),
    ("connection refused", "connection refused"),
    ("no route to host", "no route to it"),
    ("timed out", "no answer in time"),
    ("timeout", "no answer in time"),
    ("remote end closed", "closed without an answer"),
    ("connection unexpectedly closed", "closed without an answer"),
    ("connection reset", "closed without an answer"),
    ("connection aborted", "closed without an answer"),
    ("starttls", "the mail server does not offer STARTTLS"),
)


class Outcome(NamedTuple):
    """`taken`; or refused for good (`rejected`); or to be tried again, where `away` is: nobody was there."""

    what: Literal["taken", "rejected", "later", "away"]
    why: str = ""


TAKEN = Outcome("taken")


class _Ear(threading.local):
    """What was logged in this thread while it listens; None while it does not."""

    lines: list[str] | None = None


_EAR = _Ear()


class _Listener(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        if _EAR.lines is not None and len(_EAR.lines) < _MOST_LINES:
            _EAR.lines.append(record.getMessage()[:_LINE_LENGTH])


class _Hush(logging.Filter):
    def filter(self, record: logging.LogRecord) -> bool:
        return _EAR.lines is None


_LISTENER = _Listener(logging.DEBUG)
_HUSH = _Hush()


def silence() -> None:
    """From now on nothing that Apprise logs, and no address that urllib3 logs for it, comes into our log."""
    logger = logging.getLogger("apprise")
    logger.propagate = False
    logger.setLevel(logging.DEBUG)
    logger.handlers = [_LISTENER]
    connections = logging.getLogger("urllib3.connectionpool")
    if _HUSH not in connections.filters:
        connections.addFilter(_HUSH)


@contextmanager
def listening() -> Iterator[list[str]]:
    """The lines that are logged in this thread, as they come."""
    lines: list[str] = []
    _EAR.lines = lines
    try:
        yield lines
    finally:
        _EAR.lines = None


def outcome_of(taken: bool, lines: Sequence[str]) -> Outcome:
    """What became of a letter, by what Apprise returned and logged."""
    if taken:
        return TAKEN
    if not lines:
        return Outcome("later", "Apprise did not say why")
    text = "\n".join(lines)
    statuses = [int(found) for found in _STATUS.findall(text)]
    if statuses:
        return _of_http(statuses[-1], text)
    return _of_mail(text) or Outcome("away", _meaning(text))


def _of_http(status: int, text: str) -> Outcome:
    if status == 200:
        # Slack answers bots so, and says in the body that it did not.
        error = _SLACK_ERROR.search(text)
        why = error.group(1) if error else "it said that it did not take it"
        return Outcome("rejected" if why in _SLACK_FOR_GOOD else "later", why)
    if 300 <= status < 400:
        return Outcome("later", f"answered {status}; a redirect is not followed")
    if status in _FOR_GOOD:
        return Outcome("rejected", f"answered {status}")
    return Outcome("away" if status in (429, 503) else "later", f"answered {status}")


def _of_mail(text: str) -> Outcome | None:
    connecting = "Connection error while submitting" in text
    if not connecting and (found := _REFUSED_RECIPIENT.search(text) or _last_data(text)):
        for_good = 500 <= int(found.group(1)) < 600
        return Outcome("rejected" if for_good else "later", _answered(found))
    if other := _REFUSED_OTHER.search(text):
        # Whom we are to it, as by a password or a sender that it does not know, may be put right.
        return Outcome("away" if connecting else "later", _answered(other))
    if "no Email recipients" in text:
        return Outcome("rejected", "not an address of mail")
    return None


def _last_data(text: str) -> re.Match[str] | None:
    return next((found for line in text.split("\n") if (found := _REFUSED_DATA.search(line))), None)


def _answered(found: re.Match[str]) -> str:
    told = re.sub(r"\\[nrt]", " ", found.group(3))
    return hygiene.log(f"answered {found.group(1)} {told}"[:_TOLD_LENGTH]).rstrip()


def _meaning(text: str) -> str:
    low = text.lower()
    return next((words for sign, words in _MEANINGS if sign in low), "not reached")
