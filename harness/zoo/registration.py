"""Runtimes that take processors for other than they are (REG)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import msgspec

from am2z.admission import runtime_stopped
from am2z.base import BaseRuntime
from am2z.errors import ConfigurationError, ProcessorNotFoundError
from am2z.local.runtime import LocalRuntime
from am2z.processor import Processor, ProcessorBuilder
from am2z.queue.dispatch import Dispatch
from am2z.registry import Registry
from am2z.stats import QueueStats
from harness.zoo.mutant import mutant, patch

Given = tuple[Processor[Any], ...]


@mutant("register-takes-first-only", rule="REG-001")
@contextmanager
def register_takes_first_only() -> Iterator[None]:
    """Of several processors ``register()`` takes the first."""
    register = Registry.register

    def take(self: Registry, processors: Given) -> None:
        register(self, processors[:1])

    with patch(Registry, "register", take):
        yield


@mutant("register-half-on-error", rule="REG-001")
@contextmanager
def register_half_on_error() -> Iterator[None]:
    """``register()`` keeps what it was given before it met something that is no processor."""
    register = Registry.register

    def take(self: Registry, processors: Given) -> None:
        for processor in processors:
            register(self, (processor,))

    with patch(Registry, "register", take):
        yield


@mutant("first-registration-wins", rule="REG-002")
@contextmanager
def first_registration_wins() -> Iterator[None]:
    """A name that is known keeps its first processor."""
    register = Registry.register

    def take(self: Registry, processors: Given) -> None:
        known = dict(self._processors)
        register(self, processors)
        self._processors.update(known)

    with patch(Registry, "register", take):
        yield


@mutant("unregister-only-unlists", rule="REG-003")
@contextmanager
def unregister_only_unlists() -> Iterator[None]:
    """What was unregistered is not listed any more, and still runs."""
    gone: dict[str, Processor[Any]] = {}

    def unregister(self: Registry, name: str) -> bool:
        processor = self._processors.pop(name, None)
        if processor is not None:
            gone[name] = processor
        return processor is not None

    def find(self: Registry, name: str) -> Processor[Any] | None:
        return self._processors.get(name, gone.get(name))

    with patch(Registry, "unregister", unregister), patch(Registry, "find", find):
        yield


@mutant("registration-while-stopped-lost", rule="REG-004")
@contextmanager
def registration_while_stopped_lost() -> Iterator[None]:
    """What is registered while the runtime is stopped is not there when it starts again."""
    register = BaseRuntime.register

    def take(self: BaseRuntime, *processors: Processor[Any]) -> BaseRuntime:
        return register(self, *processors) if self.is_started else self

    with patch(BaseRuntime, "register", take):
        yield


@mutant("sync-restarts-workers", rule="REG-005")
@contextmanager
def sync_restarts_workers() -> Iterator[None]:
    """``sync_processors()`` makes the workers anew, and ends what they run."""
    sync = LocalRuntime.sync_processors

    async def restart(self: LocalRuntime) -> None:
        await sync(self)
        for execution in list(self._work.executions.values()):
            execution.end_with(runtime_stopped(execution.request.name))

    with patch(LocalRuntime, "sync_processors", restart):
        yield


@mutant("dependencies-one-deep", rule="REG-006")
@contextmanager
def dependencies_one_deep() -> Iterator[None]:
    """What a processor depends on comes along; what that depends on does not."""
    register = Registry.register

    def take(self: Registry, processors: Given) -> None:
        before = dict(self._processors)
        register(self, processors)
        asked = {p.name for p in processors}
        near = {d.name for p in processors for d in p.dependencies if isinstance(d, Processor)}
        for name in set(self._processors) - set(before) - asked - near:
            del self._processors[name]

    with patch(Registry, "register", take):
        yield


@mutant("circular-dependency-refused", rule="REG-006")
@contextmanager
def circular_dependency_refused() -> Iterator[None]:
    """Processors that depend on each other are taken for a mistake."""
    register = Registry.register

    def refuse(processor: Processor[Any] | str, above: tuple[str, ...]) -> None:
        name = processor if isinstance(processor, str) else processor.name
        if name in above:
            raise ConfigurationError(f"{name!r} depends on itself")
        for dependency in () if isinstance(processor, str) else processor.dependencies:
            refuse(dependency, (*above, name))

    def take(self: Registry, processors: Given) -> None:
        for processor in processors:
            if isinstance(processor, Processor):
                refuse(processor, ())
        register(self, processors)

    with patch(Registry, "register", take):
        yield


@mutant("options-lost-on-register", rule="REG-007")
@contextmanager
def options_lost_on_register() -> Iterator[None]:
    """What comes along as a dependency loses its retry policy."""
    register = Registry.register

    def take(self: Registry, processors: Given) -> None:
        register(self, processors)
        for first in processors:
            for dependency in first.dependencies:
                if isinstance(dependency, Processor):
                    self._processors[dependency.name] = replace(dependency, retry=None)

    with patch(Registry, "register", take):
        yield


@mutant("queue-stats-shared-between-processors", rule="REG-008")
@contextmanager
def queue_stats_shared_between_processors() -> Iterator[None]:
    """Each processor's statistics count what any of them completed."""
    queue_stats = LocalRuntime.queue_stats

    async def share(self: LocalRuntime) -> dict[str, QueueStats]:
        found = await queue_stats(self)
        completed = sum(stats.completed for stats in found.values())
        return {
            name: msgspec.structs.replace(stats, completed=completed)
            for name, stats in found.items()
        }

    with patch(LocalRuntime, "queue_stats", share):
        yield


@mutant("idle-processors-not-listed", rule="REG-008")
@contextmanager
def idle_processors_not_listed() -> Iterator[None]:
    """The statistics know only processors that have done something."""
    queue_stats = LocalRuntime.queue_stats

    async def leave_out(self: LocalRuntime) -> dict[str, QueueStats]:
        found = await queue_stats(self)
        return {name: stats for name, stats in found.items() if stats != QueueStats()}

    with patch(LocalRuntime, "queue_stats", leave_out):
        yield


@mutant("builder-drops-options", rule="REG-009")
@contextmanager
def builder_drops_options() -> Iterator[None]:
    """The builder takes queue options, and hands none on."""

    def drop(self: ProcessorBuilder, *_: object, **__: object) -> ProcessorBuilder:
        return self

    with patch(ProcessorBuilder, "with_queue_options", drop):
        yield


@mutant("names-joined-unescaped", rule="REG-010")
@contextmanager
def names_joined_unescaped() -> Iterator[None]:
    """Processors are found by their names with an underscore for each odd character."""

    def key(name: str) -> str:
        return re.sub(r"[^A-Za-z0-9]", "_", name)

    def find(self: Registry, name: str) -> Processor[Any] | None:
        keys = {key(known): processor for known, processor in self._processors.items()}
        return keys.get(key(name))

    with patch(Registry, "find", find):
        yield


@mutant("client-needs-the-code", rule="REG-011", base="queue")
@contextmanager
def client_needs_the_code() -> Iterator[None]:
    """A name that this runtime has not registered itself is unknown."""
    send = Dispatch._send

    async def refuse(self: Dispatch, request: Any, *rest: Any) -> Any:
        if self._registry.find(request.name) is None:
            raise ProcessorNotFoundError(request.name, self._registry.names())
        return await send(self, request, *rest)

    with patch(Dispatch, "_send", refuse):
        yield
