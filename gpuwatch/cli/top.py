"""`gpuwatch top`: devices of this node and running jobs, live: used against declared, and where they will end."""

from __future__ import annotations

import json
import shutil
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gpuwatch.cli.jobs import ApiOption, JsonOption, LedgerOption, client_for
from gpuwatch.cli.options import ConfigOption
from gpuwatch.errors import Unavailable

if TYPE_CHECKING:
    from gpuwatch.cli.top_read import Readings
    from gpuwatch.cli.top_views import Looks

AGENT = "http://127.0.0.1:9838"
_SECONDS = 1.0
_FIRST_SECONDS = 0.3
_LONGEST = 64


def top(
    agent: Annotated[
        str | None, typer.Option(metavar="URL", help=f"The agent whose devices are shown (default: {AGENT}).")
    ] = None,
    interval: Annotated[float, typer.Option(min=0.2, max=3600, help="Seconds between two looks.")] = _SECONDS,
    once: Annotated[
        bool, typer.Option("--once", help="Print one look and end; so do pipes and dumb terminals.")
    ] = False,
    ledger: LedgerOption = None,
    config_file: ConfigOption = None,
    as_json: JsonOption = False,
    api: ApiOption = None,
) -> None:
    """Show devices and running jobs live: what each used of what it declared, and where it will end.

    Keys: q quits, s sorts, f filters, up and down scroll. Reading jobs takes at most a hundredth of the time.
    """
    from gpuwatch.cli import screen

    readings = _readings(agent, ledger, config_file, api)
    if as_json or once or not screen.is_usable():
        _print_once(readings, as_json)
    else:
        _watch(readings, interval)


def _readings(agent: str | None, ledger: str | None, config_file: Path | None, api: str | None) -> Readings:
    """Jobs come from the API that is named, or where the ledger is not one's own; else from the ledger."""
    from gpuwatch.cli.top_read import Readings, jobs_of_api, reader_of_ledger

    client = client_for(api, ledger, config_file)
    jobs = (lambda: jobs_of_api(client)) if client is not None else reader_of_ledger(ledger, config_file)
    return Readings(agent or AGENT, agent is not None, jobs)


def _print_once(readings: Readings, as_json: bool) -> None:
    from gpuwatch.cli.top_views import Looks, document_of, whole

    found, now = readings.read_once(), time.time()
    if found.as_of is None and not found.devices:
        raise Unavailable("; ".join(each for each in (found.jobs_trouble, found.devices_trouble) if each))
    if as_json:
        print(json.dumps(document_of(found, now), separators=(",", ":"), allow_nan=False))
        return
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else 0
    looks = Looks(ascii_only=not _is_encodable())
    print("\n".join(line.text.rstrip() for line in whole(found, looks, now, width)))


def _watch(readings: Readings, interval: float) -> None:
    """Until q: a frame each interval, and at once after each key."""
    from gpuwatch.cli.screen import Screen
    from gpuwatch.cli.top_state import Order
    from gpuwatch.cli.top_views import Looks, frame

    looks: Looks | None = Looks(ascii_only=not _is_encodable())
    order = Order()
    with Screen() as terminal:
        found = readings.now()
        due = time.monotonic() + _FIRST_SECONDS
        while looks is not None:
            if found.jobs_trouble and found.as_of is None and not found.devices:
                raise Unavailable(found.jobs_trouble)
            terminal.draw(frame(found, looks, time.time(), *terminal.size, order))
            key = terminal.key(due - time.monotonic())
            if key is not None:
                looks = pressed(looks, key)
            if time.monotonic() >= due:
                found, due = readings.now(), time.monotonic() + interval


def pressed(looks: Looks, key: str) -> Looks | None:
    """What a key makes of it; None: it ends."""
    from dataclasses import replace

    from gpuwatch.cli.top_state import SORTS

    if key == "<quit>" or (key == "q" and looks.typing is None):
        return None
    if looks.typing is not None:
        return _typed(looks, key)
    if key == "s":
        following = SORTS[(SORTS.index(looks.sort) + 1) % len(SORTS)]
        return replace(looks, sort=following, past=0)
    if key == "f":
        return replace(looks, typing=looks.text)
    steps = {"<up>": -1, "<down>": 1, "<page up>": -10, "<page down>": 10}.get(key, 0)
    return replace(looks, past=max(0, looks.past + steps))


def _typed(looks: Looks, key: str) -> Looks:
    from dataclasses import replace

    from gpuwatch.cli import screen

    typing = looks.typing or ""
    if key == "<enter>":
        return replace(looks, text=typing, typing=None, past=0)
    if key == "<escape>":
        return replace(looks, text="", typing=None, past=0)
    if key == "<back>":
        return replace(looks, typing=typing[:-1])
    is_text = key.isprintable() and key not in screen.KEYS.values() and key != "<resize>"
    return replace(looks, typing=(typing + key)[:_LONGEST]) if is_text else looks


def _is_encodable() -> bool:
    try:
        "█░│".encode(sys.stdout.encoding or "ascii")
    except (UnicodeEncodeError, LookupError):
        return False
    return True
