"""A registry takes processors with what they need, and all of a registration or none."""

import pytest

from am2z.context import Context
from am2z.errors import ConfigurationError, ProcessorNotFoundError
from am2z.processor import Processor, processor
from am2z.registry import Registry
from am2z.state import AppState


class Count(AppState):
    count: int = 0


def named(name: str, *needs: Processor[Count] | str) -> Processor[Count]:
    @processor(name=name, dependencies=needs)
    async def fn(state: Count, ctx: Context) -> Count:
        return state

    return fn


def registry(*processors: Processor[Count]) -> Registry:
    made = Registry()
    made.register(processors)
    return made


def test_dependencies_come_along_at_any_depth() -> None:
    base = named("base")
    middle = named("middle", base)
    top = named("top", middle, base, "elsewhere")
    made = registry(top)
    assert made.names() == ["base", "middle", "top"]
    assert len(made) == 3
    assert made.find("base") is base


def test_the_last_registration_of_a_name_wins() -> None:
    old, new = named("a"), named("a")
    made = registry(old)
    made.register((new,))
    assert made.get("a") is new
    assert len(made) == 1


def test_the_same_processor_twice_in_one_registration_is_fine() -> None:
    one = named("a")
    assert registry(one, one, named("b", one)).names() == ["a", "b"]


def test_two_processors_of_one_name_in_one_registration_are_refused() -> None:
    with pytest.raises(ConfigurationError, match=r"'a'.*give each a name of its own"):
        registry(named("a"), named("b", named("a")))


@pytest.mark.parametrize("wrong", [print, "a", None])
def test_one_thing_that_is_no_processor_refuses_the_whole_registration(wrong: object) -> None:
    made = Registry()
    with pytest.raises(ConfigurationError, match="decorate the function with @processor"):
        made.register((named("a"), wrong))  # type: ignore[arg-type]
    assert made.names() == []


def test_unregister_answers_whether_there_was_one() -> None:
    made = registry(named("a"))
    assert made.unregister("a") is True
    assert made.unregister("a") is False
    assert made.find("a") is None


def test_who_asks_for_an_unknown_processor_is_told_the_known_ones() -> None:
    with pytest.raises(ProcessorNotFoundError, match=r"'c' \(known: a, b\)"):
        registry(named("b"), named("a")).get("c")


def test_all_come_in_the_order_of_their_registration() -> None:
    assert [p.name for p in registry(named("b"), named("a")).all()] == ["b", "a"]
