"""The fixtures of the plugin. Cheap to import."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest

from harness.config import KIT, session_of

if TYPE_CHECKING:
    from harness.kit import Kit
    from harness.strict import Strict

__all__ = [
    "am2z_kit",
    "am2z_namespace",
    "am2z_redis_url",
    "am2z_runtime",
    "am2z_strict_runtime",
]


@pytest.fixture
def am2z_kit(request: pytest.FixtureRequest) -> Iterator[Kit]:
    """The kit for one rule on one runtime."""
    with _kit(request) as kit:
        request.node.stash[KIT] = kit
        yield kit


@pytest.fixture
def am2z_runtime(request: pytest.FixtureRequest) -> Iterator[Callable[..., Any]]:
    """Makes runtimes for a test of your own processors; the test runs once for each kind. ::

    async def test_price(am2z_runtime):               # under pytest-trio, or in a trio.run
        async with am2z_runtime(price) as runtime:    # started, with price registered
            result = await runtime.execute(price, Order(items=["chair"]))
    """
    with _kit(request) as kit:
        yield kit.runtime


@pytest.fixture
def am2z_namespace(request: pytest.FixtureRequest) -> Iterator[str]:
    """A namespace that nobody else uses; its Redis keys are removed after the test."""
    state = session_of(request.config)
    namespace = state.new_namespace()
    yield namespace
    state.remove_namespace(namespace)


@pytest.fixture(scope="session")
def am2z_redis_url(request: pytest.FixtureRequest) -> str:
    """The URL of a real Redis server; the test is skipped where there is none."""
    servers = session_of(request.config).servers
    if not servers.available:
        pytest.skip(servers.choice.description)
    return servers.url()


@pytest.fixture
def am2z_strict_runtime(request: pytest.FixtureRequest) -> Strict:
    """Runs your processors under everything that a runtime may do to them. ::

    def test_charging(am2z_strict_runtime):
        am2z_strict_runtime.check(charge, Order(total=49.0), effects=gateway.charges)
    """
    from harness.strict import Strict  # noqa: PLC0415 - who does not ask for it pays nothing

    state = session_of(request.config)
    return Strict(state.seed, state.replay.one("strict", "", request.node.nodeid))


@contextmanager
def _kit(request: pytest.FixtureRequest) -> Iterator[Kit]:
    """A kit in a fresh namespace, which is emptied at the end."""
    state = session_of(request.config)
    if request.param.redis == "server" and not state.servers.available:
        pytest.skip(state.choice.description)
    kit = state.kit(request.param, request.node.nodeid)
    yield kit
    kit.close()
    state.remove_namespace(kit.namespace)
