"""The configuration: TOML → validated settings, with every mistake reported at once; works with no file at all.

The file, then `conf.d/*.toml` beside it in lexical order, then the command line; later wins, key by key. Tables
of plugins are kept as they are and validated by the plugin's own `Settings`. The environment sets nothing.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import Any, TypeVar, get_args

from pydantic import BaseModel, ValidationError

from gpuwatch import config_secrets, plugins
from gpuwatch.config_renamed import renamed
from gpuwatch.errors import ConfigurationError
from gpuwatch.settings import Origins, Settings

M = TypeVar("M", bound=BaseModel)

DEFAULT_PATH = Path("/etc/gpuwatch/gpuwatch.toml")
COMMAND_LINE = "command line"

# Where the configuration lists the plugins of a room that are used.
_CHOSEN = {
    "devices": (("agent", "devices"),),
    "host": (("agent", "host"),),
    "jobs": (("agent", "jobs"),),
    "sinks": (("agent", "sinks"), ("accounting", "sinks")),
    "schedulers": (("accounting", "schedulers"),),
    "usage": (("accounting", "usage"),),
    "notifiers": (("accounting", "notifiers"),),
}


@dataclass(slots=True)
class _Document:
    """The merged files and command line, before validation."""

    values: dict[str, Any] = field(default_factory=dict)
    origins: Origins = field(default_factory=dict)
    files: list[Path] = field(default_factory=list)
    replaced: list[str] = field(default_factory=list)
    mistakes: list[str] = field(default_factory=list)

    def override(self, overrides: Mapping[str, Any]) -> None:
        """Merge dotted keys as the command line gives them; None is not given."""
        for key, value in overrides.items():
            if value is not None:
                self.merge(_nested(key.split("."), value), COMMAND_LINE)

    def merge(self, new: Mapping[str, Any], origin: str) -> None:
        """Take what another file says, key by key; it wins."""
        _merge(self.values, new, origin, self)


def load(
    path: Path | None = None, overrides: Mapping[str, Any] | None = None, rooms: Sequence[str] = ()
) -> Settings:
    """The settings of `path` (default: /etc/gpuwatch/gpuwatch.toml where it exists) under `overrides`.

    `overrides` has dotted keys, as in `{"agent.listen": ":0"}`; those that are None are left out. The plugins
    of `rooms` are checked as `check_plugins` does, so that one `ConfigurationError` has every mistake.
    """
    document = _read(path)
    document.override(overrides or {})
    return _validated(document, rooms)


def load_table(path: Path, model: type[M]) -> M:
    """A TOML file of its own, as `model` says; `ConfigurationError` has every mistake."""
    document = _Document()
    _read_file(path, document, required=True)
    try:
        if not document.mistakes:
            return model.model_validate(document.values)
    except ValidationError as exc:
        document.mistakes.extend(_explain(exc, model, (), document.origins))
    raise ConfigurationError([*dict.fromkeys(document.mistakes)])


def with_overrides(settings: Settings, overrides: Mapping[str, Any]) -> Settings:
    """The same settings under further `overrides`, as `load` takes them."""
    document = _Document(settings.model_dump(), dict(settings._origins), list(settings.files))
    document.override(overrides)
    return _validated(document, ())


def check_plugins(settings: Settings, rooms: Sequence[str] = plugins.ROOMS) -> None:
    """Load each plugin of `rooms` that is listed or has a table and validate its table; all mistakes at once."""
    mistakes = list(_plugin_mistakes(settings.model_dump(), settings._origins, rooms))
    if mistakes:
        raise ConfigurationError(mistakes)


def build(room: str, name: str, settings: Settings) -> Any:
    """The plugin `name` of `room`, constructed with its validated table and the site."""
    from gpuwatch.model import Site

    plugin = plugins.load(room, name)
    table = getattr(settings, room).get(name, {})
    try:
        own = plugin.Settings.model_validate(table)
    except ValidationError as exc:
        raise ConfigurationError([*_explain(exc, plugin.Settings, (room, name), settings._origins)]) from exc
    return plugin(own, Site(**settings.site.model_dump()))


def _validated(document: _Document, rooms: Sequence[str]) -> Settings:
    mistakes = list(document.mistakes)
    settings = Settings()
    try:
        settings = Settings.model_validate(document.values)
    except ValidationError as exc:
        mistakes.extend(_explain(exc, Settings, (), document.origins))
    settings._origins, settings._files = document.origins, tuple(document.files)
    settings._replaced = tuple(document.replaced)
    mistakes.extend(_contradictions(settings))
    mistakes.extend(_plugin_mistakes(document.values, document.origins, rooms))
    mistakes.extend(_exposed(document.values, document.origins, rooms))
    if mistakes:
        raise ConfigurationError([*dict.fromkeys(mistakes)])
    return settings


def _read(path: Path | None) -> _Document:
    document = _Document()
    main = path or DEFAULT_PATH
    _read_file(main, document, required=path is not None)
    directory = main.parent / "conf.d"
    try:
        extras = sorted(directory.iterdir())
    except (FileNotFoundError, NotADirectoryError):
        extras = []
    except OSError as exc:
        extras = []
        document.mistakes.append(f"{directory}: cannot be read; {exc.strerror}")
    for extra in extras:
        if extra.suffix == ".toml" and not extra.name.startswith("."):
            _read_file(extra, document, required=True)
    return document


def _read_file(path: Path, document: _Document, required: bool) -> None:
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as exc:
        if required or not isinstance(exc, FileNotFoundError):
            document.mistakes.append(f"{path}: cannot be read; {exc.strerror}")
    except UnicodeDecodeError as exc:
        document.mistakes.append(f"{path}: byte {exc.start} is not UTF-8; TOML is UTF-8")
    except tomllib.TOMLDecodeError as exc:
        document.mistakes.append(f"{path}: is not TOML; {exc}")
    else:
        document.files.append(path)
        document.merge(values, str(path))


def _nested(keys: Sequence[str], value: Any) -> dict[str, Any]:
    for key in reversed(keys):
        value = {key: value}
    return dict(value)


def _merge(
    into: dict[str, Any], new: Mapping[str, Any], origin: str, document: _Document, path: tuple[str, ...] = ()
) -> None:
    for key, value in new.items():
        here = (*path, key)
        if isinstance(value, dict):
            if not isinstance(into.get(key), dict):
                into[key] = {}
            _merge(into[key], value, origin, document, here)
        else:
            if key in into and into[key] != value and (before := document.origins.get(here)):
                told = f"{_shown(here, value)} in {origin} replaces {_shown(here, into[key])} in {before}"
                document.replaced.append(f"{_dotted(here)}: {told}")
            into[key] = value
        document.origins[here] = origin


def _explain(
    error: ValidationError, model: type[BaseModel], prefix: tuple[str, ...], origins: Origins
) -> Iterator[str]:
    """One line for each thing that pydantic found: file, key path, what is wrong, what there is."""
    for each in error.errors(include_url=False, include_context=False):
        loc = tuple(str(part) for part in each["loc"])
        where = f"{_origin((*prefix, *loc), origins)}: {_dotted((*prefix, *loc))}"
        if each["type"] == "extra_forbidden":
            names, known = _keys_at(model, loc[:-1]), renamed((*prefix, *loc))
            if known is not None:
                yield f"{where}: {known}"
                continue
            yield f"{where}: unknown key{_meant(loc[-1], names)}; there is: {', '.join(names)}"
        elif each["type"] == "missing":
            yield f"{where}: missing; it has no default"
        else:
            yield f"{where}: {_shown(loc, each['input'])} is not possible; it {_rule(each['type'], each['msg'])}"


def _origin(loc: tuple[str, ...], origins: Origins) -> str:
    known = (origins[loc[:length]] for length in range(len(loc), 0, -1) if loc[:length] in origins)
    return next(known, "configuration")


def _dotted(loc: tuple[str, ...]) -> str:
    """A key path as TOML writes it; an index of an array in brackets."""
    text = ""
    for part in loc:
        if part.isdigit():
            text += f"[{part}]"
        else:
            quoted = part if re.fullmatch(r"[A-Za-z0-9_-]+", part) else f'"{part}"'
            text += f".{quoted}" if text else quoted
    return text


def _shown(loc: tuple[str, ...], value: Any) -> str:
    if re.search("password|secret|token|ledger", loc[-1] if loc else "", re.IGNORECASE):
        return "its value (not shown)"
    text = re.sub("//[^/@]*@", "//…@", repr(value))
    return text if len(text) <= 80 else text[:79] + "…"


_RULES = {
    "bool_type": "must be true or false",
    "float_type": "must be a number",
    "int_type": "must be a whole number",
    "string_type": "must be a string",
    "path_type": "must be a path, as a string",
    "tuple_type": "must be an array",
    "list_type": "must be an array",
    "dict_type": "must be a table",
    "model_type": "must be a table",
    "model_attributes_type": "must be a table",
    "string_pattern_mismatch": "must be letters, digits and . _ - only",
}


def _rule(kind: str, message: str) -> str:
    text = message.removeprefix("Value error, ").replace("Input should", "must").replace("String should", "must")
    return _RULES.get(kind, text)


def _keys_at(model: type[BaseModel], loc: Sequence[str]) -> list[str]:
    """The keys that the table at `loc` may have."""
    for part in loc:
        annotation = model.model_fields[part].annotation if part in model.model_fields else None
        nested = [each for each in (annotation, *get_args(annotation)) if _is_model(each)]
        model = nested[0] if nested else model
    return list(model.model_fields)


def _is_model(candidate: Any) -> bool:
    return isinstance(candidate, type) and issubclass(candidate, BaseModel)


def _meant(name: str, names: Sequence[str]) -> str:
    near = get_close_matches(name[:60].lower().replace("-", "_"), names, n=1)
    return f", did you mean {near[0]!r}" if near else ""


def _contradictions(settings: Settings) -> Iterator[str]:
    gap, interval = settings.meter.gap_seconds, settings.agent.interval_seconds
    if gap <= interval:
        where = _origin(("meter", "gap_seconds"), settings._origins)
        yield (
            f"{where}: meter.gap_seconds: {gap} would make every interval a gap;"
            f" it must be greater than agent.interval_seconds, which is {interval}"
        )


def secret_files(values: Mapping[str, Any], rooms: Sequence[str]) -> Iterator[tuple[tuple[str, ...], Path]]:
    """The files with secrets that the daemon which uses these rooms would read, by key."""
    for key, table in _read_by(values, rooms):
        yield from config_secrets.named_in(table, key)


def _read_by(values: Mapping[str, Any], rooms: Sequence[str]) -> Iterator[tuple[tuple[str, ...], Any]]:
    """The tables that are read by the daemon which uses these rooms."""
    for table, own_room in (("agent", "devices"), ("accounting", "usage")):
        if own_room in rooms:
            yield (table,), _table(values, table)
    for room in rooms:
        for name in dict.fromkeys(path[-1] for path in _chosen(values, room)):
            yield (room, name), _table(_table(values, room), name)


def _table(values: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    found = values.get(name)
    return found if isinstance(found, Mapping) else {}


def _exposed(values: Mapping[str, Any], origins: Origins, rooms: Sequence[str]) -> Iterator[str]:
    for key, path in secret_files(values, rooms):
        told = config_secrets.exposure(path)
        if told:
            yield f"{_origin(key, origins)}: {_dotted(key)}: {path} {told}"
    for key, table in _read_by(values, rooms):
        for where in config_secrets.passwords_in(table, key):
            told = config_secrets.exposure(Path(_origin(where, origins)))
            if told:
                yield f"{_origin(where, origins)}: {_dotted(where)}: has a password in it; the file {told}"


def _plugin_mistakes(values: Mapping[str, Any], origins: Origins, rooms: Sequence[str]) -> Iterator[str]:
    for room in rooms:
        installed = plugins.available(room)
        tables = values.get(room, {})
        tables = tables if isinstance(tables, dict) else {}
        chosen = _chosen(values, room)
        for path in [*((room, name) for name in tables), *chosen]:
            if path[-1] not in installed:
                there = ", ".join(sorted(installed)) or "none"
                where = f"{_origin(path, origins)}: {_dotted(path if path[0] == room else path[:-1])}"
                yield f"{where}: no plugin {path[-1]!r}{_meant(path[-1], [*installed])}; there is: {there}"
        for name in sorted({*tables, *(path[-1] for path in chosen)} & installed.keys()):
            yield from _table_mistakes(room, name, tables.get(name, {}), origins)


def _chosen(values: Mapping[str, Any], room: str) -> list[tuple[str, str, str]]:
    """The plugins of a room that are listed as used, behind where; nothing where the list itself is wrong."""
    return [(table, key, name) for table, key in _CHOSEN.get(room, ()) for name in _listed(values, table, key)]


def _listed(values: Mapping[str, Any], table: str, key: str) -> list[str]:
    default = getattr(getattr(Settings(), table), key)
    section = values.get(table, {})
    listed = section.get(key, default) if isinstance(section, dict) else default
    return [name for name in listed if isinstance(name, str)] if isinstance(listed, list | tuple) else []


def _table_mistakes(room: str, name: str, table: Any, origins: Origins) -> Iterator[str]:
    try:
        plugin = plugins.load(room, name)
        plugin.Settings.model_validate(table)
    except ConfigurationError as exc:
        yield from exc.mistakes
    except ValidationError as exc:
        yield from _explain(exc, plugin.Settings, (room, name), origins)
