"""How application authors test their processors."""

from contextlib import asynccontextmanager

import pytest
import redis
import trio
import trio.testing

from am2z import BusinessError, ConfigurationError, LocalRuntime, ValidationError
from harness import (
    TestEventCollector,
    TestState,
    cleanup_test_runtime,
    create_counter_processor,
    create_delay_processor,
    create_error_processor,
    create_test_processor,
    create_test_state,
    on_every_runtime,
    setup_test_runtime,
    wait_for_condition,
)

counter = create_counter_processor("counter")

SHOP = """
    import trio
    from am2z import AppState, Context, processor
    from harness import on_every_runtime

    class Order(AppState):
        items: list[str] = []
        total: float = 0.0

    @processor
    async def price(state: Order, ctx: Context) -> Order:
        return state.evolve(total=49.0 * len(state.items))

    @on_every_runtime(price)
    async def test_a_chair_has_its_price(runtime, tmp_path):
        assert tmp_path.exists()
        result = await runtime.execute(price, Order(items=["chair"]))
        assert result.unwrap().total == 49.0

    def test_without_the_decorator(am2z_runtime):
        async def main():
            async with am2z_runtime(price) as runtime:
                result = await runtime.execute(price, Order(items=["chair"]))
                assert result.unwrap().total == 49.0
        trio.run(main)
"""

ASYNC = """
    import pytest

    async def test_under_pytest_trio(am2z_runtime):
        from test_shop import Order, price
        async with am2z_runtime(price) as runtime:
            result = await runtime.execute(price, Order(items=["chair"]))
        assert result.unwrap().total == 49.0
"""


@pytest.fixture
def project(pytester, monkeypatch):
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")

    def run(*options):
        return pytester.runpytest_inprocess(
            *("-p", "harness.plugin", "-p", "no:cacheprovider", "-W", "error"), *options
        )

    pytester.makepyfile(test_shop=SHOP)
    return run


@pytest.mark.parametrize("runtime", ["local", "queue[fake]", "queue[server]"])
def test_ten_lines_test_a_processor_on_a_runtime(project, runtime):
    project(f"--am2z-runtime={runtime}").assert_outcomes(passed=2)


def test_a_project_without_a_conftest_tests_on_local_and_queue(project):
    result = project("-v")
    result.assert_outcomes(passed=4)
    result.stdout.fnmatch_lines_random(
        ["*a_chair_has_its_price[[]local[]]*", "*a_chair_has_its_price[[]queue[[]fake[]][]]*"]
    )
    assert "AM2Z conformance" not in result.stdout.str()


def test_the_fixture_works_under_pytest_trio(project, pytester):
    pytester.makepyfile(test_async=ASYNC)
    result = project("-p", "pytest_trio.plugin", "-o", "trio_mode=true", "--am2z-runtime=local")
    result.assert_outcomes(passed=3)


def test_a_failing_test_shows_its_own_assertion_and_no_group(project, pytester):
    pytester.makepyfile(test_shop=SHOP.replace("== 49.0", "== 50.0"))
    result = project("--am2z-runtime=local", "-k", "chair")
    result.assert_outcomes(failed=1)
    assert "assert 49.0 == 50.0" in result.stdout.str()
    assert "ExceptionGroup" not in result.stdout.str()


def test_marks_below_the_decorator_are_kept():
    @on_every_runtime(counter)
    @pytest.mark.trio
    async def test_it(runtime):
        pass

    assert [mark.name for mark in test_it.pytestmark] == ["trio"]
    assert test_it.__name__ == "test_it"


def test_the_decorator_without_processors_in_brackets_is_explained():
    with pytest.raises(ConfigurationError, match="takes processors"):

        @on_every_runtime
        async def test_it(runtime):
            pass


@pytest.mark.parametrize("test", [lambda: None, lambda self, runtime: None])
def test_the_decorator_wants_the_runtime_first(test):
    with pytest.raises(ConfigurationError, match="first parameter"):
        on_every_runtime()(test)


def test_several_errors_of_a_test_stay_together():
    @on_every_runtime()
    async def test_it(runtime):
        async def fail(error):
            raise error

        async with trio.open_nursery() as nursery:
            nursery.start_soon(fail, OSError("one"))
            nursery.start_soon(fail, OSError("two"))

    @asynccontextmanager
    async def make(*processors, **options):
        yield None

    with pytest.raises(ExceptionGroup) as caught:
        test_it(am2z_runtime=make)
    assert len(caught.value.exceptions) == 2


# --- helpers


def test_a_runtime_for_tests_has_a_namespace_of_its_own_that_is_emptied(am2z_redis_url):
    async def main():
        async with setup_test_runtime(counter, redis_url=am2z_redis_url) as runtime:
            result = await runtime.execute(counter, TestState(), "session")
            assert result.unwrap().count == 1
            assert keys()

    def keys():
        with redis.Redis.from_url(am2z_redis_url) as client:
            return client.keys("*am2z-test-*")

    trio.run(main)
    assert not keys()


def test_a_runtime_for_tests_needs_no_server():
    async def main():
        async with setup_test_runtime(counter) as runtime:
            assert (await runtime.execute(counter, TestState())).unwrap().count == 1

    trio.run(main)


@pytest.mark.trio
async def test_cleaning_up_forgets_every_session():
    runtime = LocalRuntime()
    async with cleanup_test_runtime(runtime):
        runtime.register(counter)
        await runtime.execute(counter, TestState(), "one")
        assert await runtime.active_sessions() == ["one"]
    assert not runtime.is_started


def local(*processors):
    """Run a function with a started local runtime."""

    def run(body):
        async def main():
            async with LocalRuntime() as runtime:
                runtime.register(*processors)
                await body(runtime)

        trio.run(main)

    return run


def test_the_processors_for_tests_do_what_they_say():
    marks = create_test_processor("marks")
    own = create_test_processor("own", lambda state, ctx: state.evolve(message="thread"))
    slow = create_delay_processor("slow", 0.01)
    strict = create_error_processor("strict")
    no = create_error_processor("no", "business")

    @local(counter, marks, own, slow, strict, no)
    async def _(runtime):
        async def run(processor):
            return await runtime.execute(processor, create_test_state(count=1))

        assert (await run(counter)).state.count == 2
        assert (await run(marks)).state.processed
        assert (await run(own)).state.message == "thread"
        waited = await run(slow)
        assert waited.state.processed
        assert waited.execution_time >= 0.009
        assert isinstance((await run(strict)).error, ValidationError)
        assert isinstance((await run(no)).error, BusinessError)


def test_an_unknown_kind_of_error_is_refused():
    with pytest.raises(ValueError, match="'validation' or 'business'"):
        create_error_processor("x", "moody")


def test_a_test_state_has_the_fields_of_the_plan():
    state = create_test_state("session", count=3, items=["a"])
    assert (state.count, state.items, state.message) == (3, ["a"], "test")
    assert (state.processed, state.error, state.total) == (False, "", 0.0)
    assert state.metadata.session_id == "session"


def test_the_collector_takes_what_was_asked_for_and_waits_for_it():
    @local(counter)
    async def _(runtime):
        collector = TestEventCollector(runtime).start(["processor:*", "queue:completed"])
        collector.start("processor:completed")
        await runtime.execute(counter, TestState())
        event = await collector.wait_for_event("processor:completed")
        assert event.processor_name == "counter"
        assert [e.type for e in collector.events("processor:*")] == [
            "processor:active",
            "processor:completed",
        ]
        assert len(collector.events()) == 3
        with pytest.raises(TimeoutError, match=r"2 of 'queue:completed'; what came: 1 x proc"):
            await collector.wait_for_event("queue:completed", 0.01, count=2)
        collector.clear()
        collector.stop()
        await runtime.execute(counter, TestState())
        assert collector.events() == []
        with pytest.raises(TimeoutError, match="what came: nothing"):
            await collector.wait_for_event("*", 0.01)


def test_the_collector_wakes_up_who_waits():
    @local(counter)
    async def _(runtime):
        with TestEventCollector(runtime) as events:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(events.wait_for_event, "processor:completed")
                await trio.testing.wait_all_tasks_blocked()
                await runtime.execute(counter, TestState())
        async with TestEventCollector(runtime) as events:
            runtime.emit("mine", {"a": 1})
            assert (await events.wait_for_event("mine")).data == {"a": 1}


def test_waiting_ends_as_soon_as_the_condition_is_true():
    async def main():
        seen = []

        async def late():
            seen.append(1)
            return len(seen) > 3

        await wait_for_condition(late)
        await wait_for_condition(lambda: True)
        assert len(seen) == 4
        with pytest.raises(TimeoutError, match=r"waited 0\.01 s for: the sun"):
            await wait_for_condition(lambda: False, 0.01, message="the sun")
        with pytest.raises(TimeoutError, match="lambda"):
            await wait_for_condition(lambda: False, 0.01)

    trio.run(main)
