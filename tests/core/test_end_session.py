"""RP-initiated logout: where a browser is sent, and how it is known when it comes back."""

from urllib.parse import parse_qsl, urlsplit

import pytest

from sidecar.core.end_session import STATE_RANDOM_BYTES, end_session_url, is_our_state, new_state
from sidecar.core.provider_profiles import Provider
from sidecar.core.sealing import Key, KeyRing

RING = KeyRing([Key("k", b"k" * 32)])
BACK = "https://argocd.example.org/_sidecar/signed-out"


def url(
    provider: Provider = Provider.GENERIC, endpoint: str = "https://idp/end", **but: str
) -> str:
    given = {"client_id": "argo-cd", "id_token": "a.b.c", "return_to": BACK, "state": "s", **but}
    return end_session_url(endpoint, provider, **given)


def test_the_provider_is_told_who_logs_out_and_where_to_send_the_browser() -> None:
    assert parse_qsl(urlsplit(url()).query) == [
        ("id_token_hint", "a.b.c"),
        ("client_id", "argo-cd"),
        ("post_logout_redirect_uri", BACK),
        ("state", "s"),
    ]


def test_an_endpoint_keeps_its_own_query() -> None:
    assert url(endpoint="https://idp/end?p=policy").startswith("https://idp/end?p=policy&id_token")


def test_a_hint_that_makes_the_address_too_long_is_left_out() -> None:
    assert "id_token_hint" in url(id_token="x" * 4096)
    assert "id_token_hint" not in url(id_token="x" * 4097)


def test_cognito_is_asked_in_its_own_form() -> None:
    query = dict(parse_qsl(urlsplit(url(Provider.COGNITO)).query))

    assert query == {"client_id": "argo-cd", "logout_uri": BACK, "state": "s"}


def test_a_state_of_ours_is_known_and_no_other() -> None:
    state = new_state(RING, random=bytes(STATE_RANDOM_BYTES))

    assert is_our_state(state, RING)
    for other in ("", ".", state[:-1], "1" + state[1:], f"{state}.", "é", "\udcff", "x" * 10_000):
        assert not is_our_state(other, RING)
    assert not is_our_state(state, KeyRing([Key("other", b"o" * 32)]))


@pytest.mark.parametrize("session", [f"tag.{'0' * 32}", "0" * 32])
def test_a_session_cookies_mac_is_none_of_a_state(session: str) -> None:
    assert not is_our_state(f"{session.partition('.')[0]}.{RING.sign(session)}", RING)


def test_nobody_guesses_the_state_of_a_logout() -> None:
    assert STATE_RANDOM_BYTES * 8 == 128


def test_no_two_logouts_have_one_state() -> None:
    states = {new_state(RING, random=bytes([n]) * STATE_RANDOM_BYTES) for n in range(3)}

    assert len(states) == 3
    assert all(is_our_state(state, RING) for state in states)
