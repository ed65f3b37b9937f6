"""The edges, each as the configuration describes it: store, provider, upstream, public port."""

from contextlib import AsyncExitStack

from sidecar.adapters.memory_store import MemoryStore
from sidecar.adapters.openid_provider import OpenIdProvider, provider_session
from sidecar.adapters.redis_store import RedisStore
from sidecar.adapters.upstream import ArgoCd, upstream_session
from sidecar.config.settings import Config
from sidecar.config.tls import server_tls, upstream_tls
from sidecar.core.provider_profiles import profile_of
from sidecar.core.timings import Timings
from sidecar.flows.tasks import Runtime
from sidecar.metrics import Metrics
from sidecar.ports import Clock, Store
from sidecar.proxy.certificate import Certificate
from sidecar.proxy.pool import Pool, UpstreamAddress, UpstreamTls
from sidecar.proxy.site import Limits

KEY_PREFIX = "argocd-token-refresh:"


async def open_store(config: Config, clock: Clock, owned: AsyncExitStack) -> Store:
    """The store that is configured, closed with what is `owned`."""
    if config.store_url == "memory://":
        return MemoryStore(clock)
    store = RedisStore(
        config.store_url,
        prefix=KEY_PREFIX,
        clock=clock,
        command_seconds=config.store_timeout,
    )
    owned.push_async_callback(store.aclose)
    return store


async def open_provider(
    config: Config, timings: Timings, clock: Clock, metrics: Metrics, owned: AsyncExitStack
) -> OpenIdProvider:
    """The provider, over an HTTP client of its own."""
    http = await owned.enter_async_context(provider_session(total_seconds=timings.provider_seconds))
    return OpenIdProvider(
        http,
        config.issuer,
        config.client_id,
        config.read_client_secret,
        clock=clock,
        metrics=metrics,
        keys_seconds=timings.keys_seconds,
        profile=profile_of(config.provider),
    )


async def open_argocd(config: Config, tls: UpstreamTls | None, owned: AsyncExitStack) -> ArgoCd:
    """Argo CD for what the sidecar itself asks of it, over an HTTP client of its own."""
    http = upstream_session(config.upstream, tls.http1 if tls else None)
    return ArgoCd(
        await owned.enter_async_context(http),
        config.upstream,
        config.root_path,
        server_name=config.upstream_tls_server_name,
    )


def upstream_contexts(config: Config) -> UpstreamTls | None:
    """How TLS is spoken to the upstream; None where it is not."""
    if not config.upstream.startswith("https:"):
        return None
    http1, http2 = (
        upstream_tls(
            verify=config.upstream_tls_verify, ca_file=config.upstream_tls_ca_file, http2=http2
        )
        for http2 in (False, True)
    )
    return UpstreamTls(http1, http2)


def upstream_pool(config: Config, tls: UpstreamTls | None, clock: Clock) -> Pool:
    """The connections to the upstream."""
    address = UpstreamAddress.from_url(
        config.upstream, tls, server_name=config.upstream_tls_server_name or ""
    )
    return Pool(address, monotonic=clock.monotonic, sleep=clock.sleep)


def certificate(config: Config, runtime: Runtime) -> Certificate | None:
    """What TLS on the public port is served with; None: it is not."""
    cert, key = config.tls_cert_file, config.tls_key_file
    if cert is None or key is None:
        return None
    return Certificate(
        (cert, key),
        lambda: server_tls(cert, key, http2=config.http2),
        runtime.metrics,
        runtime.log,
    )


def limits(config: Config) -> Limits:
    """What connections to the public port may take."""
    return Limits(
        head_bytes=config.max_head_size,
        fields=config.max_header_fields,
        body_bytes=config.max_body_size,
        head_seconds=config.head_timeout,
        body_seconds=config.body_timeout,
        idle_seconds=config.idle_timeout,
        connections=config.max_connections,
    )
