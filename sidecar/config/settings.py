"""Environment variables → one frozen `Config`, or every fault at once."""

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Self
from urllib.parse import urlsplit

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PrivateAttr,
    ValidationError,
)

from sidecar.config import values
from sidecar.config.argocd_folder import Signature, file_signature, signature
from sidecar.config.environment import read_file, variable
from sidecar.config.from_argocd import FromArgoCd
from sidecar.config.sources import ARGOCD_CONFIG_DIR, filled_by_argocd, given_by
from sidecar.config.values import CookieMode, Listen, LogLevel
from sidecar.core.authorization import OfflineAccess
from sidecar.core.provider_profiles import Provider
from sidecar.core.refresh_policy import Background, RefreshWindow
from sidecar.core.sealing import Key
from sidecar.core.timings import Timings
from sidecar.errors import ConfigurationError


def _by(reader: Callable[[str], Any]) -> BeforeValidator:
    return BeforeValidator(reader)


def _variable(default: str, meaning: str) -> Any:
    """A variable with its default, as an operator would write it."""
    return Field(default, description=meaning, validate_default=True)


def _optional(meaning: str) -> Any:
    return Field(None, description=meaning)


def _of_argocd(setting: str, meaning: str) -> Any:
    """What must be set where Argo CD's settings are not at hand."""
    default = f"Argo CD's `{setting}`, else *required*"
    return Field("", description=meaning, json_schema_extra={"default": default})


def _secret(meaning: str, default: str) -> Any:
    extra: dict[str, Any] = {"secret": True, "default": default}
    return Field(None, description=meaning, repr=False, json_schema_extra=extra)


class Config(BaseModel):
    """Everything that is set, by the environment and by Argo CD; replaced whole when it changes.

    Durations are in seconds. A field's description is its row in `docs/configuration.md`. Where
    logins are not taken over, `public_url`, `issuer` and `client_id` may be "".
    """

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        hide_input_in_errors=True,
        validate_default=False,  # None is no text to read; `_variable` asks for it where it is
    )

    argocd_config_dir: Annotated[Path, _by(values.folder)] = Field(
        ARGOCD_CONFIG_DIR,
        description="A folder in which `argocd-cm`, `argocd-secret` and `argocd-cmd-params-cm` are "
        "mounted, and other Secrets below `secrets`: what is not set here is taken from there.",
    )
    public_url: Annotated[str, _by(values.public_url)] = _of_argocd(
        "url",
        "Where browsers see Argo CD, with its root path. "
        "Register `<this>/auth/callback` as redirect URI at the provider.",
    )
    additional_urls: Annotated[tuple[str, ...] | None, _by(values.urls)] = Field(
        None,
        description="Other addresses at which browsers see the same Argo CD, separated by spaces "
        "or commas: with the scheme and path of `SIDECAR_PUBLIC_URL`. Each is a redirect URI more.",
        json_schema_extra={"default": "Argo CD's `additionalUrls`"},
    )
    issuer: Annotated[str, _by(values.issuer)] = _of_argocd(
        "issuer",
        "The provider's issuer, exactly as its tokens have it in `iss`. Set it together with "
        "`SIDECAR_CLIENT_ID`: then nothing of `oidc.config` counts.",
    )
    provider: Annotated[Provider, _by(values.one_of(Provider))] = _variable(
        "auto",
        "What the provider is. `auto`: recognised by its issuer and metadata. Else one of "
        f"{', '.join(f'`{name}`' for name in Provider if name is not Provider.AUTO)}: see "
        "[Identity providers](providers.md).",
    )
    client_id: Annotated[str, _by(values.client_id)] = _of_argocd(
        "clientID", "The client's id at the provider: the one that Argo CD trusts."
    )
    client_secret: str | None = _secret(
        "The client's secret; none for a public client.", "Argo CD's `clientSecret`"
    )
    client_secret_file: str | None = _optional(
        "A file with the client's secret, read again at every use."
    )
    listen: Annotated[Listen, _by(values.listen)] = _variable(
        ":8080", "Where the Ingress reaches the sidecar; without a host, IPv4 and IPv6."
    )
    tls_cert_file: str | None = _optional(
        "A file with the certificate, and its chain, for TLS on the same port; plain HTTP is then "
        "answered with 307 to https. Read again within seconds of a change. None: Argo CD's own, "
        "unless `server.insecure` is on; without one, plain HTTP only."
    )
    tls_key_file: str | None = _optional("A file with the certificate's key, not encrypted.")
    http2: Annotated[bool, _by(values.switch)] = _variable(
        "on",
        "Whether connections in HTTP/2 go to `argocd-server` as they come, for the CLI's gRPC: "
        "`on` or `off`. Off, the CLI uses gRPC-web.",
    )
    upstream: Annotated[str, _by(values.upstream)] = _variable(
        "http://127.0.0.1:8090",
        "Where `argocd-server` listens: `http://`, `https://`, or `unix:///` with a socket's path. "
        "With Argo CD's settings at hand and without `server.insecure`: `https://127.0.0.1:8090`, "
        "unchecked.",
    )
    upstream_tls_verify: Annotated[bool, _by(values.switch)] = _variable(
        "on",
        "Whether the certificate of an `https://` upstream is checked: `on` or `off`. "
        "`argocd-server` signs its own unless it is given one.",
    )
    upstream_tls_ca_file: str | None = _optional(
        "A file with the authorities to trust for the upstream, in the place of the system's."
    )
    upstream_tls_server_name: Annotated[str | None, _by(values.host_name)] = _optional(
        "The name that the upstream's certificate is for, where that is not its address."
    )
    websocket_origins: Annotated[tuple[str, ...] | None, _by(values.origins)] = _optional(
        "Sites besides the public URL's whose pages may open a terminal, separated by spaces or "
        "commas: `https://argocd.example.com`."
    )
    max_connections: Annotated[int, _by(values.count)] = _variable(
        "10000", "How many connections there may be at once; one more is answered with 503."
    )
    max_head_size: Annotated[int, _by(values.size)] = _variable(
        "64KiB", "How long a request's line and fields may be together; more is 431 or 414."
    )
    max_header_fields: Annotated[int, _by(values.count)] = _variable(
        "256", "How many header fields a request may have; more is 431."
    )
    max_body_size: Annotated[int | None, _by(values.size)] = _optional(
        "How long a request's body may be; more is 413. Argo CD has limits of its own."
    )
    head_timeout: Annotated[float, _by(values.positive_duration)] = _variable(
        "15s", "How long a request's head, or a TLS handshake, may take."
    )
    body_timeout: Annotated[float, _by(values.positive_duration)] = _variable(
        "1m", "How long a request's body may bring no byte; then the answer is 408."
    )
    idle_timeout: Annotated[float, _by(values.positive_duration)] = _variable(
        "2m",
        "For how long an unused connection is kept: longer than the Ingress or load balancer in "
        "front keeps one.",
    )
    admin_listen: Annotated[Listen, _by(values.listen)] = _variable(
        ":9090", "Where `/healthz`, `/readyz` and `/metrics` are served."
    )
    scopes: Annotated[tuple[str, ...], _by(values.scopes)] = _variable(
        "openid profile email groups", "The scopes to ask the provider for."
    )
    offline_access: Annotated[OfflineAccess, _by(values.one_of(OfflineAccess))] = _variable(
        "auto",
        "How to ask for a refresh token. `auto`: the scope `offline_access` where the provider "
        "lists it, and Google's own parameters there; `always`: the scope; `consent`: the scope "
        "and `prompt=consent`; `never`.",
    )
    store_url: Annotated[str, _by(values.store_url)] = Field(
        "memory://",
        repr=False,
        description="Where sessions are kept: `redis://`, `rediss://`, `unix://`, or `memory://` "
        "(one replica, forgets at a restart). In a pod, `memory://` only by name.",
        json_schema_extra={"default": "Argo CD's Redis, else `memory://` outside of Kubernetes"},
    )
    session_keys: Annotated[tuple[Key, ...] | None, _by(values.session_keys)] = _secret(
        "The keys that seal what is stored, `id:base64 of 32 bytes`, separated by commas or "
        "lines; the first one seals, all open. Made at start with `memory://`.",
        "derived from Argo CD's `server.secretkey`",
    )
    session_keys_file: str | None = _optional("A file with the keys.")
    refresh_window: Annotated[RefreshWindow, _by(values.refresh_window)] = _variable(
        "25%",
        "The last part of an ID token's life, in which it is renewed behind requests: a share "
        "(then at least 2m30s) or a duration; never more than half of the life.",
    )
    background_renewal: Annotated[Background, _by(values.one_of(Background))] = _variable(
        "active",
        "Which sessions are renewed without a request. `active`: those used within one ID "
        "token's life, or with an open stream, and every other one once before its refresh "
        "token's own end; `all`; `off`.",
    )
    min_token_life: Annotated[float, _by(values.duration)] = _variable(
        "30s",
        "What a token must have left for an event stream, a terminal or an extension; at most "
        "half of its life.",
    )
    session_idle_timeout: Annotated[float, _by(values.positive_duration)] = _variable(
        "72h", "An unused session ends after this time; 72h is a weekend."
    )
    session_max_lifetime: Annotated[float, _by(values.positive_duration)] = _variable(
        "168h",
        "Every session ends after this time. Unless it is set, a shorter `users.session.duration` "
        "in `argocd-cm` counts.",
    )
    store_grace: Annotated[float, _by(values.duration)] = _variable(
        "5m",
        "For how long a replica that cannot reach the store serves the sessions that it knows; "
        "never longer than their tokens live. A logout elsewhere is not seen meanwhile.",
    )
    provider_timeout: Annotated[float, _by(values.positive_duration)] = _variable(
        "10s",
        "How long the provider may take for an answer. The lease that keeps replicas apart follows "
        "from it; 12s at most, since a shutdown waits until what was asked for is stored.",
    )
    store_timeout: Annotated[float, _by(values.positive_duration)] = _variable(
        "250ms", "How long the store may take for an answer before it counts as away."
    )
    cookie_mode: Annotated[CookieMode, _by(values.one_of(CookieMode))] = _variable(
        "opaque",
        "`opaque`: the browser holds a session cookie only. `mirror`: it gets Argo CD's own "
        "`argocd.token` too, for paths that bypass the sidecar.",
    )
    log_level: Annotated[LogLevel, _by(values.one_of(LogLevel))] = _variable(
        "info", "`debug`, `info`, `warning` or `error`."
    )
    _argocd: FromArgoCd = PrivateAttr(FromArgoCd())
    _secret_digest: str = PrivateAttr("")
    _set: frozenset[str] = PrivateAttr(frozenset())

    @classmethod
    def load(cls, environ: Mapping[str, str]) -> Self:
        """The configuration that these variables give.

        Raises:
            ConfigurationError: with a line for every fault.
        """
        given, faults = given_by(environ, cls.model_fields)
        names = frozenset(given)
        argocd, unset = filled_by_argocd(given, environ, cls.model_fields)
        try:
            config = cls(**given)
        except ValidationError as error:
            raise ConfigurationError([*faults, *unset, *_faults_of(error, given)]) from None
        faults += [*unset, *config.timings.faults(), *additional_url_faults(config)]
        if faults:
            raise ConfigurationError(faults)
        config._argocd, config._set = argocd, names
        with suppress(OSError, ValueError):  # it was there a moment ago, and is read at each use
            config._secret_digest = hashlib.sha256(config.read_client_secret().encode()).hexdigest()
        return config

    @property
    def argocd(self) -> FromArgoCd:
        """What Argo CD's settings add, and what is wrong with them."""
        return self._argocd

    def source(self, field: str) -> str:
        """Where a field's value is from."""
        if field in self._set:
            return variable(field)
        if f"{field}_file" in self._set:
            return variable(f"{field}_file")
        return self._argocd.sources.get(field, "default")

    def watched(self) -> Signature:
        """What changes when anything does that `load` reads; nothing is read for it."""
        files = (self.client_secret_file, self.session_keys_file)
        marks = tuple(file_signature(Path(file)) for file in files if file)
        return (*marks, *signature(self.argocd_config_dir))

    def read_client_secret(self) -> str:
        """The client's secret as it is now; empty for a public client."""
        if self.client_secret_file:
            return read_file(self.client_secret_file)
        return self.client_secret or ""

    def keeping(self, names: Iterable[str], of: "Config") -> Self:
        """This configuration with what another has in these fields, and as `server.insecure`."""
        kept = self.model_copy(update={name: getattr(of, name) for name in names})
        kept._argocd = replace(self._argocd, insecure=of.argocd.insecure)
        return kept

    def has_secret_of(self, other: "Config") -> bool:
        """Whether the client's secret was the same when both were loaded."""
        return self._secret_digest == other._secret_digest

    @property
    def timings(self) -> Timings:
        """How long each part of a renewal may take."""
        return Timings(provider_seconds=self.provider_timeout, command_seconds=self.store_timeout)

    @property
    def root_path(self) -> str:
        """Argo CD's root path: "" or "/name"."""
        return urlsplit(self.public_url).path


def additional_url_faults(config: Config) -> Iterator[str]:
    """What is wrong with the additional URLs beside the public one."""
    for url in config.additional_urls or ():
        if not values.is_alike(url, config.public_url):
            yield (
                f"{variable('additional_urls')} has {url!r}, whose scheme or path is not that of "
                "the public URL. Correct it"
            )


def is_secret(field: str) -> bool:
    """Whether a field's value is never shown."""
    extra = Config.model_fields[field].json_schema_extra
    return isinstance(extra, dict) and bool(extra.get("secret"))


def _faults_of(error: ValidationError, given: dict[str, Any]) -> Iterator[str]:
    for fault in error.errors(include_url=False, include_input=False):
        name = str(fault["loc"][0])
        cause = fault.get("ctx", {}).get("error", fault["msg"])
        source = f"{name}_file" if f"{name}_file" in given else name
        yield f"{variable(source)} {cause}"
