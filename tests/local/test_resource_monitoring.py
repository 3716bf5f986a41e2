"""The rules of the group `resources`, on the runtimes of this folder."""

from harness.conformance.resources import *  # noqa: F403 - they are the tests
