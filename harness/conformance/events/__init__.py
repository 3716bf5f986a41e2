"""EVT: what a runtime tells about its work, to whom, in which order and how often."""

from harness.conformance.events.data import *
from harness.conformance.events.listening import *
from harness.conformance.events.stories import *
from harness.conformance.events.subscribing import *
from harness.conformance.events.telling import *
