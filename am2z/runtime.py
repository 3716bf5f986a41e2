"""What every runtime offers: the small part that each writes, and the rest that is made from it.

Write the methods of ``RuntimeCore`` and inherit ``RuntimeMixin``: the result satisfies ``Runtime``.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from datetime import datetime
from types import TracebackType
from typing import Any, Generic, Protocol, Self, TypeVar, overload, runtime_checkable

import trio

from am2z.capabilities import Capability
from am2z.context import Delivery
from am2z.dead import DeadLetters
from am2z.errors import AM2ZError
from am2z.events import Event
from am2z.processor import Processor
from am2z.result import ProcessorResult
from am2z.state import AppState, StateManager, StateT
from am2z.stats import QueueStats, RuntimeStats

__all__ = ["EventHandler", "ExecutionHandle", "Lock", "Runtime", "RuntimeCore", "RuntimeMixin"]

EventHandler = Callable[[Event], object]
ProcessorRef = Processor[StateT] | str
T_co = TypeVar("T_co", bound=AppState, covariant=True)


class ExecutionHandle(Protocol, Generic[T_co]):
    """A submitted execution."""

    @property
    def execution_id(self) -> str:
        """The id of the execution."""
        ...

    async def result(self) -> ProcessorResult[T_co]:
        """Wait for the end of the execution; the same answer however often it is asked."""
        ...

    async def progress(self) -> float:
        """The last percentage that the processor reported in this attempt; 0 before the first.

        A retry begins at 0 again. The end of the execution is no report.
        """
        ...

    async def cancel(self) -> None:
        """Stop the execution for good; its result is an ``ExecutionCancelledError``.

        No error where it has ended already.
        """
        ...


class Lock(Protocol):
    """A lock that is held; see ``RuntimeCore.lock``."""

    @property
    def name(self) -> str:
        """The name of the lock."""
        ...

    @property
    def fence(self) -> int:
        """A number that is greater at each acquisition of the lock, whoever had it before.

        Hand it to what the lock protects, and let that refuse whoever comes with a smaller one.
        """
        ...


class RuntimeCore(Protocol):
    """What a runtime must write itself."""

    @property
    @abstractmethod
    def capabilities(self) -> frozenset[Capability]:
        """What this runtime can do beyond what all must."""
        ...

    @property
    @abstractmethod
    def state(self) -> StateManager:
        """The committed states of the sessions."""
        ...

    @property
    @abstractmethod
    def dead(self) -> DeadLetters:
        """The executions that failed for good: to look at, run again or drop."""
        ...

    @property
    @abstractmethod
    def is_started(self) -> bool:
        """Whether the runtime takes work.

        Where it does not, whatever else it is asked for (``stats``, ``stop_session``, ``emit``,
        ``lock`` …) is refused with ``RuntimeNotStartedError``, too.
        """
        ...

    @abstractmethod
    def register(self, *processors: Processor[Any]) -> Self:
        """Take processors, and those they depend on. The same name again replaces the old one.

        Answers the runtime. Raises ``ConfigurationError`` for what is no processor, and for two
        different ones of one name; then none of them is taken.
        """
        ...

    @abstractmethod
    def unregister(self, name: str) -> bool:
        """Forget a processor; answers whether there was one. What runs of it goes on."""
        ...

    @abstractmethod
    def list_processors(self) -> list[str]:
        """The names of the registered processors, sorted."""
        ...

    @abstractmethod
    async def start(self) -> None:
        """Begin to take work. No-op when started; ``async with`` does it too.

        Raises ``RuntimeNotStartedError`` outside ``async with runtime:``.
        """
        ...

    @abstractmethod
    async def stop(self) -> None:
        """Take no more work, wait ``shutdown_grace`` for what runs, then cancel it.

        Every caller that is left gets a ``RuntimeStoppedError``. No-op when not started.
        """
        ...

    @abstractmethod
    async def submit(
        self,
        processor: ProcessorRef[StateT],
        state: StateT,
        session_id: str | None = None,
        *,
        execution_id: str | None = None,
        delay: float | None = None,
        at: datetime | float | None = None,
    ) -> ExecutionHandle[StateT]:
        """Hand an execution over and go on; ask the handle for its result.

        ``execution_id`` makes it safe to ask twice: for ``result_ttl`` after its end the same id
        runs nothing, and both handles have one result. ``delay`` (seconds) or ``at`` (a
        ``datetime`` with a time zone, or seconds since the epoch) let it begin later.

        Raises ``RuntimeNotStartedError``, ``ConfigurationError`` (an illegal name, or an id that
        stands for something else), ``ValidationError`` (a state that cannot cross the wire) or
        ``PayloadTooLargeError``; what a running system can meet at any time comes back as the
        handle's failed result. ::

            await runtime.submit(send_bill, order, execution_id=f"bill-{order.number}", delay=3600)
        """
        ...

    @abstractmethod
    def lock(self, name: str, *, ttl: float = 30.0) -> AbstractAsyncContextManager[Lock]:
        """Hold a lock for the length of a block; in its time nobody else holds one of that name.

        Who waits for longest has it next. It is extended for as long as the block runs. ``ttl``
        (seconds) is how long it outlives a holder that died, and how long a holder may be cut off
        before it loses the lock. Then the block is cancelled, and raises ``LockLostError``.

        There is no timeout of its own: put ``trio.fail_after`` or ``move_on_after`` around it.

        Raises ``ConfigurationError`` for an illegal name or ttl and where the same task holds that
        lock already, ``RuntimeNotStartedError``, ``RuntimeStoppedError`` where the runtime stops
        during the wait, and ``NetworkError`` where a server cannot be reached. ::

            async with runtime.lock("ledger", ttl=10.0) as lock:
                await write(ledger, guard=lock.fence)
        """
        ...

    @abstractmethod
    async def stats(self) -> RuntimeStats:
        """The runtime as a whole, at this moment."""
        ...

    @abstractmethod
    async def queue_stats(self) -> dict[str, QueueStats]:
        """One picture for each known processor."""
        ...

    @abstractmethod
    async def session_stats(self, session_id: str) -> dict[str, QueueStats]:
        """One picture for each processor that the session used.

        Of a stopped session too, for as long as its work is refused.
        """
        ...

    @abstractmethod
    async def active_sessions(self) -> list[str]:
        """The sessions that were created and not stopped since, sorted."""
        ...

    @abstractmethod
    async def stop_session(self, session_id: str) -> None:
        """End a session: its work is dropped, every waiter gets a ``SessionStoppedError``.

        New work for it is refused until ``clean_session`` or the session's TTL.
        """
        ...

    @abstractmethod
    async def clean_session(self, session_id: str) -> None:
        """Stop a session and forget everything about it, its state too; it may begin anew."""
        ...

    @abstractmethod
    def on(self, event_type: str, handler: EventHandler) -> None:
        """Call ``handler`` with each event of a type or shell-style pattern (``processor:*``).

        One that is given twice is called twice. Raises ``ConfigurationError`` for what is no plain
        function of one event, and for an illegal name.
        """
        ...

    @abstractmethod
    def off(self, event_type: str, handler: EventHandler) -> None:
        """Undo one ``on``. No error where it was not there."""
        ...

    @abstractmethod
    def emit(self, event: str, data: Mapping[str, Any] | None = None) -> Delivery:
        """Emit an event that belongs to no execution."""
        ...

    @abstractmethod
    def subscribe(self, *patterns: str) -> AbstractAsyncContextManager[AsyncIterator[Event]]:
        """The events of some patterns as an async iterator that ends with the runtime. ::

        async with runtime.subscribe("processor:*") as events:
            async for event in events: ...
        """
        ...

    @abstractmethod
    async def sync_processors(self) -> None:
        """Return once processors registered after the start take part, everywhere."""
        ...

    @abstractmethod
    async def __aenter__(self) -> Self: ...

    @abstractmethod
    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool | None: ...


@runtime_checkable
class Runtime(RuntimeCore, Protocol):
    """Everything that users may rely on; inherit ``RuntimeMixin`` to get the rest."""

    async def execute(
        self, processor: ProcessorRef[StateT], state: StateT, session_id: str | None = None
    ) -> ProcessorResult[StateT]:
        """Run a processor and wait for its result. Raises as ``submit`` does.

        A successful execution in a named session commits its state; a failed one changes nothing.
        Cancelling the caller cancels the execution. ::

            result = await runtime.execute(price, Order(items=["chair"]), "customer-7")
        """
        ...

    async def execute_in_session(
        self, processor: ProcessorRef[StateT], state: StateT, session_id: str
    ) -> ProcessorResult[StateT]:
        """``execute`` in a session that must be named."""
        ...

    @overload
    async def execute_many(
        self,
        processor: ProcessorRef[StateT],
        states: Iterable[StateT],
        session_id: str | None = None,
    ) -> list[ProcessorResult[StateT]]: ...
    @overload
    async def execute_many(
        self,
        processor: Iterable[tuple[ProcessorRef[Any], Any]],
        states: None = None,
        session_id: str | None = None,
    ) -> list[ProcessorResult[Any]]: ...
    async def execute_many(
        self, processor: Any, states: Any = None, session_id: str | None = None
    ) -> list[ProcessorResult[Any]]:
        """Run one processor on many states, or many (processor, state) pairs, concurrently.

        The results come in the order of what was given; one failure does not touch the others.
        """
        ...

    async def clean_all_sessions(self) -> None:
        """``clean_session`` for every active session."""
        ...


class RuntimeMixin(RuntimeCore):
    """The part of ``Runtime`` that is made from ``RuntimeCore``."""

    async def execute(
        self, processor: ProcessorRef[StateT], state: StateT, session_id: str | None = None
    ) -> ProcessorResult[StateT]:
        """See ``Runtime.execute``."""
        handle = await self.submit(processor, state, session_id)
        try:
            return await handle.result()
        except trio.Cancelled:
            with trio.move_on_after(CANCEL_GRACE, shield=True):
                await handle.cancel()
            raise

    async def execute_in_session(
        self, processor: ProcessorRef[StateT], state: StateT, session_id: str
    ) -> ProcessorResult[StateT]:
        """See ``Runtime.execute_in_session``."""
        return await self.execute(processor, state, session_id)

    async def submit_many(
        self,
        processor: ProcessorRef[StateT],
        states: Iterable[StateT],
        session_id: str | None = None,
    ) -> Sequence[ExecutionHandle[StateT]]:
        """``submit`` for many states at once: the handles, in order.

        Cheaper than as many calls, where a runtime can hand many over in one piece. Raises what
        ``submit`` raises; then none of them may be counted on. ::

            handles = await runtime.submit_many(resize, [Picture(path=p) for p in paths])
        """
        return [await self.submit(processor, state, session_id) for state in states]

    @overload
    async def execute_many(
        self,
        processor: ProcessorRef[StateT],
        states: Iterable[StateT],
        session_id: str | None = None,
    ) -> list[ProcessorResult[StateT]]: ...
    @overload
    async def execute_many(
        self,
        processor: Iterable[tuple[ProcessorRef[Any], Any]],
        states: None = None,
        session_id: str | None = None,
    ) -> list[ProcessorResult[Any]]: ...
    async def execute_many(
        self, processor: Any, states: Any = None, session_id: str | None = None
    ) -> list[ProcessorResult[Any]]:
        """See ``Runtime.execute_many``."""
        pairs: Sequence[tuple[ProcessorRef[Any], Any]]
        if isinstance(processor, Processor | str):
            pairs = [(processor, state) for state in states]
        else:
            pairs = list(processor)
        results: list[ProcessorResult[Any] | None] = [None] * len(pairs)

        refused: list[AM2ZError] = []

        async def run(index: int, ref: ProcessorRef[Any], state: AppState) -> None:
            try:
                results[index] = await self.execute(ref, state, session_id)
            except AM2ZError as error:  # a caller's mistake: it reads best outside a group
                refused.append(error)
                nursery.cancel_scope.cancel()

        async with trio.open_nursery() as nursery:
            for index, (ref, state) in enumerate(pairs):
                nursery.start_soon(run, index, ref, state)
        if refused:
            raise refused[0]
        return [result for result in results if result is not None]

    async def clean_all_sessions(self) -> None:
        """See ``Runtime.clean_all_sessions``."""
        for session_id in await self.active_sessions():
            await self.clean_session(session_id)


CANCEL_GRACE = 2.0
"""How long a cancelled caller may take to tell the runtime so, in seconds."""
