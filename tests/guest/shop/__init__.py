"""A package with a runtime of its own."""

from am2z import Capability, LocalRuntime


class ShopRuntime(LocalRuntime):
    """Ours, wrapped: enough for a guest."""

    capabilities = frozenset({Capability.PRIORITY, Capability.VIRTUAL_TIME})
