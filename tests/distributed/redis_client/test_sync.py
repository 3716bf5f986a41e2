from __future__ import annotations

import subprocess
import sys

import pytest
import redis

from am2z.errors import ConfigurationError
from am2z.queue.client import sync_client


def test_sync_client_gives_up_soon_and_never_sends_a_command_twice() -> None:
    client = sync_client("redis://localhost:1/0")
    options = client.connection_pool.connection_kwargs
    assert (options["socket_timeout"], options["socket_connect_timeout"]) == (2.0, 2.0)
    assert client.get_retry()._retries == 0
    with pytest.raises(redis.ConnectionError):
        client.ping()
    client.close()


def test_sync_client_speaks_to_the_server_of_its_url(url: str) -> None:
    with sync_client(url) as one, sync_client(url) as two:
        one.set("k", "v")
        assert two.get("k") == b"v"


def test_sync_client_of_a_malformed_url_is_a_configuration_error() -> None:
    with pytest.raises(ConfigurationError):
        sync_client("http://localhost")


def test_fakeredis_is_only_imported_for_those_who_open_a_fake_url() -> None:
    code = "import sys, am2z.queue.client; sys.exit('fakeredis' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
