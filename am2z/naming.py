"""Names of resources that always give back what they were made of.

A name is its parts joined by colons: ``prefix:base`` or ``prefix:base:session``. A colon or a per
cent sign inside a part is written as ``%3A`` or ``%25``, so no part can end early, and ordinary
names read as themselves.
"""

from __future__ import annotations

import re

from am2z.errors import ValidationError

__all__ = ["NamingUtility"]

# What escaping can give: no colon, and a per cent sign only where it belongs to an escape.
_part = re.compile(r"(?:[^:%]|%3A|%25)*", re.DOTALL)


class NamingUtility:
    """Makes the names of resources under ``prefix`` and takes them apart again.

    Two different (base, session) pairs never share a name, whatever characters they hold, and
    neither do two prefixes. ``None`` as the session is different from ``""``.

    Example::

        naming = NamingUtility("am2z")
        name = naming.resource_name("resize", "customer:7")  # "am2z:resize:customer%3A7"
        naming.extract_session_id(name)  # "customer:7"
    """

    def __init__(self, prefix: str) -> None:
        self.prefix = prefix
        self._start = _escape(prefix) + ":"

    def resource_name(self, base: str, session_id: str | None = None) -> str:
        """The name of ``base``, in the session ``session_id`` or in none.

        Example: ``NamingUtility("am2z").resource_name("resize")`` gives ``"am2z:resize"``.
        """
        name = self._start + _escape(base)
        return name if session_id is None else f"{name}:{_escape(session_id)}"

    def extract_base_name(self, name: str) -> str:
        """The base that ``name`` was made of.

        Raises ``ValidationError`` for a name that this utility cannot have made.

        Example: ``NamingUtility("am2z").extract_base_name("am2z:resize:s1")`` gives ``"resize"``.
        """
        return self._take_apart(name)[0]

    def extract_session_id(self, name: str) -> str | None:
        """The session that ``name`` was made of, ``None`` if it was made without one.

        Raises ``ValidationError`` for a name that this utility cannot have made.

        Example: ``NamingUtility("am2z").extract_session_id("am2z:resize")`` gives ``None``.
        """
        return self._take_apart(name)[1]

    def _take_apart(self, name: str) -> tuple[str, str | None]:
        if not name.startswith(self._start):
            raise ValidationError("name", f"does not start with {self._start!r}", name)
        parts = name[len(self._start) :].split(":")
        if len(parts) > 2 or not all(_part.fullmatch(part) for part in parts):
            raise ValidationError(
                "name", f"is not {self._start}base or {self._start}base:session, escaped", name
            )
        return _unescape(parts[0]), _unescape(parts[1]) if len(parts) == 2 else None


def _escape(part: str) -> str:
    # The per cent sign first: it must not escape the escapes.
    return part.replace("%", "%25").replace(":", "%3A")


def _unescape(part: str) -> str:
    return part.replace("%3A", ":").replace("%25", "%")
