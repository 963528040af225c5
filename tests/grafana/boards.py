"""The committed dashboards, and what they ask with Grafana's variables filled in."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

REPOSITORY = Path(__file__).resolve().parents[2]
GRAFANA = REPOSITORY / "grafana"
FILES = sorted((GRAFANA / "dashboards").glob("*.json"))
EVERYTHING = dict.fromkeys(("cluster", "node", "accounting", "scope_kind", "uuid"), ".*")
"""What variables stand for where all of them are chosen."""

TIMES = {
    "__rate_interval": "10s", "__range": "2m", "__interval": "10s",
    "timeFilter": "time > now() - 10m AND time < now() + 1m",
}  # fmt: skip


class Target(NamedTuple):
    """One query of one panel: of which dashboard and panel, by which letter, in which language."""

    board: str
    title: str
    ref: str
    store: str
    text: str

    @property
    def name(self) -> str:
        """For whoever reads which one failed."""
        return f"{self.board}: {self.title}: {self.ref}"


def dashboard(file: Path) -> dict[str, Any]:
    """A committed dashboard."""
    read: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    return read


def panels(file: Path) -> list[dict[str, Any]]:
    """Its panels without the headings."""
    return [panel for panel in dashboard(file)["panels"] if panel["type"] != "row"]


def targets(file: Path) -> Iterator[Target]:
    """Every query of a dashboard's panels, variables and all."""
    for panel in panels(file):
        for target in panel["targets"]:
            store, text = panel["datasource"]["type"], target.get("expr") or target["query"]
            yield Target(file.stem, panel["title"], target["refId"], store, text)


def notes(file: Path) -> Iterator[Target]:
    """What a dashboard draws over its graphs."""
    for each in dashboard(file).get("annotations", {}).get("list", []):
        text = each.get("expr") or each["target"]["query"]
        yield Target(file.stem, each["name"], "annotation", each["datasource"]["type"], text)


def variables(file: Path) -> Iterator[Target]:
    """How a dashboard finds what its reader may choose."""
    for each in dashboard(file)["templating"]["list"]:
        if each["type"] == "query":
            yield Target(file.stem, each["name"], "variable", each["datasource"]["type"], each["query"])


def filled(text: str, values: Mapping[str, str]) -> str:
    """A query with variables filled in, those of Grafana itself too."""
    known = {**TIMES, **EVERYTHING, **values}
    return re.sub(r"\$([a-zA-Z_]\w*)", lambda found: known[found[1]], text)
