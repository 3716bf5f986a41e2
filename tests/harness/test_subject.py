"""What the author of a runtime may say about it."""

import pytest

from am2z import Capability, ConfigurationError, LocalRuntime
from harness import RuntimeUnderTest


async def make(env):
    pass


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"name": ""}, "cannot be the name"),
        ({"name": "has space"}, "cannot be the name"),
        ({"name": 7}, "cannot be the name"),
        ({"make": None}, "make is None"),
        ({"make": LocalRuntime}, "make is <class"),
        ({"make": lambda: None}, "a function of one argument, the environment"),
        ({"supports": {"durable"}, "lacks": {"durable": "x"}}, "durable is both"),
        ({"lacks": {"durable": ""}}, "gives no reason"),
        ({"lacks": {"durable": None}}, "gives no reason"),
        ({"known_failures": {"STA-001": "  "}}, "gives no reason"),
    ],
)
def test_a_declaration_that_contradicts_itself_is_refused(given, words):
    with pytest.raises(ConfigurationError, match=words):
        RuntimeUnderTest(**{"name": "mine", "make": make, **given})


def test_capabilities_may_be_given_by_value():
    subject = RuntimeUnderTest("mine", make, supports=["durable"], lacks={"priority": "no"})
    assert subject.abilities == {Capability.DURABLE}
    assert list(subject.lacks) == [Capability.PRIORITY]


def test_an_unknown_capability_is_refused():
    with pytest.raises(ConfigurationError, match="wings"):
        RuntimeUnderTest("mine", make, supports=["wings"])
