"""All shards of a namespace: which one something lives in, and what they say together."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import TypeVar

import trio

from am2z.executor import unwrapped
from am2z.queue.keys import Keys, shard_of
from am2z.queue.node import Node, network_errors
from am2z.queue.shard import Common, Shard, open_shard
from am2z.queue.wire import Counts

__all__ = ["Shards", "open_shards"]

T = TypeVar("T")

AT_ONCE = 16
"""So many connections are dialled at the same time: more would keep each other from the loop."""


class Shards(Sequence[Shard]):
    """The shards of a started runtime."""

    def __init__(self, shards: Sequence[Shard]) -> None:
        self._all = tuple(shards)

    def __len__(self) -> int:
        return len(self._all)

    def __iter__(self) -> Iterator[Shard]:
        return iter(self._all)

    def __getitem__(self, index: int) -> Shard:  # type: ignore[override]  # no slices are needed
        return self._all[index]

    def of(self, name: str) -> Shard:
        """Where a session lives, or a lock; an execution without a session goes by its own id."""
        if len(self._all) == 1:
            return self._all[0]
        return self._all[shard_of(name, len(self._all))]

    def node_of(self, name: str) -> Node:
        """The node of that shard."""
        return self.of(name).node

    async def each(self, ask: Callable[[Shard], Awaitable[T]]) -> list[T]:
        """The answers of all shards, in their order, asked at the same time.

        Raises the ``NetworkError`` of one that cannot be reached.
        """
        answers: dict[int, T] = {}

        async def one(index: int, shard: Shard) -> None:
            with network_errors(shard.node.client.safe_url):
                answers[index] = await ask(shard)

        if len(self._all) == 1:
            await one(0, self._all[0])
        else:
            failed: list[Exception] = []
            async with trio.open_nursery() as nursery:
                for index, shard in enumerate(self._all):
                    nursery.start_soon(_keep, failed, partial(one, index, shard))
            if failed:
                raise failed[0]
        return [answers[index] for index in range(len(self._all))]

    async def counts(self, session_id: str | None) -> dict[str, Counts]:
        """The counts of each processor: of all shards, or of one session."""
        if session_id is not None:
            node = self.node_of(session_id)
            with network_errors(node.client.safe_url):
                return await node.protocol.stats(session_id)
        total: dict[str, Counts] = {}
        for told in await self.each(lambda shard: shard.node.protocol.stats()):
            for name, counts in told.items():
                known = total.get(name)
                both = [counts] if known is None else [known, counts]
                total[name] = Counts(*map(sum, zip(*both, strict=True)))
        return total

    # --- the end

    def anybody_waits(self) -> bool:
        """Whether a task of this runtime waits for a result."""
        return any(shard.inbox.anybody_waits() for shard in self._all)

    async def nobody_waits(self) -> None:
        """Return when no task of this runtime waits for a result."""
        while self.anybody_waits():
            for shard in self._all:
                await shard.inbox.nobody_waits()

    async def drained(self) -> None:
        """Return when nothing is held here any more."""
        while True:
            for shard in self._all:
                if shard.worker is not None:
                    await shard.worker.drained()
            if not self.running:  # else one has claimed again while another was waited for
                return

    def claim_only_what_is_waited_for(self) -> None:
        """We are about to stop: take nothing more that nobody here needs."""
        for shard in self._all:
            if shard.worker is not None:
                shard.worker.claim_only_while(self.anybody_waits)

    def give_back(self) -> None:
        """Stop everything that is held; it goes back to its queue."""
        for shard in self._all:
            if shard.worker is not None:
                shard.worker.give_back()

    def leave(self) -> None:
        """We stop: all that still has to be told shares one farewell."""
        for shard in self._all:
            shard.node.leave()

    async def answer_callers(self) -> None:
        """Tell the callers that are left that we stop."""
        async with trio.open_nursery() as nursery:
            for shard in self._all:
                nursery.start_soon(shard.dispatch.answer_callers)

    @property
    def running(self) -> int:
        """How many executions are held here."""
        return sum(shard.worker.running for shard in self._all if shard.worker is not None)


async def _keep(failed: list[Exception], ask: Callable[[], Awaitable[None]]) -> None:
    """Keep an error for later: in the nursery it would end the others, and become a group."""
    try:
        await ask()
    except Exception as error:
        failed.append(error)


@asynccontextmanager
async def open_shards(common: Common, places: Sequence[tuple[str, Keys]]) -> AsyncIterator[Shards]:
    """Take part in every shard for the length of the block.

    They end at the same time: servers that are away share one farewell. Raises the error of one
    that cannot be opened.
    """
    over = trio.Event()
    opened: dict[int, Shard] = {}
    failed: dict[int, BaseException] = {}
    limiter = trio.CapacityLimiter(AT_ONCE)

    async def take_part(url: str, keys: Keys, task_status: trio.TaskStatus[Shard]) -> None:
        async with open_shard(common, url, keys) as shard:
            task_status.started(shard)
            await over.wait()

    async def begin(opening: trio.Nursery, index: int, url: str, keys: Keys) -> None:
        try:
            async with limiter:
                opened[index] = await nursery.start(take_part, url, keys)
        except Exception as error:
            failed[index] = unwrapped(error)
            opening.cancel_scope.cancel()

    async with trio.open_nursery() as nursery:
        # Where the number of shards is wrong the first one says so, and the others know nothing.
        for some in ([0], range(1, len(places))):
            async with trio.open_nursery() as opening:
                for index in some:
                    opening.start_soon(begin, opening, index, *places[index])
            if failed:
                raise failed[min(failed)]
        try:
            yield Shards([opened[index] for index in range(len(places))])
        finally:
            over.set()
