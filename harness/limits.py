"""Resource limits that are small enough to reach in a test."""

from __future__ import annotations

from am2z import ResourceLimits

__all__ = ["TEST_RESOURCE_LIMITS"]

TEST_RESOURCE_LIMITS = ResourceLimits(
    max_connections=10,
    max_memory_mb=100,
    max_queue_size=1000,
    session_ttl=3600.0,
    memory_threshold=0.8,
    connection_threshold=0.9,
)
"""The limits of the helpers: 10 connections, 100 MB, 1,000 waiting executions, one hour."""
