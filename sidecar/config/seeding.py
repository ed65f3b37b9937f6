"""Whether, and how, access tokens are put where Argo CD looks for them."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace

from sidecar.config import values
from sidecar.core.argocd_config import ArgoCdConfig
from sidecar.core.argocd_files import CM, PARAMS, REDIS_SECRET, SECRET, ArgoCdFiles, Finding, Weight
from sidecar.core.argocd_oidc import Oidc

_WHY = (
    "makes Argo CD ask for groups with an access token that it looks for in its Redis, and without "
    "it refuse everybody: logins stay with Argo CD. Set SIDECAR_SEED_ACCESS_TOKEN=on, or switch "
    "it off, to have them taken over"
)
_ELSE = "or set SIDECAR_ARGOCD_REDIS_URL"


@dataclass(frozen=True, slots=True)
class AccessTokenSeed:
    """What is needed to write an access token into Argo CD's Redis."""

    redis_url: str = field(repr=False)
    server_secret: bytes = field(repr=False)
    key_prefix: str = ""

    def where_it_was(self, before: "AccessTokenSeed | None") -> "AccessTokenSeed":
        """The same in the Redis of `before`: `argocd-server` follows to another at its start."""
        if before is None:
            return self
        return replace(self, redis_url=before.redis_url, key_prefix=before.key_prefix)


def reads_access_token(oidc: Oidc) -> Iterator[str]:
    """The settings because of which Argo CD looks for an access token."""
    if oidc.enable_user_info_groups and oidc.user_info_path:
        yield "enableUserInfoGroups"
    if oidc.azure.enable_user_group_overage_claim:
        yield "azure.enableUserGroupOverageClaim"


def access_token_seed(
    argocd: ArgoCdConfig, files: ArgoCdFiles, given: Mapping[str, str], redis_url: str
) -> tuple[AccessTokenSeed | None, list[Finding]]:
    """What is needed, None where it is not; and what is wrong with it.

    `redis_url` is Argo CD's own, "" where it cannot be reached by its settings.
    """
    wanted = list(reads_access_token(argocd.oidc)) if argocd.oidc else []
    if not wanted:
        return None, []
    if given.get("seed_access_token") != "on":
        where = [f"{CM}: oidc.config: {name}" for name in wanted]
        return None, [Finding(Weight.ABSENT, name, _WHY) for name in where]
    url = given.get("argocd_redis_url", "") or redis_url
    findings = list(_wrong_address(url)) if url else [_no_redis(argocd, files)]
    if not argocd.secret_key:
        sentence = f"is not there (yet), and seals access tokens. {files.mend(SECRET)}"
        findings.append(Finding(Weight.BROKEN, f"{SECRET}: server.secretkey", sentence))
    if findings:
        return None, findings
    return AccessTokenSeed(url, argocd.secret_key, argocd.redis_key_prefix), []


def _wrong_address(url: str) -> Iterator[Finding]:
    try:
        values.redis_url(url)
    except ValueError as error:
        yield Finding(Weight.BROKEN, f"{PARAMS}: redis.server", str(error))


def _no_redis(argocd: ArgoCdConfig, files: ArgoCdFiles) -> Finding:
    """Why access tokens cannot get to Argo CD's Redis."""
    if argocd.redis is None or files.awaited:
        sentence = f"cannot be seen, and says where access tokens go. {files.mend(PARAMS)}, {_ELSE}"
        return Finding(Weight.BROKEN, PARAMS, sentence)
    if argocd.redis.sentinel:
        sentence = f"cannot be followed for access tokens. {_ELSE[3:].capitalize()}"
        return Finding(Weight.BROKEN, f"{PARAMS}: redis.sentinel.hosts", sentence)
    sentence = (
        f"has no auth that can be seen, for access tokens. {files.mend(REDIS_SECRET)}, {_ELSE}"
    )
    return Finding(Weight.BROKEN, REDIS_SECRET, sentence)
