"""What a process uses now, and the refusal of work that would go beyond its limits."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable

from am2z.clock import now
from am2z.errors import ResourceError
from am2z.limits import (
    ConnectionUsage,
    LargestQueue,
    MemoryUsage,
    OldestSession,
    QueueUsage,
    ResourceLimits,
    ResourceStats,
    SessionUsage,
)

__all__ = ["ResourceLimits", "ResourceMonitor", "ResourceStats", "process_memory_mb"]

_SAMPLE_INTERVAL = 0.5  # asking the system for the memory costs ten times a whole check


def process_memory_mb() -> float:
    """The resident memory of this process in MB (1,048,576 bytes)."""
    import psutil  # noqa: PLC0415 - a fifth of the time that `import am2z` would take

    # A new Process each time, so that a fork measures itself and not its parent.
    return float(psutil.Process().memory_info().rss) / 1_048_576


class ResourceMonitor:
    """Counts what a runtime uses and refuses what would go over its limits.

    Every method is a plain call without I/O, to be made from the thread that runs trio. The memory
    is looked up at most every 0.5 seconds. ``on_warning(resource, share, threshold)`` is called
    once each time the share of ``"memory"`` or ``"connections"`` comes to reach its threshold; one
    that raises is logged and hurts nobody. ``sample_memory`` (MB) and ``clock`` (seconds) are there
    for tests.

    Example::

        monitor = ResourceMonitor(ResourceLimits(max_queue_size=100))
        monitor.check_process()
        monitor.check_queue("resize", 100)  # ResourceError: 100 already wait
    """

    def __init__(
        self,
        limits: ResourceLimits = ResourceLimits(),  # noqa: B008 - frozen, so it can be shared
        *,
        on_warning: Callable[[str, float, float], object] | None = None,
        logger: logging.Logger | None = None,
        sample_memory: Callable[[], float] = process_memory_mb,
        clock: Callable[[], float] = now,
    ) -> None:
        self.limits = limits
        self._on_warning = on_warning
        self._logger = logger or logging.getLogger("am2z.resources")
        self._sample_memory = sample_memory
        self._clock = clock
        self.reset()

    def reset(self) -> None:
        """Forget everything: counts, sessions, queues, warnings given and the memory's sample.

        A runtime that is started again, perhaps in another ``trio.run`` with another clock, begins
        with this.
        """
        self._connections = 0
        self._started: dict[str, float] = {}
        self._touched: dict[str, float] = {}
        self._queues: dict[str, int] = {}
        self._overfull: dict[str, int] = {}
        self._above: set[str] = set()
        self._memory = 0.0
        self._sampled_at = -math.inf
        self._passed_at = -math.inf

    # Checks

    def check_resource_limits(self) -> None:
        """Raise ``ResourceError`` if anything is over its limit: memory, connections, any queue.

        Where work for one queue is to be admitted, ``check_process`` and ``check_queue`` ask the
        finer question: they do not refuse it because of another queue.
        """
        self.check_process()
        if self._overfull:
            raise self._queue_error(*next(iter(self._overfull.items())))

    def check_process(self) -> None:
        """Raise ``ResourceError`` if memory or connections are over their limits; warn before.

        The error has ``resource`` (``"memory"`` or ``"connections"``), ``limit`` and ``current``.
        """
        if 0 <= self._clock() - self._passed_at < _SAMPLE_INTERVAL:
            return  # what it would look at is what it was when it last passed
        limits = self.limits
        memory, connections = self._memory_mb(), self._connections
        self._watch("memory", memory / limits.max_memory_mb, limits.memory_threshold)
        self._watch(
            "connections", connections / limits.max_connections, limits.connection_threshold
        )
        if memory > limits.max_memory_mb:
            raise ResourceError(
                f"the process uses {memory:.0f} MB of memory, more than the "
                f"{limits.max_memory_mb:g} MB it may; lower the concurrency, add workers or raise "
                "max_memory_mb",
                "memory",
                limits.max_memory_mb,
                memory,
            )
        if connections > limits.max_connections:
            raise ResourceError(
                f"{connections} connections are open, more than the {limits.max_connections} that "
                "may be; close some or raise max_connections",
                "connections",
                limits.max_connections,
                connections,
            )
        self._passed_at = self._sampled_at

    def check_queue(self, name: str, size: int | None = None, *, adding: int = 1) -> None:
        """Raise ``ResourceError`` if ``adding`` more executions would overfill the queue ``name``.

        ``size`` is how many wait there now; ``None`` takes what ``update_queue_size`` told last.
        Nothing is counted: tell the new size once the work is in. The error has ``resource``
        (``"queue"``), ``limit``, ``current``, and the queue's name in its context.

        Example: ``monitor.check_queue("resize", len(waiting), adding=len(states))``.
        """
        waiting = self._queues.get(name, 0) if size is None else size
        if waiting + adding > self.limits.max_queue_size:
            raise self._queue_error(name, waiting)

    # Counts

    def register_connection(self) -> None:
        """A connection was opened. Never refuses: the count is to be the true one."""
        self._connections += 1
        self._passed_at = -math.inf

    def unregister_connection(self) -> None:
        """A connection was closed. The count never falls below 0."""
        self._connections = max(0, self._connections - 1)
        # A fall and a rise between two checks is a new crossing, and warns again.
        if self._connections / self.limits.max_connections < self.limits.connection_threshold:
            self._above.discard("connections")

    def register_session(self, session_id: str) -> None:
        """The session is there from now on. For one that already is, the same as a touch."""
        moment = self._clock()
        self._started.setdefault(session_id, moment)
        self._touched[session_id] = moment

    def unregister_session(self, session_id: str) -> None:
        """The session ended. No error for one that is not there."""
        self._started.pop(session_id, None)
        self._touched.pop(session_id, None)

    def touch_session(self, session_id: str) -> None:
        """The session is in use: its idle time begins anew. An unknown one stays unknown."""
        if session_id in self._touched:
            self._touched[session_id] = self._clock()

    def expired_sessions(self) -> list[str]:
        """The sessions that nobody touched for longer than ``session_ttl``, first come first."""
        latest = self._clock() - self.limits.session_ttl
        return [session_id for session_id, at in self._touched.items() if at < latest]

    def update_queue_size(self, name: str, size: int) -> None:
        """Note that ``size`` executions wait in the queue ``name``."""
        self._queues[name] = size
        # Kept apart so that a check need not look at every queue.
        if size > self.limits.max_queue_size:
            self._overfull[name] = size
        elif self._overfull:
            self._overfull.pop(name, None)

    def forget_queue(self, name: str) -> None:
        """The queue ``name`` is no more. No error for one that is not known."""
        self._queues.pop(name, None)
        self._overfull.pop(name, None)

    def resource_stats(self) -> ResourceStats:
        """What is used now. Cheap enough for every scrape; its memory is up to 0.5 seconds old."""
        limits, memory = self.limits, self._memory_mb()
        largest = max(self._queues, key=self._queues.__getitem__, default=None)
        oldest = next(iter(self._started), None)
        return ResourceStats(
            memory=MemoryUsage(
                used=memory,
                total=limits.max_memory_mb,
                percentage=memory / limits.max_memory_mb,
            ),
            connections=ConnectionUsage(
                active=self._connections,
                max=limits.max_connections,
                percentage=self._connections / limits.max_connections,
            ),
            queues=QueueUsage(
                total=len(self._queues),
                max_size=0 if largest is None else self._queues[largest],
                largest_queue=None
                if largest is None
                else LargestQueue(name=largest, size=self._queues[largest]),
            ),
            sessions=SessionUsage(
                active=len(self._started),
                oldest=None
                if oldest is None
                else OldestSession(session_id=oldest, age=self._clock() - self._started[oldest]),
            ),
        )

    def _memory_mb(self) -> float:
        moment = self._clock()
        # Also a reading from the future is old: it comes from another run's clock.
        if not 0 <= moment - self._sampled_at < _SAMPLE_INTERVAL:
            self._memory = self._sample_memory()
            self._sampled_at = moment
        return self._memory

    def _watch(self, resource: str, share: float, threshold: float) -> None:
        """Warn when ``share`` comes to reach ``threshold``; arm again when it falls below."""
        if share < threshold:
            self._above.discard(resource)
        elif resource not in self._above:
            self._above.add(resource)
            self._logger.warning(
                "%s: %.0f %% of the limit in use (warning at %.0f %%)",
                resource,
                share * 100,
                threshold * 100,
            )
            if self._on_warning is not None:
                try:
                    self._on_warning(resource, share, threshold)
                except Exception:
                    self._logger.exception("the on_warning callback failed")

    def _queue_error(self, name: str, waiting: int) -> ResourceError:
        limit = self.limits.max_queue_size
        return ResourceError(
            f"{waiting} executions wait in queue {name!r}, which may hold {limit}; "
            "try again later, add workers or raise max_queue_size",
            "queue",
            limit,
            waiting,
            context={"queue": name},
        )
