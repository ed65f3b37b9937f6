"""What stands behind the sidecar, and what each does differently, as a table."""

from dataclasses import dataclass
from enum import StrEnum


class UpstreamKind(StrEnum):
    """The values of `SIDECAR_UPSTREAM_KIND`."""

    ARGOCD = "argocd"
    DEVTRON = "devtron"
    ARGO_WORKFLOWS = "argo-workflows"


@dataclass(frozen=True, slots=True)
class UpstreamProfile:
    """How an upstream finds a request's token, and what its `argocd.token` cookie is like.

    `token_fields` are the header fields that count before the cookie, in lower case; with `bearer`
    so does a JWT in Authorization. With `cookie_is_login` its pages end a login by deleting that
    cookie, which they read: then it is set at the path `/`, for scripts too, and for as long as
    our own cookie. With `keeps_sessions` they are its own, and no login is taken over.
    """

    title: str
    token_fields: tuple[str, ...]
    bearer: bool = False
    cookie_is_login: bool = False
    keeps_sessions: bool = False


_PROFILES = {
    UpstreamKind.ARGOCD: UpstreamProfile("Argo CD", ("token", "grpc-metadata-token"), bearer=True),
    # middleware/AuthMiddleware.go of its authenticator: `token` counts only without the cookie.
    UpstreamKind.DEVTRON: UpstreamProfile("Devtron", ("api-token",), cookie_is_login=True),
    # server/auth/gatekeeper.go: a header, even an empty one, before all cookies.
    UpstreamKind.ARGO_WORKFLOWS: UpstreamProfile(
        "Argo Workflows", (), bearer=True, keeps_sessions=True
    ),
}


def upstream_profile(kind: UpstreamKind) -> UpstreamProfile:
    """What is different with this upstream."""
    return _PROFILES[kind]
