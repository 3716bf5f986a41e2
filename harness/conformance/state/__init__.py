"""STA: states cross by value, are committed in one step, and are never lost or mixed up."""

from harness.conformance.state.committing import *
from harness.conformance.state.expiring import *
from harness.conformance.state.values import *
from harness.conformance.state.writing import *
