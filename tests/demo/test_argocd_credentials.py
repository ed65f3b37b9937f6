import pytest

from sidecar.demo.argocd_credentials import (
    cookies,
    grpc_web_token,
    join_cookies,
    rest_token,
    set_cookies,
)

FLAGS = ("path=/", "SameSite=lax", "httpOnly")


def test_cookies_are_split_as_go_does() -> None:
    lines = [' a=1;b="2" ; ; c = 3', "d=x=y; bad name=1; e=with\\backslash; f"]

    found = cookies(lines)

    assert found == [("a", "1"), ("b", "2"), ("c", " 3"), ("d", "x=y"), ("f", "")]


def test_a_single_cookie_of_any_length_is_a_token() -> None:
    token = "x" * 20_000

    assert join_cookies([("argocd.token", token)]) == token


def test_chunks_are_joined_in_their_order_and_stale_ones_ignored() -> None:
    found = [
        ("argocd.token-2", "stale"),
        ("argocd.token-1", "world"),
        ("argocd.token", "2:hello "),
        ("argocd.token", "2:hello, "),
    ]

    assert join_cookies(found) == "hello, world"


def test_one_chunk_may_be_counted_too() -> None:
    assert join_cookies([("argocd.token", "1:hello")]) == "hello"


@pytest.mark.parametrize(
    "found",
    [[], [("argocd.token-1", "x")], [("argocd.token", "a:b:c")], [("argocd.token", "x:y")]],
)
def test_other_forms_are_no_token(found: list[tuple[str, str]]) -> None:
    with pytest.raises(ValueError, match=r"cookie|invalid literal"):
        join_cookies(found)


def test_a_short_token_makes_one_plain_cookie() -> None:
    assert set_cookies("abc", *FLAGS) == ["argocd.token=abc; path=/; SameSite=lax; httpOnly"]


def test_a_long_token_is_cut_where_argo_cd_cuts_it() -> None:
    lines = set_cookies("x" * 9997, *FLAGS)

    values = [line.partition(";")[0] for line in lines]
    assert values == [
        "argocd.token=3:" + "x" * 4046,
        "argocd.token-1=" + "x" * 4046,
        "argocd.token-2=" + "x" * 1905,
    ]
    assert all(len(line) <= 4093 for line in lines)


@pytest.mark.parametrize(
    ("headers", "token"),
    [
        ([("Cookie", "argocd.token=c.c.c")], "c.c.c"),
        ([("Cookie", "argocd.token=c.c.c"), ("Authorization", "Bearer b.b.b")], "b.b.b"),
        ([("Cookie", "argocd.token=c.c.c"), ("Authorization", "Bearer opaque")], "c.c.c"),
        ([("Cookie", "argocd.token=c.c.c"), ("Authorization", "Basic b.b.b")], "c.c.c"),
        ([("Authorization", "Bearer b.b.b"), ("Grpc-Metadata-Token", "m")], "m"),
        ([("Grpc-Metadata-Authorization", "Bearer b.b.b")], "b.b.b"),
        ([("Token", "t.t.t")], ""),
        ([("Cookie", "argocd.token=garbage")], ""),
        ([("Cookie", "argocd.token=2:a.b."), ("Cookie", "argocd.token-1=c")], "a.b."),
    ],
)
def test_a_rest_request_is_judged_by_metadata_then_bearer_then_cookie(
    headers: list[tuple[str, str]], token: str
) -> None:
    assert rest_token(headers) == token


@pytest.mark.parametrize(
    ("headers", "token"),
    [
        ([("token", "t.t.t"), ("authorization", "Bearer b.b.b")], "t.t.t"),
        ([("authorization", "Bearer b.b.b")], "b.b.b"),
        ([("cookie", "argocd.token=c.c.c")], ""),
    ],
)
def test_grpc_web_does_not_read_the_cookie(headers: list[tuple[str, str]], token: str) -> None:
    assert grpc_web_token(headers) == token
