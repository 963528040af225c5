"""How the tests are spread over workers: twice as many as processors, as half of the tests wait for servers.

What is handed out is a group, or a module without one. Those that wait are begun early and at intervals, so that
there is always something to compute beside them, and the longest first, so that none is left over at the end.
"""

from __future__ import annotations

import os

import pytest
from xdist.scheduler import LoadGroupScheduling

WORKERS_PER_PROCESSOR = 2
LONGEST = (
    "guest", "slurm", "shared node", "dashboards", "demo", "tests/integration/test_alertmanager.py", "postgresql",
    "packages", "tests/integration/test_letters.py", "tests/integration/test_rules.py", "ui", "host-energy",
)  # fmt: skip
"""By how long they take; all others are shorter."""

WAITING_UNTIL = 0.7
"""When the last of those that wait is begun, as a part of all tests that compute."""


class ByGroupOrModule(LoadGroupScheduling):
    """Hands out groups, and modules where there is none: their fixtures are made once."""

    def _split_scope(self, nodeid: str) -> str:
        scope = super()._split_scope(nodeid)
        return nodeid.partition("::")[0] if scope == nodeid else scope


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """What `-n auto` means."""
    return WORKERS_PER_PROCESSOR * len(os.sched_getaffinity(0))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> LoadGroupScheduling | None:
    """What `--dist loadgroup` means, with tests in the order of `spread`."""
    if config.getvalue("dist") != "loadgroup":
        return None
    config.option.loadscopereorder = False
    return ByGroupOrModule(config, log)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Order what is handed out to workers; a single process has no need to."""
    if hasattr(config, "workerinput"):
        items[:] = spread(items)


def _unit(item: pytest.Item) -> str:
    mark = item.get_closest_marker("xdist_group")
    return str(mark.args[0]) if mark is not None else item.nodeid.partition("::")[0]


def spread(items: list[pytest.Item]) -> list[pytest.Item]:
    """The same tests by what is handed out together: what waits is placed evenly between what computes."""
    units: dict[str, list[pytest.Item]] = {}
    for item in items:
        units.setdefault(_unit(item), []).append(item)
    rank = {name: place for place, name in enumerate(LONGEST)}
    waiting = [name for name, those in units.items() if any(map(_waits, those))]
    waiting.sort(key=lambda name: rank.get(name, len(rank)))
    places = {name: WAITING_UNTIL * place / len(waiting) for place, name in enumerate(waiting)}
    computing = [name for name in units if name not in places]
    places |= {name: place / len(computing) for place, name in enumerate(computing)}
    return [item for name in sorted(units, key=places.__getitem__) for item in units[name]]


def _waits(item: pytest.Item) -> bool:
    return item.get_closest_marker("integration") is not None
