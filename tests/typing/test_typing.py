"""The types hold: a strict checker accepts what users write, and refuses what is wrong."""

import importlib.util
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
import trio
from trio.testing import MockClock

from am2z import AppState, Context, Runtime, ValidationError, processor

HERE = Path(__file__).parent
ROOT = HERE.parents[1]

MISTAKES = """\
from am2z import AppState, Context, LocalRuntime, Runtime, RuntimeMixin, processor

class Order(AppState):
    total: float = 0.0

class Parcel(AppState):
    weight: float = 0.0

@processor
async def price(state: Order, ctx: Context) -> Order:
    return state

class Half(RuntimeMixin):
    pass

async def use(runtime: Runtime) -> None:
    await runtime.execute(price, Parcel())
    Order(totl=1.0)
    Half()
    Order().total = 2.0
"""


def mypy(path: Path, cache: Path) -> str:
    # A cache of its own: several of these may run at once.
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--follow-imports=silent",
         "--cache-dir", str(cache), str(path)],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert not done.stderr, done.stderr
    return done.stdout


def outsider() -> ModuleType:
    spec = importlib.util.spec_from_file_location("outsider_for_a_test", HERE / "outsider.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def test_a_strict_checker_accepts_both_runtimes_an_outsiders_and_what_users_write(
    tmp_path: Path,
) -> None:
    wrong = tmp_path / "mistakes.py"
    wrong.write_text(MISTAKES)
    assert "Success" in mypy(HERE / "outsider.py", tmp_path)
    told = mypy(wrong, tmp_path)
    for line, says in ((17, "StateT"), (18, "totl"), (19, "abstract"), (20, "read-only")):
        assert any(f":{line}: error" in each and says in each for each in told.splitlines()), told


def test_a_runtime_that_an_outsider_wrote_has_everything_of_a_runtime() -> None:
    module = outsider()

    async def main() -> None:
        runtime = module.Outsider()
        assert isinstance(runtime, Runtime)
        async with runtime.register(module.price, module.ship):
            results = await runtime.execute_many(module.ship, [module.Order()] * 3, "s")
            assert [result.state.total for result in results] == [49.0] * 3
            both = await runtime.execute_many([("price", module.Order()), ("no", module.Order())])
            assert [result.success for result in both] == [True, False]
            assert (await runtime.execute_in_session("price", module.Order(), "t")).success
            with pytest.raises(ValidationError, match="Parcel"):
                await runtime.execute_many("price", [module.Order(), module.Parcel(weight=1.0)])
            assert await runtime.active_sessions() == ["s", "t"]
            await runtime.clean_all_sessions()
            assert await runtime.active_sessions() == []

    trio.run(main)


def test_cancelling_the_caller_of_an_outsiders_runtime_cancels_the_execution() -> None:
    module = outsider()
    ended = []

    @processor(name="hang")
    async def hang(state: AppState, ctx: Context) -> AppState:
        try:
            await trio.sleep_forever()
        finally:
            ended.append("cancelled")
        return state

    async def main() -> None:
        async with module.Outsider().register(hang) as runtime:
            with trio.move_on_after(1) as scope:
                await runtime.execute(hang, AppState())
            assert scope.cancelled_caught
            assert ended == ["cancelled"]
            assert (await runtime.stats()).active == 0

    trio.run(main, clock=MockClock(autojump_threshold=0))
