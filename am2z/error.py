"""Everything that can go wrong, as classes that cross the wire and come back as themselves.

An error is a value: it has a stable ``code``, a ``category``, a ``severity``, says whether trying
again can help (``retryable``) and carries a ``context`` of plain data. ``to_dict`` and
``from_dict`` turn it into plain data and back. Classes are found in a registry that only defining a
subclass can fill, so bytes from outside can never name a class that the process did not import.
"""

from __future__ import annotations

import inspect
import traceback
from collections.abc import Callable, Mapping
from contextlib import suppress
from enum import StrEnum
from typing import Any, Self

from am2z.typenames import type_name

__all__ = ["AM2ZError", "ErrorCategory", "ErrorSeverity", "remote_note", "say"]

_registry: dict[str, type[AM2ZError]] = {}

_TOLD_APART = frozenset(
    ("message", "context", "code", "category", "severity", "retryable", "failed_processor")
)


class ErrorCategory(StrEnum):
    """What kind of trouble it is: who has to act."""

    VALIDATION = "validation"
    BUSINESS = "business"
    EXECUTION = "execution"
    TIMEOUT = "timeout"
    RESOURCE = "resource"
    NETWORK = "network"
    CONFIGURATION = "configuration"
    SESSION = "session"
    STATE = "state"
    SYSTEM = "system"


class ErrorSeverity(StrEnum):
    """How loudly to say it."""

    LOW = "low"
    MEDIUM = "medium"
    HIGH = "high"
    CRITICAL = "critical"


class AM2ZError(Exception):
    """The base of every error of AM2Z, and of yours.

    A subclass needs only a message; class attributes set the rest. Attributes that an instance has
    beyond those travel with it, reduced to plain data.

    Example::

        class OutOfStockError(AM2ZError):
            code = "OUT_OF_STOCK"
            retryable = True

        raise OutOfStockError("no chairs left", context={"sku": "chair"})
    """

    code: str = "AM2Z_ERROR"
    category: ErrorCategory = ErrorCategory.SYSTEM
    severity: ErrorSeverity = ErrorSeverity.MEDIUM
    retryable: bool = False

    def __new__(cls, *args: Any, **_: Any) -> Self:
        """Fill in what every error has, also where a subclass forgets ``super().__init__``."""
        error = super().__new__(cls, *args)
        error.message = say(args[0]) if args else ""
        error.context = {}
        error.failed_processor = None
        return error

    def __init__(self, message: str = "", *, context: Mapping[str, Any] | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.context: dict[str, Any] = dict(context or {})
        self.failed_processor: str | None = None

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        _registry[type_name(cls)] = cls

    def to_dict(self) -> dict[str, Any]:
        """This error as plain data (strings, numbers, lists and mappings with string keys).

        The traceback goes along as text, and so does the chain of causes.
        """
        return self._describe(0)

    def _describe(self, depth: int) -> dict[str, Any]:
        data: dict[str, Any] = {
            "type": type_name(type(self)),
            "code": say(self.code),
            "category": say(self.category),
            "severity": say(self.severity),
            "retryable": bool(self.retryable),
            "message": say(self.message),
            "context": _plain(self.context),
        }
        if self.failed_processor is not None:
            data["failed_processor"] = say(self.failed_processor)
        if extra := {say(k): _plain(v) for k, v in vars(self).items() if _is_own_field(k)}:
            data["fields"] = extra
        notes = [say(note) for note in getattr(self, "__notes__", ())]
        if self.__traceback__ is not None and not any(n.startswith(_REMOTE) for n in notes):
            notes.append(remote_note(self))
        if notes:
            data["notes"] = notes
        if isinstance(self.__cause__, AM2ZError):
            if depth < _MAX_CAUSES:
                data["cause"] = self.__cause__._describe(depth + 1)  # noqa: SLF001 - of this class
        elif isinstance(self.__cause__, _RemoteCause):
            data["cause_text"] = say(self.__cause__)
        elif self.__cause__ is not None:
            data["cause_text"] = f"{type(self.__cause__).__name__}: {say(self.__cause__)}"
        return data

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> AM2ZError:
        """The error that ``to_dict`` described, of its own class where this process knows it.

        An unknown class becomes the nearest thing that is known: an ``AM2ZError`` with the same
        code, category and message, whose context names the class under ``remote_type``.
        """
        return _rebuild(data, depth=0)

    def with_cause(self, cause: BaseException | None) -> Self:
        """This error with ``cause`` as its ``__cause__``; returns itself, for one-line use."""
        self.__cause__ = cause
        return self


_registry[type_name(AM2ZError)] = AM2ZError


class _RemoteCause(Exception):  # noqa: N818 - only its text came along
    """A cause that was no error of ours; its text is the class's name and the message."""


_REMOTE = "Traceback where it was raised:"


def remote_note(error: BaseException) -> str:
    """The traceback of an error as the text of a note."""
    lines = traceback.format_exception(type(error), error, error.__traceback__, limit=-20)
    return say(f"{_REMOTE}\n" + "".join(lines).rstrip())


_MAX_CAUSES = 8  # a chain of causes is for reading; a longer one is an attack or a circle
_MAX_DEPTH = 8  # and so is what a context holds


def _rebuild(data: Mapping[str, Any], *, depth: int) -> AM2ZError:
    name = str(data.get("type", ""))
    cls = _registry.get(name)
    message = str(data.get("message", ""))
    # __init__ of a user's subclass may want anything: what it would set travels as data instead.
    error = (cls or AM2ZError).__new__(cls or AM2ZError, message)
    error.context = {str(k): v for k, v in _mapping(data.get("context")).items()}
    failed = data.get("failed_processor")
    error.failed_processor = str(failed) if failed is not None else None
    for field, value in _mapping(data.get("fields")).items():
        if _is_own_field(str(field)) and _may_fill(type(error), str(field)):
            _set(error, str(field), value)
    _restore_identity(error, data)
    if cls is None:
        error.context.setdefault("remote_type", name)
    notes = data.get("notes")
    for note in notes if isinstance(notes, list | tuple) else ():
        error.add_note(str(note))
    cause = data.get("cause")
    if isinstance(cause, Mapping) and depth < _MAX_CAUSES:
        error.__cause__ = _rebuild(cause, depth=depth + 1)
    elif cause_text := data.get("cause_text"):
        error.__cause__ = _RemoteCause(str(cause_text))
    return error


def _restore_identity(error: AM2ZError, data: Mapping[str, Any]) -> None:
    """Set code, category, severity and retryable where they differ from the class's own."""
    if "code" in data:
        _set(error, "code", str(data["code"]))
    if "retryable" in data:
        _set(error, "retryable", bool(data["retryable"]))
    with suppress(ValueError):
        _set(error, "category", ErrorCategory(str(data.get("category", ""))))
    with suppress(ValueError):
        _set(error, "severity", ErrorSeverity(str(data.get("severity", ""))))


def _set(error: AM2ZError, name: str, value: Any) -> None:
    """Set an attribute that is not so already. What a class computes itself, it keeps."""
    with suppress(Exception):
        if not hasattr(error, name) or getattr(error, name) != value:
            setattr(error, name, value)


def _is_own_field(name: str) -> bool:
    """Whether an attribute is a subclass's own, rather than one that every error has."""
    return name.isidentifier() and not name.startswith("__") and name not in _TOLD_APART


def _may_fill(cls: type[AM2ZError], name: str) -> bool:
    """Whether data may set an attribute: defaults yes, but never a method or a property."""
    found = inspect.getattr_static(cls, name, None)
    return not (callable(found) or hasattr(type(found), "__get__"))


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _plain(value: Any, depth: int = 0) -> Any:
    """``value`` reduced to what any wire can carry; what is not plain data becomes its text."""
    plain: Any = value
    if isinstance(value, str):
        plain = say(value)
    elif isinstance(value, float):
        plain = float(value)  # a subclass, as numpy's, would not be encoded
    elif isinstance(value, bytes):
        plain = bytes(value)
    elif isinstance(value, int) and not isinstance(value, bool):
        plain = int(value) if -(2**63) <= value < 2**64 else repr(value)
    elif isinstance(value, Mapping) and depth < _MAX_DEPTH:
        plain = {say(k): _plain(v, depth + 1) for k, v in value.items()}
    elif isinstance(value, list | tuple | set | frozenset) and depth < _MAX_DEPTH:
        plain = [_plain(v, depth + 1) for v in value]
    elif value is not None and not isinstance(value, bool):
        plain = say(value, repr)
    return plain


def say(value: object, how: Callable[[object], str] = str) -> str:
    """``value`` as text that can be encoded, whatever its own ``__str__`` or ``__repr__`` does."""
    try:
        text = str.__str__(value) if isinstance(value, str) else how(value)
    except Exception as error:
        text = f"<{type(value).__name__} that cannot be shown: {type(error).__name__}>"
    return text.encode("utf-8", "backslashreplace").decode()
