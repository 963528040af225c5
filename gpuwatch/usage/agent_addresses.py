"""Where agents are: addresses, ranges of hosts in them, files of targets, names with an address for each."""

from __future__ import annotations

import json
import re
import socket
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import yaml

from gpuwatch.http.client import server_url

MOST_AGENTS = 50_000
_RANGES = re.compile(r"\[(\d+(?:-\d+)?(?:,\d+(?:-\d+)?)*)\]")
_DEFAULT_PORT = 9838


def expanded(url: str) -> tuple[str, ...]:
    """An address with ranges in its host, as the batch system writes them: `http://gpu[001-400,412]:9838`.

    `ValueError` where one of them is no address, a range falls, or there are more than 50,000 of them.
    """
    parts = _RANGES.split(url)
    choices = [(part,) if at % 2 == 0 else tuple(_numbers(part)) for at, part in enumerate(parts)]
    count = 1
    for each in choices:
        count *= len(each)
    if count > MOST_AGENTS:
        raise ValueError(f"must be at most {MOST_AGENTS:,} addresses; {url!r} is {count:,}")
    return tuple(server_url("".join(words)) for words in product(*choices))


def _numbers(ranges: str) -> Iterator[str]:
    """The numbers of `001-003,7`, as wide as they are written."""
    for part in ranges.split(","):
        low, _, high = part.partition("-")
        first, last = int(low), int(high or low)
        if last < first or last - first >= MOST_AGENTS:
            raise ValueError(f"must be ranges that rise, of at most {MOST_AGENTS:,}; {part!r} is not")
        width = len(low) if low.startswith("0") else 0
        yield from (str(number).zfill(width) for number in range(first, last + 1))


@dataclass(slots=True)
class Addresses:
    """All agents there are now. What cannot be read for once stays as it was last."""

    urls: Sequence[str]
    files: Sequence[str] = ()
    names: Sequence[str] = ()
    _known: dict[str, tuple[str, ...]] = field(default_factory=dict)

    def now(self) -> tuple[tuple[str, ...], Mapping[str, str]]:
        """The addresses, each once, and what could not be read of files and names, by its name."""
        failures: dict[str, str] = {}
        found = dict.fromkeys(self.urls)
        for where, read in self._sources(failures):
            try:
                self._known[where] = read(where)
            except (OSError, ValueError) as exc:
                failures[where] = str(exc)
            found.update(dict.fromkeys(self._known.get(where, ())))
        if len(found) > MOST_AGENTS:
            failures["usage.agents"] = (
                f"{len(found):,} agents are named; those beyond {MOST_AGENTS:,} are not read"
            )
        return tuple(found)[:MOST_AGENTS], failures

    def _sources(self, failures: dict[str, str]) -> Iterator[tuple[str, Any]]:
        for pattern in self.files:
            place = Path(pattern)
            paths = sorted(map(str, place.parent.glob(place.name)))
            if not paths:
                failures[pattern] = "there is no such file"
            yield from ((path, _of_file) for path in paths)
        yield from ((name, _of_name) for name in self.names)


def _of_file(path: str) -> tuple[str, ...]:
    """The targets of a file of Prometheus' file_sd_configs, JSON or YAML."""
    text = Path(path).read_text(encoding="utf-8")
    try:
        groups = json.loads(text) if path.endswith(".json") else yaml.safe_load(text)
    except (ValueError, yaml.YAMLError) as exc:
        raise ValueError(f"is neither JSON nor YAML; {' '.join(str(exc).split())}") from exc
    if not isinstance(groups, list):
        raise ValueError("must be a list of groups with targets")
    return tuple(url for group in groups for url in _of_group(group))


def _of_group(group: Any) -> Iterator[str]:
    targets = group.get("targets") if isinstance(group, dict) else None
    if not isinstance(targets, list) or not all(isinstance(target, str) for target in targets):
        raise ValueError("must be a list of groups with targets")
    labels = group.get("labels") or {}
    scheme = labels.get("__scheme__", "http") if isinstance(labels, dict) else "http"
    return (server_url(f"{scheme}://{target}") for target in targets)


def _of_name(url: str) -> tuple[str, ...]:
    """An address for each that the host's name has, as a headless service has one for each of its pods."""
    parts = urlsplit(url)
    port = parts.port or _DEFAULT_PORT
    try:
        found = socket.getaddrinfo(parts.hostname, port, type=socket.SOCK_STREAM)
    except OSError as exc:
        raise ValueError(f"cannot be resolved; {exc.strerror or exc}") from exc
    return tuple(dict.fromkeys(f"{parts.scheme}://{host}:{port}" for host in sorted(_hosts(found))))


def _hosts(found: Iterable[Any]) -> Iterator[str]:
    for family, _, _, _, address in found:
        yield f"[{address[0]}]" if family == socket.AF_INET6 else str(address[0])
