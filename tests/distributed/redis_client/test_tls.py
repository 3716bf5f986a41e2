"""``rediss://``: the server's certificate is checked, and the client may show one of its own."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
import trio

from am2z import (
    AppState,
    ConfigurationError,
    Context,
    NetworkError,
    QueueRuntime,
    RuntimeConfig,
    processor,
)
from am2z.queue.client import open_client, sync_client

from .fleet import LOOPBACK, SERVICE, Fleet, free_ports, missing, wait_for

trustme = pytest.importorskip("trustme")
lacking = missing("redis-server", "redis-sentinel")
pytestmark = [
    pytest.mark.redis7,
    pytest.mark.trio,
    pytest.mark.skipif(lacking is not None, reason=f"no {lacking} on PATH"),
]


class Work(AppState):
    count: int = 0


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    """Certificates: of the server, of a client, and of a client that nobody knows."""
    folder = tmp_path_factory.mktemp("tls")
    paths = SimpleNamespace(ca=folder / "ca.pem", other_ca=folder / "other-ca.pem")
    authority, other = trustme.CA(), trustme.CA()
    authority.cert_pem.write_to_path(str(paths.ca))
    other.cert_pem.write_to_path(str(paths.other_ca))
    for name, certificate in (
        ("server", authority.issue_cert("localhost", LOOPBACK)),
        ("client", authority.issue_cert("worker@example.org")),
        ("stranger", other.issue_cert("worker@example.org")),
    ):
        setattr(paths, name, folder / f"{name}.pem")
        setattr(paths, f"{name}_key", folder / f"{name}.key")
        certificate.cert_chain_pems[0].write_to_path(str(getattr(paths, name)))
        certificate.private_key_pem.write_to_path(str(getattr(paths, f"{name}_key")))
    return paths


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[Fleet]:
    some = Fleet(tmp_path)
    yield some
    some.stop()


@pytest.fixture
def serve(fleet: Fleet, files: SimpleNamespace) -> Callable[..., str]:
    """Starts a server that speaks only TLS; its URL up to the options."""

    def serve(*options: str, asks_clients: bool = False) -> str:
        port = free_ports(1)[0]
        access = {"ssl": True, "ssl_ca_certs": str(files.ca), "ssl_certfile": str(files.client),
                  "ssl_keyfile": str(files.client_key)}  # fmt: skip
        fleet.server(
            *("--port", "0", "--tls-port", str(port), "--tls-ca-cert-file", str(files.ca)),
            *("--tls-cert-file", str(files.server), "--tls-key-file", str(files.server_key)),
            *("--tls-auth-clients", "yes" if asks_clients else "no", *options),
            port=port,
            **access,
        )
        return f"rediss://localhost:{port}/0"

    return serve


async def refusal(url: str) -> Exception:
    with trio.fail_after(3), pytest.raises((NetworkError, ConfigurationError)) as caught:
        async with open_client(url):
            pytest.fail("it opened")
    return caught.value


async def test_values_of_any_size_pass_and_blocking_commands_work(serve, files) -> None:
    url = f"{serve()}?ssl_ca_certs={files.ca}"
    async with open_client(url) as client:
        value = b"x" * 3_000_000
        await client.call("SET", "k", value)
        assert await client.call("GET", "k") == value
        assert await client.block("BLPOP", "l", 0.01, timeout=0.01) is None
    with sync_client(url) as plain:
        assert plain.strlen("k") == 3_000_000


async def test_unknown_authority_is_refused_with_an_error_that_says_what_to_do(
    serve, files
) -> None:
    url = serve()
    for options in ("", f"?ssl_ca_certs={files.other_ca}"):
        error = await refusal(url + options)
        assert isinstance(error, NetworkError)
        assert "certificate is not trusted" in str(error)
        assert "ssl_ca_certs" in str(error)
    async with open_client(f"{url}?ssl_cert_reqs=none") as client:
        assert await client.call("PING") == b"PONG"
    with sync_client(f"{url}?ssl_cert_reqs=none") as plain:
        assert plain.ping()


async def test_certificate_of_another_host_is_refused_unless_that_is_allowed(
    serve, files, fleet
) -> None:
    url = f"{serve()}?ssl_ca_certs={files.ca}".replace("localhost", "127.0.0.2")
    fleet.nodes[-1].ask("CONFIG", "SET", "bind", "127.0.0.1 127.0.0.2")
    assert "127.0.0.2" in str(await refusal(url))
    async with open_client(f"{url}&ssl_check_hostname=false") as client:
        assert await client.call("PING") == b"PONG"
    with sync_client(f"{url}&ssl_check_hostname=false") as plain:
        assert plain.ping()


async def test_files_that_cannot_be_read_are_a_configuration_error(serve, files) -> None:
    url = serve()
    for option in ("ssl_ca_certs=/no/such/file", f"ssl_certfile={files.ca}", "ssl_cert_reqs=maybe"):
        assert isinstance(await refusal(f"{url}?{option}"), ConfigurationError)


async def test_client_shows_its_certificate_where_the_server_asks_for_one(serve, files) -> None:
    url = f"{serve(asks_clients=True)}?ssl_ca_certs={files.ca}"
    shown = f"{url}&ssl_certfile={files.client}&ssl_keyfile={files.client_key}"
    async with open_client(shown) as client:
        assert await client.call("PING") == b"PONG"
    with sync_client(shown) as plain:
        assert plain.ping()
    error = await refusal(url)
    assert "ssl_certfile" in str(error)
    error = await refusal(f"{url}&ssl_certfile={files.stranger}&ssl_keyfile={files.stranger_key}")
    assert "not trust the client's TLS certificate" in str(error)


async def test_plain_and_tls_are_told_apart(serve, fleet) -> None:
    url = serve()
    assert isinstance(await refusal(url.replace("rediss", "redis")), NetworkError)
    plain = fleet.server()
    assert isinstance(await refusal(f"rediss://{plain.address}"), NetworkError)


async def test_runtime_keeps_its_leases_over_tls(serve, files) -> None:
    """The heartbeat has a connection of its own: it must be as safe as the other."""
    url = f"{serve(asks_clients=True)}?ssl_ca_certs={files.ca}"
    url += f"&ssl_certfile={files.client}&ssl_keyfile={files.client_key}"
    config = RuntimeConfig(lease=0.3)
    runs = 0

    @processor
    async def stuck(state: Work, ctx: Context) -> Work:
        nonlocal runs
        runs += 1
        threading.Event().wait(1.0)  # hold up the event loop for longer than three leases
        return state

    async with QueueRuntime(url, config=config).register(stuck) as runtime:
        assert (await runtime.execute(stuck, Work())).success
    assert runs == 1


async def test_nodes_of_a_cluster_are_reached_over_tls(serve, files, fleet) -> None:
    bus = str(free_ports(1)[0])
    serve("--cluster-enabled", "yes", "--cluster-port", bus, "--tls-cluster", "yes")
    node = fleet.nodes[-1]
    node.ask("CLUSTER", "ADDSLOTSRANGE", 0, 16383)
    wait_for(lambda: b"cluster_state:ok" in node.ask("CLUSTER", "INFO"), "the cluster")
    seed = f"rediss+cluster://{node.address}?ssl_ca_certs={files.ca}"
    async with open_client(seed, key="k") as client:
        assert await client.call("SET", "k", 1) == b"OK"
    with sync_client(seed, key="k") as plain:
        assert plain.get("k") == b"1"


async def test_sentinels_and_master_are_reached_over_tls(serve, files, fleet, tmp_path) -> None:
    serve()
    master, port = fleet.nodes[-1], free_ports(1)[0]
    config = tmp_path / "sentinel.conf"
    config.write_text(
        f"port 0\ntls-port {port}\ntls-replication yes\ntls-auth-clients no\n"
        f"tls-ca-cert-file {files.ca}\ntls-cert-file {files.server}\n"
        f"tls-key-file {files.server_key}\n"
        f"sentinel monitor {SERVICE} {LOOPBACK} {master.port} 1\n"
    )
    fleet.start("redis-sentinel", port, str(config), **master.access)
    url = f"rediss+sentinel://{LOOPBACK}:{port}/{SERVICE}?ssl_ca_certs={files.ca}"
    async with open_client(url) as client:
        assert await client.call("PING") == b"PONG"
    with sync_client(url) as plain:
        assert plain.ping()
