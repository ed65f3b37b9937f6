import base64
import json
from urllib.parse import parse_qsl, urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.core.id_token import IdTokenClaims
from sidecar.core.observing import (
    Kept,
    id_token_hash,
    redeems_code,
    with_offline_access,
    without_refresh_token,
)
from sidecar.core.tokens import TokenSet

PATH = "/api/dex/auth"
ASKED = "client_id=argo-cd&response_type=code&scope=openid+email&state=a"


def query(target: str) -> list[tuple[str, str]]:
    return parse_qsl(target.partition("?")[2], keep_blank_values=True)


# --- the authorization request


@pytest.mark.parametrize(
    ("asked", "scope"),
    [
        (ASKED, "openid email offline_access"),
        (ASKED.replace("openid+email", "openid%20email"), "openid email offline_access"),
        (ASKED.replace("code", "code%20id_token"), "openid email offline_access"),
        (ASKED.replace("scope", "sc%6fpe"), "openid email offline_access"),
        (ASKED + "&x=1" * 96, "openid email offline_access"),
        (ASKED.replace("argo-cd", "argo%2Dcd") + "?&a=b=c", "openid email offline_access"),
    ],
)
def test_our_client_asks_for_a_refresh_token(asked: str, scope: str) -> None:
    target = with_offline_access(f"{PATH}?{asked}", "argo-cd")

    assert dict(query(target))["scope"] == scope
    assert target.replace("+offline_access", "") == f"{PATH}?{asked}"


@pytest.mark.parametrize(
    "asked",
    [
        ASKED.replace("argo-cd", "argo-cd-cli"),
        ASKED.replace("openid+email", "openid+offline_access"),
        ASKED.replace("openid+email", "email"),
        ASKED.replace("scope", "Scope"),
        ASKED.replace("=code", "=token"),
        ASKED + "&scope=openid",
        ASKED + "&scope=openid=x",
        ASKED + "&x=1" * 97,
        ASKED.replace("response_type", "x"),
        ASKED.replace("client_id", "x"),
        "",
        "scope=openid",
        "%ff=%ff&scope",
    ],
)
def test_what_is_no_such_request_is_not_changed(asked: str) -> None:
    target = f"{PATH}?{asked}"

    assert with_offline_access(target, "argo-cd") == target
    assert with_offline_access(PATH, "argo-cd") == PATH


@given(st.lists(st.tuples(st.text(max_size=8), st.text(max_size=20)), max_size=8))
def test_whatever_else_is_asked_for_stays_as_it_is(others: list[tuple[str, str]]) -> None:
    others = [pair for pair in others if pair[0] not in ("client_id", "scope", "response_type")]
    target = f"{PATH}?{ASKED}&{urlencode(others)}"

    changed = with_offline_access(target, "argo-cd")

    assert changed.replace("+offline_access", "", 1) == target
    assert with_offline_access(changed, "argo-cd") == changed


# --- the token request


def basic(user: str) -> str:
    return f"Basic {base64.b64encode(f'{user}:secret'.encode()).decode()}"


CODE = b"grant_type=authorization_code&code=x"


@pytest.mark.parametrize(
    ("form", "authorization", "ours"),
    [
        (CODE, basic("argo-cd"), True),
        (CODE, basic("argo-cd").replace("Basic", "basic"), True),
        (CODE, basic("argo%2Dcd"), True),
        (CODE + b"&client_id=argo-cd&client_secret=x", "", True),
        (CODE, basic("argo-cd:more"), True),
        (CODE, basic("argo-cd").replace("Basic ", "Basic  ") + " ", True),
        (CODE + b"&a=b" * 98, basic("argo-cd"), False),
        (CODE + b"".join(b"&a%d=" % n for n in range(98)), basic("argo-cd"), True),
        (CODE + b"".join(b"&a%d=" % n for n in range(99)), basic("argo-cd"), False),
        (CODE + b"&client_id=argo-cd", "Basic /w==", True),
        (CODE + b"&client_id=argo-cd", "Bearer x", True),
        (CODE + b"&grant_type=", basic("argo-cd"), False),
        (CODE, basic("argo-cd-cli"), False),
        (CODE + b"&client_id=argo-cd-cli", "", False),
        (CODE + b"&client_id=argo-cd", basic("argo-cd-cli"), False),
        (CODE, "", False),
        (CODE, "Basic %%%", False),
        (CODE, "Basic YQ", False),
        (CODE, "Basic /w==", False),
        (CODE, f"Bearer {basic('argo-cd')}", False),
        (b"grant_type=refresh_token&refresh_token=x", basic("argo-cd"), False),
        (b"grant_type=authorization_code&grant_type=refresh_token", basic("argo-cd"), False),
        (b"\xff\xfe", basic("argo-cd"), False),
        (b"", basic("argo-cd"), False),
    ],
)
def test_a_code_of_our_client_is_told_from_other_requests(
    form: bytes, authorization: str, ours: bool
) -> None:
    assert redeems_code(form, authorization, "argo-cd") is ours


# --- the token answer


@pytest.mark.parametrize("name", ["refresh_token", "Refresh_Token", "REFRESH_TOKEN"])
def test_a_refresh_token_is_taken_out_however_go_would_find_it(name: str) -> None:
    answer = {"access_token": "a", name: "hunter2", "expires_in": 300, "refresh_expires_in": 9}

    left = without_refresh_token(json.dumps(answer).encode())

    assert left == b'{"access_token":"a","expires_in":300}'


@pytest.mark.parametrize("body", [b"", b"{", b"[1]", b'"refresh_token"', b'{"access_token": "a"}'])
def test_an_answer_without_one_stays_as_it_came(body: bytes) -> None:
    assert without_refresh_token(body) == body


@given(st.dictionaries(st.text(max_size=20), st.text(max_size=20), max_size=8))
def test_nothing_else_is_taken_out(answer: dict[str, str]) -> None:
    body = json.dumps({**answer, "refresh_token": "hunter2"}).encode()

    left = json.loads(without_refresh_token(body))

    kept = {k: v for k, v in answer.items() if "refresh_" not in k.lower()}
    assert {k: v for k, v in left.items() if "refresh_" not in k.lower()} == kept
    assert "refresh_token" not in left


# --- what is kept


def test_what_is_kept_comes_back_whole_and_shows_nothing() -> None:
    tokens = TokenSet("hunter2", 1.0, 2.0, "hunter3", None, "hunter4", 3.0, 4.0)
    kept = Kept(tokens, IdTokenClaims("https://idp", "ada", 1.0, 2.0, "sid", "nonce-5"))

    plain = kept.to_bytes()

    assert Kept.from_bytes(plain) == kept
    assert "hunter" not in repr(kept)
    assert "nonce-5" not in repr(kept)


def test_what_a_newer_release_adds_does_no_harm() -> None:
    kept = Kept(
        TokenSet("i", 1.0, 2.0, "a", None, "r", None, 4.0), IdTokenClaims("s", "u", 1.0, 2.0, "")
    )
    tokens, claims = json.loads(kept.to_bytes())

    plain = json.dumps([{**tokens, "new": 1}, {**claims, "newer": 2}]).encode()

    assert Kept.from_bytes(plain) == kept


def test_an_id_token_is_named_without_being_shown() -> None:
    assert id_token_hash("x.y.z") == (
        "f7304f12be673526050bf784fcb0aeac9d6a9f6516b4acbf99a375891644b123"
    )
    assert id_token_hash("x.y.z") != id_token_hash("x.y.w")
    assert id_token_hash("\ud800") == id_token_hash("?")
    assert "x.y.z" not in id_token_hash("x.y.z")
