"""Leases of what this worker runs, renewed from a thread of their own.

The thread is deliberate: a processor that blocks the event loop for longer than a lease would
otherwise lose its work to another worker and run twice.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager

import trio
from redis import Redis

from am2z.queue.keys import encode
from am2z.queue.library import library
from am2z.queue.node import RECOVERABLE, Node
from am2z.queue.upkeep import ms
from am2z.queue.wire import as_list, as_name

__all__ = ["Leases"]

_log = logging.getLogger("am2z.maintenance")

END = 2.0
"""How long a runtime that leaves waits for the thread to end, in seconds."""
BATCH = 500
"""How many leases one heartbeat renews."""


class Leases:
    """The executions that are held, each with its fence and what to call when it is lost."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._held: dict[str, tuple[int, Callable[[], None]]] = {}
        self._stop = threading.Event()

    def __len__(self) -> int:
        return len(self._held)

    def hold(self, execution_id: str, fence: int, on_lost: Callable[[], None]) -> None:
        """Renew this lease from now on."""
        self._held[execution_id] = (fence, on_lost)

    def drop(self, execution_id: str, fence: int) -> None:
        """Let this lease go. A newer one of the same execution stays."""
        entry = self._held.get(execution_id)
        if entry is not None and entry[0] == fence:
            del self._held[execution_id]

    def lose(self, execution_id: str, fence: int | None = None) -> None:
        """The execution is not ours any more: say so to whoever runs it."""
        entry = self._held.get(execution_id)
        if entry is not None and fence in (None, entry[0]):
            entry[1]()

    @asynccontextmanager
    async def beating(self) -> AsyncIterator[None]:
        """Renew all leases for as long as the block runs."""
        token = trio.lowlevel.current_trio_token()
        limiter = trio.CapacityLimiter(1)
        # Shielded, for it ends by itself; but a thread that waits for a server is not waited for.
        thread = trio.CancelScope(shield=True)
        self._stop.clear()

        async def beat() -> None:
            with thread:
                await trio.to_thread.run_sync(
                    self._beat,
                    token,
                    thread_name="am2z heartbeat",
                    limiter=limiter,
                    abandon_on_cancel=True,
                )

        async with trio.open_nursery() as nursery:
            nursery.start_soon(beat)
            try:
                yield
            finally:
                self._stop.set()
                thread.deadline = self._node.until(END)

    def _beat(self, token: trio.lowlevel.TrioToken) -> None:
        """The thread: every third of a lease, renew what is held."""
        pause = self._node.config.lease / 3
        client: Redis | None = None
        try:
            while not self._stop.wait(pause):
                # A copy in one piece: the event loop changes it meanwhile.
                held = [(name, entry[0]) for name, entry in self._held.copy().items()]
                served, presence = self._node.overdue()
                if not held and not served:
                    continue
                try:
                    if client is None:
                        client = self._node.client.sync_client()
                    for start in range(0, len(held), BATCH):
                        self._renew(client, held[start : start + BATCH], token)
                    if served:  # the event loop is held up, and we are here all the same
                        self._stay_present(client, served, presence)
                except Exception as error:  # whatever it is: without this thread all is lost
                    # Nothing is lost yet: the next beat comes well before the lease ends.
                    unknown = None if isinstance(error, RECOVERABLE) else error
                    _log.warning("leases could not be renewed: %s", error, exc_info=unknown)
                    if client is not None:
                        client.close()  # by then another server may be the right one
                        client = None
        finally:
            if client is not None:
                client.close()

    def _stay_present(self, client: Redis, served: Iterable[str], presence: float) -> None:
        node = self._node
        words: list[str | int] = [encode(node.runtime_id), ms(presence), *map(encode, served)]
        client.eval(library()["presence"].text, 1, node.protocol.keys.prefix, *words)

    def _renew(
        self, client: Redis, held: list[tuple[str, int]], token: trio.lowlevel.TrioToken
    ) -> None:
        script = library()["heartbeat"]
        args: list[str | int] = [ms(self._node.config.lease)]
        for execution_id, fence in held:
            args += (encode(execution_id), fence)
        # EVAL rather than EVALSHA: a few hundred bytes three times a lease, and no NOSCRIPT.
        reply = client.eval(script.text, 1, self._node.protocol.keys.prefix, *args)
        fences = dict(held)
        for name in (as_name(lost) for lost in as_list(reply)):
            token.run_sync_soon(self.lose, name, fences.get(name))
