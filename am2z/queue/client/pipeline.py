"""Several commands in one piece, as a transaction if wanted."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol, Self

from redis.exceptions import ExecAbortError, NoScriptError, RedisError

from .commands import check_shared
from .resp import pack
from .script import Script

__all__ = ["Pipeline"]

_MAX_ROUNDS = 4


class _Exchange(Protocol):
    async def __call__(self, data: bytes, replies: int = 1, *, idempotent: bool = False) -> Any: ...


class Pipeline:
    """Commands that are sent together. Made by ``RedisClient.pipeline``.

    Without ``transaction`` they run in order, but other clients' commands may run in between. With
    it they run as one ``MULTI … EXEC``.

    Example::

        pipe = client.pipeline()
        pipe.call("SET", "a", 1).run_script(BUMP, ["hits"], [3])
        ok, total = await pipe.execute()
    """

    def __init__(self, exchange: _Exchange, *, transaction: bool = False) -> None:
        self._exchange = exchange
        self._transaction = transaction
        self._steps: list[_Step] = []

    def __len__(self) -> int:
        return len(self._steps)

    def call(self, *args: bytes | str | float) -> Self:
        """Add a command."""
        check_shared(args)
        self._steps.append(_Step(args))
        return self

    def run_script(
        self, script: Script, keys: Sequence[Any] = (), args: Sequence[Any] = ()
    ) -> Self:
        """Add a script."""
        self._steps.append(_Step((len(keys), *keys, *args), script))
        return self

    async def execute(self, *, idempotent: bool = False) -> list[Any]:
        """Send everything; the raw replies in order, an exception object for a step that failed.

        Raises ``redis.exceptions.ConnectionError`` when the connection was lost: some of the steps
        may have run then, so nothing is sent again unless ``idempotent`` says that it may be.
        Raises ``redis.exceptions.ExecAbortError`` when the server refused the transaction whole.

        Scripts that the server has forgotten are run by their text. Without ``transaction`` those
        run after the other steps; their order among themselves is kept.

        The pipeline is empty afterwards and may be used again.
        """
        steps, self._steps = self._steps, []
        if not steps:
            return []
        if self._transaction:
            return await self._execute_transaction(steps, idempotent=idempotent)
        replies = await self._send(steps, set(), idempotent=idempotent)
        for _ in range(_MAX_ROUNDS):
            forgotten = [i for i, reply in enumerate(replies) if isinstance(reply, NoScriptError)]
            forgotten = [i for i in forgotten if steps[i].script is not None]
            if not forgotten:
                break
            by_text = {script.sha for i in forgotten if (script := steps[i].script) is not None}
            again = await self._send([steps[i] for i in forgotten], by_text, idempotent=idempotent)
            for i, reply in zip(forgotten, again, strict=True):
                replies[i] = reply
        return replies

    async def _send(self, steps: list[_Step], by_text: set[str], *, idempotent: bool) -> list[Any]:
        data = b"".join(_packed(steps, by_text))
        reply = await self._exchange(data, len(steps), idempotent=idempotent)
        return reply if len(steps) > 1 else [reply]

    async def _execute_transaction(self, steps: list[_Step], *, idempotent: bool) -> list[Any]:
        # By text at once: a script that is found missing inside EXEC would leave half the
        # transaction done.
        by_text = {step.script.sha for step in steps if step.script is not None}
        data = b"".join((_MULTI, *_packed(steps, by_text), _EXEC))
        replies = await self._exchange(data, len(steps) + 2, idempotent=idempotent)
        result = replies[-1]
        if isinstance(result, RedisError):
            refused = (r for r in replies[:-1] if isinstance(r, RedisError))
            raise ExecAbortError(f"the transaction was refused, nothing of it ran: {result}") from (
                next(refused, result)
            )
        return list(result)


class _Step:
    """One command of a pipeline; with a script, ``args`` start with the number of keys."""

    __slots__ = ("args", "script")

    def __init__(self, args: tuple[Any, ...], script: Script | None = None) -> None:
        self.args = args
        self.script = script


_MULTI = pack(("MULTI",))
_EXEC = pack(("EXEC",))


def _packed(steps: list[_Step], by_text: set[str]) -> list[bytes]:
    """The steps as bytes; of each script in ``by_text`` the first use carries the text."""
    pieces, missing = [], set(by_text)
    for step in steps:
        script = step.script
        if script is None:
            pieces.append(pack(step.args))
        elif script.sha in missing:
            missing.discard(script.sha)
            pieces.append(pack(("EVAL", script.text, *step.args)))
        else:
            pieces.append(pack(("EVALSHA", script.sha, *step.args)))
    return pieces
