"""The rules of the group `execution`, on the runtimes of this folder."""

from harness.conformance.execution import *  # noqa: F403 - they are the tests
