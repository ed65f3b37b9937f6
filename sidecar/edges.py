"""The edges, each as the configuration describes it: store, provider, upstream, public port."""

import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from aiohttp import ClientSession
from structlog.typing import FilteringBoundLogger

from sidecar.adapters.argocd_redis import ArgoCdRedis
from sidecar.adapters.openid_provider import OpenIdProvider
from sidecar.adapters.provider_http import Way, provider_session
from sidecar.adapters.redis_store import RedisStore
from sidecar.adapters.redis_way import Access
from sidecar.adapters.traced import provider_trace, traced_store
from sidecar.adapters.upstream import ArgoCd, NobodyToTell
from sidecar.config.argocd_folder import file_signature
from sidecar.config.settings import Config
from sidecar.config.store_access import sentinel_password, store_password, store_tls
from sidecar.config.tls import provider_authorities, provider_tls, server_tls, upstream_tls
from sidecar.core.client_authentication import Credentials
from sidecar.core.cookies import TokenCookie
from sidecar.core.machine_rules import TrustedIssuer
from sidecar.core.provider_addresses import (
    BROWSER_ENDPOINTS,
    SERVER_ENDPOINTS,
    ProviderAddresses,
)
from sidecar.core.provider_profiles import ProviderProfile, profile_of
from sidecar.core.store_address import StoreAddress
from sidecar.core.upstream_kinds import UpstreamKind, upstream_profile
from sidecar.errors import ConfigurationError
from sidecar.flows.tasks import Runtime
from sidecar.metrics import Metrics
from sidecar.ports import Clock, Store, Upstream
from sidecar.proxy.certificate import Certificate
from sidecar.proxy.pool import Pool, UpstreamAddress, UpstreamTls
from sidecar.proxy.site import Limits
from sidecar.proxy.traced import TracedPool
from sidecar.tracing import NO_TRACING, Tracer

if TYPE_CHECKING:
    from sidecar.adapters.memory_store import MemoryStore

_DEX_SECONDS = 30.0  # its connector may ask others, and the upstream waits as long as it likes
ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
KEY_PREFIX = "argocd-token-refresh:"


def store(
    config: Config, clock: Clock, *, command_seconds: float | None = None
) -> "RedisStore | MemoryStore":
    """The store that is configured; for work that nobody waits for, with more time than that."""
    if config.store_url == "memory://":
        from sidecar.adapters.memory_store import MemoryStore  # for those who try it out

        return MemoryStore(clock)
    return RedisStore(
        config.store_url,
        prefix=KEY_PREFIX,
        clock=clock,
        command_seconds=command_seconds or config.store_timeout,
        access=store_access(config),
    )


def store_access(config: Config) -> Access:
    """How the store that is configured lets us in."""
    return Access(
        StoreAddress.parse(config.store_url).username,
        store_password(config),
        sentinel_password(config),
        store_tls(config),
        config.store_tls_server_name or "",
    )


def provider_way(config: Config) -> tuple[object, ...]:
    """How the provider is reached, all that counts for it."""
    return (
        config.provider_ca,
        config.provider_tls_verify,
        config.provider_tls_server_name,
        config.resolve,
    )


def provider_http(config: Config, tracer: Tracer = NO_TRACING) -> ClientSession:
    """An HTTP client for the provider."""
    traces = [] if tracer is NO_TRACING else [provider_trace(tracer)]
    seconds, way = config.timings.provider_seconds, _to_provider(config)
    return provider_session(total_seconds=seconds, way=way, trace_configs=traces)


def _to_provider(config: Config) -> Way:
    tls, server_name = provider_tls_context(config), config.provider_tls_server_name or ""
    return Way(tls, server_name, resolved(config))


def resolved(config: Config) -> dict[tuple[str, int], tuple[str, int]]:
    """What to connect to in the place of hosts and ports."""
    return {(one.host, one.port): (one.address, one.address_port) for one in config.resolve or ()}


def provider_tls_context(config: Config) -> ssl.SSLContext | None:
    """How TLS is spoken to the provider; None: by the system's authorities."""
    ca, verify = config.provider_ca, config.provider_tls_verify
    return provider_tls(ca, verify=verify) if ca or not verify else None


def provider_addresses(config: Config) -> ProviderAddresses:
    """Where the provider is."""
    names = (*BROWSER_ENDPOINTS, *SERVER_ENDPOINTS)
    return ProviderAddresses(
        config.issuer,
        config.issuer_internal_url or "",
        config.discovery_url or "",
        tuple((name, url) for name in names if (url := getattr(config, name))),
        config.issuer_aliases or (),
    )


def provider(
    config: Config,
    http: ClientSession,
    credentials: Callable[[], Credentials],
    clock: Clock,
    metrics: Metrics,
) -> OpenIdProvider:
    """The provider."""
    return OpenIdProvider(
        http,
        provider_addresses(config),
        config.client_id,
        credentials,
        clock=clock,
        metrics=metrics,
        keys_seconds=config.timings.keys_seconds,
        profile=provider_profile(config),
    )


def issuer_way(issuer: TrustedIssuer, config: Config) -> tuple[object, ...]:
    """How a trusted issuer is reached, all that counts for it."""
    addresses = issuer.internal_url, issuer.discovery_url, issuer.jwks_uri
    file = issuer.ca_file
    marks = file_signature(Path(file)) if file else ()
    return (*addresses, issuer.tls_server_name, file, marks, config.resolve)


def issuer_http(issuer: TrustedIssuer, config: Config) -> ClientSession:
    """An HTTP client for a trusted issuer.

    Raises:
        OSError, ValueError: its authorities cannot be read.
    """
    pem = provider_authorities(issuer.ca_file) if issuer.ca_file else ""
    tls = provider_tls(pem, verify=True) if pem else None
    way = Way(tls, issuer.tls_server_name or "", resolved(config))
    return provider_session(total_seconds=config.timings.keys_seconds, way=way)


def access_tokens(
    config: Config, clock: Clock, random: Callable[[int], bytes]
) -> ArgoCdRedis | None:
    """Argo CD's Redis for the access tokens that it looks for there; None where it does not."""
    seed = config.argocd.access_token_seed
    if seed is None:
        return None
    return ArgoCdRedis(
        seed.redis_url,
        seed.server_secret,
        key_prefix=seed.key_prefix,
        random=random,
        clock=clock,
        command_seconds=config.store_timeout,
    )


def provider_profile(config: Config) -> ProviderProfile | None:
    """How the provider is understood; None: it is recognised. A bundled Dex says its own reuse."""
    profile, reuse = profile_of(config.provider), config.argocd.reuse_seconds
    if profile is None or reuse is None:
        return profile
    return replace(profile, reuse_window_seconds=reuse)


def argocd(config: Config, http: ClientSession) -> ArgoCd:
    """Argo CD for what the sidecar itself asks of it."""
    return ArgoCd(
        http,
        config.upstream,
        config.root_path,
        server_name=config.upstream_tls_server_name,
    )


def told_of_logouts(config: Config, http: ClientSession) -> Upstream:
    """Who behind the sidecar is told that a login has ended."""
    devtron = config.upstream_kind is UpstreamKind.DEVTRON
    return NobodyToTell() if devtron else argocd(config, http)


def upstream_way(config: Config) -> tuple[str, bool, str | None, str | None]:
    """How the upstream is reached, all that counts for it."""
    return (
        config.upstream,
        config.upstream_tls_verify,
        config.upstream_tls_ca_file,
        config.upstream_tls_server_name,
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


def upstream_pool(
    config: Config, tls: UpstreamTls | None, clock: Clock, tracer: Tracer = NO_TRACING
) -> Pool:
    """The connections to the upstream."""
    address = UpstreamAddress.from_url(
        config.upstream, tls, server_name=config.upstream_tls_server_name or ""
    )
    name = upstream_profile(config.upstream_kind).title
    if tracer is NO_TRACING:
        return Pool(address, monotonic=clock.monotonic, sleep=clock.sleep, name=name)
    return TracedPool(
        address, tracer=tracer, monotonic=clock.monotonic, sleep=clock.sleep, name=name
    )


def dex_http(config: Config) -> ClientSession:
    """An HTTP client for the token requests of an upstream that has the sidecar as its Dex."""
    return provider_session(total_seconds=_DEX_SECONDS, way=_to_provider(config))


def dex_pool(config: Config, clock: Clock) -> Pool:
    """The connections to the real Dex."""
    context = provider_tls_context(config) or ssl.create_default_context()
    tls = UpstreamTls(context, context)
    server_name = config.provider_tls_server_name or ""
    address = UpstreamAddress.from_url(config.dex_upstream or "", tls, server_name)
    return Pool(address, monotonic=clock.monotonic, sleep=clock.sleep, name="Dex")


def token_cookie(config: Config) -> TokenCookie:
    """The upstream's own cookie, with its path and flags."""
    secure = config.public_url.startswith("https:")
    if not upstream_profile(config.upstream_kind).cookie_is_login:
        return TokenCookie(config.root_path, secure)
    lasts = config.session_max_lifetime
    return TokenCookie("", secure, for_scripts=True, max_age_seconds=lasts)


def splices_http2(config: Config) -> bool:
    """Whether connections in HTTP/2 go up unread: never past the rules for machines' tokens."""
    return config.http2 and config.machine_rules is None


def certificate(config: Config, runtime: Runtime) -> Certificate | None:
    """What TLS on the public port is served with; None: it is not."""
    files = certificate_files(config)
    if files is None:
        return None
    return Certificate(
        files, lambda: server_tls(*files, http2=splices_http2(config)), runtime.metrics, runtime.log
    )


def certificate_files(config: Config) -> tuple[str, str] | None:
    """The files of certificate and key."""
    cert, key = config.tls_cert_file, config.tls_key_file
    return (cert, key) if cert is not None and key is not None else None


def shared_store(store: Store, tracer: Tracer) -> Store:
    """The store as the flows use it."""
    return store if tracer is NO_TRACING else traced_store(store, tracer)


@asynccontextmanager
async def tracing(config: Config, log: FilteringBoundLogger) -> AsyncIterator[Tracer]:
    """The tracer that is configured; at the end it sends what it has.

    Raises:
        ConfigurationError: OpenTelemetry is not there, or its variables cannot be used.
    """
    if not config.tracing:
        yield NO_TRACING
        return
    try:
        from sidecar.adapters.open_telemetry import open_telemetry  # only for those who ask for it
    except ImportError:
        raise ConfigurationError(
            ["SIDECAR_TRACING is on without OpenTelemetry. Install argocd-token-refresh[otel]"]
        ) from None

    def told(failing: bool) -> None:
        if failing:
            mend = "see OTEL_EXPORTER_OTLP_ENDPOINT, and the collector; nothing else is disturbed"
            log.warning("traces_not_sent", mend=mend)
        else:
            log.info("traces_sent_again")

    try:
        tracer = open_telemetry(told)
    except ValueError as error:
        # Its text may quote a header for the collector, which is a secret.
        fault = f"A variable of OpenTelemetry's cannot be used ({type(error).__name__}). See OTEL_…"
        raise ConfigurationError([fault]) from None
    try:
        yield tracer
    finally:
        await tracer.aclose()


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
