"""What happens between a call and its answer."""

from harness.conformance.execution.answers import *
from harness.conformance.execution.calls import *
from harness.conformance.execution.cancelling import *
from harness.conformance.execution.classes import *
from harness.conformance.execution.composition import *
from harness.conformance.execution.faults import *
from harness.conformance.execution.ids import *
from harness.conformance.execution.large import *
from harness.conformance.execution.options import *
from harness.conformance.execution.scheduling import *
from harness.conformance.execution.steps import *
from harness.conformance.execution.submitting import *
from harness.conformance.execution.threads import *
from harness.conformance.execution.values import *
from harness.conformance.execution.ways import *
