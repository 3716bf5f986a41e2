"""The distributed runtime, on Redis."""

from am2z.queue.runtime import QueueRuntime
from am2z.queue.state import RedisStateManager

__all__ = ["QueueRuntime", "RedisStateManager"]
