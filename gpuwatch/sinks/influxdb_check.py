"""Trying out an InfluxDB server and the spool, for `gpuwatch check --probe`; nothing is left behind."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from pathlib import Path

from gpuwatch import hygiene
from gpuwatch.model import Probe
from gpuwatch.sinks.influxdb_answers import Answer
from gpuwatch.sinks.influxdb_server import NOTHING, Server

MOST_SKEW_SECONDS = 60.0

_WRITE = {
    "forbidden": "the credential may not write",
    "missing": "there is no such bucket, or no InfluxDB under this address",
    "later": "not now",
}


def check_server(sink: str, server: Server, now: float) -> Sequence[Probe]:
    """Whether the server answers, would take points, and has our time; `now` in Unix seconds.

    It is sent a request to write without a line in it, by the same code that writes.
    """
    answer = server.write(NOTHING)
    server.close()
    if answer.reason in ("network", "timeout") and answer.time is None:
        return [Probe(f"{sink} reachable", False, f"{server.url}: {answer.detail}")]
    return [_writing(sink, server, answer), *_clock(sink, answer, now)]


def _writing(sink: str, server: Server, answer: Answer) -> Probe:
    # InfluxDB 2 finds fault with a request without lines only after bucket and credential were found right.
    if answer.verdict == "stored" or "requires points" in answer.detail:
        named = " ".join(answer.server or ())
        return Probe(f"{sink} writes", True, f"{server.url} takes points{named and f'; {hygiene.log(named)}'}")
    return Probe(
        f"{sink} writes", False, f"{server.url}: {_WRITE.get(answer.verdict, 'refused')}; {answer.detail}"
    )


def _clock(sink: str, answer: Answer, now: float) -> Sequence[Probe]:
    if answer.time is None:
        return ()
    ahead = answer.time - now
    side = "ahead of" if ahead > 0 else "behind"
    # The server tells whole seconds.
    told = f"its clock is {abs(ahead):.0f} s {side} ours" if abs(ahead) > 1.0 else "its clock and ours agree"
    return [Probe(f"{sink} clock", abs(ahead) <= MOST_SKEW_SECONDS, told)]


def check_spool(directory: Path, most_bytes: int) -> Probe:
    """Whether the spool's directory can be written or made, and has room for a full spool."""
    try:
        there = next(path for path in (directory, *directory.absolute().parents) if path.exists())
        free = shutil.disk_usage(there).free
    except OSError as exc:
        return Probe("influxdb spool", False, f"{directory}: {exc.strerror or exc}")
    if not (there.is_dir() and os.access(there, os.W_OK | os.X_OK)):
        return Probe("influxdb spool", False, f"{directory}: {there} cannot be written")
    told = f"{directory}: {free // 2**20} MiB are free, the spool may take {most_bytes // 2**20} MiB"
    return Probe("influxdb spool", free >= most_bytes or directory.exists(), told)
