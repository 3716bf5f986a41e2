"""The settings of a runtime."""

from __future__ import annotations

import msgspec

from am2z.errors import ConfigurationError
from am2z.policy import check_duration

__all__ = ["RuntimeConfig"]


class RuntimeConfig(msgspec.Struct, frozen=True, kw_only=True):
    """The settings of a runtime; times are in seconds.

    - ``default_timeout``: for processors that set none themselves
    - ``max_call_depth``: how deep processors may call each other
    - ``concurrency``: how many executions run at once in this runtime
    - ``lease``: how long a worker may be silent before its work is given to another
    - ``max_deliveries``: how many workers may die with one attempt before it is set aside
    - ``shutdown_grace``: how long ``stop()`` waits for what runs
    - ``metrics_interval``: how often ``metrics:collected`` is emitted (``None``: never)
    - ``max_payload_bytes``: the largest encoded state
    - ``result_ttl``: how long a finished execution is remembered (the idempotency window)
    - ``state_ttl``: how long an untouched committed state is kept (``None``: with its session)

    Raises ``ConfigurationError`` for values that make no sense.

    Example: ``LocalRuntime(config=RuntimeConfig(concurrency=4, default_timeout=5.0))``.
    """

    default_timeout: float = 60.0
    max_call_depth: int = 10
    concurrency: int = 100
    lease: float = 10.0
    max_deliveries: int = 3
    shutdown_grace: float = 10.0
    metrics_interval: float | None = None
    max_payload_bytes: int = 4 * 1024 * 1024
    result_ttl: float = 300.0
    state_ttl: float | None = None

    def __post_init__(self) -> None:
        for name in ("default_timeout", "lease", "result_ttl"):
            check_duration(name, getattr(self, name))
        check_duration("shutdown_grace", self.shutdown_grace, zero=True)
        for name in ("metrics_interval", "state_ttl"):
            if getattr(self, name) is not None:
                check_duration(name, getattr(self, name))
        for name, least in (
            ("max_call_depth", 0),
            ("concurrency", 1),
            ("max_deliveries", 1),
            ("max_payload_bytes", 1),
        ):
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or value < least:
                raise ConfigurationError(
                    f"{name} is {value!r}; give a whole number of at least {least}"
                )
