"""Every environment variable: how it is read, its default, and what it means."""

from collections.abc import Callable
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Final, TypeVar

from sidecar.config import provider_values, values
from sidecar.config.provider_values import Resolve
from sidecar.config.values import ArgoCdConfigSource, CookieMode, Listen, LoginMode, LogLevel
from sidecar.core.authorization import OfflineAccess
from sidecar.core.client_address import Networks
from sidecar.core.client_authentication import ClientAuth
from sidecar.core.groups import GROUPS_CLAIMS
from sidecar.core.machine_rules import MachineRules
from sidecar.core.provider_profiles import Provider
from sidecar.core.refresh_policy import Background, RefreshWindow
from sidecar.core.sealing import Key
from sidecar.core.upstream_kinds import UpstreamKind

_T = TypeVar("_T")

ARGOCD_CONFIG_DIR = Path("/etc/argocd-token-refresh/argocd")


def _machine_rules(path: str) -> MachineRules:
    from sidecar.config.machine_rules import machine_rules  # for those who have some

    return machine_rules(path)


@dataclass(frozen=True, slots=True)
class Variable:
    """What is known of a variable beside its value; `default` is what its row in the docs shows."""

    read: values.Reader
    default: str
    meaning: str
    secret: bool


def _field(
    read: Callable[[str], _T],
    default: _T,
    shown: str,
    meaning: str,
    *,
    secret: bool = False,
    printed: bool = True,
) -> _T:
    known = Variable(read, shown, meaning, secret)
    prints = printed and not secret
    made: _T = field(default=default, repr=prints, metadata={"variable": known})
    return made


def _variable(read: Callable[[str], _T], default: str, meaning: str) -> _T:
    """A variable with its default, as an operator would write it."""
    return _field(read, read(default), f"`{default}`", meaning)


def _optional(
    read: Callable[[str], _T], meaning: str, *, shown: str = "-", secret: bool = False
) -> _T | None:
    return _field(read, None, shown, meaning, secret=secret)


def _of_argocd(read: Callable[[str], str], setting: str, meaning: str) -> str:
    """What must be set where Argo CD's settings are not at hand."""
    return _field(read, "", f"Argo CD's `{setting}`, else *required*", meaning)


@dataclass(frozen=True, slots=True, kw_only=True)
class Variables:
    """The values, each under its variable's name without the prefix, in lower case.

    Durations are in seconds, sizes in bytes. Where logins are not taken over, `public_url`,
    `issuer` and `client_id` may be "".
    """

    argocd_config_dir: Path = _field(
        values.folder,
        ARGOCD_CONFIG_DIR,
        f"`{ARGOCD_CONFIG_DIR}`",
        "A folder in which `argocd-cm`, `argocd-secret` and `argocd-cmd-params-cm` are "
        "mounted, and other Secrets below `secrets`: what is not set here is taken from there.",
    )
    argocd_config_source: ArgoCdConfigSource = _variable(
        values.one_of(ArgoCdConfigSource),
        "folder",
        "Where Argo CD's settings are read: `folder`, or `kubernetes` for the API, with the "
        "pod's service account. See [below](#from-the-kubernetes-api).",
    )
    argocd_namespace: str | None = _optional(
        values.namespace,
        "With `kubernetes`: the namespace of Argo CD's ConfigMaps and Secrets.",
        shown="the service account's",
    )
    public_url: str = _of_argocd(
        values.public_url,
        "url",
        "Where browsers see Argo CD, with its root path. "
        "Register `<this>/auth/callback` as redirect URI at the provider.",
    )
    additional_urls: tuple[str, ...] | None = _optional(
        values.urls,
        "Other addresses at which browsers see the same Argo CD, separated by spaces "
        "or commas: with the scheme and path of `SIDECAR_PUBLIC_URL`. Each is a redirect URI more.",
        shown="Argo CD's `additionalUrls`",
    )
    issuer: str = _of_argocd(
        values.issuer,
        "issuer",
        "The provider's issuer, exactly as its tokens have it in `iss`. Set it together with "
        "`SIDECAR_CLIENT_ID`: then nothing of `oidc.config` counts.",
    )
    issuer_aliases: tuple[str, ...] | None = _optional(
        provider_values.issuer_aliases,
        "Other values of `iss` that this provider's tokens may have, and of `issuer` in its "
        "metadata, separated by spaces or commas. `{tenantid}` in one stands for the token's "
        "`tid`. See [Split addresses](split-addresses.md).",
    )
    issuer_internal_url: str | None = _optional(
        provider_values.provider_url,
        "Where the sidecar reaches what browsers reach at the issuer: "
        "`http://dex.sso.svc:5556/dex`. Browsers are then sent to the issuer's address, and the "
        "sidecar asks at this one, whatever the provider's metadata say. "
        "See [Split addresses](split-addresses.md).",
    )
    discovery_url: str | None = _optional(
        provider_values.endpoint,
        "Where the provider's metadata are, if not at `/.well-known/openid-configuration` below "
        "the internal URL or the issuer.",
    )
    authorization_endpoint: str | None = _optional(
        provider_values.endpoint, "Where browsers log in, in the place of what the metadata say."
    )
    token_endpoint: str | None = _optional(
        provider_values.endpoint,
        "Where the sidecar asks for tokens, in the place of what the metadata say.",
    )
    jwks_uri: str | None = _optional(
        provider_values.endpoint,
        "Where the provider's keys are, in the place of what the metadata say.",
    )
    revocation_endpoint: str | None = _optional(
        provider_values.endpoint,
        "Where refresh tokens are revoked, in the place of what the metadata say.",
    )
    end_session_endpoint: str | None = _optional(
        provider_values.endpoint, "Where browsers log out, in the place of what the metadata say."
    )
    userinfo_endpoint: str | None = _optional(
        provider_values.endpoint,
        "Where claims are asked for, in the place of what the metadata say.",
    )
    resolve: tuple[Resolve, ...] | None = _optional(
        provider_values.resolve,
        "Where hosts of the provider are, `host:port=address` or `host:port=address:port`, "
        "separated by spaces or commas. `Host` and the name in the certificate stay those of the "
        "URL, and no proxy is asked.",
    )
    provider_ca_file: str | None = _optional(
        str,
        "A file with the authorities to trust for the provider, in the place of the system's. "
        "Read again within seconds of a change.",
        shown="Argo CD's `rootCA`",
    )
    provider_tls_server_name: str | None = _optional(
        values.host_name,
        "The name that the provider's certificate is for, where that is not its address.",
    )
    provider_tls_verify: bool = _field(
        values.switch,
        True,
        "Argo CD's `oidc.tls.insecure.skip.verify`, else `on`",
        "Whether the provider's certificate is checked: `on` or `off`.",
    )
    provider: Provider = _variable(
        values.one_of(Provider),
        "auto",
        "What the provider is. `auto`: recognised by its issuer and metadata. Else one of "
        f"{', '.join(f'`{name}`' for name in Provider if name is not Provider.AUTO)}: see "
        "[Identity providers](providers.md).",
    )
    client_id: str = _of_argocd(
        values.client_id,
        "clientID",
        "The client's id at the provider: the one that Argo CD trusts.",
    )
    client_secret: str | None = _optional(
        str,
        "The client's secret; none for a public client.",
        shown="Argo CD's `clientSecret`",
        secret=True,
    )
    client_secret_file: str | None = _optional(
        str, "A file with the client's secret, read again at every use."
    )
    client_auth: ClientAuth = _variable(
        values.one_of(ClientAuth),
        "auto",
        "How the client authenticates: `basic`, `basic-raw`, `post`, `private-key-jwt`, "
        "`workload-identity` or `none`. `auto`: by what it has. See "
        "[below](#client-authentication).",
    )
    client_key_file: str | None = _optional(
        str,
        "A file with the key of `private-key-jwt`, as PEM or JWK; read again at every use.",
    )
    client_key_id: str | None = _optional(
        values.printable, "The key's `kid`, where the file does not say it."
    )
    client_key_alg: str | None = _optional(
        values.signature_algorithm,
        "By what the key signs: `RS256`, `PS256` or `ES256`.",
        shown="the key's own, else what the provider takes",
    )
    client_assertion_audience: str | None = _optional(
        values.printable,
        "The `aud` of what the key signs.",
        shown="the issuer, or what the provider is known to want",
    )
    client_assertion_file: str | None = _optional(
        str,
        "A file with the token of `workload-identity`; read again at every use.",
        shown="`AZURE_FEDERATED_TOKEN_FILE`",
    )
    listen: Listen = _variable(
        values.listen,
        ":8080",
        "Where the Ingress reaches the sidecar; without a host, IPv4 and IPv6.",
    )
    tls_cert_file: str | None = _optional(
        str,
        "A file with the certificate, and its chain, for TLS on the same port; plain HTTP is then "
        "answered with 307 to https. Read again within seconds of a change. None: Argo CD's own, "
        "unless `server.insecure` is on; without one, plain HTTP only.",
    )
    tls_key_file: str | None = _optional(str, "A file with the certificate's key, not encrypted.")
    http2: bool = _variable(
        values.switch,
        "on",
        "Whether connections in HTTP/2 go to `argocd-server` as they come, for the CLI's gRPC: "
        "`on` or `off`. Off, the CLI uses gRPC-web.",
    )
    upstream: str = _variable(
        values.upstream,
        "http://127.0.0.1:8090",
        "Where `argocd-server` listens: `http://`, `https://`, or `unix:///` with a socket's path. "
        "With Argo CD's settings at hand and without `server.insecure`: `https://127.0.0.1:8090`, "
        "unchecked.",
    )
    upstream_kind: UpstreamKind = _variable(
        values.one_of(UpstreamKind),
        "argocd",
        "What stands behind the sidecar: `argocd`, `devtron` ([Devtron](devtron.md)), or "
        "`argo-workflows` ([Argo Workflows](argo-workflows.md)).",
    )
    sso_renewal: bool = _variable(
        values.switch,
        "on",
        "With `argo-workflows`: whether page loads renew the UI's logins by SSO, at the provider "
        "and without a form: `on` or `off`. See [Argo Workflows](argo-workflows.md#browsers).",
    )
    account_tokens_dir: Path | None = _optional(
        values.folder,
        "With `argo-workflows`: a folder with service accounts' Secrets, each mounted at "
        "`namespace/secret`. An annotated account whose Secret is there gives that token, others "
        "are asked for one. See [Argo Workflows](argo-workflows.md#by-annotations).",
    )
    upstream_tls_verify: bool = _variable(
        values.switch,
        "on",
        "Whether the certificate of an `https://` upstream is checked: `on` or `off`. "
        "`argocd-server` signs its own unless it is given one.",
    )
    upstream_tls_ca_file: str | None = _optional(
        str, "A file with the authorities to trust for the upstream, in the place of the system's."
    )
    upstream_tls_server_name: str | None = _optional(
        values.host_name,
        "The name that the upstream's certificate is for, where that is not its address.",
    )
    websocket_origins: tuple[str, ...] | None = _optional(
        values.origins,
        "Sites besides the public URL's whose pages may open a terminal, separated by spaces or "
        "commas: `https://argocd.example.com`.",
    )
    max_connections: int = _variable(
        values.count,
        "10000",
        "How many connections there may be at once; one more takes the place of one that waits for "
        "a request, or is answered with 503.",
    )
    trusted_proxies: Networks | None = _optional(
        values.networks,
        "The networks of the proxies in front, separated by spaces or commas: `10.42.0.0/16`. "
        "`X-Forwarded-For` is believed from them alone. None: no limit by address.",
    )
    max_logins_per_address: int = _variable(
        values.count,
        "600",
        "With `SIDECAR_TRUSTED_PROXIES`: how many requests to `/auth/login` and `/auth/callback` "
        "may come from one address (of IPv6: one /64) in a minute, at each replica; a login is "
        "two. More are answered with 429. An office may have one address.",
    )
    max_head_size: int = _variable(
        values.size,
        "64KiB",
        "How long a request's line and fields may be together; more is 431 or 414.",
    )
    max_header_fields: int = _variable(
        values.count, "256", "How many header fields a request may have; more is 431."
    )
    max_body_size: int | None = _optional(
        values.size, "How long a request's body may be; more is 413. Argo CD has limits of its own."
    )
    head_timeout: float = _variable(
        values.positive_duration, "15s", "How long a request's head, or a TLS handshake, may take."
    )
    body_timeout: float = _variable(
        values.positive_duration,
        "1m",
        "How long a request's body may bring no byte; then the answer is 408.",
    )
    idle_timeout: float = _variable(
        values.positive_duration,
        "2m",
        "For how long an unused connection is kept: longer than the Ingress or load balancer in "
        "front keeps one.",
    )
    admin_listen: Listen = _variable(
        values.listen, ":9090", "Where `/healthz`, `/readyz` and `/metrics` are served."
    )
    login: LoginMode = _variable(
        values.one_of(LoginMode),
        "own",
        "Who makes the login. `own`: the sidecar. `observed`: the upstream, which has the sidecar "
        "as its Dex ([Observed logins](observed-logins.md)).",
    )
    dex_listen: Listen = _variable(
        values.listen,
        "127.0.0.1:5556",
        "With observed logins: where the upstream reaches the sidecar as its Dex, in plain HTTP.",
    )
    dex_upstream: str | None = _optional(
        values.dex,
        "With observed logins: where the real Dex listens, `http://` or `https://`.",
    )
    machine_rules: MachineRules | None = _optional(
        _machine_rules,
        "A file with the issuers whose tokens machines may come with, and rules that give them "
        "credentials of the upstream. Read again within seconds of a change. See "
        "[Rules for machines](machine-rules.md).",
    )
    scopes: tuple[str, ...] = _variable(
        values.scopes, "openid profile email groups", "The scopes to ask the provider for."
    )
    groups_claims: tuple[str, ...] = _field(
        values.claims,
        GROUPS_CLAIMS,
        "`scopes` in `argocd-rbac-cm`, else `groups`",
        "The ID token's claims that Argo CD's policies go by. When a renewed token has other "
        "values in them, it is told in the log, and open streams and terminals end.",
    )
    offline_access: OfflineAccess = _variable(
        values.one_of(OfflineAccess),
        "auto",
        "How to ask for a refresh token. `auto`: the scope `offline_access` where the provider "
        "lists it, and Google's own parameters there; `always`: the scope; `consent`: the scope "
        "and `prompt=consent`; `never`.",
    )
    store_url: str = _field(
        values.store_url,
        "memory://",
        "Argo CD's Redis, else `memory://` outside of Kubernetes",
        "Where sessions are kept: `redis://`, `rediss://`, `redis+sentinel://`, "
        "`redis+cluster://`, `unix://`, or `memory://` (one replica, forgets at a restart). In a "
        "pod, `memory://` only by name. See [below](#store).",
        printed=False,
    )
    store_password: str | None = _optional(
        str, "The store's password; the user's name stays in the address.", secret=True
    )
    store_password_file: str | None = _optional(
        str, "A file with the store's password, read again at every new connection."
    )
    store_sentinel_password: str | None = _optional(
        str, "The Sentinels' own password, if they have one.", secret=True
    )
    store_sentinel_password_file: str | None = _optional(
        str, "A file with it, read again at every new connection."
    )
    store_ca_file: str | None = _optional(
        str,
        "With `rediss…://`: a file with the authorities to trust for the store, in the place of "
        "the system's. Read again when it has changed.",
    )
    store_tls_cert_file: str | None = _optional(
        str, "A file with the certificate, and its chain, to show to the store. Read again, too."
    )
    store_tls_key_file: str | None = _optional(str, "A file with its key, not encrypted.")
    store_tls_server_name: str | None = _optional(
        values.host_name,
        "The name that the store's certificates are for, where that is not the address: "
        "Sentinels and Clusters tell of servers by their IP addresses.",
    )
    seed_access_token: bool = _variable(
        values.switch,
        "off",
        "Whether the user's access token is put into Argo CD's Redis, where Argo CD looks for it "
        "with `enableUserInfoGroups` and with Entra's group overage: `on` or `off`. "
        "See [Argo CD](argocd.md#groups-from-userinfo).",
    )
    argocd_redis_url: str | None = _field(
        values.redis_url,
        None,
        "Argo CD's Redis",
        "With `SIDECAR_SEED_ACCESS_TOKEN`: where that Redis is, if Argo CD's settings do not lead "
        "there: `redis://`, `rediss://`, `redis+sentinel://` or `unix://`.",
        printed=False,
    )
    session_keys: tuple[Key, ...] | None = _optional(
        values.session_keys,
        "The keys that seal what is stored, `id:base64 of 32 bytes`, separated by commas or "
        "lines; the first one seals, all open. Made at start with `memory://`.",
        shown="derived from Argo CD's `server.secretkey`",
        secret=True,
    )
    session_keys_file: str | None = _optional(str, "A file with the keys.")
    refresh_window: RefreshWindow = _variable(
        values.refresh_window,
        "25%",
        "The last part of an ID token's life, in which it is renewed behind requests: a share "
        "(then at least 2m30s) or a duration; never more than half of the life.",
    )
    provider_logout: bool = _variable(
        values.switch,
        "off",
        "Whether a logout ends the provider's own session too: the browser goes to its "
        "`end_session_endpoint`. Register `<SIDECAR_PUBLIC_URL>/_sidecar/signed-out` there for the "
        "way back. Argo CD's `logoutURL` comes first. See [Sessions](sessions.md#logging-out).",
    )
    background_renewal: Background = _variable(
        values.one_of(Background),
        "active",
        "Which sessions are renewed without a request. `active`: those used within one ID "
        "token's life, or with an open stream, and every other one once before its refresh "
        "token's own end; `all`; `off`.",
    )
    min_token_life: float = _variable(
        values.duration,
        "30s",
        "What a token must have left for an event stream, a terminal or an extension; at most "
        "half of its life.",
    )
    session_idle_timeout: float = _variable(
        values.positive_duration, "72h", "An unused session ends after this time; 72h is a weekend."
    )
    session_max_lifetime: float = _variable(
        values.positive_duration,
        "168h",
        "Every session ends after this time. Unless it is set, a shorter `users.session.duration` "
        "in `argocd-cm` counts.",
    )
    max_sessions_per_user: int = _variable(
        values.count,
        "20",
        "How many sessions a person may have; with one more the session ends that was unused the "
        "longest.",
    )
    store_grace: float = _variable(
        values.duration,
        "5m",
        "For how long a replica that cannot reach the store serves the sessions that it knows; "
        "never longer than their tokens live. A logout elsewhere is not seen meanwhile.",
    )
    provider_timeout: float = _variable(
        values.positive_duration,
        "10s",
        "How long the provider may take for an answer. The lease that keeps replicas apart follows "
        "from it; 12s at most, since a shutdown waits until what was asked for is stored.",
    )
    store_timeout: float = _variable(
        values.positive_duration,
        "250ms",
        "How long the store may take for an answer before it counts as away.",
    )
    cookie_mode: CookieMode = _variable(
        values.one_of(CookieMode),
        "opaque",
        "`opaque`: the browser holds a session cookie only. `mirror`: it gets Argo CD's own "
        "`argocd.token` too, for paths that bypass the sidecar.",
    )
    log_level: LogLevel = _variable(
        values.one_of(LogLevel), "info", "`debug`, `info`, `warning` or `error`."
    )
    audit_log: str = _variable(
        values.audit_log,
        "stdout",
        "Where audit events go, whatever the level: `stdout` (all other lines are on standard "
        "error), a file's absolute path, or `off`. See [Logs](logs.md).",
    )
    tracing: bool = _variable(
        values.switch,
        "off",
        "Whether spans are sent by OpenTelemetry, as its own variables (`OTEL_…`) say: `on` or "
        "`off`. See [Tracing](tracing.md).",
    )


VARIABLES: Final[dict[str, Variable]] = {
    one.name: one.metadata["variable"] for one in fields(Variables)
}
