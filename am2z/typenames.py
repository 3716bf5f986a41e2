"""The names under which classes are known outside this process."""

from __future__ import annotations

import sys
from pathlib import Path

__all__ = ["type_name"]


def type_name(cls: type) -> str:
    """``module:qualname`` of a class.

    A class of the script that was started (``__main__``) goes by the script's own module name, so
    that ``python shop.py`` and a worker that imports ``shop`` mean the same class.
    """
    module = cls.__module__
    if module == "__main__":
        module = _main_module()
    return f"{module}:{cls.__qualname__}"


def _main_module() -> str:
    main = sys.modules.get("__main__")
    spec = getattr(main, "__spec__", None)
    if spec is not None and spec.name:
        return str(spec.name.removesuffix(".__main__"))
    path = getattr(main, "__file__", None)
    return Path(path).stem if path else "__main__"
