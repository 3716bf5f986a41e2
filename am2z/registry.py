"""The processors that a runtime knows, by name."""

from __future__ import annotations

from typing import Any

from am2z.errors import ConfigurationError, ProcessorNotFoundError
from am2z.processor import Processor

__all__ = ["Registry"]


class Registry:
    """Processors by name. What a processor depends on comes along; the last of a name wins."""

    def __init__(self) -> None:
        self._processors: dict[str, Processor[Any]] = {}

    def register(self, processors: tuple[Processor[Any], ...]) -> None:
        """Take processors and their dependencies, or none of them if one is no processor."""
        found: dict[str, Processor[Any]] = {}
        waiting: list[object] = list(reversed(processors))
        while waiting:
            item = waiting.pop()
            if not isinstance(item, Processor):
                raise ConfigurationError(
                    f"{item!r} is not a processor; decorate the function with @processor"
                )
            if found.get(item.name) is item:
                continue
            if item.name in found:
                raise ConfigurationError(
                    f"two different processors named {item.name!r} in one registration; "
                    "give each a name of its own"
                )
            found[item.name] = item
            waiting += [dep for dep in item.dependencies if not isinstance(dep, str)]
        self._processors.update(found)

    def unregister(self, name: str) -> bool:
        """Forget one; answers whether it was there."""
        return self._processors.pop(name, None) is not None

    def find(self, name: str) -> Processor[Any] | None:
        """The processor of that name, or ``None``."""
        return self._processors.get(name)

    def get(self, name: str) -> Processor[Any]:
        """The processor of that name; raises ``ProcessorNotFoundError`` where there is none."""
        processor = self._processors.get(name)
        if processor is None:
            raise ProcessorNotFoundError(name, self.names())
        return processor

    def names(self) -> list[str]:
        """All names, sorted."""
        return sorted(self._processors)

    def all(self) -> list[Processor[Any]]:
        """All processors, in the order of their registration."""
        return list(self._processors.values())

    def __len__(self) -> int:
        return len(self._processors)
