"""Where a browser goes to log out at the provider, and how it is known when it comes back."""

from urllib.parse import urlencode

from sidecar.core.provider_profiles import Provider
from sidecar.core.sealing import KeyRing

STATE_RANDOM_BYTES = 16
# Some servers refuse an address beyond 8 KiB; without the hint a provider asks the person first.
_LONGEST_HINT = 4096


def end_session_url(
    endpoint: str,
    provider: Provider,
    *,
    client_id: str,
    id_token: str,
    return_to: str,
    state: str,
) -> str:
    """OpenID Connect RP-Initiated Logout 1.0 section 2; Cognito has a form of its own."""
    if provider is Provider.COGNITO:
        parameters = [("client_id", client_id), ("logout_uri", return_to), ("state", state)]
    else:
        hint = [("id_token_hint", id_token)] if len(id_token) <= _LONGEST_HINT else []
        parameters = [
            *hint,
            ("client_id", client_id),
            ("post_logout_redirect_uri", return_to),
            ("state", state),
        ]
    return f"{endpoint}{'&' if '?' in endpoint else '?'}{urlencode(parameters)}"


def new_state(ring: KeyRing, *, random: bytes) -> str:
    """A state by which we know our own logout; `random` is `STATE_RANDOM_BYTES` long."""
    named = random.hex()
    return f"{named}.{ring.sign(_signed(named))}"


def is_our_state(state: str, ring: KeyRing) -> bool:
    """Whether `new_state` made it."""
    named, _, mac = state.partition(".")
    return state.isascii() and ring.signed(_signed(named), mac)


def _signed(named: str) -> str:
    # No session cookie has a space in what its MAC is under.
    return f"signed out {named}"
