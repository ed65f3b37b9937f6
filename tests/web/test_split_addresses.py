"""A whole sidecar whose provider browsers and pod reach by different addresses."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import urlsplit

from cryptography.hazmat.primitives.asymmetric import rsa

from sidecar.adapters.remembered import RETRY_SECONDS
from tests.fakes.clock import FakeClock
from tests.fakes.discovery import tls_issuer
from tests.fakes.doors import Door
from tests.proxy.certificates import self_signed
from tests.world import World, world

API = "/api/v1/applications"
DEX = "/orchestrator/api/dex"
DISCOVERY = f"{DEX}/.well-known/openid-configuration"


@asynccontextmanager
async def port_forwarded(
    key: rsa.RSAPrivateKey, clock: FakeClock, **environment: str
) -> AsyncIterator[tuple[World, Door]]:
    """Dex under its own path, which browsers reach at `localhost` and a port of their own."""
    door = Door()
    async with door.running() as port:
        issuer = f"http://localhost:{port}{DEX}"
        settings = {"issuer": issuer, "path": DEX}
        async with world(key, clock, provider_settings=settings, environment=environment) as here:
            door.leads_to = _inside(here)
            yield here, door


def _inside(here: World) -> int:
    """The port at which the provider listens, whatever it calls itself."""
    return urlsplit(here.provider.address).port or 0


async def look(here: World, **changes: str) -> None:
    """The settings change, as a restart or another source of them would have it."""
    here.environment.update(changes)
    await here.sidecars[0].running.changes.look()


async def test_behind_a_port_forward_browsers_and_pod_use_an_address_each(
    signing_key: rsa.RSAPrivateKey, fake_clock: FakeClock
) -> None:
    async with port_forwarded(signing_key, fake_clock) as (here, door):
        internal = f"http://127.0.0.1:{_inside(here)}{DEX}"
        await look(here, SIDECAR_ISSUER_INTERNAL_URL=internal)

        browser = await here.logged_in()
        here.clock.advance(301)
        renewed = await browser.get(API)
        out = await browser.get("/auth/logout")
        await here.settled()

        assert (renewed.status, out.status) == (200, 303)
        assert here.provider.logins == here.provider.refreshes == 1
        assert [event.kind for event in here.provider.log][-1] == "revoked"
        assert not {f"{DEX}/token", f"{DEX}/revoke"} & set(door.paths)
        # Argo CD reads the metadata at its issuer; the sidecar does so inside.
        assert here.provider.discovery_requests == door.paths.count(DISCOVERY) + 1


async def test_with_one_address_for_both_the_pod_comes_to_the_browsers_door(
    signing_key: rsa.RSAPrivateKey, fake_clock: FakeClock
) -> None:
    async with port_forwarded(signing_key, fake_clock) as (here, door):
        await here.logged_in()

        assert f"{DEX}/token" in door.paths


async def test_where_the_browsers_address_means_nothing_to_the_pod_it_says_so_and_nobody_is_lost(
    signing_key: rsa.RSAPrivateKey, fake_clock: FakeClock
) -> None:
    async with port_forwarded(signing_key, fake_clock) as (here, door):
        inside, door.leads_to = door.leads_to, 9
        browser = await here.browser()
        closed = await browser.get("/auth/login")

        door.leads_to = inside
        await look(here, SIDECAR_ISSUER_INTERNAL_URL=f"http://127.0.0.1:{inside}{DEX}")

        assert closed.status == 503
        assert (await browser.log_in()).status == 303


async def test_a_new_internal_address_is_used_at_once_and_nobody_logs_in_again(
    signing_key: rsa.RSAPrivateKey, fake_clock: FakeClock
) -> None:
    async with port_forwarded(signing_key, fake_clock) as (here, door):
        browser = await here.logged_in()
        assert (await browser.get(API)).status == 200
        door.leads_to = 9  # the public way is closed to all
        here.clock.advance(301)
        closed = await browser.get(API)

        await look(here, SIDECAR_ISSUER_INTERNAL_URL=f"http://127.0.0.1:{_inside(here)}{DEX}")
        opened = await browser.get(API)

        assert (closed.status, opened.status) == (503, 200)
        assert here.provider.logins == 1


async def test_an_override_leads_one_endpoint_elsewhere(
    signing_key: rsa.RSAPrivateKey, fake_clock: FakeClock
) -> None:
    async with port_forwarded(signing_key, fake_clock) as (here, door):
        await look(here, SIDECAR_TOKEN_ENDPOINT=f"http://127.0.0.1:{_inside(here)}{DEX}/token")

        await here.logged_in()

        assert f"{DEX}/token" not in door.paths
        assert f"{DEX}/jwks" in door.paths


async def test_a_login_under_an_alias_is_a_session_that_is_renewed_under_that_alias_alone(
    signing_key: rsa.RSAPrivateKey, fake_clock: FakeClock
) -> None:
    async with world(signing_key, fake_clock) as here:
        public = here.provider.issuer
        alias = public.replace("127.0.0.1", "localhost")
        await (await here.logged_in()).get(API)  # Argo CD has read the keys
        here.provider.settings.issuer = here.argocd.settings.issuer = alias
        await look(
            here,
            SIDECAR_ISSUER_ALIASES=alias,
            SIDECAR_AUTHORIZATION_ENDPOINT=f"{public}/authorize",
            SIDECAR_TOKEN_ENDPOINT=f"{public}/token",
            SIDECAR_JWKS_URI=f"{public}/jwks",
        )

        browser = await here.logged_in()
        here.clock.advance(301)
        renewed = await browser.get(API)
        here.provider.settings.issuer = here.argocd.settings.issuer = public
        here.clock.advance(301)
        under_another = await browser.get(API)

        assert (renewed.status, under_another.status) == (200, 503)
        assert here.metric("renewal_failures_total", reason="id_token") == 1


async def test_changed_authorities_of_the_provider_are_trusted_without_a_restart(
    signing_key: rsa.RSAPrivateKey, fake_clock: FakeClock, tmp_path: Path
) -> None:
    pair = self_signed(tmp_path / "right", "localhost")
    self_signed(tmp_path / "wrong", "localhost")
    authorities = tmp_path / "ca.pem"
    authorities.write_bytes((tmp_path / "wrong" / "tls.crt").read_bytes())
    async with tls_issuer(pair) as issuer:
        environment = {"SIDECAR_ISSUER": issuer, "SIDECAR_PROVIDER_CA_FILE": str(authorities)}
        async with world(signing_key, fake_clock, environment=environment) as here:
            browser = await here.browser()
            untrusted = await browser.get("/auth/login")
            await look(here)

            authorities.write_text("no certificates")
            await look(here)
            authorities.write_bytes((tmp_path / "right" / "tls.crt").read_bytes())
            await look(here)
            here.clock.advance(RETRY_SECONDS)
            trusted = await browser.get("/auth/login")

            assert untrusted.status == 503
            assert trusted.headers["Location"].startswith(issuer)
            assert here.metric("alarms_total", kind="configuration_refused") == 1
