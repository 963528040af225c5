"""HTML as values: text becomes markup here and nowhere else, so that nothing can be forgotten.

Whatever is no `Html` is escaped. There is no style in an attribute and no script in the page: its policy forbids
both (docs/page.md).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Union

from gpuwatch.hygiene import html

_VOID = frozenset({"br", "input", "link", "meta"})
LONGEST = 48
"""Names that are longer are cut, and whole in their title."""


class Html(str):
    """Markup that is safe already."""

    __slots__ = ()


Child = Union["Html", str, int, None, Iterable["Child"]]
Attribute = str | int | float | bool | None


def tag(element: str, /, *children: Child, **attributes: Attribute) -> Html:
    """An element; an attribute has `-` for each `_` of its name, and nothing for one at the end (`class_`)."""
    text = "".join(_attribute(each, value) for each, value in attributes.items())
    if element in _VOID:
        return Html(f"<{element}{text}>")
    return Html(f"<{element}{text}>{joined(children)}</{element}>")


def joined(children: Iterable[Child]) -> Html:
    """Children one after the other."""
    return Html("".join(map(_markup, children)))


def _markup(child: Child) -> str:
    if isinstance(child, Html):
        return child
    if child is None:
        return ""
    if isinstance(child, str):
        return html(child)
    if isinstance(child, int):
        return str(child)
    return "".join(map(_markup, child))


def _attribute(name: str, value: Attribute) -> str:
    if value is None or value is False:
        return ""
    name = name.rstrip("_").replace("_", "-")
    return f" {name}" if value is True else f' {name}="{html(str(value))}"'


def name(text: str, longest: int = LONGEST) -> Html:
    """A name that somebody else chose: apart from the direction of what is around it, and cut where it is long."""
    if len(text) <= longest:
        return tag("bdi", text)
    return tag("bdi", text[: longest - 1] + "…", title=text)


def prose(text: str) -> Html:
    """A sentence that may have names of others in it."""
    return tag("bdi", text)
