"""The header fields of a machine's request: where a token is presented, and what replaces it."""

from collections.abc import Iterable, Sequence

from sidecar.core.heads import Fields
from sidecar.core.upstream_kinds import UpstreamProfile

# What a proxy in front of others writes to say who somebody is, and Argo CD for the backends of
# its extensions. From outside they are somebody's claim.
_IDENTITY = frozenset(
    ("argocd-user-groups", "argocd-user-id", "argocd-username", "remote-email", "remote-group",
     "remote-groups", "remote-name", "remote-user", "x-forwarded-access-token",
     "x-forwarded-email", "x-forwarded-groups", "x-forwarded-preferred-username",
     "x-forwarded-user")
)  # fmt: skip
_IDENTITY_BEGINNINGS = ("impersonate-", "x-remote-", "x-auth-request-")
# grpc-gateway hands what follows on as the call's metadata, where Argo CD looks for tokens.
METADATA = "grpc-metadata-"
_FOR_MACHINES = (*_IDENTITY_BEGINNINGS, METADATA)


def is_read_for_machines(name: str) -> bool:
    """Whether a field of this name, in lower case, says who somebody is or hands on a token."""
    return name in _IDENTITY or name.startswith(_FOR_MACHINES)


def without_identity(fields: Sequence[tuple[str, str]]) -> Fields:
    """The fields without those by which somebody outside could say who they are.

    An underscore is as good as a hyphen: behind us they may be the same (CGI, WSGI).
    """
    return [field for field in fields if not _is_identity(field[0].lower().replace("_", "-"))]


def _is_identity(name: str) -> bool:
    return name in _IDENTITY or name.startswith(_IDENTITY_BEGINNINGS)


def presented_tokens(fields: Iterable[tuple[str, str]], profile: UpstreamProfile) -> list[str]:
    """The tokens in the fields where an upstream looks, and in Authorization in any case."""
    found = []
    for name, value in fields:
        lowered = name.lower()
        if lowered.removeprefix(METADATA) == "authorization":
            scheme, _, token = value.partition(" ")
            if scheme.lower() == "bearer":
                found.append(token.strip(" "))
        elif lowered in profile.token_fields:
            found.append(value)
    return found


def with_credential(
    fields: Iterable[tuple[str, str]], token: str, profile: UpstreamProfile
) -> Fields:
    """The fields with this token as the only credential: no cookie goes up with it."""
    kept = [field for field in fields if not _is_credential(field[0].lower(), profile)]
    value = f"Bearer {token}" if profile.bearer else token
    name = "Authorization" if profile.bearer else profile.token_fields[0]
    return [*kept, (name, value)]


def without_cookies(fields: Iterable[tuple[str, str]]) -> Fields:
    """An answer's fields without cookies and tokens: they would be the upstream credential's."""
    return [
        (name, value)
        for name, value in fields
        if name.lower() not in ("set-cookie", "grpc-metadata-renew-token")
    ]


def _is_credential(name: str, profile: UpstreamProfile) -> bool:
    own = name in ("authorization", "cookie", "token") or name in profile.token_fields
    return own or name.startswith(METADATA)
