"""What is different of our settings in front of Argo Workflows, whose sessions are its own."""

from collections.abc import Iterator, Mapping
from typing import Any

from sidecar.config import values
from sidecar.config.environment import variable
from sidecar.config.from_argocd import FromArgoCd
from sidecar.core.upstream_kinds import UpstreamKind

KIND = UpstreamKind.ARGO_WORKFLOWS
# docs/argo-server.md of its own: it serves TLS at this port, with a certificate that it signs.
_UPSTREAM = "https://127.0.0.1:2746"
_NOT_USED = (
    "additional_urls", "authorization_endpoint", "background_renewal", "client_assertion_audience",
    "client_assertion_file", "client_auth", "client_id", "client_key_alg", "client_key_file",
    "client_key_id", "client_secret", "client_secret_file", "cookie_mode", "discovery_url",
    "end_session_endpoint", "groups_claims", "issuer", "issuer_aliases", "issuer_internal_url",
    "jwks_uri", "max_sessions_per_user", "min_token_life", "offline_access", "provider",
    "provider_logout", "refresh_window", "revocation_endpoint", "scopes", "seed_access_token",
    "session_keys", "session_keys_file", "session_max_lifetime", "store_grace", "store_url",
    "token_endpoint", "userinfo_endpoint",
)  # fmt: skip

_FOR_WORKFLOWS = ("account_tokens_dir", "sso_renewal")


def filled_by_workflows(given: dict[str, Any]) -> FromArgoCd:
    """The fields that the environment leaves open, filled in."""
    if "upstream" not in given:
        given["upstream"] = _UPSTREAM
        given.setdefault("upstream_tls_verify", "off")
    given["store_url"] = "memory://"  # not used, and nothing is lost: there are no sessions
    return FromArgoCd(leaves_logins=True)


def for_workflows_alone(given: Mapping[str, Any]) -> Iterator[str]:
    """What is set and means nothing in front of another upstream."""
    for name in _FOR_WORKFLOWS:
        if name in given:
            yield (
                f"{variable(name)} is for Argo Workflows. Take it out, or set "
                f"{variable('upstream_kind')}={KIND}"
            )


def workflows_faults(given: Mapping[str, Any]) -> Iterator[str]:
    """What cannot be, in front of Argo Workflows; and what is missing."""
    beside = f"beside {variable('upstream_kind')}={KIND}"
    for name in _NOT_USED:
        if name in given:
            yield (
                f"{variable(name)} is not used: logins and sessions are Argo Workflows' own. "
                f"Take it out {beside}"
            )
    if given.get("login", "own") != "own":
        yield (
            f"{variable('login')} is not own, and there is no login here that could be observed. "
            f"Take it out {beside}"
        )
    if given.get("argocd_config_source") == values.ArgoCdConfigSource.KUBERNETES:
        yield (
            f"{variable('argocd_config_source')} is kubernetes, which is for Argo CD. "
            f"Take it out {beside}"
        )
    if "public_url" not in given:
        yield (
            f"{variable('public_url')} is missing. Write where browsers see Argo Workflows, with "
            "its base path (--base-href) if it has one: https://workflows.example.org"
        )
