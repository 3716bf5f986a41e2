"""What the fuzz tests share: how long they go on, and a server of their own."""

from __future__ import annotations

# The servers of the protocol's and of the runtime's tests: both are alone with their test.
from tests.distributed.protocol.conftest import driver, server

__all__ = ["driver", "server"]
