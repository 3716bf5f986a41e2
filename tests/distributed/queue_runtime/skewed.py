"""The worker of ``apps`` on a machine whose clock is wrong.

``python -m tests.distributed.queue_runtime.skewed URL NAMESPACE JSON SECONDS``: its wall clock is
so many seconds fast, or slow where the number is negative.
"""

from __future__ import annotations

import json
import sys
import time

import trio

from .apps import serve

if __name__ == "__main__":
    true, seconds = time.time, float(sys.argv[4])
    time.time = lambda: true() + seconds  # before anything reads it by another name
    trio.run(serve, sys.argv[1], sys.argv[2], json.loads(sys.argv[3]))
