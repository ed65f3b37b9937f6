"""Where each provider has the settings that a login with refresh tokens needs.

What the settings do has its sources in `docs/providers.md` and its pages; the names of menus are
not verified.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from sidecar.core.provider_profiles import Provider


@dataclass(frozen=True, slots=True)
class Mends:
    """What to do at a provider, each the whole of a sentence; empty: as at any other."""

    renewing: str = ""
    redirects: str = ""
    credentials: str = ""
    groups: str = ""
    renewed: str = ""
    rotation: str = ""


GENERIC = Mends(
    renewing="Let the client use the grant type refresh_token and the scope offline_access; "
    "SIDECAR_OFFLINE_ACCESS=consent for a provider that wants the person's consent",
    redirects="Register exactly this redirect URI at the client",
    credentials="Copy the client's secret anew from the provider into argocd-secret, or into what "
    "SIDECAR_CLIENT_SECRET_FILE names",
    groups="Have the provider put the groups claim into ID tokens, at refreshes too",
    renewed="Have the provider answer refreshes with an ID token (the scope openid is asked for)",
    rotation="Raise the provider's reuse interval to 10 seconds or more, or leave it as it is",
)

_AT: Mapping[Provider, Mends] = {
    Provider.KEYCLOAK: Mends(
        renewing="Add the client scope offline_access to the client as optional, and switch "
        "on Use refresh tokens",
        redirects="Clients > the client > Settings > Valid redirect URIs: add it",
        credentials="Clients > the client > Credentials: Client Secret (authentication is on)",
        groups="Give the client a Group Membership mapper named groups, with Add to ID token",
        rotation="Realm settings > Tokens: with Revoke Refresh Token, set Refresh Token Max "
        "Reuse to 1",
    ),
    Provider.OKTA: Mends(
        renewing="Application > General > Grant type: tick Refresh Token",
        redirects="Application > General > Sign-in redirect URIs: add it",
        credentials="Application > General > Client Credentials has the active secrets",
        groups="Sign On > OpenID Connect ID Token: set a groups claim filter",
        rotation="Application > General > Refresh Token: a grace period of 30 seconds",
    ),
    Provider.AUTH0: Mends(
        renewing="APIs > the API > Settings: Allow Offline Access; and Application > "
        "Advanced > Grant Types: Refresh Token",
        redirects="Application > Settings > Allowed Callback URLs: add it",
        credentials="Application > Settings > Client Secret",
        groups="Add the claim by a post-login Action; Auth0 wants a namespaced name",
        rotation="Application > Refresh Token Rotation: a Rotation Overlap Period of 30 seconds",
    ),
    Provider.ENTRA: Mends(
        renewing="App registration > API permissions: offline_access and openid, with "
        "consent; the platform of the redirect URI is Web",
        redirects="App registration > Authentication > Web > Redirect URIs: add it",
        credentials="App registration > Certificates & secrets: the Value of a secret that has not "
        "expired, not its Secret ID",
        groups="App registration > Token configuration: add the groups claim to ID tokens; "
        "groups itself is no scope there, so take it out of requestedScopes",
    ),
    Provider.GOOGLE: Mends(
        renewing="Google gives one with access_type=offline: leave SIDECAR_OFFLINE_ACCESS at "
        "auto, and publish the app (one in Testing loses it after 7 days)",
        redirects="Credentials > the OAuth client > Authorized redirect URIs: add it",
        credentials="Credentials > the OAuth client > Client secrets",
        groups="Google has no groups in ID tokens, and no scope for them: use a Dex with its "
        "google connector, and take groups out of requestedScopes",
    ),
    Provider.DEX: Mends(
        renewing="Use a connector that can refresh (oidc, ldap, github; not saml, oauth or "
        "authproxy in 2.45), and keep refresh_token in oauth2.grantTypes",
        redirects="staticClients > the client > redirectURIs: add it",
        credentials="staticClients > the client > secret",
        groups="Ask for the scope groups, and let the connector read groups",
        rotation="expiry.refreshTokens.reuseInterval: 30s in Dex's configuration",
    ),
    Provider.COGNITO: Mends(
        renewing="App client > Authentication flows: ALLOW_REFRESH_TOKEN_AUTH",
        redirects="App client > Login pages > Allowed callback URLs: add it",
        groups="Cognito names them cognito:groups: set scopes in argocd-rbac-cm, and take groups "
        "out of requestedScopes",
        rotation="App client > Refresh token rotation: a grace period of 60 seconds",
    ),
    Provider.GITLAB: Mends(
        redirects="Applications > the application > Redirect URI: add it",
        credentials="Applications > the application > Secret: renew it",
        groups="GitLab names them groups_direct in ID tokens: set scopes in argocd-rbac-cm",
    ),
    Provider.PINGFEDERATE: Mends(
        renewing="Client > Allowed Grant Types: tick Refresh Token",
        renewed="OpenID Connect policy: tick Return ID Token On Refresh Grant",
    ),
    Provider.AUTHENTIK: Mends(
        renewing="Provider > Advanced > Scopes: select offline_access",
        redirects="Provider > Redirect URIs: add it, strict",
    ),
    Provider.ZITADEL: Mends(
        renewing="Application > OIDC Configuration: tick Refresh Token",
    ),
    Provider.AUTHELIA: Mends(
        renewing="Client: scopes with offline_access, grant_types with refresh_token",
        groups="Give the client a claims_policy whose id_token has groups",
    ),
    Provider.HYDRA: Mends(
        renewing="Client: scope offline_access, grant type refresh_token; and the consent "
        "app has to grant the scope",
        rotation="oauth2.grant.refresh_token.rotation_grace_period: 1m",
    ),
    Provider.ONELOGIN: Mends(
        renewing="Application > Configuration: the grant type Refresh Token, with a timeout",
    ),
}


def mends_at(provider: Provider) -> Mends:
    """What to do at this provider, filled up with what is true of any."""
    own = _AT.get(provider, GENERIC)
    return Mends(
        own.renewing or GENERIC.renewing,
        own.redirects or GENERIC.redirects,
        own.credentials or GENERIC.credentials,
        own.groups or GENERIC.groups,
        own.renewed or GENERIC.renewed,
        own.rotation or GENERIC.rotation,
    )
