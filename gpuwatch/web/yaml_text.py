"""YAML that cannot be meant to hurt: plain values, no aliases (they multiply), no key twice, 64 kB at most."""

from __future__ import annotations

from typing import Any

import yaml
from yaml.constructor import ConstructorError
from yaml.events import AliasEvent

MAX_BYTES = 65_536


class _PlainLoader(yaml.SafeLoader):
    """yaml's safe loader without aliases and without repeated keys."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(AliasEvent):
            event = self.peek_event()  # type: ignore[no-untyped-call]
            raise ConstructorError(None, None, "aliases are not taken", event.start_mark)
        return super().compose_node(parent, index)

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key, _ in node.value:
            if key.value in seen:
                raise ConstructorError(
                    None, None, f"the key {str(key.value)[:40]!r} is there twice", key.start_mark
                )
            seen.add(key.value if isinstance(key.value, str) else None)
        return super().construct_mapping(node, deep)


def parse(data: bytes) -> object:
    """The value that a YAML document says; `ValueError` says in one line what is wrong with it."""
    if len(data) > MAX_BYTES:
        raise ValueError(f"is longer than {MAX_BYTES} bytes")
    try:
        return yaml.load(data.decode("utf-8"), Loader=_PlainLoader)
    except UnicodeDecodeError as exc:
        raise ValueError(f"byte {exc.start} is not UTF-8") from exc
    except RecursionError as exc:
        raise ValueError("is nested too deeply") from exc
    except yaml.YAMLError as exc:
        raise ValueError(f"is not YAML; {_told(exc)}") from exc


def _told(error: yaml.YAMLError) -> str:
    """What is wrong and where, without the text around it, which may be a secret."""
    mark = getattr(error, "problem_mark", None)
    what = getattr(error, "problem", None) or type(error).__name__
    return f"{what} (line {mark.line + 1}, column {mark.column + 1})" if mark is not None else str(what)
