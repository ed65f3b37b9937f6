"""Whether the provider takes the client: its id, its redirect URI, its secret. Plain functions."""

import re
from collections.abc import Iterator
from urllib.parse import parse_qs, urlsplit

from sidecar.config.settings import Config
from sidecar.core.client_authentication import METHODS, ClientAuth
from sidecar.core.provider_profiles import Provider, ProviderProfile
from sidecar.doctor.fetch import Page
from sidecar.doctor.findings import Finding, fault, ok, warning
from sidecar.doctor.mends import mends_at
from sidecar.doctor.provider_look import ProviderSeen, redirect_uri

_NO_TOKENS = "No code and no refresh token can be redeemed."
_CLIENT = {"invalid_client", "unauthorized_client"}
_HOW = {
    ClientAuth.BASIC: "its secret in the header (client_secret_basic)",
    ClientAuth.BASIC_RAW: "its secret in the header as it is (client_secret_basic, basic-raw)",
    ClientAuth.POST: "its secret in the body (client_secret_post)",
    ClientAuth.PRIVATE_KEY_JWT: "a token signed with its key (private_key_jwt)",
    ClientAuth.WORKLOAD_IDENTITY: "the pod's token (workload identity)",
    ClientAuth.NONE: "nothing but its id (none)",
}
_LATER = {408, 425, 429}
_NEEDS_PERSON = {
    "login_required", "interaction_required", "consent_required", "account_selection_required",
}  # fmt: skip


def of_authorization(config: Config, profile: ProviderProfile, page: Page) -> Finding:
    """What the provider makes of a login's request that allows no form."""
    name, uri, mends = "provider.client", redirect_uri(config), mends_at(profile.provider)
    if page.problem is not None or page.status >= 500 or page.status in _LATER:
        return warning(
            name, f"the authorization endpoint {page.problem or f'answers {page.status}'}",
            "Browsers may fare better; nobody logs in if not.",
            "Open /auth/login in a browser, and look into the provider's log",
        )  # fmt: skip
    if page.location.startswith(uri):
        return _sent_back(config, profile, page.location)
    text = (page.body[:20_000].decode("utf-8", "replace") + page.location).lower()
    refused = page.status >= 400 or re.search(r"aadsts(50011|700016)|/oauth/error", text)
    if not refused:
        return ok(
            name,
            f"client {config.client_id} may log in; the provider shows a page",
            f"Whether {uri} is registered is known only after a login: --login",
        )
    what, mend = "the redirect URI", f"{mends.redirects}: {uri}"
    if "redirect" not in text:
        what = "the client or its redirect URI"
        mend += ". And clientID in oidc.config, or SIDECAR_CLIENT_ID, must be its id there"
    what = f"the provider refuses {what} ({page.status}): {config.client_id}, {uri}"
    return fault(name, what, "Nobody can log in.", mend)


def _sent_back(config: Config, profile: ProviderProfile, location: str) -> Finding:
    name = "provider.client"
    error = (parse_qs(urlsplit(location).query).get("error") or [""])[0]
    if not error or error in _NEEDS_PERSON:
        return ok(name, f"client {config.client_id} and {redirect_uri(config)} are registered")
    word = _word(error)
    mend = {
        "invalid_scope": f"Take out the scope that it does not know: {' '.join(config.scopes)}",
        "unauthorized_client": "Let the client use the authorization code flow",
        "unsupported_response_type": "Let the client use the authorization code flow",
    }.get(error, "Look into the provider's log for the reason")
    if error in ("temporarily_unavailable", "server_error"):
        return warning(name, f"the provider answers {word}", "It has a problem now.", mend)
    title = "" if profile.provider is Provider.GENERIC else f" ({profile.title})"
    return fault(
        name, f"the provider refuses the login's request: {word}{title}", "Nobody can log in.", mend
    )


def of_token(config: Config, seen: ProviderSeen) -> Iterator[Finding]:
    """What a made-up code was answered with: by then the client has been looked at."""
    name, error, problem = "provider.secret", seen.token_error, seen.token_problem
    if error is None:
        return
    if error in _CLIENT or (not error and "answered 401" in problem):
        yield _client_refused(seen)
    elif error in ("unsupported_grant_type", "access_denied"):
        yield fault(
            name, f"the token endpoint answers {error}", _NO_TOKENS,
            "Let the client use the grant types authorization_code and refresh_token",
        )  # fmt: skip
    elif not error:
        yield warning(
            name, f"whether the secret is right is not known: {problem}",
            "If it stays so, no login can be finished.",
            "Look at the provider, and at what is between it and this pod",
        )  # fmt: skip
    else:
        how = f" by {_HOW[seen.client_auth]}" if seen.client_auth else ""
        yield ok(
            name, f"the client is taken{how}; a made-up code is refused as it should be ({error})"
        )
    yield from _not_listed(seen)


def _client_refused(seen: ProviderSeen) -> Finding:
    name, auth = "provider.secret", seen.client_auth
    word, mend = seen.token_error or "it answers 401", _mend(seen)
    if auth is None or auth is ClientAuth.NONE:
        what = f"the provider does not take the client without a secret: {word}"
        return fault(name, what, _NO_TOKENS, f"{mend}; or make it a public client")
    what = f"the provider refuses the client, which authenticates by {_HOW[auth]}: {word}"
    return fault(name, what, _NO_TOKENS, mend)


def _mend(seen: ProviderSeen) -> str:
    """What may be wrong with the client's way to authenticate."""
    secret, listed = mends_at(seen.profile.provider).credentials, ", ".join(_methods(seen))
    other = f". The provider lists {listed}: SIDECAR_CLIENT_AUTH" if listed else ""
    match seen.client_auth:
        case ClientAuth.PRIVATE_KEY_JWT:
            return (
                "Register the key's public half at the client, with the same kid; or set "
                f"SIDECAR_CLIENT_ASSERTION_AUDIENCE, SIDECAR_CLIENT_KEY_ALG{other}"
            )
        case ClientAuth.WORKLOAD_IDENTITY:
            return (
                "App registration > Certificates & secrets > Federated credentials: issuer, "
                "namespace and service account must be this pod's, audience "
                "api://AzureADTokenExchange"
            )
        case ClientAuth.BASIC:
            return f"{secret}. If it is right, and has odd letters: SIDECAR_CLIENT_AUTH=basic-raw"
    return f"{secret}{other}"


def _not_listed(seen: ProviderSeen) -> Iterator[Finding]:
    """A method that the provider does not list may work all the same: it is the one in use."""
    methods, auth = _methods(seen), seen.client_auth
    if auth is None or not methods or METHODS[auth] in methods or auth is ClientAuth.NONE:
        return
    yield warning(
        "provider.client_auth",
        f"the client authenticates by {_HOW[auth]}, and the provider lists {', '.join(methods)}",
        "It may be refused.",
        "Take SIDECAR_CLIENT_AUTH out, or set it to what the provider lists",
    )


def _methods(seen: ProviderSeen) -> list[str]:
    found = seen.document.get("token_endpoint_auth_methods_supported")
    return (
        [_word(each) for each in found[:9] if isinstance(each, str)]
        if (isinstance(found, list))
        else []
    )


def _word(error: str) -> str:
    """An error as it may be shown: the provider writes it, and anybody can send one."""
    return error if re.fullmatch(r"[a-z_]{1,64}", error) else "an error that is no OAuth word"
