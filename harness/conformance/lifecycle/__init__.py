"""The life of a runtime: what holds at its start, while it lives, and when it goes."""

from __future__ import annotations

from harness.conformance.lifecycle.breaking import *
from harness.conformance.lifecycle.starting import *
from harness.conformance.lifecycle.stopping import *
from harness.conformance.lifecycle.workers import *
