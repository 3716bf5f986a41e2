"""A Redis server of their own for these tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.distributed.redis_client.conftest import RedisServer


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    one = RedisServer(tmp_path_factory.mktemp("redis")).start()
    yield one
    one.kill()
