"""A namespace in shards is the same runtime, but for what counts in each shard by itself."""

from contextlib import asynccontextmanager
from dataclasses import replace

import pytest

from am2z import Capability, QueueRuntime
from harness.builtin import QUEUE_FAKE
from harness.kit import Kit
from harness.outcome import Status
from harness.rules import published_rules

IN_EACH_SHARD = {
    "EXE-041": "an execution id is compared with those of the shard of its session",
    "EXE-048": "who comes first is known in each shard",
    "RES-006": "each shard has its part of max_queue_size",
    "SES-020": "its programs ask for EXE-041",
    "ERR-020": "asks for RES-006",
}


@asynccontextmanager
async def make(env):
    async with QueueRuntime(
        env.redis_url,
        namespace=env.namespace,
        role=env.role,
        config=env.config,
        limits=env.limits,
        shards=3,
    ) as runtime:
        yield runtime


SHARDED = replace(
    QUEUE_FAKE,
    name="queue[shards]",
    make=make,
    supports=QUEUE_FAKE.supports - {Capability.PRIORITY},
    lacks={**QUEUE_FAKE.lacks, Capability.PRIORITY: "it holds in each shard"},
)


RULES = published_rules()


GROUPS = ("LIF", "EXE", "SES", "STA", "EVT")
"""What a shard could change: where things live, who is told, who comes when."""


@pytest.mark.parametrize(
    "rule_id",
    sorted(rule for rule in RULES if rule.startswith(GROUPS) and rule not in IN_EACH_SHARD),
)
def test_rule_holds_on_shards(rule_id):
    check = RULES[rule_id]
    outcome = Kit(SHARDED, f"shards-{rule_id.lower()}", seed=11).check(check)
    assert outcome.status in (Status.PASS, Status.SKIP), outcome.lesson
