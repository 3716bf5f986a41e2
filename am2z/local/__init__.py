"""The runtime in this process."""

from am2z.local.runtime import LocalRuntime
from am2z.local.state import LocalStateManager

__all__ = ["LocalRuntime", "LocalStateManager"]
