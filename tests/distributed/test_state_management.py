"""The rules of the group `state`, on the runtimes of this folder."""

from harness.conformance.state import *  # noqa: F403 - they are the tests
