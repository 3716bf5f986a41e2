from __future__ import annotations

import traceback

import pytest

from am2z.errors import ConfigurationError
from am2z.queue.client import hide_password, parse_url


def test_url_names_host_port_database_user_and_password() -> None:
    target = parse_url("redis://wor%40ker:p%3Ass@db.example:6380/3")
    assert (target.host, target.port, target.db) == ("db.example", 6380, 3)
    assert (target.username, target.password) == ("wor@ker", "p:ss")
    assert not target.is_fake


def test_url_has_defaults() -> None:
    target = parse_url("redis://")
    assert (target.host, target.port, target.db) == ("localhost", 6379, 0)
    assert (target.username, target.password) == (None, None)


def test_unix_url_names_socket_database_and_password() -> None:
    target = parse_url("unix://user:pw@/run/redis.sock?db=2")
    assert (target.path, target.db, target.password) == ("/run/redis.sock", 2, "pw")
    assert parse_url("unix:///run/redis.sock?password=pw").password == "pw"


def test_fake_url_names_server_and_database() -> None:
    target = parse_url("fake://orders/1")
    assert (target.is_fake, target.path, target.db) == (True, "orders", 1)
    assert parse_url("fake://").path == ""


def test_sentinel_url_names_sentinels_service_and_database() -> None:
    target = parse_url("redis+sentinel://us%40er:p%3Aw@a:1,[::1]:2,c/my%20orders/3")
    assert target.seeds == (("a", 1), ("::1", 2), ("c", 26379))
    assert (target.scheme, target.found_by) == ("redis", "sentinel")
    assert (target.service, target.db) == ("my orders", 3)
    assert (target.username, target.password) == ("us@er", "p:w")
    assert parse_url("rediss+sentinel://a/x").scheme == "rediss"


def test_cluster_url_names_nodes() -> None:
    target = parse_url("redis+cluster://:pw@a:1,b")
    assert (target.seeds, target.found_by) == ((("a", 1), ("b", 6379)), "cluster")
    assert (target.password, target.db) == ("pw", 0)
    assert parse_url("rediss+cluster://a/0?ssl_cert_reqs=none").tls == {"ssl_cert_reqs": "none"}


def test_tls_url_keeps_its_options() -> None:
    target = parse_url("rediss://h/0?ssl_cert_reqs=none&ssl_ca_certs=/ca.pem")
    assert target.tls == {"ssl_cert_reqs": "none", "ssl_ca_certs": "/ca.pem"}


@pytest.mark.parametrize(
    "url",
    [
        "",
        "localhost:6379",
        "http://localhost",
        "redis://localhost:port",
        "redis://localhost:99999",
        "redis://localhost/abc",
        "redis://localhost/0?db=x",
        "redis://localhost/0?retries=3",
        "redis://[::1",
        "unix://",
        "fake://name/db",
        "redis+sentinel://a:1",
        "redis+sentinel://a:1/",
        "redis+sentinel:///orders",
        "redis+sentinel://a:1,/orders",
        "redis+sentinel://a:x/orders",
        "redis+sentinel://a:1/orders/zero",
        "redis+sentinel://a:1/orders/0/1",
        "redis+cluster://",
        "redis+cluster://a:1/1",
        "redis+cluster://a:1?sentinel_password=x",
        "redis+cluster://a:1?x",
        "redis+other://a:1",
        7,
    ],
)
def test_malformed_url_is_a_configuration_error(url: object) -> None:
    with pytest.raises(ConfigurationError):
        parse_url(url)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "url",
    [
        "redis://user:s3cret@host:6379/0",
        "redis://:s3cret@host",
        "rediss://user:s3cret@host/0?ssl_cert_reqs=none",
        "unix://:s3cret@/tmp/redis.sock",
        "unix:///tmp/redis.sock?db=1&password=s3cret",
        "redis://user:s3cret@host:badport/0",
        "redis://user:s3cret/with@slash@host/0",
        "redis://user:s3cret#hash@host/0",
        "redis://user:s3cret?mark@host/0",
        "redis://host:6379/0?password=s3cret@x",
        "redis+sentinel://user:s3cret@a:1,b:2/orders",
        "redis+sentinel://a:1,b:2/orders?sentinel_password=s3cret",
        "redis+cluster://user:s3cret@a:1,b:port",
        "nonsense://user:s3cret@host",
        "redis://user:s3cret@host/notanumber",
        "redis://user:s3cret@[host/0",
    ],
)
def test_password_is_never_shown(url: str) -> None:
    assert "s3cret" not in hide_password(url)
    try:
        shown = repr(parse_url(url))
    except ConfigurationError as error:
        shown = "".join(traceback.format_exception(error))
    assert "s3cret" not in shown
    assert "***" in shown


def test_url_without_password_is_shown_as_it_is() -> None:
    for url in ("redis://host:6379/0", "redis://user@host/0", "unix:///tmp/a@b.sock", "fake://x"):
        assert hide_password(url) == url
