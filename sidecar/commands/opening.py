"""What a command needs of the configuration that `sidecar run` has: the store, and its keys."""

import os
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

import structlog

from sidecar import edges
from sidecar.adapters.openid_provider import OpenIdProvider
from sidecar.adapters.redis_store import RedisStore
from sidecar.adapters.upstream import ArgoCd, upstream_session
from sidecar.config.settings import Config
from sidecar.core.sealing import Key, KeyRing
from sidecar.core.store_acl import MEND
from sidecar.errors import ConfigurationError, StoreUnavailable
from sidecar.flows.records import Client, Records
from sidecar.flows.revocation import Revocations
from sidecar.flows.tasks import Runtime, Tasks
from sidecar.flows.walk import Walk
from sidecar.loading import loading
from sidecar.logs import no_log
from sidecar.metrics import Metrics
from sidecar.ports import Clock

_COMMAND_SECONDS = 5.0  # a store that is busy is not away, and nobody's request waits for us


@dataclass(frozen=True, slots=True)
class Opened:
    """The store of a configuration, with the keys that open what is in it."""

    config: Config
    client: Client
    ring: KeyRing
    store: RedisStore
    records: Records
    clock: Clock
    _runtime: Runtime
    _owned: AsyncExitStack

    @property
    def walk(self) -> Walk:
        """All that is in the store."""
        return Walk(self.store, self.records)

    def revocations(self, provider: OpenIdProvider) -> Revocations:
        """What the replicas are to revoke at a provider."""
        seconds = self.config.timings.provider_seconds
        return Revocations(
            self.store, self.records, provider, self._runtime, provider_seconds=seconds
        )

    async def provider(self) -> OpenIdProvider:
        """The provider; closed with the rest."""
        http = await self._owned.enter_async_context(edges.provider_http(self.config))
        secret = self.config.read_credentials
        return edges.provider(self.config, http, secret, self.clock, Metrics())

    async def upstream(self) -> ArgoCd:
        """Argo CD; closed with the rest."""
        tls = edges.upstream_contexts(self.config)
        http = upstream_session(self.config.upstream, tls.http1 if tls else None)
        await self._owned.enter_async_context(http)
        return edges.argocd(self.config, http)


@asynccontextmanager
async def opened(environ: Mapping[str, str], clock: Clock) -> AsyncIterator[Opened]:
    """The store that these variables, and Argo CD's settings, lead to.

    Raises:
        ConfigurationError: with a line for every fault, or where there is no store to open.
    """
    log = structlog.get_logger()
    async with loading(environ, clock=clock, log=log) as loaded, AsyncExitStack() as owned:
        config = loaded.config
        keys = _keys_of(config)
        store = edges.store(
            config, clock, command_seconds=max(_COMMAND_SECONDS, config.store_timeout)
        )
        assert isinstance(store, RedisStore)  # noqa: S101 - memory:// has been refused
        owned.push_async_callback(store.aclose)
        ring, client = KeyRing(keys), Client(config.issuer, config.client_id)
        runtime = Runtime(clock, os.urandom, Tasks(no_log()), Metrics(), no_log())
        records = Records(ring, client, runtime, prefix=edges.KEY_PREFIX)
        yield Opened(config, client, ring, store, records, clock, runtime, owned)


def trouble_of(error: StoreUnavailable) -> str:
    """Why the store could not be worked with, and the mend."""
    text = str(error.__cause__ or "").lower()
    if "no permissions" in text or "noperm" in text:
        return f"The store does not let this user do that. {MEND}"
    return f"{str(error)[:1].upper()}{str(error)[1:]}. What was done until then holds; run it again"


def _keys_of(config: Config) -> tuple[Key, ...]:
    if not config.argocd.takes_over_logins:
        findings = [str(finding) for finding in config.argocd.findings]
        raise ConfigurationError(
            ["Logins are not taken over here, so there are no sessions to work with", *findings]
        )
    if config.store_url == "memory://":
        raise ConfigurationError(
            ["The sessions are in the memory of the process that serves. Set SIDECAR_STORE_URL"]
        )
    if not config.session_keys:
        raise ConfigurationError(["There are no keys. Set SIDECAR_SESSION_KEYS"])
    return config.session_keys
