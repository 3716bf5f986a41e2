"""Loggers of the standard library, named ``am2z.<component>``.

The library decides nothing about levels, formats and handlers: it adds a ``NullHandler`` to
``am2z``, and the application configures the rest as usual.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, MutableMapping
from functools import cached_property
from types import MappingProxyType
from typing import Any

from am2z.errors import ConfigurationError
from am2z.redact import as_pairs, redact

__all__ = [
    "ContextualLogger",
    "component_loggers",
    "create_component_logger",
    "create_contextual_logger",
]

_ROOT = "am2z"
logging.getLogger(_ROOT).addHandler(logging.NullHandler())

# `extra` must not overwrite what a record has already: logging raises KeyError for that.
_taken = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime"}


def create_component_logger(component: str, *, level: int | str | None = None) -> logging.Logger:
    """The logger ``am2z.<component>``; the same object for the same name.

    ``level`` (a number or a name of ``logging``) is set on it; ``None`` leaves its level alone.
    Raises ``ConfigurationError`` for an empty component and for a level that logging does not know.

    Example: ``create_component_logger("billing", level="DEBUG").info("ready")``.
    """
    if not component.strip("."):
        raise ConfigurationError(f"the component is {component!r}; give it a name, like 'worker'")
    logger = logging.getLogger(f"{_ROOT}.{component}")
    if level is not None:
        try:
            logger.setLevel(level)
        except (TypeError, ValueError) as error:
            raise ConfigurationError(
                f"level is {level!r}; give one of logging's, like 'INFO' or logging.INFO"
            ) from error
    return logger


class ContextualLogger(logging.LoggerAdapter[logging.Logger]):
    """A logger that says the same context with every message.

    The context stands behind the message as ``key=value`` and on the record as attributes (through
    ``extra``); an attribute that logging itself uses gets ``ctx_`` in front. What looks like a
    secret is ``***`` in both. Use it like any logger.
    """

    def __init__(self, logger: logging.Logger, context: Mapping[str, Any]) -> None:
        super().__init__(logger, dict(context))

    # Both are made at the first message that is let through: most loggers never write one.

    @cached_property
    def _suffix(self) -> str:
        return as_pairs(self.extra or {})

    @cached_property
    def _attributes(self) -> dict[str, Any]:
        return {
            f"ctx_{name}" if name in _taken else name: value
            for name, value in redact(self.extra or {}).items()
        }

    def process(
        self, msg: Any, kwargs: MutableMapping[str, Any]
    ) -> tuple[Any, MutableMapping[str, Any]]:
        """Add the context to the record; what the call itself gives as ``extra`` wins."""
        return msg, {**kwargs, "extra": {**self._attributes, **(kwargs.get("extra") or {})}}

    def log(self, level: int, msg: object, *args: object, **kwargs: Any) -> None:
        """As ``logging.Logger.log``, with the context."""
        if not self.isEnabledFor(level):
            return
        msg, more = self.process(msg, kwargs)
        if self._suffix:
            # Only a message with arguments is formatted: only then a per cent sign is special.
            msg = f"{msg} {self._suffix.replace('%', '%%') if args else self._suffix}"
        # One frame more lies between the caller and the logger: this one.
        more["stacklevel"] = more.get("stacklevel", 1) + 1
        self.logger.log(level, msg, *args, **more)


def create_contextual_logger(component: str, context: Mapping[str, Any]) -> ContextualLogger:
    """The logger ``am2z.<component>`` with ``context`` in every message and on every record.

    The context is copied now. Raises ``ConfigurationError`` for an empty component.

    Example::

        log = create_contextual_logger("worker", {"execution_id": "e1"})
        log.info("took %d items", 3)  # took 3 items execution_id=e1
    """
    return ContextualLogger(create_component_logger(component), context)


component_loggers: Mapping[str, logging.Logger] = MappingProxyType(
    {
        component: create_component_logger(component)
        for component in (
            "local_runtime",
            "queue_runtime",
            "processor",
            "worker",
            "replies",
            "events",
            "connection",
            "maintenance",
            "resources",
            "cleanup",
        )
    }
)
"""The loggers of the library's own components, by name. Read-only."""
