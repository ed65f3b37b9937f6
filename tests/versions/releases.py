"""What is true of each release of Argo CD where logins are concerned, read in its source.

The newest patch of each minor release, and both sides of the patch that changed something. It is
written apart from `sidecar.demo.argocd_versions`, which is held by it. Where it is read:

- `shows_pkce`: `server/settings/settings.go`, `EnablePKCEAuthentication`
- `ui_runs_pkce`: `ui/src/app/app.tsx`, `pkceLogin`
- `asks_userinfo`: `util/settings/settings.go`, `EnableUserInfoGroups`
- `out_by_host`: `server/logout/logout.go`, `ArgoURLForRequest`
- `revokes`: `util/session/sessionmanager.go`, `IsTokenRevoked` for tokens of the provider
- `native`: `util/oidc/oidc.go`, `formatOidcTokenCacheKey`; `server/server.go`, `expiredClaims`
"""

from dataclasses import dataclass

from sidecar.demo.argocd_versions import NativeRefresh

NEVER, BEFORE, AFTER = NativeRefresh


@dataclass(frozen=True)
class Release:
    """One row."""

    version: str
    shows_pkce: bool
    ui_runs_pkce: bool
    asks_userinfo: bool
    out_by_host: bool
    revokes: bool
    native: NativeRefresh


# fmt: off
RELEASES = [
    #                   shows  runs   asks   by     revokes
    #                   PKCE   PKCE   info   host   ID token
    Release("v2.8.21",  False, False, False, False, False, NEVER),
    Release("v2.9.22",  False, False, False, False, False, NEVER),
    Release("v2.10.20", True,  True,  True,  False, False, NEVER),
    Release("v2.11.14", True,  True,  True,  False, False, NEVER),
    Release("v2.12.13", True,  True,  True,  False, False, NEVER),
    Release("v2.13.9",  True,  True,  True,  True,  False, NEVER),
    Release("v2.14.21", True,  True,  True,  True,  False, NEVER),
    Release("v3.0.23",  True,  True,  True,  True,  False, NEVER),
    Release("v3.1.16",  True,  False, True,  True,  False, NEVER),
    Release("v3.2.12",  True,  False, True,  True,  False, NEVER),
    Release("v3.3.14",  True,  False, True,  True,  False, BEFORE),
    Release("v3.4.5",   True,  False, True,  True,  True,  BEFORE),
    Release("v3.4.6",   True,  False, True,  True,  True,  AFTER),
    Release("v3.5.1",   True,  False, True,  True,  True,  AFTER),
    Release("v3.6.0",   True,  False, True,  True,  True,  AFTER),
]
# fmt: on
