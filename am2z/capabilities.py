"""What a runtime may or may not be able to do, beyond what every runtime must."""

from __future__ import annotations

from enum import StrEnum

__all__ = ["Capability"]


class Capability(StrEnum):
    """Something that not every runtime offers; see ``Runtime.capabilities``."""

    DURABLE = "durable"
    """Accepted work survives the death of every process of the runtime."""

    MULTI_WORKER = "multi_worker"
    """Caller and worker may be different runtimes, in different processes or on other machines."""

    PRIORITY = "priority"
    """Processors of a higher ``QueueOptions.priority`` start first."""

    VIRTUAL_TIME = "virtual_time"
    """Every time is read from trio's clock, so that a test can set it."""

    NAMESPACES = "namespaces"
    """Runtimes of different namespaces on one server never see each other."""
