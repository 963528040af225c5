"""The files of the chart that are made from others: rules, dashboards, and the schema of its values.

Run as `python deploy/helm/generate.py`; a test holds the files to it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from gpuwatch import plugins
from gpuwatch.settings import Settings

REPOSITORY = Path(__file__).resolve().parents[2]
CHART = Path(__file__).resolve().parent / "gpuwatch"

# What Kubernetes itself says the form of; the chart hands it on.
_PASSED_ON = {
    *("affinity", "annotations", "commonLabels", "nodeSelector", "podAnnotations", "podLabels", "resources"),
    *("additionalLabels", "additionalRuleLabels", "basicAuth", "tlsConfig", "updateStrategy", "users"),
}
_STRINGS = {"accessModes", "disabled", "extraArgs", "namespaces"}
_NAMES = {"type": "string", "pattern": "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$", "maxLength": 52}
_DURATION = {"type": "string", "pattern": "^([0-9]+(ms|s|m|h))+$"}
_SPECIAL: Mapping[str, Mapping[str, Any]] = {
    "cluster": {"type": "string", "pattern": r"^[\w.-]+$", "maxLength": 128},
    "image.digest": {"type": "string", "pattern": "^(sha256:[0-9a-f]{64})?$"},
    "image.pullPolicy": {"enum": ["Always", "IfNotPresent", "Never"]},
    "agent.gpuAccess": {"enum": ["env", "volume", "none"]},
    "agent.hostAccess.group": {"type": "integer", "minimum": 1},
    "agent.hostAccess.intervalSeconds": {"type": "number", "exclusiveMinimum": 0, "maximum": 3600},
    "accounting.service.type": {"enum": ["ClusterIP", "NodePort", "LoadBalancer"]},
    "accounting.postgresql.url": {"type": "string", "pattern": r"^(postgresql(\+\w+)?://.+)?$"},
    "accounting.prometheusUrl": {"type": "string", "pattern": "^(https?://.+)?$"},
    "prometheusRule.runbookUrl": {"type": "string", "pattern": "^https?://.+$"},
    "extraManifests": {"type": "array", "items": {"type": ["object", "string"]}},
    **{f"{monitor}.{key}": _DURATION for monitor in ("podMonitor", "serviceMonitor") for key in
       ("interval", "scrapeTimeout")},
    **{f"{part}.port": {"type": "integer", "minimum": 1, "maximum": 65535} for part in
       ("agent", "accounting", "agent.tpu.devicePlugin")},
    **{f"{part}.secrets": {"type": "array", "items": {
        "type": "object", "additionalProperties": False, "required": ["name", "secretName"],
        "properties": {"name": _NAMES, "secretName": {"type": "string", "minLength": 1}},
    }} for part in ("agent", "accounting")},
}  # fmt: skip

# Keys that the chart sets by values of its own: two places would contradict each other.
_CHARTS_OWN = {
    "site": {"cluster", "node", "procfs", "sysfs"},
    "agent": {"listen", "state_directory", "socket", "jobs_directory", "web_config_file"},
    "accounting": {"listen", "ledger", "ledger_password_file", "web_config_file"},
}
_TABLES = {
    "agent": ("site", "agent", "meter", "devices", "host", "jobs", "sinks"),
    "accounting": (
        *("site", "accounting", "access", "alerts", "meter", "sinks", "schedulers", "usage", "notifiers"),
    ),
}


def files() -> Iterator[tuple[Path, str]]:
    """Each file that is made, and what is in it."""
    for source in sorted((REPOSITORY / "deploy" / "prometheus").glob("*.rules.yml")):
        yield CHART / "files" / "rules" / source.name, source.read_text(encoding="utf-8")
    for source in sorted((REPOSITORY / "grafana" / "dashboards").glob("*.json")):
        yield CHART / "files" / "dashboards" / source.name, source.read_text(encoding="utf-8")
    yield CHART / "values.schema.json", json.dumps(schema(), indent=1, ensure_ascii=False) + "\n"


def schema() -> dict[str, Any]:
    """The schema of the values: their types as the defaults have them, and gpuwatch's own settings in `config`."""
    values = yaml.safe_load((CHART / "values.yaml").read_text(encoding="utf-8"))
    # What Helm gives to a chart that is part of another.
    values["global"] = {}
    return {"$schema": "http://json-schema.org/draft-07/schema#", **_of_values(values, "")}


def _of_values(values: Mapping[str, Any], path: str) -> dict[str, Any]:
    properties = {key: _of_value(value, f"{path}.{key}" if path else key) for key, value in values.items()}
    return {"type": "object", "additionalProperties": False, "properties": properties}


def _of_value(value: Any, path: str) -> dict[str, Any]:
    part, _, key = path.rpartition(".")
    if path in _SPECIAL:
        return dict(_SPECIAL[path])
    if key == "config":
        return _configuration(part)
    if isinstance(value, dict):
        if path == "global" or (key in _PASSED_ON and path != "web.basicAuth"):
            return {"type": "object"}
        return _of_values(value, path)
    if isinstance(value, list):
        return {"type": "array", **({"items": {"type": "string"}} if key in _STRINGS else {})}
    kinds = {bool: "boolean", int: "integer", float: "number", str: "string"}
    return {"type": kinds[type(value)]}


def _configuration(part: str) -> dict[str, Any]:
    """The tables that a daemon reads, as its settings and those of the plugins say; other plugins are free."""
    whole = _without_references(Settings.model_json_schema())["properties"]
    tables = {}
    for name in _TABLES[part]:
        table = whole[name]
        if name in plugins.ROOMS:
            table = {"type": "object", "properties": {each: _plugin(name, each) for each in _built_in(name)}}
        for key in _CHARTS_OWN.get(name, ()):
            del table["properties"][key]
        tables[name] = table
    return {"type": "object", "additionalProperties": False, "properties": tables}


def _built_in(room: str) -> list[str]:
    found = plugins.available(room).items()
    return sorted(name for name, each in found if each.value.startswith("gpuwatch."))


def _plugin(room: str, name: str) -> dict[str, Any]:
    found: dict[str, Any] = _without_references(plugins.load(room, name).Settings.model_json_schema())
    return found


def _without_references(document: dict[str, Any]) -> Any:
    """The same with every definition where it is used, and without what no reader of an error needs."""
    definitions = document.get("$defs", {})

    def plain(part: Any, names: bool) -> Any:
        if isinstance(part, list):
            return [plain(each, False) for each in part]
        if not isinstance(part, dict):
            return part
        if "$ref" in part:
            return plain(definitions[part["$ref"].removeprefix("#/$defs/")], False)
        dropped = () if names else ("$defs", "default", "title", "description", "format")
        return {key: plain(each, key == "properties") for key, each in part.items() if key not in dropped}

    return plain(document, False)


def main() -> None:
    """Write every file."""
    for path, text in files():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
