"""Runs a program on a runtime and writes down what is seen, without ids and without times.

``player`` has the frame of each operation; what the operations do is in ``executions``,
``sessions``, ``states`` and ``locks``, as it is in the model; ``stage`` is what they share.
"""

from __future__ import annotations

from harness.oracle.play.player import play
from harness.oracle.play.stage import Bench, CrashTest

__all__ = ["Bench", "CrashTest", "play"]
