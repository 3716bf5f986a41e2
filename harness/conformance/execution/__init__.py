"""What happens between a call and its answer."""

from harness.conformance.execution.answers import *  # noqa: F403
from harness.conformance.execution.calls import *  # noqa: F403
from harness.conformance.execution.cancelling import *  # noqa: F403
from harness.conformance.execution.composition import *  # noqa: F403
from harness.conformance.execution.faults import *  # noqa: F403
from harness.conformance.execution.scheduling import *  # noqa: F403
from harness.conformance.execution.submitting import *  # noqa: F403
from harness.conformance.execution.values import *  # noqa: F403
