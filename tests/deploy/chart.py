"""The chart as Helm renders it, kept in files: what plain Python looks at where there is no Helm.

`python -m tests.deploy.chart` (`make charts`) renders them anew; a digest beside them says from which sources.
"""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

REPOSITORY = Path(__file__).resolve().parents[2]
CHART = REPOSITORY / "deploy" / "helm" / "gpuwatch"
GOLDEN = Path(__file__).resolve().parent / "golden"
SOURCES = GOLDEN / "SOURCES"
CASES = {path.name.removesuffix("-values.yaml"): path for path in sorted((CHART / "ci").glob("*.yaml"))}
KUBERNETES = "1.31.0"
_SECONDS = 60


def helm() -> Path | None:
    """Helm, installed or built by `make charts`."""
    built = REPOSITORY / ".cache" / "helm" / "helm"
    installed = shutil.which("helm")
    return Path(installed) if installed else built if built.exists() else None


def run(program: Path, *arguments: str, version: str = KUBERNETES) -> subprocess.CompletedProcess[str]:
    """What Helm says of the chart, for a cluster of that version."""
    command = [str(program), *arguments, "--kube-version", version]
    return subprocess.run(command, capture_output=True, text=True, timeout=_SECONDS, check=False)


def rendered(program: Path, *arguments: str, version: str = KUBERNETES) -> str:
    """The objects of a release called `gw` in the namespace `monitoring`."""
    done = run(program, "template", "gw", str(CHART), "--namespace", "monitoring", *arguments, version=version)
    assert done.returncode == 0, done.stderr
    return done.stdout


def objects(text: str) -> list[dict[str, Any]]:
    """The objects in a text of several YAML documents."""
    return [each for each in yaml.load_all(text, yaml.CSafeLoader) if each]


def kept(text: str) -> str:
    """What is kept of a rendering: all but rules and dashboards, which come from elsewhere."""
    return "".join(f"---\n{_shortened(part)}" for part in text.removeprefix("---\n").split("\n---\n"))


def _shortened(part: str) -> str:
    lines = [line.rstrip() for line in part.splitlines()]
    for at, line in enumerate(lines):
        if line.endswith(".json: |"):
            return "\n".join([*lines[:at], line.replace("|", "(the dashboard)")]) + "\n"
        if line == "spec:" and "kind: PrometheusRule" in lines:
            return "\n".join([*lines[:at], "spec: {groups: []} # the rules"]) + "\n"
    return "\n".join(lines) + "\n"


def digest() -> str:
    """Of all that what is kept of a rendering comes from."""
    whole = hashlib.sha256()
    for path in _sources():
        whole.update(f"{path.relative_to(CHART)}\0".encode() + path.read_bytes() + b"\0")
    return whole.hexdigest() + "\n"


def _sources() -> Iterator[Path]:
    yield from (CHART / "Chart.yaml", CHART / "values.yaml", CHART / "files" / "access.py")
    yield from sorted(path for path in (CHART / "templates").rglob("*") if path.is_file())
    yield from CASES.values()


def main() -> int:
    """Lint the chart and write its renderings."""
    program = helm()
    if program is None:
        print("no helm: `make charts` builds it", file=sys.stderr)
        return 1
    GOLDEN.mkdir(exist_ok=True)
    for name, values in CASES.items():
        linted = run(program, "lint", "--strict", str(CHART), "--values", str(values))
        if linted.returncode:
            print(linted.stdout, linted.stderr, file=sys.stderr)
            return 1
        (GOLDEN / f"{name}.yaml").write_text(kept(rendered(program, "--values", str(values))), encoding="utf-8")
    SOURCES.write_text(digest(), encoding="utf-8")
    print(f"helm lint --strict and helm template for {', '.join(CASES)}: look at the difference of {GOLDEN.name}/")
    return 0


if __name__ == "__main__":
    sys.exit(main())
