"""Checked by ``mypy --strict``: what users write is typed, and outsiders can write a runtime."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from datetime import datetime
from types import TracebackType
from typing import Any, Self, TypeVar, assert_type

from am2z import (
    AppState,
    Capability,
    Context,
    DeadLetters,
    Delivery,
    Event,
    ExecutionHandle,
    LocalRuntime,
    LocalStateManager,
    Lock,
    Processor,
    ProcessorResult,
    QueueRuntime,
    QueueStats,
    RedisStateManager,
    Runtime,
    RuntimeCore,
    RuntimeMixin,
    RuntimeStats,
    StateManager,
    Versioned,
    chain,
    create_app_state,
    create_processor,
    processor,
)

StateT = TypeVar("StateT", bound=AppState)


class Order(AppState):
    items: list[str] = []  # noqa: RUF012 - msgspec copies a mutable default
    total: float = 0.0


class Parcel(AppState):
    weight: float


@processor(timeout=5.0)
async def price(state: Order, ctx: Context) -> Order:
    return state.evolve(total=49.0)


@processor
async def ship(state: Order, ctx: Context) -> Order:
    answer = await ctx.call(price, state)
    assert_type(answer, ProcessorResult[Order])
    return answer.unwrap()


async def use(runtime: Runtime) -> None:
    assert_type(price, Processor[Order])
    assert_type(chain("both", [price, ship]), Processor[Order])
    assert_type(create_processor("p").process(price.fn), Processor[Order])
    assert_type(create_app_state(Order, "s", total=1.0), Order)
    assert_type(Parcel(weight=1.0).evolve(weight=2.0), Parcel)
    assert_type(await runtime.execute(price, Order()), ProcessorResult[Order])
    assert_type(await runtime.execute("price", Order(), "s"), ProcessorResult[Order])
    assert_type(await runtime.execute_in_session(price, Order(), "s"), ProcessorResult[Order])
    assert_type(await runtime.execute_many(price, [Order()]), list[ProcessorResult[Order]])
    assert_type(await runtime.execute_many([(price, Order())]), list[ProcessorResult[Any]])
    assert_type(await (await runtime.submit(price, Order())).result(), ProcessorResult[Order])
    assert_type(await runtime.state.get("s"), Versioned[AppState] | None)
    assert_type(await runtime.state.get("s", Order), Versioned[Order] | None)
    async with runtime.subscribe("processor:*") as events:
        async for event in events:
            assert_type(event, Event)


class Outsider(RuntimeMixin):
    """A runtime of somebody else: the methods of ``RuntimeCore``, and nothing more."""

    def __init__(self) -> None:
        self.inner = LocalRuntime()

    @property
    def capabilities(self) -> frozenset[Capability]:
        return self.inner.capabilities

    @property
    def state(self) -> StateManager:
        return self.inner.state

    @property
    def dead(self) -> DeadLetters:
        return self.inner.dead

    @property
    def is_started(self) -> bool:
        return self.inner.is_started

    def register(self, *processors: Processor[Any]) -> Self:
        self.inner.register(*processors)
        return self

    def unregister(self, name: str) -> bool:
        return self.inner.unregister(name)

    def list_processors(self) -> list[str]:
        return self.inner.list_processors()

    async def start(self) -> None:
        await self.inner.start()

    async def stop(self) -> None:
        await self.inner.stop()

    async def submit(
        self,
        processor: Processor[StateT] | str,
        state: StateT,
        session_id: str | None = None,
        *,
        execution_id: str | None = None,
        delay: float | None = None,
        at: datetime | float | None = None,
    ) -> ExecutionHandle[StateT]:
        return await self.inner.submit(
            processor, state, session_id, execution_id=execution_id, delay=delay, at=at
        )

    def lock(self, name: str, *, ttl: float = 30.0) -> AbstractAsyncContextManager[Lock]:
        return self.inner.lock(name, ttl=ttl)

    async def stats(self) -> RuntimeStats:
        return await self.inner.stats()

    async def queue_stats(self) -> dict[str, QueueStats]:
        return await self.inner.queue_stats()

    async def session_stats(self, session_id: str) -> dict[str, QueueStats]:
        return await self.inner.session_stats(session_id)

    async def active_sessions(self) -> list[str]:
        return await self.inner.active_sessions()

    async def stop_session(self, session_id: str) -> None:
        await self.inner.stop_session(session_id)

    async def clean_session(self, session_id: str) -> None:
        await self.inner.clean_session(session_id)

    def on(self, event_type: str, handler: Callable[[Event], object]) -> None:
        self.inner.on(event_type, handler)

    def off(self, event_type: str, handler: Callable[[Event], object]) -> None:
        self.inner.off(event_type, handler)

    def emit(self, event: str, data: Mapping[str, Any] | None = None) -> Delivery:
        return self.inner.emit(event, data)

    def subscribe(self, *patterns: str) -> AbstractAsyncContextManager[AsyncIterator[Event]]:
        return self.inner.subscribe(*patterns)

    async def sync_processors(self) -> None:
        await self.inner.sync_processors()

    async def __aenter__(self) -> Self:
        await self.inner.__aenter__()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.inner.__aexit__(exc_type, exc, traceback)


def every_runtime_is_one() -> list[Runtime]:
    """Read by the type checker: each of these satisfies the protocol."""
    core: RuntimeCore = Outsider()
    store: StateManager = LocalStateManager()
    remote: type[StateManager] = RedisStateManager
    parts: list[object] = [core, store, remote]
    assert len(parts) == 3
    return [LocalRuntime(), QueueRuntime("redis://localhost"), Outsider()]
