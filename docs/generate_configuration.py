"""Write the tables of docs/configuration.md from the settings: keys, defaults and what they say of themselves.

The prose between the tables is written by hand, and so is the meaning of a key that has no description. A table
keeps its place and its order and has all keys of the tables of the configuration whose keys it had; new ones come
last, and a plugin that has no table yet gets one at the end.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from gpuwatch import plugins
from gpuwatch.settings import Settings

PAGE = Path(__file__).with_name("configuration.md")

_SHOWN_DEFAULTS = {"site.node": "the host name"}
_HEAD = "| key | default | meaning |\n|---|---|---|\n"
_TABLE = re.compile(re.escape(_HEAD) + r"((?:\| `.*\n)+)")
_ROW = re.compile(r"(?m)^\| `([^`]+)` \| (.*) \| (.*) \|$")


def render(page: str) -> str:
    """The page with its tables anew."""
    keys = dict(_keys())
    written = {key: meaning for key, _, meaning in _ROW.findall(page)}
    order = {key: place for place, key in enumerate(written)}
    done: set[str] = set()

    def rows(tables: Iterable[str]) -> str:
        done.update(tables)
        mine = sorted((key for key in keys if _of(key) in tables), key=lambda key: order.get(key, len(order)))
        return _HEAD + "".join(_row(key, keys[key], written.get(key, "")) for key in mine)

    page = _TABLE.sub(lambda found: rows([_of(key) for key, _, _ in _ROW.findall(found[1])]), page)
    for table in dict.fromkeys(map(_of, keys)):
        if table not in done:
            page += f"\n### `[{table}]`\n\n{rows([table])}"
    return page


def _row(key: str, field: FieldInfo, written: str) -> str:
    return f"| `{key}` | {_default(key, field)} | {_cell(field.description) if field.description else written} |\n"


def _of(key: str) -> str:
    return key.rpartition(".")[0]


def _keys() -> Iterator[tuple[str, FieldInfo]]:
    """Every key and what is known of it, the tables of plugins after those of gpuwatch itself."""
    for name, field in Settings.model_fields.items():
        if _is_table(field.annotation):
            yield from _keys_of(field.annotation, name)
    for room in plugins.ROOMS:
        for name, entry in sorted(plugins.available(room).items()):
            if entry.value.startswith("gpuwatch."):
                yield from _keys_of(plugins.load(room, name).Settings, f"{room}.{name}")


def _keys_of(model: Any, table: str) -> Iterator[tuple[str, FieldInfo]]:
    later = []
    for name, field in model.model_fields.items():
        nested = [each for each in get_args(field.annotation) if _is_table(each)]
        key = f"{table}.{name}"
        if nested:
            later.append((nested[0], f"{key}.NAME"))
        if not nested or field.is_required():
            yield key, field
    for inner, prefix in later:
        yield from _keys_of(inner, prefix)


def _is_table(candidate: Any) -> bool:
    return isinstance(candidate, type) and issubclass(candidate, BaseModel)


def _default(key: str, field: FieldInfo) -> str:
    if key in _SHOWN_DEFAULTS:
        return _SHOWN_DEFAULTS[key]
    if field.is_required():
        return "required"
    value = field.get_default(call_default_factory=True)
    return "unset" if value is None else _cell(f"`{json.dumps(value, default=_written)}`")


def _written(value: Any) -> Any:
    if isinstance(value, re.Pattern):
        return value.pattern
    return sorted(value) if isinstance(value, frozenset) else str(value)


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


if __name__ == "__main__":
    PAGE.write_text(render(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
