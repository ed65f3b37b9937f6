"""How the stand-in judges a token: as argocd-server's session manager does."""

import json
import secrets
from collections.abc import Callable, Mapping
from typing import Any

import jwt
from aiohttp import ClientError, ClientSession, ClientTimeout

from sidecar.demo.argocd_answers import ArgocdSettings
from sidecar.demo.own_login import rewritten

LOCAL_ISSUER = "argocd"
LOCAL_SECONDS = 24 * 3600
LOCAL_RENEWAL_SECONDS = 5 * 60
FETCH_SECONDS = 5
NOT_BEFORE_LEEWAY_SECONDS = 300  # go-oidc's; for `exp` it has none

Claims = Mapping[str, Any]


class Unauthenticated(Exception):
    """No user; the message is Argo CD's, word for word.

    `iss` is what /api/v1/session/userinfo says: "sso" for a token of the provider that has
    `expired`, whose claims are then at hand.
    """

    def __init__(self, message: str, *, iss: str = "", expired: Claims | None = None) -> None:
        super().__init__(message)
        self.message, self.iss = message, iss
        self.expired = expired


class ProviderKeys:
    """The provider's published keys, fetched when a signature does not fit the known ones."""

    def __init__(self, issuer: str, dex_server: str = "") -> None:
        self._issuer = issuer
        self._dex_server = dex_server
        self._keys: list[jwt.PyJWK] = []

    async def claims(self, token: str) -> Claims:
        """The claims of `token`, whose signature is good; nothing else is checked.

        Raises:
            jwt.PyJWTError: no published key made the signature.
            aiohttp.ClientError, TimeoutError: the provider cannot be asked.
        """
        try:
            return self._verified(token)
        except jwt.PyJWTError:
            await self._fetch()
            return self._verified(token)

    def _verified(self, token: str) -> Claims:
        kid = jwt.get_unverified_header(token).get("kid")
        for key in self._keys:
            if kid in (None, key.key_id):
                payload = jwt.PyJWS().decode(token, key, algorithms=["RS256"])
                return dict(json.loads(payload))
        raise jwt.InvalidSignatureError("no key fits")

    async def _fetch(self) -> None:
        async with ClientSession(timeout=ClientTimeout(total=FETCH_SECONDS)) as http:
            address = f"{self._issuer.rstrip('/')}/.well-known/openid-configuration"
            async with http.get(self._at(address), raise_for_status=True) as response:
                discovery = await response.json()
            if discovery.get("issuer") != self._issuer:
                raise jwt.InvalidIssuerError("the discovery document names another issuer")
            jwks = self._at(discovery["jwks_uri"])
            async with http.get(jwks, raise_for_status=True) as response:
                self._keys = jwt.PyJWKSet.from_dict(await response.json()).keys

    def _at(self, url: str) -> str:
        return rewritten(url, self._dex_server) if self._dex_server else url


class Sessions:
    """Verifies tokens, makes those of local accounts, and remembers the revoked ones."""

    def __init__(self, settings: ArgocdSettings, *, now: Callable[[], float]) -> None:
        self._with, self._now = settings, now
        self._keys = ProviderKeys(settings.issuer, settings.dex_server)
        self._secret = secrets.token_bytes(32)
        self._revoked: set[str] = set()

    async def verify(self, token: str) -> Claims:
        """The claims of a good token.

        Raises:
            Unauthenticated: it is none, with the reason that Argo CD gives.
        """
        if not token:
            raise Unauthenticated("no session information")
        if _unverified(token).get("iss") == LOCAL_ISSUER:
            claims = self._local(token)
        else:
            claims = await self._from_provider(token)
        local = claims.get("iss") == LOCAL_ISSUER
        looks = local or self._with.traits.revokes_id_tokens
        if looks and _revocation_id(claims) in self._revoked:
            raise Unauthenticated("invalid session: token is revoked, please re-login")
        return claims

    def log_in(self, username: str, password: str) -> str:
        """A token for the local account `admin`.

        Raises:
            Unauthenticated: name or password is wrong.
        """
        right = secrets.compare_digest(password.encode(), self._with.admin_password.encode())
        if username != "admin" or not right:
            raise Unauthenticated("Invalid username or password")
        return self._issue("admin:login")

    def renewed(self, claims: Claims) -> str:
        """A local account's next token if this one ends soon and the account goes on, else ""."""
        left = float(claims["exp"]) - self._now()
        return self._issue(str(claims["sub"])) if left < LOCAL_RENEWAL_SECONDS else ""

    def _issue(self, subject: str) -> str:
        issued_at = int(self._now())
        claims = {
            "iss": LOCAL_ISSUER,
            "sub": subject,
            "exp": issued_at + LOCAL_SECONDS,
            "nbf": issued_at,
            "iat": issued_at,
            "jti": secrets.token_hex(16),
        }
        return jwt.encode(claims, self._secret, algorithm="HS256")

    def revoke(self, claims: Claims) -> None:
        """Refuse the token of these claims from now on."""
        self._revoked.add(_revocation_id(claims))

    def _local(self, token: str) -> Claims:
        try:
            payload = jwt.PyJWS().decode(token, self._secret, algorithms=["HS256"])
        except jwt.PyJWTError as error:
            raise Unauthenticated(
                "invalid session: token signature is invalid: signature is invalid"
            ) from error
        claims: Claims = json.loads(payload)
        if self._now() >= claims["exp"]:
            raise Unauthenticated("invalid session: token has invalid claims: token is expired")
        return claims

    async def _from_provider(self, token: str) -> Claims:
        """The claims of an ID token; as in go-oidc, the signature comes before the end."""
        refused = "invalid session: failed to verify the token"
        try:
            claims = await self._keys.claims(token)
        except (jwt.PyJWTError, ClientError, TimeoutError) as error:
            raise Unauthenticated(refused) from error
        audience = claims.get("aud", [])
        audiences = {audience} if isinstance(audience, str) else set(audience)
        now = self._now()
        if claims.get("iss") != self._with.issuer or not audiences & self._with.audiences:
            raise Unauthenticated(refused)
        if claims.get("exp", 0) < now:
            raise Unauthenticated(refused, iss="sso", expired=claims)
        if claims.get("nbf", 0) > now + NOT_BEFORE_LEEWAY_SECONDS:
            raise Unauthenticated(refused)
        return claims


def username(claims: Claims) -> str:
    """How Argo CD calls the user: a local account's name, the email address or the subject."""
    if claims.get("iss") == LOCAL_ISSUER:
        return str(claims["sub"]).partition(":")[0]
    return str(claims.get("email") or claims.get("sub", ""))


def _unverified(token: str) -> Claims:
    malformed = "invalid session: token is malformed: "
    if token.count(".") != 2:
        raise Unauthenticated(malformed + "token contains an invalid number of segments")
    try:
        claims = jwt.decode_complete(token, options={"verify_signature": False})["payload"]
    except jwt.PyJWTError as error:
        raise Unauthenticated(malformed + "could not JSON decode header") from error
    return dict(claims)


def _revocation_id(claims: Claims) -> str:
    return str(claims.get("jti") or claims.get("uti") or claims.get("at_hash") or "")
