"""Whether the provider takes the client: its id, its redirect URI, its secret. Plain functions."""

import re
from collections.abc import Iterator
from urllib.parse import parse_qs, urlsplit

from sidecar.config.settings import Config
from sidecar.core.provider_profiles import Provider, ProviderProfile
from sidecar.doctor.fetch import Page
from sidecar.doctor.findings import Finding, fault, ok, warning
from sidecar.doctor.mends import mends_at
from sidecar.doctor.provider_look import ProviderSeen, redirect_uri

_NO_TOKENS = "No code and no refresh token can be redeemed."
_CLIENT = {"invalid_client", "unauthorized_client"}
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
        yield _client_refused(config, seen)
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
        yield ok(name, f"the client is taken; a made-up code is refused as it should be ({error})")


def _client_refused(config: Config, seen: ProviderSeen) -> Finding:
    name, mend = "provider.secret", mends_at(seen.profile.provider).credentials
    if config.source("client_secret") == "default":
        what = "the provider does not take the client without a secret"
        return fault(name, what, _NO_TOKENS, f"{mend}; or make it a public client")
    word = seen.token_error or "it answers 401"
    return fault(name, f"the provider refuses the client's secret: {word}", _NO_TOKENS, mend)


def _word(error: str) -> str:
    """An error as it may be shown: the provider writes it, and anybody can send one."""
    return error if re.fullmatch(r"[a-z_]{1,64}", error) else "an error that is no OAuth word"
