"""A process that holds a lock until it loses it, and says on its board what becomes of it.

``python -m tests.distributed.queue_runtime.lock_holder URL NAMESPACE TTL``
"""

from __future__ import annotations

import os
import sys

import trio

from am2z import LockLostError, QueueRuntime

from .apps import board


async def main(url: str, namespace: str, ttl: float) -> None:
    async with QueueRuntime(url, namespace=namespace, role="client") as runtime:
        try:
            async with runtime.lock("a", ttl=ttl):
                board().write(f"holds {os.getpid()}")
                await trio.sleep_forever()
        except LockLostError:
            board().write(f"lost {os.getpid()}")


if __name__ == "__main__":
    trio.run(main, sys.argv[1], sys.argv[2], float(sys.argv[3]))
