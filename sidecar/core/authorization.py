"""A login attempt: state, nonce, PKCE, the request to the provider, the safe way back."""

import hashlib
import hmac
import json
import re
from collections.abc import Sequence
from dataclasses import astuple, dataclass, field
from enum import StrEnum
from urllib.parse import urlencode, urlsplit

from sidecar.core.base64url import base64url, from_base64url
from sidecar.core.heads import OwnPath, Paths, clean_path
from sidecar.core.provider_profiles import ProviderProfile
from sidecar.core.sealing import KeyRing, Label
from sidecar.errors import LoginRefused, RecordBroken, SilentLoginRefused, StoreUnavailable

ATTEMPT_RANDOM_BYTES = 3 * 32
ATTEMPT_LIFE_SECONDS = 600.0
MAX_RETURN_URL_LENGTH = 2048
# OpenID Connect Core 3.1.2.6, and RFC 6749 section 4.1.2.1.
_NEEDS_PERSON = frozenset(
    ("interaction_required", "login_required", "account_selection_required", "consent_required")
)
_ERRORS = _NEEDS_PERSON | {
    "invalid_request",
    "unauthorized_client",
    "unsupported_response_type",
    "invalid_scope",
}


class OfflineAccess(StrEnum):
    """How a refresh token is asked for (OpenID Connect Core section 11)."""

    AUTO = "auto"
    """The scope `offline_access` where the provider lists it; Google's own way there."""
    ALWAYS = "always"
    """The scope, listed or not."""
    CONSENT = "consent"
    """The scope and `prompt=consent`, for providers that give none without."""
    NEVER = "never"


@dataclass(frozen=True, slots=True)
class LoginAttempt:
    """What a browser carries, sealed, from `/auth/login` to `/auth/callback`."""

    state: str = field(repr=False)
    nonce: str = field(repr=False)
    code_verifier: str = field(repr=False)
    return_url: str
    redirect_uri: str
    started_at: float
    silent: bool = False
    """Whether the provider was asked not to show a form (`prompt=none`)."""

    @property
    def state_hash(self) -> str:
        """The state's SHA-256: names the attempt's cookie and its mark in the store."""
        return hash_state(self.state)

    def seal(self, ring: KeyRing, prefix: str, *, random: bytes) -> str:
        """The value of the attempt's cookie; `random` is `SEAL_RANDOM_BYTES` long."""
        plain = json.dumps(astuple(self)).encode()
        sealed = ring.seal(plain, Label(prefix, "login", self.state_hash), random=random)
        return base64url(sealed)


def new_attempt(
    return_url: str, redirect_uri: str, *, now: float, random: bytes, silent: bool = False
) -> LoginAttempt:
    """An attempt with fresh secrets from `random`, which is `ATTEMPT_RANDOM_BYTES` long."""
    if len(random) != ATTEMPT_RANDOM_BYTES:
        raise ValueError(f"an attempt needs {ATTEMPT_RANDOM_BYTES} random bytes")
    state, nonce, code_verifier = (base64url(random[i : i + 32]) for i in (0, 32, 64))
    return LoginAttempt(state, nonce, code_verifier, return_url, redirect_uri, now, silent)


def hash_state(state: str) -> str:
    """The SHA-256 of a state, in hex."""
    return hashlib.sha256(state.encode("utf-8", "replace")).hexdigest()


def open_attempt(
    cookie: str, state: str, ring: KeyRing, prefix: str, *, now: float
) -> LoginAttempt:
    """The attempt that `state` came back for.

    Raises:
        LoginRefused: the cookie is not the state's, not ours, or older than ten minutes.
    """
    refused = LoginRefused(
        "state", "This sign-in was started in another window, or too long ago. Start it again."
    )
    state_hash = hash_state(state)
    try:
        sealed = from_base64url(cookie)
        attempt = LoginAttempt(*json.loads(ring.open(sealed, Label(prefix, "login", state_hash))))
    except (TypeError, ValueError, RecordBroken, StoreUnavailable) as error:
        raise refused from error
    if not hmac.compare_digest(hash_state(str(attempt.state)), state_hash):
        raise refused
    if not -60 <= now - attempt.started_at <= ATTEMPT_LIFE_SECONDS:
        raise refused
    return attempt


def authorization_url(
    endpoint: str,
    attempt: LoginAttempt,
    *,
    client_id: str,
    scope: str,
    extra: Sequence[tuple[str, str]] = (),
) -> str:
    """Where to send the browser: OpenID Connect Core 3.1.2.1, with PKCE (RFC 7636)."""
    query = urlencode(
        [
            ("response_type", "code"),
            ("client_id", client_id),
            ("redirect_uri", attempt.redirect_uri),
            ("scope", scope),
            ("state", attempt.state),
            ("nonce", attempt.nonce),
            ("code_challenge", _code_challenge(attempt.code_verifier)),
            ("code_challenge_method", "S256"),
            *extra,
        ]
    )
    return f"{endpoint}{'&' if '?' in endpoint else '?'}{query}"


def requested_scope(
    scopes: Sequence[str],
    offline: OfflineAccess,
    *,
    supported: Sequence[str],
    profile: ProviderProfile,
) -> tuple[str, list[tuple[str, str]]]:
    """The `scope` to ask for, and the parameters that make the provider give a refresh token."""
    if profile.authorization and offline is not OfflineAccess.NEVER:
        return " ".join(scopes), list(profile.authorization)
    wanted = offline in (OfflineAccess.ALWAYS, OfflineAccess.CONSENT) or (
        offline is OfflineAccess.AUTO and "offline_access" in supported
    )
    added = ["offline_access"] if wanted and "offline_access" not in scopes else []
    extra = [("prompt", "consent")] if offline is OfflineAccess.CONSENT else []
    return " ".join([*scopes, *added]), extra


def _code_challenge(verifier: str) -> str:
    """RFC 7636 section 4.2, by S256."""
    return base64url(hashlib.sha256(verifier.encode()).digest())


@dataclass(frozen=True, slots=True)
class AuthorizationResponse:
    """The query of `/auth/callback` (RFC 6749 4.1.2, RFC 9207); absent parameters are empty."""

    state: str = field(repr=False)
    code: str = field(repr=False)
    iss: str
    error: str


def read_authorization_response(query: Sequence[tuple[str, str]]) -> AuthorizationResponse:
    """The parameters of the provider's answer.

    Raises:
        LoginRefused: a parameter is there twice (RFC 6749 section 3.1), too long, or the
            state is missing.
    """
    found: dict[str, str] = {}
    for name, value in query:
        if name not in ("state", "code", "iss", "error"):
            continue
        if name in found or len(value) > 8192:
            raise LoginRefused(
                "parameters", "The provider's answer could not be understood. Sign in again."
            )
        found[name] = value
    if not found.get("state"):
        raise LoginRefused(
            "state", "This address only works at the end of a sign-in. Start a new one."
        )
    return AuthorizationResponse(
        found["state"], found.get("code", ""), found.get("iss", ""), found.get("error", "")
    )


def check_authorization_response(
    response: AuthorizationResponse,
    *,
    issuer: str,
    iss_required: bool,
    silent: bool = False,
    aliases: tuple[str, ...] = (),
) -> None:
    """Refuse an answer from another provider, an error, or one without a code.

    Its `iss` is the issuer, or an alias of it that is set, to the letter (RFC 9207 section 2.4).

    Raises:
        SilentLoginRefused: the provider needs the person, and was asked not to show a form.
        LoginRefused: with the sentence for the person; `error` decides before a missing code.
    """
    if (response.iss or iss_required) and response.iss not in (issuer, *aliases):
        raise LoginRefused("iss", "The answer came from another identity provider than asked.")
    if silent and response.error in _NEEDS_PERSON:
        raise SilentLoginRefused("silent", "The identity provider needs you to sign in.")
    if response.error == "access_denied":
        raise LoginRefused(
            "access_denied", "The sign-in was cancelled, or you may not use this.", status=403
        )
    if response.error in ("temporarily_unavailable", "server_error"):
        raise LoginRefused(
            response.error, "The identity provider has a problem. Try again soon.", status=503
        )
    if response.error:
        # The word becomes a metric's label, and anybody can send one.
        word = response.error if response.error in _ERRORS else "other"
        raise LoginRefused(
            f"provider_{word}", "The identity provider refused the sign-in. Tell your operator."
        )
    if not response.code:
        raise LoginRefused("code", "The provider's answer has no code in it. Sign in again.")


@dataclass(frozen=True, slots=True)
class Sites:
    """Where browsers see Argo CD: its public URL, and its additional ones."""

    public: str
    additional: tuple[str, ...] = ()

    def at(self, host: str) -> str:
        """The URL whose host and port a request names as its `Host`; else the public one.

        A client may name what it likes: it chooses among these, as with Argo CD.
        """
        named = (url for url in self.additional if urlsplit(url).netloc == host.lower())
        return next(named, self.public)

    def beginning_at(self, host: str) -> list[str]:
        """All of them, the one of this host first."""
        here = self.at(host)
        return [here, *(url for url in (self.public, *self.additional) if url != here)]


def safe_return_url(given: str, bases: Sequence[str], paths: Paths) -> str:
    """The address to go to after a login: `given` if it is ours, the first base if empty.

    An address is ours when scheme, host and port are a base's, its path lies in the base's
    on an exact boundary, and it is none of the sidecar's own endpoints. A path alone is
    taken below the first base's origin. The page of one's sessions may be asked for.

    Raises:
        LoginRefused: for any other address, or one that parsers could read differently.
    """
    refused = LoginRefused("return_url", "The address to return to is not part of this site.")
    if not given:
        return bases[0]
    if len(given) > MAX_RETURN_URL_LENGTH or not re.fullmatch(r"[!-\[\]-~]+", given):
        raise refused  # printable ASCII without space and backslash
    if given.startswith("/") and not given.startswith("//"):
        given = origin(bases[0]) + given
    for base in bases:
        rest = _below(given, origin(base))
        if rest is None:
            continue
        raw = re.split("[?#]", rest)[0] or "/"
        path = clean_path(raw)
        base_path = urlsplit(base).path.rstrip("/")
        if path is None or paths.own(path) not in (None, OwnPath.SESSIONS) or _DOTS.search(raw):
            raise refused
        # A browser leaves `//` and `%61` as they are, and so may what chooses a server by the path.
        if all(p == base_path or p.startswith(base_path + "/") for p in (path, raw)):
            return given
    raise refused


# Segments that browsers take away (WHATWG URL); the address of a page has none.
_DOTS = re.compile(r"/(?:\.|%2e){1,2}(?:/|$)", re.IGNORECASE)


def origin(url: str) -> str:
    """Scheme and authority of an address, in lower case (RFC 6454)."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}".lower()


def _below(url: str, base_origin: str) -> str | None:
    """What follows `base_origin` in `url`, None where it is another origin.

    Compared as text, not parsed: no parser's idea of userinfo, ports or hosts comes in.
    """
    head, rest = url[: len(base_origin)], url[len(base_origin) :]
    if head.lower() != base_origin or rest[:1] not in ("", "/", "?", "#"):
        return None
    return rest
