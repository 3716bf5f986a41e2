"""A package with a runtime of its own, as small as can be."""

from am2z import LocalRuntime


class MyRuntime(LocalRuntime):
    """Runs in this process."""
