"""Compositions: what each step gets, what a failure tells, and calls named alike each time."""

from typing import Any

import pytest
import trio
from trio.testing import MockClock

from am2z import (
    AM2ZError,
    AppState,
    BusinessError,
    ConfigurationError,
    Context,
    Failure,
    LocalRuntime,
    NetworkError,
    Processor,
    ProcessorResult,
    RetryPolicy,
    ValidationError,
    batch,
    chain,
    parallel,
    processor,
    route,
)


class Order(AppState):
    total: float = 0.0
    note: str = ""
    weight: float = float("nan")
    anything: Any = None


class Line(AppState):
    price: float = 0.0


@processor
async def price(state: Order, ctx: Context) -> Order:
    return state.evolve(total=state.total + 49.0)


@processor
async def note(state: Order, ctx: Context) -> Order:
    return state.evolve(note="paid")


@processor
async def refuse(state: Order, ctx: Context) -> Order:
    raise BusinessError("no credit")


@processor
async def unsendable(state: Order, ctx: Context) -> Order:
    return state.evolve(anything=object())


@processor
async def wait(state: Order, ctx: Context) -> Order:
    await trio.sleep(100)
    return state


def execute(what: Processor[Any], state: Any = None, *more: Processor[Any]) -> ProcessorResult[Any]:
    async def main() -> ProcessorResult[Any]:
        async with LocalRuntime().register(what, *more) as runtime:
            result = await runtime.execute(what, Order() if state is None else state)
            stats = await runtime.stats()
            assert (stats.active, stats.running) == (0, 0)
            return result

    return trio.run(main, clock=MockClock(autojump_threshold=0))


def failure(what: Processor[Any], *more: Processor[Any], state: Any = None) -> AM2ZError:
    error = execute(what, state, *more).error
    assert error is not None
    return error


# Chains


@pytest.mark.parametrize("by_name", [False, True])
def test_a_chain_that_fails_tells_how_far_it_came_and_who_failed(by_name: bool) -> None:
    steps: list[Any] = [price, price, refuse, note]
    what = chain("checkout", [step.name if by_name else step for step in steps])
    result = execute(what, None, price, refuse, note)
    assert isinstance(result.error, BusinessError)
    assert result.error.failed_processor == "refuse"
    assert result.metadata.completed_steps == 2
    assert (result.state.total, result.state.note) == (98.0, "")


def test_the_innermost_step_that_failed_is_named() -> None:
    inner = chain("inner", [price, refuse])
    result = execute(chain("outer", [price, inner]))
    assert result.error is not None
    assert result.error.failed_processor == "refuse"
    assert result.metadata.completed_steps == 1
    assert result.state.total == 49.0


@pytest.mark.parametrize("by_name", [False, True])
def test_a_step_whose_state_cannot_cross_is_the_one_that_failed(by_name: bool) -> None:
    what = chain("c", [price, "unsendable" if by_name else unsendable, note])
    result = execute(what, None, price, unsendable, note)
    assert isinstance(result.error, ValidationError)
    assert result.error.field == "anything"
    assert result.error.failed_processor == "unsendable"
    assert result.metadata.completed_steps == 1
    assert result.state.total == 49.0


def test_a_step_in_place_cannot_keep_what_it_gave_on() -> None:
    kept: list[Any] = []

    class Box(AppState):
        items: list[int] = []  # noqa: RUF012

    @processor
    async def keep(state: Box, ctx: Context) -> Box:
        kept.append(new := state.evolve(items=[1]))
        return new

    @processor
    async def look(state: Box, ctx: Context) -> Box:
        kept[0].items.append(2)
        return state.evolve()

    assert execute(chain("c", [keep, look]), Box()).state.items == [1]


def test_a_step_in_place_has_its_own_timeout_and_retries_within_those_of_the_whole() -> None:
    attempts: list[tuple[int, float]] = []

    @processor(timeout=2.0, retry=RetryPolicy(max_attempts=3, backoff=1.0, multiplier=1.0))
    async def slow(state: Order, ctx: Context) -> Order:
        attempts.append((ctx.metadata.attempt, trio.current_time()))
        if len(attempts) < 3:
            await trio.sleep(100)
        return state.evolve(total=1.0)

    assert execute(chain("c", [slow])).state.total == 1.0
    start = attempts[0][1]
    assert [(n, t - start) for n, t in attempts] == [(1, 0), (2, 3), (3, 6)]
    attempts.clear()
    assert "'c' hit its timeout of 2.5 s" in str(failure(chain("c", [slow], timeout=2.5)))


def test_the_context_of_a_step_is_that_of_the_step() -> None:
    seen: dict[str, Any] = {}

    @processor(timeout=5)
    async def look(state: Order, ctx: Context) -> Order:
        seen.update(name=ctx.metadata.processor_name, key=ctx.idempotency_key, id=ctx.execution_id)
        seen.update(processor=ctx.processor, left=ctx.deadline - trio.current_time())
        seen.update(started=ctx.metadata.started_at)
        return state

    execute(chain("c", [price, chain("inner", [look])]))
    assert seen["name"] == "look"
    assert seen["processor"] is look
    assert seen["key"] == f"{seen['id']}/s1/s0"
    assert seen["left"] == 5
    assert seen["started"] > 0


# Names of calls


def test_calls_have_a_name_of_their_own_in_each_attempt_of_every_level() -> None:
    seen: list[str] = []
    keys: list[str] = []

    @processor
    async def leaf(state: Order, ctx: Context) -> Order:
        seen.append(ctx.execution_id.partition("/")[2])
        return state

    @processor(retry=RetryPolicy(max_attempts=2, backoff=0))
    async def step(state: Order, ctx: Context) -> Order:
        keys.append(ctx.idempotency_key.partition("/")[2])
        await ctx.call(leaf, state)
        await ctx.call(leaf, state)
        raise NetworkError("later")

    what = chain("c", ["leaf", step], retry=RetryPolicy(max_attempts=2, backoff=0))
    failure(what, leaf)
    assert seen == [
        "1s0/1-1", "1s1/1-1", "1s1/1-2", "1s1/2-1", "1s1/2-2",
        "2s0/1-1", "2s1/1-1", "2s1/1-2", "2s1/2-1", "2s1/2-2",
    ]  # fmt: skip
    assert keys == ["s1"] * 4


@pytest.mark.parametrize("times", range(5))
def test_branches_by_name_have_the_same_names_in_whatever_order_they_begin(times: int) -> None:
    seen: dict[float, str] = {}

    @processor
    async def leaf(state: Order, ctx: Context) -> Order:
        seen[state.total] = ctx.execution_id.partition("/")[2]
        return state

    execute(
        batch(
            "b",
            "leaf",
            split=lambda s: [Order(total=float(n)) for n in range(5)],
            join=lambda s, _: s.evolve(),
        ),
        Order(),
        leaf,
    )
    assert seen == {float(n): f"1s{n}/1-1" for n in range(5)}


# Parallel


def test_the_fields_that_branches_changed_come_together() -> None:
    result = execute(parallel("p", [price, note, price]))
    assert (result.unwrap().total, result.state.note) == (49.0, "paid")


def test_a_field_that_is_unequal_to_itself_is_not_a_changed_one() -> None:
    assert execute(parallel("p", [price, note]), Order(weight=float("nan"))).success


def test_branches_that_changed_one_field_differently_need_a_merge_function() -> None:
    twice = chain("twice", [price, price])
    error = failure(parallel("p", [price, twice]))
    assert isinstance(error, ValidationError)
    assert error.field == "total"
    assert "merge function" in str(error)
    merged = parallel(
        "p", [price, twice], merge=lambda s, r: s.evolve(total=sum(x.total for x in r))
    )
    assert execute(merged).state.total == 147.0


def test_one_failed_branch_cancels_the_others_and_is_named() -> None:
    result = execute(parallel("p", [wait, price, refuse]))
    assert isinstance(result.error, BusinessError)
    assert result.error.failed_processor == "refuse"
    assert result.metadata.completed_steps <= 1


def test_a_branch_that_cannot_be_called_is_a_failed_branch() -> None:
    error = failure(parallel("p", ["wait", "unknown"]), wait)
    assert error.code == "PROCESSOR_NOT_FOUND"
    assert error.failed_processor == "unknown"


# Routes


def test_a_route_goes_where_choose_says_or_to_its_fallback() -> None:
    what = route("r", lambda s: s.note, {"price": price, "note": note}, fallback=refuse)
    assert execute(what, Order(note="price")).state.total == 49.0
    result = execute(what, Order(note="other", total=2.0))
    assert isinstance(result.error, BusinessError)
    assert result.error.failed_processor == "refuse"
    assert result.state.total == 2.0


def test_an_unknown_key_without_a_fallback_names_the_known_ones() -> None:
    error = failure(route("r", lambda s: s.note, {"b": price, "a": note}), state=Order(note="c"))
    assert isinstance(error, ValidationError)
    assert "no way for 'c' (it knows 'a', 'b')" in str(error)


# Batches


def lines(count: int) -> Any:
    return lambda state: [Line(price=float(n)) for n in range(count)]


@processor
async def double(state: Line, ctx: Context) -> Line:
    if state.price == 3:
        raise BusinessError("three")
    return state.evolve(price=state.price * 2)


def summed(state: Order, results: list[Line]) -> Order:
    return state.evolve(total=sum(line.price for line in results))


@pytest.mark.parametrize("step", [double, "double"])
def test_a_batch_runs_one_processor_on_every_part(step: Any) -> None:
    what = batch("b", step, split=lines(3), join=summed)
    assert execute(what, Order(), double).unwrap().total == 6.0
    assert execute(batch("b", step, split=lines(0), join=summed), Order(), double).success
    result = execute(batch("b", step, split=lines(4), join=summed), Order(total=7.0), double)
    assert isinstance(result.error, BusinessError)
    assert result.error.failed_processor == "double"
    assert result.state.total == 7.0


def test_parts_that_are_no_states_fail_the_batch_with_advice() -> None:
    error = failure(batch("b", double, split=lambda s: [1, 2], join=summed))
    assert isinstance(error, ValidationError)
    assert "subclass am2z.AppState" in str(error)


# Functions that cheat


def test_functions_of_a_composition_get_copies() -> None:
    def spoil(state: Order) -> str:
        state.anything.append("spoilt")
        return "a"

    what = chain("c", [route("r", spoil, {"a": price})])
    assert execute(what, Order(anything=["clean"])).state.anything == ["clean"]


@pytest.mark.parametrize(
    "make",
    [
        lambda steps: chain("c", steps),
        lambda steps: parallel("c", steps),
        lambda steps: route("c", str, dict(enumerate(steps))),
    ],
)
def test_a_composition_of_nothing_or_of_something_else_is_refused(make: Any) -> None:
    with pytest.raises(ConfigurationError, match="'c' has no steps"):
        make([])
    with pytest.raises(ConfigurationError, match="decorate the function with @processor"):
        make([price, print])


def test_a_composition_takes_the_state_type_and_the_options_of_a_processor() -> None:
    retry = RetryPolicy(max_attempts=2)
    what = chain("c", ["named", price], timeout=3.0, retry=retry)
    assert (what.state_type, what.timeout, what.retry) == (Order, 3.0, retry)
    assert what.dependencies == (price,)
    assert chain("c", ["named"]).state_type is AppState


def test_a_failure_that_is_raised_tells_as_much_as_one_that_is_returned() -> None:
    @processor
    async def returned(state: Order, ctx: Context) -> Failure[Order]:
        return Failure(BusinessError("no"), state=state.evolve(total=1.0), completed_steps=2)

    @processor
    async def raised(state: Order, ctx: Context) -> Order:
        async with trio.open_nursery():
            raise Failure(BusinessError("no"), state=state.evolve(total=1.0), completed_steps=2)

    for what in (returned, raised):
        result = execute(what)
        assert isinstance(result.error, BusinessError)
        assert (result.state.total, result.metadata.completed_steps) == (1.0, 2)
