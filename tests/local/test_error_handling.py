"""The rules of the group `errors`, on the runtimes of this folder."""

from harness.conformance.errors import *  # noqa: F403 - they are the tests
