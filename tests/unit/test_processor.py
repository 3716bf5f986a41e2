"""A processor's definition: the state's type, the name, the options, and what is refused."""

import dataclasses
import functools
import types
from collections.abc import Callable
from typing import Any, Generic, TypeVar

import pytest
import trio

from am2z.context import Context
from am2z.errors import ConfigurationError
from am2z.policy import QueueOptions, RetryPolicy
from am2z.processor import Processor, create_processor, processor
from am2z.state import AppState


class Order(AppState):
    total: float = 0.0


T = TypeVar("T", bound=Order)
U = TypeVar("U")


async def price(state: Order, ctx: Context) -> Order:
    """Say what it costs."""
    return state.evolve(total=49.0)


def module_from(source: str, **names: Any) -> dict[str, Any]:
    """The names of a module with that source, whose annotations stay text."""
    module = types.ModuleType("written_for_a_test")
    module.__dict__.update(names)
    exec(
        compile("from __future__ import annotations\n" + source, "written.py", "exec"),
        module.__dict__,
    )
    return module.__dict__


# Name, description, kind


def test_the_name_and_the_description_are_the_functions_own() -> None:
    made = processor(price)
    assert (made.name, made.description, made.state_type) == (
        "price",
        "Say what it costs.",
        Order,
    )
    assert (made.timeout, made.retry, made.queue, made.in_thread) == (
        None,
        None,
        QueueOptions(),
        False,
    )


def test_options_are_kept_as_given() -> None:
    retry, queue = RetryPolicy(max_attempts=2), QueueOptions(priority=3)
    other = processor(price)
    made = processor(
        name="p", description="d", timeout=2.0, retry=retry, queue=queue, dependencies=[other, "x"]
    )(price)
    assert (made.name, made.description, made.timeout) == ("p", "d", 2.0)
    assert (made.retry, made.queue, made.dependencies) == (retry, queue, (other, "x"))


def test_calling_a_processor_runs_the_bare_function() -> None:
    made = processor(price)

    async def main() -> Any:
        return await made(Order(), None)  # type: ignore[arg-type,misc]

    assert trio.run(main).total == 49.0


def test_two_processors_are_equal_only_if_they_are_the_same() -> None:
    assert processor(price) != processor(price)


def plain(state: Order, ctx: Context) -> Order:
    return state


@functools.wraps(plain)
async def async_around_plain(state: Any, ctx: Any) -> Any:
    return plain(state, ctx)


@functools.wraps(price)
def plain_around_async(state: Any, ctx: Any) -> Any:
    return price(state, ctx)


class AsyncCallable:
    async def __call__(self, state: Order, ctx: Context) -> Order:
        return state


class PlainCallable:
    def __call__(self, state: Order, ctx: Context) -> Order:
        return state

    async def method(self, state: Order, ctx: Context) -> Order:
        return state


@pytest.mark.parametrize(
    ("fn", "in_thread"),
    [
        (price, False),
        (plain, True),
        (async_around_plain, False),
        (plain_around_async, False),
        (AsyncCallable(), False),
        (PlainCallable(), True),
        (PlainCallable().method, False),
        (functools.partial(price), False),
        (functools.partial(plain), True),
    ],
)
def test_only_plain_functions_run_in_a_thread(fn: Callable[..., Any], in_thread: bool) -> None:
    made = processor(name="p")(fn)
    assert made.in_thread is in_thread
    assert made.state_type is Order


async def waits(state: Order, ctx: Context) -> Order:
    await trio.lowlevel.checkpoint()
    return state


async def waits_in_a_block(state: Order, ctx: Context) -> Order:
    async with trio.open_nursery():
        return state


async def waits_in_a_loop(state: Order, ctx: Context) -> Order:
    async for _ in ctx.log:  # type: ignore[attr-defined]
        pass
    return state


async def waits_in_a_comprehension(state: Order, ctx: Context) -> Order:
    return state.evolve(total=sum([await one for one in ctx.log]))  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("fn", "interruptible"),
    [
        (price, False),
        (waits, True),
        (waits_in_a_block, True),
        (waits_in_a_loop, True),
        (waits_in_a_comprehension, True),
        (plain, True),
        (async_around_plain, False),
        (plain_around_async, True),
        (AsyncCallable(), True),
        (PlainCallable().method, True),
        (functools.partial(price), True),
    ],
)
def test_only_what_cannot_wait_is_known_to_need_no_deadline(
    fn: Callable[..., Any], interruptible: bool
) -> None:
    made = processor(name="p", state_type=Order)(fn)
    assert made.interruptible is interruptible
    copy = dataclasses.replace(made, fn=waits)
    assert copy.interruptible


# The state's type


def test_a_class_of_the_enclosing_function_is_found_under_future_annotations() -> None:
    names = module_from(
        "def make():\n"
        "    class Local(AppState):\n"
        "        x: int = 0\n"
        "    @processor\n"
        "    async def bare(state: Local, ctx: Context) -> Local: return state\n"
        "    @processor(name='b')\n"
        "    async def options(state: Local, ctx: Context) -> Local: return state\n"
        "    async def built(state: Local, ctx: Context) -> Local: return state\n"
        "    return Local, [bare, options, create_processor('c').process(built)]\n",
        processor=processor,
        create_processor=create_processor,
        AppState=AppState,
    )
    local, made = names["make"]()
    assert [each.state_type for each in made] == [local] * 3


def test_the_other_annotations_need_not_be_importable() -> None:
    names = module_from(
        "async def fn(state: Order, ctx: OnlyForTheTypeChecker) -> Nowhere: return state",
        Order=Order,
    )
    assert processor(names["fn"]).state_type is Order


def test_a_bound_type_variable_stands_for_its_bound() -> None:
    async def generic(state: T, ctx: Context) -> T:
        return state

    assert processor(generic).state_type is Order


def test_the_state_type_can_be_given_where_the_annotation_does_not_say_it() -> None:
    async def fn(state, ctx):
        return state

    assert processor(name="p", state_type=Order)(fn).state_type is Order
    assert create_processor("p").with_state_type(Order).process(fn).state_type is Order


def refusal(fn: Any, **options: Any) -> str:
    with pytest.raises(ConfigurationError) as caught:
        processor(**({"name": "p"} | options))(fn)
    return str(caught.value)


async def unannotated(state, ctx):
    return state


async def number(state: int, ctx: Context) -> int:
    return state


async def unbound(state: U, ctx: Context) -> U:
    return state


async def lonely(state: Order) -> Order:
    return state


class Box(Generic[U]):
    pass


async def boxed(state: Box[int], ctx: Context) -> None: ...


@pytest.mark.parametrize("fn", [unannotated, number, unbound, lonely, boxed])
def test_a_missing_or_wrong_annotation_is_refused_with_an_example(fn: Callable[..., Any]) -> None:
    text = refusal(fn)
    assert "processor 'p'" in text
    assert "async def f(state: MyState, ctx: Context) -> MyState" in text


def test_a_function_of_one_parameter_is_told_to_take_two() -> None:
    assert "takes 1 parameters instead of two" in refusal(lonely)


@pytest.mark.parametrize(
    ("annotation", "says"),
    [("Missing", "import it at run time"), ("Order.Missing", "means nothing"), ("1 +", "means")],
)
def test_an_annotation_that_means_nothing_is_refused(annotation: str, says: str) -> None:
    async def fn(state: Any, ctx: Any) -> None: ...

    fn.__annotations__["state"] = annotation
    assert says in refusal(fn)


@pytest.mark.parametrize("options", [{}, {"state_type": Order}])
def test_what_is_no_function_is_refused(options: dict[str, Any]) -> None:
    assert "processor 'p': 7 is not a function" in refusal(7, **options)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"name": ""}, "printable"),
        ({"name": "a\n"}, "printable"),
        ({"timeout": 0}, "timeout of processor 'p' is 0"),
        ({"timeout": -1.0}, "more than 0"),
        ({"timeout": float("inf")}, "timeout"),
        ({"retry": 3}, "retry is 3; give a RetryPolicy"),
        ({"queue": 5}, "queue is 5; give a QueueOptions"),
        ({"state_type": int}, "give a subclass of AppState"),
        ({"state_type": "Order"}, "give a subclass of AppState"),
    ],
    ids=str,
)
def test_an_option_that_makes_no_sense_is_refused_where_it_is_written(
    options: dict[str, Any], says: str
) -> None:
    assert says in refusal(price, **options)


# The builder


def test_the_builder_makes_the_same_definition() -> None:
    other = processor(price)
    builder = (
        create_processor("p")
        .with_description("d")
        .with_timeout(2.0)
        .with_retry_policy(max_attempts=2)
        .with_queue_options(concurrency=3)
        .with_dependencies(other, "x")
    )
    made = builder.process(price)
    assert isinstance(made, Processor)
    assert (made.name, made.description, made.timeout) == ("p", "d", 2.0)
    assert made.retry == RetryPolicy(max_attempts=2)
    assert made.queue == QueueOptions(concurrency=3)
    assert made.dependencies == (other, "x")
    assert made.state_type is Order


def test_the_builder_takes_whole_policies_too() -> None:
    retry, queue = RetryPolicy(max_attempts=2), QueueOptions(priority=1)
    made = create_processor("p").with_retry_policy(retry).with_queue_options(queue).process(price)
    assert (made.retry, made.queue) == (retry, queue)


def test_a_builder_is_not_changed_by_what_is_built_from_it() -> None:
    base = create_processor("p")
    base.with_timeout(2.0)
    assert base.process(price).timeout is None
