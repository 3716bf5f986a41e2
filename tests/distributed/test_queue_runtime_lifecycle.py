"""The rules of the group `lifecycle`, on the runtimes of this folder."""

from harness.conformance.lifecycle import *  # noqa: F403 - they are the tests
