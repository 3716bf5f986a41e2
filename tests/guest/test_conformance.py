from harness.conformance import *  # noqa: F403
