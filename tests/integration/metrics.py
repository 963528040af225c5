"""Which metrics gpuwatch exports, and which ones a text speaks of."""

from __future__ import annotations

import re

from gpuwatch.accounting import metrics as accounting
from gpuwatch.sinks import prometheus as agent
from gpuwatch.web import counters as web


def exported() -> frozenset[str]:
    """The names of all metrics of the agent, of accounting, and of the web server that both have."""
    return frozenset(metric.name for metric in (*agent.catalogue(), *accounting.CATALOGUE, *web.CATALOGUE))


def named_in(text: str) -> set[str]:
    """The names of metrics of gpuwatch in a text; other words that begin alike (services, users) are not."""
    return set(re.findall(r"\bgpuwatch_[a-z0-9_]*[a-z0-9]", text))
