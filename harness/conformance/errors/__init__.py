"""What goes wrong, who is told, and what is tried again."""

from harness.conformance.errors.answers import *
from harness.conformance.errors.compositions import *
from harness.conformance.errors.hooks import *
from harness.conformance.errors.kinds import *
from harness.conformance.errors.letters import *
from harness.conformance.errors.refusals import *
from harness.conformance.errors.retries import *
from harness.conformance.errors.telling import *
