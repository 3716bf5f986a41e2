"""The Lua scripts of the queue, read from the package and put together.

A script says on a line of its own what it stands on: ``--@include finish`` puts ``_finish.lua``
there, once, however many others ask for it too. An indented line does so for its block only: what
few runs of a script need is then not set up by all of them. The text is plain Lua afterwards.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from functools import cache
from importlib.resources import files

from am2z.queue.client.script import Script

__all__ = ["ScriptLibrary", "library"]

_INCLUDE = re.compile(r"^( *)--@include ([a-z_]+)$", re.MULTILINE)


class ScriptLibrary(Mapping[str, Script]):
    """Every script by its name, put together when it is first asked for.

    ``overrides`` puts other texts in the place of includes: a test gives its own clock as
    ``ScriptLibrary({"time": lua})``. ``KeyError`` names a script that does not exist.

    Example::

        library()["enqueue"].sha
    """

    def __init__(self, overrides: Mapping[str, str] | None = None) -> None:
        self._overrides = dict(overrides or {})
        self._scripts: dict[str, Script] = {}

    def __getitem__(self, name: str) -> Script:
        script = self._scripts.get(name)
        if script is None:
            if name not in _names():
                raise KeyError(f"no script is called {name!r}; there are {', '.join(_names())}")
            text = self._expand(_read(name), set())
            script = self._scripts[name] = Script(text, name=name)
        return script

    def __iter__(self) -> Iterator[str]:
        return iter(_names())

    def __len__(self) -> int:
        return len(_names())

    def _expand(self, text: str, seen: set[str]) -> str:
        def include(line: re.Match[str]) -> str:
            indent, name = line.groups()
            if name in seen:
                return ""
            scope = set(seen) if indent else seen
            scope.add(name)
            piece = self._overrides.get(name)
            return self._expand(_read(f"_{name}") if piece is None else piece, scope).rstrip()

        return _INCLUDE.sub(include, text)


@cache
def library() -> ScriptLibrary:
    """The scripts as they are shipped, one copy for the whole process."""
    return ScriptLibrary()


@cache
def _names() -> tuple[str, ...]:
    found = (entry.name for entry in (files("am2z.queue") / "scripts").iterdir())
    return tuple(sorted(n[:-4] for n in found if n.endswith(".lua") and not n.startswith("_")))


@cache
def _read(name: str) -> str:
    return (files("am2z.queue") / "scripts" / f"{name}.lua").read_text(encoding="utf-8")
