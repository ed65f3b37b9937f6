"""TLS to the store as it is configured: authorities, names, and certificates of our own."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from sidecar import edges
from sidecar.adapters.redis_store import RedisStore
from sidecar.config.settings import Config
from sidecar.doctor.store_look import look_at_store
from sidecar.errors import StoreUnavailable
from tests.adapters.records import LAPTOP, attach
from tests.failover.authority import Authority
from tests.failover.servers import HOST, Server, Servers, redis_program, servers
from tests.fakes.clock import FakeClock
from tests.world import KEYS, free_port

LEAST = {
    "SIDECAR_PUBLIC_URL": "https://argocd.example.org",
    "SIDECAR_ISSUER": "https://idp.example.org",
    "SIDECAR_CLIENT_ID": "argo-cd",
    "SIDECAR_CLIENT_SECRET": "secret",
    "SIDECAR_SESSION_KEYS": KEYS,
}


@dataclass
class Here:
    """A server that wants a certificate of its clients, and the settings that satisfy it."""

    made: Servers
    server: Server
    authority: Authority
    tls_port: int
    environment: dict[str, str]

    def store(self, clock: FakeClock, **changes: str | None) -> RedisStore:
        store = edges.store(self.config(**changes), clock, command_seconds=10.0)
        assert isinstance(store, RedisStore)
        return store

    def config(self, **changes: str | None) -> Config:
        changed = {f"SIDECAR_STORE_{name.upper()}": value for name, value in changes.items()}
        given = {**LEAST, **self.environment, **changed}
        return Config.load({name: value for name, value in given.items() if value is not None})

    async def seen(self, clock: FakeClock, **changes: str | None) -> str:
        """What the doctor sees in the way."""
        return (await look_at_store(self.config(**changes), clock)).error


@pytest.fixture
async def here(tmp_path: Path) -> AsyncIterator[Here]:
    authority = Authority("ours", tmp_path / "ca")
    cert_file, key_file = authority.pair("redis.example.org", tmp_path / "server", HOST)
    own = authority.pair("sidecar", tmp_path / "own")
    async with servers() as made:
        tls_port = free_port()
        server = await made.new(
            redis_program(),
            tls_port=str(tls_port),
            tls_cert_file=str(cert_file),
            tls_key_file=str(key_file),
            tls_ca_cert_file=str(authority.file),
            tls_auth_clients="yes",
        )
        environment = {
            "SIDECAR_STORE_URL": f"rediss://{HOST}:{tls_port}/0",
            "SIDECAR_STORE_CA_FILE": str(authority.file),
            "SIDECAR_STORE_TLS_CERT_FILE": str(own[0]),
            "SIDECAR_STORE_TLS_KEY_FILE": str(own[1]),
        }
        yield Here(made, server, authority, tls_port, environment)


async def test_a_store_that_wants_a_client_certificate_is_given_ours(
    here: Here, clock: FakeClock
) -> None:
    store = here.store(clock)

    await attach(store, LAPTOP)

    assert await store.load(LAPTOP)
    assert await here.seen(clock) == ""
    await store.aclose()


@pytest.mark.parametrize(
    ("changes", "seen"),
    [
        pytest.param({"ca_file": None}, "CertificateError", id="other-authorities"),
        pytest.param({"tls_server_name": "else"}, "CertificateError", id="another-name"),
        pytest.param(
            {"tls_cert_file": None, "tls_key_file": None}, "ClientCertificateError", id="no-own"
        ),
        pytest.param({"tls_server_name": "redis.example.org"}, "", id="its-name"),
    ],
)
async def test_what_is_missing_or_wrong_is_refused_and_the_doctor_says_what(
    here: Here, clock: FakeClock, changes: dict[str, str | None], seen: str
) -> None:
    store = here.store(clock, **changes)

    if seen:
        with pytest.raises(StoreUnavailable):
            await store.ping()
    else:
        await store.ping()

    found = await here.seen(clock, **changes)
    # With TLS 1.3 a server says so behind the handshake, which later Pythons may not hear of.
    unheard = {"ConnectionError"} if seen == "ClientCertificateError" else set()
    assert found in {seen, *unheard}
    await store.aclose()


async def test_certificates_that_are_renewed_in_their_files_are_used_by_the_next_connection(
    here: Here, clock: FakeClock, tmp_path: Path
) -> None:
    """Both sides go over to another authority; nothing is started anew."""
    store = here.store(clock)
    await attach(store, LAPTOP)
    other = Authority("another", tmp_path / "other")
    cert_file, key_file = other.pair("redis.example.org", tmp_path / "server-2", HOST)
    for name, file in (("cert-file", cert_file), ("key-file", key_file)):
        (tmp_path / "server" / ("tls.crt" if name == "cert-file" else "tls.key")).write_bytes(
            file.read_bytes()
        )
    await here.server.told("CONFIG", "SET", "tls-ca-cert-file", str(other.file))
    await here.server.told("CLIENT", "KILL", "TYPE", "normal")
    with pytest.raises(StoreUnavailable):
        await store.load(LAPTOP)

    here.authority.file.write_bytes(other.file.read_bytes())
    other.pair("sidecar", tmp_path / "own")

    assert await store.load(LAPTOP)
    await store.aclose()
