"""Imports point down only, heavy libraries stay out of the agent, and every file stays a readable size."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "gpuwatch"

ORDER = [
    {"errors"},
    {"model"},
    {"specs", "hygiene", "declaration"},
    {"meter", "http"},
    {"devices", "host", "jobs", "schedulers", "notifiers", "sinks", "usage"},
    {"ledger", "forecast"},
    {"estimates"},
    {"agent", "accounting"},
    {"reports"},
    {"web"},
    {"cli"},
]
LEVEL = {room: level for level, rooms in enumerate(ORDER) for room in rooms}
CROSS_CUTTING = {"config", "config_renamed", "config_secrets", "settings", "plugins", "service"}
MAY_USE_CROSS_CUTTING = {"agent", "accounting", "web", "cli"} | CROSS_CUTTING
HEAVY = {
    "pynvml",
    "psutil",
    "influxdb_client",
    "grpc",
    "kubernetes",
    "apprise",
    "numpy",
    "sqlalchemy",
    "apscheduler",
}
MODULES = sorted(path for path in PACKAGE.rglob("*.py"))


def room_of(module: str) -> str:
    """`gpuwatch.web.server` is in the room `web`."""
    parts = module.split(".")
    return parts[1] if len(parts) > 1 else ""


def imports_of(path: Path) -> list[tuple[str, bool]]:
    """Modules that a file imports, and whether it does so when it is itself imported."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    top = {id(node) for node in tree.body}
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found += [(alias.name, id(node) in top) for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = (
                [f"gpuwatch.{alias.name}" for alias in node.names] if node.module == "gpuwatch" else [node.module]
            )
            found += [(name, id(node) in top) for name in names]
    return found


def module_of(path: Path) -> str:
    return ".".join(("gpuwatch", *path.relative_to(PACKAGE).with_suffix("").parts)).removesuffix(".__init__")


def allowed(importer: str, imported: str) -> bool:
    if importer == imported or imported in ("errors", "", "__version__"):
        return True
    if importer in ("__main__", ""):
        return True
    if imported in CROSS_CUTTING:
        return importer in MAY_USE_CROSS_CUTTING
    if importer in CROSS_CUTTING:
        return (importer, imported) == ("config", "model")  # the Site that plugins are built with
    return LEVEL[imported] < LEVEL[importer]


@pytest.mark.parametrize("path", MODULES, ids=lambda path: module_of(path))
def test_imports_point_down_only(path):
    """A room uses the rooms below it, never one beside or above it."""
    importer = room_of(module_of(path))

    wrong = [
        name
        for name, _ in imports_of(path)
        if name.split(".")[0] == "gpuwatch" and not allowed(importer, room_of(name))
    ]
    assert wrong == []


@pytest.mark.parametrize(
    "path", [p for p in MODULES if room_of(module_of(p)) in ("devices", "host", "jobs", "sinks")]
)
def test_plugins_import_vendor_libraries_late(path):
    """A node without a vendor's library starts, and stays small."""
    early = {name.split(".")[0] for name, top in imports_of(path) if top}

    assert early & HEAVY == set()


def test_nobody_imports_a_plugin_by_name():
    """Plugins are found by entry point; only their own room's files may import them."""
    rooms = ("devices", "host", "jobs", "sinks", "usage", "notifiers")
    plugins = {
        module_of(p) for p in MODULES if room_of(module_of(p)) in rooms and p.stem not in ("base", "__init__")
    }
    shared = {
        "gpuwatch.devices.capture",
        "gpuwatch.devices.checks",
        "gpuwatch.devices.recordings",
        "gpuwatch.jobs.proc",
        "gpuwatch.jobs.tree",
        "gpuwatch.notifiers.kinds",
        "gpuwatch.sinks.text_format",
    }
    catalogues = {"gpuwatch.cli.metrics": {"gpuwatch.sinks.prometheus"}}

    offenders = {
        (module_of(path), name)
        for path in MODULES
        for name, _ in imports_of(path)
        if name in plugins - shared
        and room_of(name) != room_of(module_of(path))
        and name not in catalogues.get(module_of(path), set())
        and not module_of(path).startswith(("gpuwatch.cli.demo", "gpuwatch.cli.replay"))
    }
    assert offenders == set()


def test_the_agent_never_loads_what_only_accounting_needs():
    """numpy, SQLAlchemy, the ledger and the forecast stay out of the process on every node."""
    code = (
        "import sys; import gpuwatch.cli.agent;"
        "from gpuwatch import config, plugins;"
        "[plugins.load(room, name) for room in ('devices', 'host', 'jobs', 'sinks')"
        " for name in plugins.available(room)];"
        "heavy = ('numpy', 'sqlalchemy', 'apscheduler', 'influxdb_client');"
        "bad = [m for m in sys.modules if m.split('.')[0] in heavy"
        " or m.startswith(('gpuwatch.ledger','gpuwatch.forecast','gpuwatch.accounting'))];"
        "print(bad)"
    )

    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert told.stdout.strip() == "[]"


@pytest.mark.parametrize("path", MODULES, ids=lambda path: module_of(path))
def test_files_and_functions_stay_short(path):
    """A reader sees a whole function at once, and a file is one thing."""
    source = path.read_text(encoding="utf-8")
    long = [
        f"{node.name} has {node.end_lineno - node.lineno + 1} lines"
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.end_lineno - node.lineno >= 40
    ]

    assert long == []
    assert len(source.splitlines()) <= 400
