"""The dead letters of a runtime in this process."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import trio

from am2z.dead import MAX_DEAD, DeadLetter, DeadLetters, retry_id

__all__ = ["LocalDeadLetters"]


class LocalDeadLetters(DeadLetters):
    """A bounded table. ``resubmit(letter, new id)`` hands one to the runtime again."""

    def __init__(self, resubmit: Callable[[DeadLetter, str], Awaitable[None]]) -> None:
        self._resubmit = resubmit
        self._letters: dict[str, DeadLetter] = {}

    def bury(self, letter: DeadLetter) -> None:
        """Keep one more; beyond the limit the oldest goes."""
        self._letters.pop(letter.execution_id, None)
        self._letters[letter.execution_id] = letter
        if len(self._letters) > MAX_DEAD:
            del self._letters[next(iter(self._letters))]

    async def get(self, execution_id: str) -> DeadLetter | None:
        """See ``DeadLetters.get``."""
        await trio.lowlevel.checkpoint()
        return self._letters.get(execution_id)

    async def retry(self, execution_id: str) -> str | None:
        """See ``DeadLetters.retry``."""
        letter = await self.get(execution_id)
        if letter is None:
            return None
        new_id = retry_id(execution_id, letter.failed_at)
        await self._resubmit(letter, new_id)
        self._letters.pop(execution_id, None)
        return new_id

    async def drop(self, execution_id: str) -> bool:
        """See ``DeadLetters.drop``."""
        await trio.lowlevel.checkpoint()
        return self._letters.pop(execution_id, None) is not None

    async def _newest(self) -> list[DeadLetter]:
        await trio.lowlevel.checkpoint()
        return list(reversed(self._letters.values()))
