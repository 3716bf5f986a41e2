"""What several rules of this group use."""

from __future__ import annotations

from am2z import (
    AM2ZError,
    ErrorCategory,
    ErrorSeverity,
    RetryPolicy,
)

THRICE = RetryPolicy(max_attempts=3, backoff=0)


class OutOfStockError(AM2ZError):
    """An application's own error, with a constructor that nobody else can call."""

    code = "OUT_OF_STOCK"
    category = ErrorCategory.BUSINESS
    severity = ErrorSeverity.CRITICAL

    def __init__(self, sku: str, *, wanted: int) -> None:
        super().__init__(f"{wanted} of {sku} are not there", context={"shelf": ["A", 7]})
        self.sku = sku
        self.wanted = wanted
