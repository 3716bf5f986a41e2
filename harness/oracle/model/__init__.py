"""The pure model: what a program may show on a conformant runtime. No runtime is needed for it.

Programs are made so that every legal run of one shows the same: what runs at the same time is
commutative, or is held where we want it. So a prediction is one value; what the contract leaves
open is ``ANY``. Operations that make no sense where they stand (``release`` of what does not hold)
are left out of the script, so that any part of a program is a program.

To be read in this order: ``seen`` (what is predicted); ``tables``, ``outcome``, ``compositions``,
``lives`` (one execution); ``books`` (what a runtime remembers); ``flight``, ``executions``,
``submissions``, ``failures``, ``sessions``, ``states``, ``locks``, ``registry`` (what operations
do to it); ``world`` (all of it); ``script`` (a whole program).
"""

from __future__ import annotations

from harness.oracle.model.script import script, sensible
from harness.oracle.model.seen import ANY, CLOSING, Planned, Seen
from harness.oracle.model.tables import MAX_CALL_DEPTH

__all__ = ["ANY", "CLOSING", "MAX_CALL_DEPTH", "Planned", "Seen", "script", "sensible"]
