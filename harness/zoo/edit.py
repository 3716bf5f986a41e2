"""Change one place in the source of one of our functions, as ``script`` does with Lua.

What is left of the function stays as it is today, so a mutant is wrong in exactly what it says.
"""

from __future__ import annotations
import __future__

import inspect
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from harness.zoo.mutant import patch

__all__ = ["edit"]


@contextmanager
def edit(owner: Any, name: str, old: str, new: str) -> Iterator[None]:
    """Read ``owner.name`` with ``new`` in the one place of ``old``, for the length of a block.

    ``old`` must be there exactly once, as the source has it without the function's own indentation:
    a refactoring that moves it is to break its mutant, not to disarm it. Functions that use
    ``super()`` or the variables of another one cannot be changed so.
    """
    function = inspect.unwrap(getattr(owner, name))
    lines, first = inspect.getsourcelines(function)
    text = textwrap.dedent("".join(lines))
    count = text.count(old)
    assert count == 1, f"{name} has {old!r} {count} times, not once; mend the mutant"
    # The lines keep their numbers, so that a traceback shows the right ones.
    source = "\n" * (first - 1) + text.replace(old, new)
    code = compile(
        source,
        inspect.getfile(function),
        "exec",
        flags=__future__.annotations.compiler_flag,
        dont_inherit=True,
    )
    made: dict[str, Any] = {}
    exec(code, function.__globals__, made)  # noqa: S102 - our own source, with a constant in it
    with patch(owner, name, made[function.__name__]):
        yield
