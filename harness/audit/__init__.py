"""What is looked at behind every rule: whatever a rule asks of a runtime, all of it has to be true.

A rule looks at one thing. What its runtime answers beside that (the other fields of a result, the
events, the statistics, the dead letters) is checked here, by laws of the catalogue; a finding names
the rule whose law it is. So a fault shows wherever it happens, and not only where somebody thought
of looking.
"""

from __future__ import annotations

from harness.audit.audit import Audit
from harness.audit.context import look

__all__ = ["Audit", "look"]
