"""What several rules of this group use."""

from __future__ import annotations

from am2z import (
    RuntimeConfig,
)

ONE_AT_A_TIME = RuntimeConfig(concurrency=1)
