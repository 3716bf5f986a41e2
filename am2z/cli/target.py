"""From ``mypkg.app:processors`` to the processors that it names."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from importlib import import_module
from types import ModuleType
from typing import Any

from am2z.errors import ConfigurationError
from am2z.processor import Processor

__all__ = ["load_processors"]


def load_processors(target: str) -> list[Processor[Any]]:
    """The processors of a module, or those that one of its attributes holds.

    ``module`` stands for every processor in it, ``module:attribute`` for one processor or an
    iterable of them. Modules of the current folder are found. Raises ``ConfigurationError`` for
    what is not there; what a module raises while it is imported passes as it is.
    """
    module_name, colon, attribute = target.partition(":")
    module = _import(module_name, target)
    found: Any = module
    if colon:
        for part in attribute.split("."):
            found = getattr(found, part, None) if part else None
            if found is None:
                raise ConfigurationError(
                    f"module {module_name!r} has no attribute {attribute!r}{_there_is(module)}"
                )
    processors = list(_processors(found))
    if not processors or not all(isinstance(one, Processor) for one in processors):
        what = f"{attribute!r} of module {module_name!r}" if colon else f"module {module_name!r}"
        raise ConfigurationError(
            f"{what} holds no processors; name a function with @processor, a list of such, or a "
            f"module that defines some{_there_is(module)}"
        )
    return processors


def _import(name: str, target: str) -> ModuleType:
    here = os.getcwd()  # noqa: PTH109 - an entry of sys.path is a string
    if here not in sys.path and "" not in sys.path:
        sys.path.insert(0, here)
    if not all(part.isidentifier() for part in name.split(".")):
        raise ConfigurationError(
            f"{target!r} names no module; write it as in an import, such as mypkg.app:processors"
        )
    try:
        return import_module(name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{name}.".startswith(f"{error.name}."):
            raise  # the module is there, and something that it imports is not
        raise ConfigurationError(
            f"there is no module {error.name!r}; start in the folder that holds it ({here} does "
            "not), or install it"
        ) from error


def _processors(found: Any) -> Iterable[Any]:
    if isinstance(found, Processor):
        return [found]
    if isinstance(found, ModuleType):
        # One processor may have several names in a module; it is meant once.
        named = {id(one): one for one in vars(found).values() if isinstance(one, Processor)}
        return named.values()
    if isinstance(found, Iterable) and not isinstance(found, str | bytes):
        return found
    return []


def _there_is(module: ModuleType) -> str:
    names = sorted(key for key, one in vars(module).items() if isinstance(one, Processor))
    return f"; its processors are {', '.join(names)}" if names else ""
