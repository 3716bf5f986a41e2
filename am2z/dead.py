"""Dead letters: executions that failed for good, kept so that somebody can look at them."""

from __future__ import annotations

from abc import ABC, abstractmethod

import msgspec

from am2z.codec import decode_named_state
from am2z.errors import AM2ZError
from am2z.ids import check_name
from am2z.state import AppState, in_session

__all__ = ["MAX_DEAD", "DeadLetter", "DeadLetters"]

MAX_DEAD = 1000
"""How many dead letters are kept; beyond that the oldest go."""


class DeadLetter(msgspec.Struct, frozen=True, kw_only=True):
    """An execution that failed for good.

    ``session_id`` is ``None`` for one without a session; ``failed_at`` is wall-clock time in
    seconds since the epoch. ``state_type`` and ``data`` are the input as it was encoded.
    """

    execution_id: str
    processor_name: str
    session_id: str | None
    failed_at: float
    error: AM2ZError
    state_type: str
    data: bytes

    def state(self) -> AppState:
        """The input. Raises ``ValidationError`` where its class is not imported here."""
        state = decode_named_state(self.state_type, self.data)
        return in_session(state, self.session_id or self.execution_id)


_Letters = list[DeadLetter]  # the class below has a method of that name


class DeadLetters(ABC):
    """The dead letters of a runtime (on a queue: of its namespace), as ``runtime.dead``.

    Executions that failed with an error of their own or were set aside as poison are kept, the
    newest ``MAX_DEAD`` of them; what somebody cancelled or stopped on purpose is not, nor is a
    nested call, whose caller has its error. Every method may raise ``NetworkError``. ::

        for letter in await runtime.dead.list():
            if isinstance(letter.error, NetworkError):
                await runtime.dead.retry(letter.execution_id)
    """

    async def list(self, processor_name: str | None = None, *, limit: int = 100) -> _Letters:
        """The newest ``limit`` dead letters (of one processor), newest first."""
        if processor_name is not None:
            check_name(processor_name, "processor")
        letters = await self._newest()
        if processor_name is not None:
            letters = [letter for letter in letters if letter.processor_name == processor_name]
        return letters[: max(limit, 0)]

    @abstractmethod
    async def get(self, execution_id: str) -> DeadLetter | None:
        """One dead letter, or ``None``."""

    @abstractmethod
    async def retry(self, execution_id: str) -> str | None:
        """Run it again, from its input and with all its attempts; it is no dead letter then.

        Answers the id of the new execution, or ``None`` where there is no such letter. Raises the
        error with which the new execution is refused (``SessionStoppedError``, ``ResourceError``).
        """

    @abstractmethod
    async def drop(self, execution_id: str) -> bool:
        """Forget it; answers whether it was there."""

    @abstractmethod
    async def _newest(self) -> _Letters:
        """All of them, newest first."""


def retry_id(execution_id: str, failed_at: float) -> str:
    """The id under which a dead letter runs again: the same however often that is asked for.

    It is never the letter's own: what is tried again at once may fail in the same millisecond.
    """
    base, _, last = execution_id.partition("~")
    moment = int(failed_at * 1000)
    if last.isdecimal() and len(last) < 16:
        moment = max(moment, int(last) + 1)
    return f"{base}~{moment}"
