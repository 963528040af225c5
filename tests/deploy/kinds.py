"""What the Kubernetes client knows of objects: whether each key of one is a key that there is."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from kubernetes import client

_MANY = re.compile(r"(?:list\[|List\[)(.+)\]")
_NAMED = re.compile(r"(?:dict\(|Dict\[)str, (.+)[\])]")


def unknown_keys(thing: dict[str, Any]) -> list[str]:
    """The paths of keys that no object of this kind has; empty for kinds that are no part of Kubernetes."""
    group, _, version = thing["apiVersion"].rpartition("/")
    name = f"{version.capitalize()}{thing['kind']}"
    if "." in group and not group.endswith(".k8s.io"):
        return []
    assert hasattr(client, name), f"{thing['apiVersion']} has no {thing['kind']}"
    return list(_unknown(thing, name, thing["kind"]))


def _unknown(value: Any, kind: str, path: str) -> Iterator[str]:
    if many := _MANY.fullmatch(kind):
        for at, each in enumerate(value or ()):
            yield from _unknown(each, many[1], f"{path}[{at}]")
    elif named := _NAMED.fullmatch(kind):
        for key, each in (value or {}).items():
            yield from _unknown(each, named[1], f"{path}.{key}")
    elif kind.startswith("V") and isinstance(value, dict):
        model = getattr(client, kind)
        names = {key: attribute for attribute, key in model.attribute_map.items()}
        for key, each in value.items():
            if key not in names:
                yield f"{path}.{key}"
            else:
                yield from _unknown(each, model.openapi_types[names[key]], f"{path}.{key}")
