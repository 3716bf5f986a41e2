"""What several rules of this group use."""

from __future__ import annotations

from typing import NoReturn


class Crash(Exception):  # noqa: N818 - what a rule throws out of a runtime's block
    pass


def crash() -> NoReturn:
    raise Crash
