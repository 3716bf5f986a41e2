from harness.conformance import *
