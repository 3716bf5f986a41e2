"""A runtime that is legal but hostile, for those who write processors.

``am2z_strict_runtime`` is the fixture; see ``Strict``. What it may do to a processor is in
``plans``, what a processor must not assume in ``findings``.
"""

from __future__ import annotations

from harness.strict.check import Strict
from harness.strict.effects import Effects
from harness.strict.findings import Assumption, BrokenAssumption, Finding
from harness.strict.runtime import StrictRuntime

__all__ = ["Assumption", "BrokenAssumption", "Effects", "Finding", "Strict", "StrictRuntime"]
