import base64
import json
from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.core.cookies import (
    CookieJar,
    Crumb,
    TokenCookie,
    clear_token_lines,
    crumbs,
    is_ours,
    is_token,
    join_token,
    says_local,
    token_cookie_lines,
    token_set_by,
    without,
)
from sidecar.errors import RequestMalformed
from tests.core.examples import properties

SITE = "https://argocd.example.org"
SESSION = CookieJar(SITE).session
BROWSER_LIMIT = 4096

letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_."


def sent_back(lines: list[str]) -> list[Crumb]:
    """What a browser sends that was given these Set-Cookie lines."""
    return crumbs(["; ".join(line.partition(";")[0] for line in lines)])


def joined(kept: Iterable[Crumb]) -> str:
    return "; ".join(crumb.raw for crumb in kept)


def token_crumbs(*values: str) -> list[Crumb]:
    names = ["argocd.token", *(f"argocd.token-{i}" for i in range(1, len(values)))]
    return crumbs(["; ".join(f"{n}={v}" for n, v in zip(names, values, strict=True))])


# --- reading


def test_cookies_are_split_as_go_does_it() -> None:
    headers = [' a=1;b="2" ; ; c = 3', "d=x=y;e", "=f;\tg=4\t"]

    found = crumbs(headers)

    assert [(crumb.name, crumb.value) for crumb in found] == [
        ("a", "1"),
        ("b", '"2"'),
        ("c", "3"),
        ("d", "x=y"),
        ("e", ""),
        ("", "f"),
        ("g", "4"),
    ]


@pytest.mark.parametrize("odd", ["\xa0", "\x85", "\x0b", "\u2003"])
def test_what_is_white_space_to_python_alone_is_a_part_of_a_cookie(odd: str) -> None:
    found = crumbs([f"a=1;{odd}; {odd}b{odd}={odd}2{odd}"])

    assert found[1:] == [
        Crumb(odd, "", odd),
        Crumb(f"{odd}b{odd}", f"{odd}2{odd}", f"{odd}b{odd}={odd}2{odd}"),
    ]


def test_a_quote_hides_no_cookie() -> None:
    """Python's own parser takes all this for one value; Go splits it."""
    found = crumbs([f'a="x; {SESSION}=u.secret.mac; argocd.token=t"'])

    assert [crumb.name for crumb in found] == ["a", SESSION, "argocd.token"]


@properties
@given(st.lists(st.text(max_size=20), max_size=4))
def test_every_cookie_of_a_header_is_found_and_none_is_made_up(headers: list[str]) -> None:
    found = crumbs(headers)

    text = ";".join(headers)
    assert [crumb.raw for crumb in found] == [
        part.strip(" \t\r\n") for part in text.split(";") if part.strip(" \t\r\n")
    ]


@pytest.mark.parametrize(
    "headers",
    [
        ["; ".join(["a=1"] * 500 + [f"{SESSION}=u.secret.mac"])],
        ["a=1"] * 501,
        [";" * 500],
        ["; ".join(["a=1"] * 300)] * 2,
    ],
)
def test_more_cookies_than_any_browser_sends_are_refused_and_not_half_read(
    headers: list[str],
) -> None:
    with pytest.raises(RequestMalformed, match=r"^more cookies than any browser sends$"):
        crumbs(headers)


def test_500_cookies_are_read() -> None:
    assert len(crumbs(["; ".join(["a=1"] * 500)])) == 500


@pytest.mark.parametrize(
    ("name", "ours"),
    [
        (SESSION, True),
        (f"{SESSION}-login-0000000001-abc", True),
        (CookieJar("http://127.0.0.1:8080").session, True),
        (CookieJar("https://other.example.org").session, True),
        ("argocd-token-refresh", True),
        ("__Host-argocd-token-refresh-anything", True),
        ("argocd.token", False),
        ("argocd.oauthstate", False),
        ("__Host-other", False),
        ("x-argocd-token-refresh", False),
    ],
)
def test_a_cookie_of_any_sidecar_on_the_host_is_ours(name: str, ours: bool) -> None:
    assert is_ours(name) is ours


@pytest.mark.parametrize(
    ("name", "token"),
    [
        ("argocd.token", True),
        ("argocd.token-1", True),
        ("argocd.token-19", True),
        ("argocd.tokenx", True),  # Argo CD goes by the prefix
        ("argocd.oauthstate", False),
        ("Argocd.token", False),
        ("xargocd.token", False),
        (SESSION, False),
    ],
)
def test_a_cookie_that_argo_cd_would_take_for_a_token_is_one(name: str, token: bool) -> None:
    assert is_token(Crumb(name, "v", f"{name}=v")) is token


MIXED = f"a=1; {SESSION}=u.s.m; argocd.token=2:x; argocd.token-1=y; {SESSION}-login-1-a=l; b=2"


@pytest.mark.parametrize(
    ("tokens", "kept"),
    [(False, "a=1; argocd.token=2:x; argocd.token-1=y; b=2"), (True, "a=1; b=2")],
)
def test_none_of_ours_goes_up_and_no_token_where_it_is_replaced(tokens: bool, kept: str) -> None:
    assert joined(without(crumbs([MIXED]), tokens=tokens)) == kept


def test_other_cookies_go_up_as_they_came() -> None:
    odd = 'a="x y"; b = 1; c; =d'

    assert joined(without(crumbs([odd]), tokens=True)) == odd


@pytest.mark.parametrize("raw", ["é=1", "a=ü", f"\xa0{SESSION}=u.s.m", "argocd.token\udcff=x"])
@pytest.mark.parametrize("tokens", [True, False])
def test_a_cookie_that_could_change_into_another_on_its_way_does_not_go_up(
    raw: str, tokens: bool
) -> None:
    assert joined(without(crumbs([f"a=1; {raw}; b=2"]), tokens=tokens)) == "a=1; b=2"


# --- our own


def test_a_site_with_https_gets_a_cookie_that_no_sibling_host_can_set() -> None:
    assert CookieJar(SITE).session.startswith("__Host-argocd-token-refresh-")
    assert CookieJar("http://127.0.0.1:8080").session.startswith("argocd-token-refresh-")


def test_a_sites_cookies_keep_their_names_over_releases() -> None:
    """With another name, everybody would have to log in again."""
    jar = CookieJar(SITE)

    assert jar.session == "__Host-argocd-token-refresh-a8b1f447"
    assert jar.login("ab" * 32, 1_700_000_000.9) == f"{jar.session}-login-006553f100-{'ab' * 8}"
    assert jar.recent_logins == f"{jar.session}-recent-logins"


def test_two_argo_cds_on_one_host_have_different_cookies() -> None:
    names = {CookieJar(f"{SITE}{root}").session for root in ("", "/a", "/b")}

    assert len(names) == 3


@pytest.mark.parametrize(
    ("url", "flags"),
    [
        (SITE, "Path=/; Max-Age=60; HttpOnly; SameSite=Lax; Secure"),
        ("http://127.0.0.1:8080", "Path=/; Max-Age=60; HttpOnly; SameSite=Lax"),
    ],
)
def test_our_cookies_are_out_of_reach_of_scripts_and_other_sites(url: str, flags: str) -> None:
    jar = CookieJar(url)

    assert jar.set(jar.session, "v", max_age_seconds=60.9) == f"{jar.session}=v; {flags}"


def test_a_cleared_cookie_has_the_flags_it_was_set_with() -> None:
    jar = CookieJar(SITE)

    assert jar.clear(jar.session) == jar.set(jar.session, "", max_age_seconds=0)
    assert "Max-Age=0;" in jar.clear(jar.session)


def test_a_session_is_read_from_this_sites_cookie_only() -> None:
    other = CookieJar(f"{SITE}/other").session
    found = crumbs([f"{other}=o; {SESSION}=1; {SESSION}-login-1-a=l; {SESSION}x=x; {SESSION}=2"])

    assert CookieJar(SITE).sessions(found) == ["1", "2"]


def test_a_sibling_host_cannot_make_us_check_a_hundred_sessions() -> None:
    found = crumbs(["; ".join(f"{SESSION}={i}" for i in range(100))])

    assert CookieJar(SITE).sessions(found) == ["0", "1", "2", "3"]


def test_the_oldest_unfinished_login_comes_first() -> None:
    jar = CookieJar(SITE)
    starts = [1_700_000_000.9, 5.0, 1_800_000_000.0, 255.0]
    header = "; ".join(f"{jar.login('ab' * 32, start)}={start}" for start in starts)

    found = jar.logins(crumbs([f"x=1; {jar.session}=s; {header}"]))

    assert [float(crumb.value) for crumb in found] == sorted(starts)


def test_an_attempts_cookie_is_found_by_its_state() -> None:
    jar = CookieJar(SITE)
    first, second = jar.login("a1" * 32, 1.0), jar.login("b2" * 32, 2.0)
    found = crumbs([f"{first}=1; {second}=2"])

    mine = jar.login_of(found, "b2" * 32)

    assert mine is not None
    assert mine.value == "2"
    assert jar.login_of(found, "c3" * 32) is None
    assert CookieJar(f"{SITE}/other").login_of(found, "b2" * 32) is None


# --- Argo CD's own


@properties
@given(st.integers(1, 80_000), st.booleans(), st.sampled_from(["", "/argo", "/a/b"]))
def test_a_token_of_any_length_comes_back_from_its_chunks(
    length: int, secure: bool, root_path: str
) -> None:
    token = (letters * (length // len(letters) + 1))[:length]

    lines = token_cookie_lines(token, TokenCookie(root_path, secure))

    assert join_token(sent_back(lines)) == token
    assert join_token(sent_back(lines)[::-1]) == token
    assert all(len(line) <= BROWSER_LIMIT for line in lines)


@pytest.mark.parametrize(
    ("lines", "token"),
    [
        (["argocd.token=x.y.z; path=/; SameSite=lax"], "x.y.z"),
        (["other=1", "argocd.token=2:x.y; path=/", "argocd.token-1=.z; path=/"], "x.y.z"),
        (["argocd.token=; Max-Age=0"], ""),
        (["argocd.oauthstate=x.y.z"], ""),
        (["other=1; argocd.token=x.y.z; path=/"], ""),
        ([""], ""),
        ([], ""),
    ],
)
def test_an_answer_brings_the_token_of_all_its_cookies_together(
    lines: list[str], token: str
) -> None:
    assert token_set_by(lines) == token


@properties
@given(st.integers(1, 80_000), st.booleans())
def test_what_is_set_for_scripts_and_for_long_fits_a_browser_too(length: int, secure: bool) -> None:
    token = (letters * (length // len(letters) + 1))[:length]
    cookie = TokenCookie("", secure, for_scripts=True, max_age_seconds=604800.0)

    lines = token_cookie_lines(token, cookie)

    assert token_set_by(lines) == token
    assert all(len(line) <= BROWSER_LIMIT for line in lines)
    assert not any("httponly" in line.lower() for line in lines)
    assert all(line.endswith("; Max-Age=604800") for line in lines)
    assert all("Max-Age=604800" not in line for line in clear_token_lines(sent_back(lines), cookie))


# Measured on a real Argo CD (3.6-dev).
def test_a_long_token_is_cut_where_argo_cd_cuts_it() -> None:
    lines = token_cookie_lines("x" * 9997, TokenCookie("", secure=False))

    values = [line.partition(";")[0] for line in lines]
    assert values == [
        "argocd.token=3:" + "x" * 4046,
        "argocd.token-1=" + "x" * 4046,
        "argocd.token-2=" + "x" * 1905,
    ]
    assert max(map(len, lines)) == 4093


@pytest.mark.parametrize(
    ("root_path", "secure", "flags"),
    [
        ("", False, "path=/; SameSite=lax; httpOnly"),
        ("", True, "path=/; SameSite=lax; httpOnly; Secure"),
        ("/argo", True, "path=/argo; SameSite=lax; httpOnly; Secure"),
        ("/X/", False, "path=/X; SameSite=lax; httpOnly"),
    ],
)
def test_a_short_token_is_one_cookie_with_argo_cds_flags(
    root_path: str, secure: bool, flags: str
) -> None:
    lines = token_cookie_lines("x.y.z", TokenCookie(root_path, secure))

    assert lines == [f"argocd.token=x.y.z; {flags}"]


def test_a_token_that_argo_cd_would_not_take_is_not_mirrored() -> None:
    longest = 20 * 4046

    assert len(token_cookie_lines("x" * longest, TokenCookie("", secure=False))) == 20
    assert token_cookie_lines("x" * (longest + 1), TokenCookie("", secure=False)) == []


@pytest.mark.parametrize(
    ("found", "token"),
    [
        ([], ""),
        (token_crumbs("x.y.z"), "x.y.z"),
        (token_crumbs("x" * 20_000), "x" * 20_000),
        (token_crumbs('"x.y.z"'), "x.y.z"),
        (token_crumbs("1:x.y.z"), "x.y.z"),
        (token_crumbs("2:a", "b"), "ab"),
        (token_crumbs("2:a", "b", "stale"), "ab"),
        (token_crumbs("3:a", "b"), "ab"),
        (token_crumbs("2:a:b", "c"), "a:bc"),
        (crumbs(["argocd.token-1=b; argocd.token=2:a"]), "ab"),
        (crumbs(["argocd.token-1=b"]), ""),
        (token_crumbs(""), ""),
        (token_crumbs("0:a"), ""),
        (token_crumbs("-1:a"), ""),
        (token_crumbs("21:a"), ""),
        (token_crumbs("x:a"), ""),
        (token_crumbs(":a"), ""),
        (token_crumbs(" 2:a", "b"), "ab"),
        (token_crumbs("+2:a", "b"), ""),
        (token_crumbs("٢:a", "b"), ""),
        (token_crumbs("99999999:a"), ""),
        (token_crumbs("0199999999:a"), ""),
        (token_crumbs("00199999999:a"), ""),
        (token_crumbs("019" + "9" * 5000 + ":a"), ""),
    ],
    ids=range(24),
)
@pytest.mark.timeout(2)
def test_a_browsers_chunks_are_joined_as_argo_cd_joins_them(found: list[Crumb], token: str) -> None:
    """No count of chunks makes work: mod_auth_openidc's CVE-2024-24814."""
    assert join_token(found) == token


def test_stale_chunks_are_ended_and_current_ones_are_kept() -> None:
    found = crumbs(["argocd.token=2:a; argocd.token-1=b; argocd.token-2=c; x=1; argocd.token-2=c"])

    def ended(**keep: int) -> list[str]:
        lines = clear_token_lines(found, TokenCookie("/argo", secure=True), **keep)
        assert all(
            line.endswith("=; Max-Age=0; path=/argo; SameSite=lax; httpOnly; Secure")
            for line in lines
        )
        return [line.partition("=")[0] for line in lines]

    assert ended() == ["argocd.token", "argocd.token-1", "argocd.token-2"]
    assert ended(keep=1) == ["argocd.token-1", "argocd.token-2"]
    assert ended(keep=2) == ["argocd.token-2"]
    assert ended(keep=3) == []


@pytest.mark.parametrize(
    "name", ["argocd.token-\r\nX: y", "argocd.tokenx", "argocd.token-100", "argocd.token-é"]
)
def test_a_name_that_argo_cd_never_sets_is_not_repeated_to_the_browser(name: str) -> None:
    found = [Crumb(name, "v", f"{name}=v")]

    assert clear_token_lines(found, TokenCookie("", secure=True)) == []


def local(claims: object) -> str:
    payload = base64.urlsafe_b64encode(json.dumps(claims).encode()).rstrip(b"=").decode()
    return f"eyJhbGciOiJIUzI1NiJ9.{payload}.c2ln"


def local_of_length(length: int) -> str:
    """A token of Argo CD's own whose claims take so many characters."""
    fits = length // 4 * 3 - len('{"iss": "argocd", "x": ""}')
    token = local({"iss": "argocd", "x": "y" * fits})
    header, claims, signature = token.split(".")
    return f"{header}.{claims + '!' * (length - len(claims))}.{signature}"


@pytest.mark.parametrize(
    ("token", "says"),
    [
        (local({"iss": "argocd", "sub": "admin"}), True),
        (local({"iss": "argocd", "x": ""}), True),
        (local({"iss": "argocd", "x": "y"}), True),
        (local({"iss": "argocd", "x": "yy"}), True),
        (local_of_length(16384), True),
        (local_of_length(16385), False),
        (local({"iss": "https://idp.example.org"}), False),
        (local({"iss": ["argocd"]}), False),
        (local({}), False),
        (local(["argocd"]), False),
        (local({"iss": "argocd"}) + ".x", False),
        (local({"iss": "argocd", "x": "y" * 16384}), False),
        ("", False),
        ("..", False),
        ("a.b.c", False),
        ("a.é.c", False),
        ("a." + base64.urlsafe_b64encode(b"[" * 9999).decode() + ".c", False),
        ("a." + base64.urlsafe_b64encode(b"\xff").decode() + ".c", False),
    ],
    ids=range(18),
)
def test_a_token_of_argo_cds_own_says_so(token: str, says: bool) -> None:
    assert says_local(token) is says
