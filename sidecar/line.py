"""One issuer and client: the provider, and what this process knows of its sessions.

A line outlives changes of everything else: a token that the store has not taken yet is in its
memory alone, and a second one beside it would present the spent one.
"""

import asyncio
import os
from collections.abc import Callable

from aiohttp import ClientSession

from sidecar import edges
from sidecar.config.settings import Config
from sidecar.core.sealing import KeyRing
from sidecar.core.session import SessionKey
from sidecar.flows.assembly import session_parts
from sidecar.flows.background import Background
from sidecar.flows.key_reports import KeyReporter
from sidecar.flows.outages import Outages
from sidecar.flows.records import Client
from sidecar.flows.refresh import Refresh
from sidecar.flows.revocation import Revocations
from sidecar.flows.schedule import Schedule
from sidecar.flows.sessions import Lifetimes
from sidecar.flows.tasks import Runtime, cancel
from sidecar.ports import Store


class Line:
    """The sessions of one issuer and client, and who renews them."""

    def __init__(
        self,
        config: Config,
        store: Store,
        ring: KeyRing,
        runtime: Runtime,
    ) -> None:
        self.client = Client(config.issuer, config.client_id)
        self.store = store
        self._config = config
        self._runtime = runtime
        self._work: list[asyncio.Task[None]] = []
        self.schedule = Schedule(store, config.refresh_window, config.background_renewal)
        self.parts = session_parts(
            store, ring, self.client, self.schedule, _lifetimes(config), runtime,
            prefix=edges.KEY_PREFIX,
        )  # fmt: skip
        self.parts.sessions.groups.claims = config.groups_claims
        self.http = edges.provider_http(config, runtime.tracer)
        self.parts.sessions.seeding.use(edges.access_tokens(config, runtime.clock, runtime.random))
        self.provider = edges.provider(
            config,
            self.http,
            lambda: self._config.read_credentials(),
            runtime.clock,
            runtime.metrics,
        )
        self.revocations = Revocations(
            store,
            self.parts.records,
            self.provider,
            runtime,
            provider_seconds=config.timings.provider_seconds,
        )
        self.refresh = Refresh(
            self.parts.sessions,
            store,
            self.provider,
            self.schedule,
            runtime,
            window=config.refresh_window,
            timings=config.timings,
            revocations=self.revocations,
        )

    def begin(self, close_session: Callable[[SessionKey], None], *, confirms: bool) -> None:
        """Begin with the work that no request asks for."""
        sessions, runtime = self.parts.sessions, self._runtime
        sessions.close_open = close_session
        background = Background(sessions, self.store, self.refresh, self.schedule, runtime)
        work = {"background": background.run}
        if confirms:
            away = {
                "store": lambda: sessions.health.away,
                "provider": lambda: self.refresh.provider_away,
            }
            work["beats"] = self.parts.confirmations.beats
            work["confirmations"] = self.parts.confirmations.run
            work["outages"] = Outages(away, runtime).run
            work["seeding"] = sessions.seeding.run
            work["revocations"] = self.revocations.run
            host = os.uname().nodename  # in Kubernetes the pod's name
            work["keys"] = KeyReporter(self.store, self.parts.records, runtime, host=host).run
        self._work = [
            runtime.tasks.start_endless(run, name, runtime.clock) for name, run in work.items()
        ]

    def end(self) -> None:
        """End that work; renewals that have begun end by themselves."""
        for task in self._work:
            task.cancel()
        self._runtime.tasks.start(cancel(self._work), "end of work")

    async def stop_seeding(self) -> None:
        """Write no more access tokens for Argo CD."""
        target = self.parts.sessions.seeding.target
        self.parts.sessions.seeding.use(None)
        if target is not None:
            await target.aclose()

    def follow(self, config: Config, ring: KeyRing) -> ClientSession | None:
        """Go on with a configuration of the same issuer and client.

        If the way to the provider has changed: the client that what is under way still needs.
        """
        before, self._config = self._config, config
        self.parts.sessions.lifetimes = _lifetimes(config)
        self.parts.sessions.groups.claims = config.groups_claims
        self.parts.records.ring = ring
        self._follow_seed(before, config)
        replaced = None
        self.provider.understand(edges.provider_profile(config))
        moved = edges.provider_addresses(before) != edges.provider_addresses(config)
        if moved:
            self.provider.move(edges.provider_addresses(config))
        if edges.provider_way(before) != edges.provider_way(config):
            replaced, self.http = self.http, edges.provider_http(config, self._runtime.tracer)
            self.provider.use(self.http)
        if moved or replaced is not None or not config.has_secret_of(before):
            self.refresh.try_again()
        return replaced

    def _follow_seed(self, before: Config, config: Config) -> None:
        if before.argocd.access_token_seed == config.argocd.access_token_seed:
            return
        seeding = self.parts.sessions.seeding
        old = seeding.target
        seeding.use(edges.access_tokens(config, self._runtime.clock, self._runtime.random))
        if old is not None:
            # What is under way there fails, and is written to the new one.
            self._runtime.tasks.start(old.aclose(), "close Argo CD's Redis")


def _lifetimes(config: Config) -> Lifetimes:
    return Lifetimes(
        config.session_idle_timeout,
        config.session_max_lifetime,
        config.store_grace,
        config.max_sessions_per_user,
    )
