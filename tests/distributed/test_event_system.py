"""The rules of the group `events`, on the runtimes of this folder."""

from harness.conformance.events import *  # noqa: F403 - they are the tests
