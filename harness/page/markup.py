"""HTML that cannot be broken by what is put into it: whatever is no ``Markup`` is escaped."""

from __future__ import annotations

import html
import re
from collections.abc import Iterable
from typing import TypeAlias

__all__ = ["Child", "Markup", "el", "join", "slug"]

_EMPTY = frozenset({"input", "br", "use", "line", "rect", "circle", "path"})

# Control characters, and those that turn the direction of text and so change what a line seems to
# say, are shown instead of obeyed.
_UNSEEN = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e"
                     "\u2066-\u2069\ufeff\ufffe\uffff\ud800-\udfff]")  # fmt: skip


class Markup(str):
    """Text that is HTML already; only this module makes it from other text."""

    __slots__ = ()


Child: TypeAlias = "str | int | Iterable[Child] | None"


def el(tag: str, *children: Child, **attributes: str | float | bool | None) -> Markup:
    """An element. ``class_`` is the class, ``data_x`` is ``data-x``; ``None`` is left out."""
    start = tag + "".join(_attribute(name, value) for name, value in attributes.items())
    if tag in _EMPTY:
        return Markup(f"<{start}/>" if tag not in ("input", "br") else f"<{start}>")
    return Markup(f"<{start}>{join(children)}</{tag}>")


def join(children: Child) -> Markup:
    """Children one after the other, each escaped where it is no markup."""
    if children is None:
        return Markup("")
    if isinstance(children, Markup):
        return children
    if isinstance(children, str | int):
        return Markup(_escape(str(children)))
    return Markup("".join(join(child) for child in children))


def slug(text: str) -> str:
    """Text as a part of an id or of a file's name."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", text).strip("-.") or "x"


def _attribute(name: str, value: str | float | bool | None) -> str:
    if value is None or value is False:
        return ""
    name = name.rstrip("_").replace("_", "-")
    return f" {name}" if value is True else f' {name}="{_escape(str(value))}"'


def _escape(text: str) -> str:
    return html.escape(_UNSEEN.sub(lambda found: f"\\u{ord(found[0]):04x}", text))
