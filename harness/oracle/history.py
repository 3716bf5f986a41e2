"""Records what concurrent clients ask and are answered."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator, Awaitable, Mapping
from contextlib import asynccontextmanager
from typing import Any

from am2z import AM2ZError, Runtime
from harness.oracle.linearizable import UNKNOWN, Operation

__all__ = ["History"]


class History:
    """A history that grows: every client of a test records into the same one.

    The moments are numbers of one counter. It goes up when an operation is asked for and when its
    answer is there, in one process, so that real time is known exactly.
    """

    def __init__(self) -> None:
        self.operations: list[Operation] = []
        self._clock = itertools.count(1)

    async def record(
        self,
        client: str,
        call: tuple[Any, ...],
        work: Awaitable[Any],
        errors: Mapping[type[AM2ZError], Any] | None = None,
    ) -> Any:
        """Do ``work`` and note how it went; answers what it answers.

        ``errors`` are answers too, each noted as the value beside it. Any other error leaves it
        open whether the operation happened, and passes on.
        """
        invoked = next(self._clock)
        try:
            answer = await work
        except AM2ZError as error:
            if type(error) not in (errors or {}):
                self._note(client, call, UNKNOWN, invoked, None)
                raise
            answer = (errors or {})[type(error)]
        except BaseException:
            self._note(client, call, UNKNOWN, invoked, None)
            raise
        self._note(client, call, answer, invoked, next(self._clock))
        return answer

    @asynccontextmanager
    async def holding(self, client: str, runtime: Runtime, name: str) -> AsyncIterator[int]:
        """A block that holds a lock; its wish and its end are recorded."""
        manager = runtime.lock(name)

        async def acquire() -> int:
            return (await manager.__aenter__()).fence

        fence = await self.record(client, ("acquire",), acquire())
        try:
            yield fence
        except BaseException as error:
            await manager.__aexit__(type(error), error, error.__traceback__)
            raise
        await self.record(client, ("release", fence), _release(manager))

    def _note(
        self, client: str, call: tuple[Any, ...], answer: Any, invoked: int, returned: int | None
    ) -> None:
        self.operations.append(Operation(client, call, answer, invoked, returned))


async def _release(manager: Any) -> str:
    await manager.__aexit__(None, None, None)
    return "done"
