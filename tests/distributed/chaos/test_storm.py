"""Workers are killed and frozen while callers want work done: nothing is lost, nothing done twice.

The short storm runs with all the tests; ``AM2Z_CHAOS=1`` makes it a long one, and
``AM2Z_CHAOS_SEED=N`` repeats one.
"""

from __future__ import annotations

import os
import secrets

import pytest
import trio

from am2z.queue.client import sync_client

from .aftermath import aftermath
from .storm import Plan, Storm

LONG = os.environ.get("AM2Z_CHAOS") == "1"
SEED = os.environ.get("AM2Z_CHAOS_SEED")
SHORT_STORM = Plan(seconds=20.0, kills=36, freezes=20)
LONG_STORM = Plan(seconds=90.0, kills=250, freezes=90, workers=6, callers=64)


@pytest.mark.timeout(600 if LONG else 110)
def test_storm_loses_nothing_repeats_nothing_and_answers_everybody(server, record_property):
    # hibiken/asynq#1144, sidekiq/sidekiq#1831, OptimalBits/bull#1416, riverqueue/river#1302
    seed = secrets.randbits(32) if SEED is None else int(SEED)
    storm = Storm(server.url, f"storm-{seed}", seed, LONG_STORM if LONG else SHORT_STORM)
    print(f"AM2Z_CHAOS_SEED={seed}")
    trio.run(storm.run)
    figures = dict(storm.figures())
    print("storm:", ", ".join(f"{name} {value}" for name, value in figures.items()))
    record_property("storm", figures)
    with sync_client(server.url) as redis:
        problems = list(aftermath(storm, redis))
    told = "\n".join([f"{len(problems)} problems, AM2Z_CHAOS_SEED={seed}", *problems[:40]])
    assert not problems, told
    assert storm.kills >= 30
    assert storm.freezes >= 10
    assert storm.reexecutions >= 30, "the storm was none"
