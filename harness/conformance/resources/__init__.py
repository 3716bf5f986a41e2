"""RES: limits hold, counters are true, and nobody's idle session stays for ever."""

from harness.conformance.resources.counting import *
from harness.conformance.resources.lifetimes import *
from harness.conformance.resources.limits import *
from harness.conformance.resources.locks import *
from harness.conformance.resources.model import *
from harness.conformance.resources.monitor import *
