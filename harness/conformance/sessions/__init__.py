"""Sessions come to be, keep apart, are stopped and begin anew."""

from __future__ import annotations

from harness.conformance.sessions.apart import *
from harness.conformance.sessions.living import *
from harness.conformance.sessions.stopping import *
