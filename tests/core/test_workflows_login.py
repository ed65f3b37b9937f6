import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.core.cookies import Crumb, crumbs
from sidecar.core.workflows_login import (
    Remembered,
    Step,
    begun,
    is_logged_in,
    is_page,
    login_address,
    login_set_by,
    page_after,
    page_of,
    parameter,
    remembered,
    state_of,
    step,
    without_form,
)

NOW = 1_800_000_000
HOUR = 3600
FRESH = Remembered(NOW + HOUR, NOW + 6 * HOUR)
DUE = Remembered(NOW - 1, NOW + 4 * HOUR)
ENDED = Remembered(NOW - 5 * HOUR, NOW - 1)
ENDS_NOW = Remembered(NOW - 5 * HOUR, NOW)
TRIED = Remembered(NOW + 60, NOW - 1)
UNKNOWN_END = Remembered(NOW - 1, 0)


@pytest.mark.parametrize(
    ("known", "logged_in", "from_here", "expected"),
    [
        pytest.param(None, False, True, Step.PASS, id="nobody"),
        pytest.param(None, True, True, Step.REMEMBER, id="a-login-from-before"),
        pytest.param(FRESH, True, True, Step.PASS, id="fresh"),
        pytest.param(FRESH, False, True, Step.FORGET, id="logged-out"),
        pytest.param(FRESH, False, False, Step.PASS, id="a-link-from-another-site"),
        pytest.param(DUE, True, True, Step.RENEW, id="due"),
        pytest.param(DUE, True, False, Step.RENEW, id="due-with-a-link"),
        pytest.param(DUE, False, True, Step.FORGET, id="logged-out-when-due"),
        pytest.param(DUE, False, False, Step.PASS, id="due-and-nothing-known"),
        pytest.param(ENDED, False, True, Step.RENEW, id="ended"),
        pytest.param(ENDED, False, False, Step.RENEW, id="ended-with-a-link"),
        pytest.param(ENDS_NOW, False, True, Step.RENEW, id="ends-now"),
        pytest.param(TRIED, False, True, Step.PASS, id="ended-and-tried"),
        pytest.param(UNKNOWN_END, True, True, Step.RENEW, id="end-not-known"),
        pytest.param(UNKNOWN_END, False, True, Step.FORGET, id="gone-and-end-not-known"),
    ],
)
def test_what_a_page_load_does(
    known: Remembered | None, logged_in: bool, from_here: bool, expected: Step
) -> None:
    assert step(known, logged_in=logged_in, from_here=from_here, now=NOW) is expected


def test_a_login_is_renewed_after_half_of_its_life() -> None:
    assert begun(NOW + 10 * HOUR + 0.5, NOW + 0.75) == begun(NOW + 10 * HOUR, NOW + 0.5)
    assert begun(NOW + 4 * HOUR, NOW) == Remembered(NOW + 2 * HOUR, NOW + 4 * HOUR)
    assert begun(NOW + 10 * HOUR, NOW) == Remembered(NOW + 5 * HOUR, NOW + 10 * HOUR)


def test_a_login_without_an_end_is_taken_for_one_of_ten_hours() -> None:
    assert begun(None, NOW) == Remembered(NOW + 5 * HOUR, NOW + 10 * HOUR)


def test_after_a_try_the_next_is_a_quarter_of_an_hour_away() -> None:
    tried = DUE.tried(NOW)

    assert step(tried, logged_in=True, from_here=True, now=NOW + 15 * 60 - 1) is Step.PASS
    assert step(tried, logged_in=True, from_here=True, now=NOW + 15 * 60) is Step.RENEW
    assert DUE.tried(NOW + 0.9) == tried == Remembered(NOW + 15 * 60, DUE.ends_at)


def test_our_cookie_is_read_as_it_was_written() -> None:
    assert str(Remembered(12, 345)) == "12.345"
    assert remembered(str(DUE)) == DUE


@pytest.mark.parametrize("value", [None, "", "1", "1.2.3", "-1.2", "1.x", "9" * 13 + ".1", "٣.٣"])
def test_another_cookie_is_not_ours(value: str | None) -> None:
    assert remembered(value) is None


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ('authorization="Bearer v2:abc.def"', True),
        ("authorization=Bearer v2:abc.def", True),
        ("a=b; authorization=Bearer v2:x", True),
        ("authorization=Bearer eyJ.eyJ.x", False),
        ("authorization=Basic abc", False),
        ("authorization=XBearer v2:abc", False),
        ("authorization=v2:abc", False),
        ("authorization2=Bearer v2:abc", False),
        ("", False),
    ],
)
def test_a_login_by_sso_is_told_from_a_token_of_kubernetes(line: str, expected: bool) -> None:
    assert is_logged_in(crumbs([line])) is expected


def test_a_logins_end_is_the_one_of_its_cookie() -> None:
    line = (
        'authorization="Bearer v2:a.b"; Path=/; Expires=Fri, 15 Jan 2027 18:00:00 GMT; '
        "SameSite=Strict"
    )

    assert login_set_by(["x=y; Path=/", line]) == (True, 1_800_036_000.0)
    other = ' authorization = "Bearer v2:a==" ;Path=/;EXPIRES = Fri, 15 Jan 2027 19:00:00 +0100 '
    assert login_set_by([other]) == (True, 1_800_036_000.0)


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ('authorization="Bearer v2:a.b"; Path=/', (True, None)),
        ('authorization="Bearer v2:a.b"; Expires=soon', (True, None)),
        (
            "authorization=Bearer v2:a; Expires=a=b; Expires=Fri, 15 Jan 2027 18:00:00 GMT",
            (True, None),
        ),
        ('authorization="Bearer v2:a.b"; X-Expires=Fri, 15 Jan 2027 18:00:00 GMT', (True, None)),
        ("authorization=XBearer v2:a.b; Path=/", (False, None)),
        ("authorization=; Max-Age=0", (False, None)),
        ("state=", (False, None)),
    ],
)
def test_an_end_that_cannot_be_read_is_none(line: str, expected: tuple[bool, None]) -> None:
    assert login_set_by([line]) == expected


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        ("/", True),
        ("/workflows/argo?phase=Running&label=a%20b", True),
        ("/workflows/argo/wf-1?tab=workflow&nodeId=x", True),
        ("//evil.example", False),
        ("/\\evil.example", False),
        ("/a//b", False),
        ("/a/../b", False),
        ("/a/./b", False),
        ("/%2f/evil.example", True),
        ("workflows", False),
        ("https://evil.example/", False),
        ("/a;b", False),
        ('/a"b', False),
        ("/a b", False),
        ("/a\r\nSet-Cookie: x", False),
        ("/" + "a" * 1499, True),
        ("/" + "a" * 1500, False),
        ("", False),
    ],
)
def test_a_page_to_come_back_to_is_a_path_here(target: str, expected: bool) -> None:
    assert is_page(target) is expected


@given(st.text())
def test_whatever_is_taken_for_a_page_leads_to_no_other_site(text: str) -> None:
    if is_page(text):
        assert text.startswith("/")
        assert text[1:2] not in ("/", "\\")
        assert text.isascii()
        assert text.isprintable()


def test_the_login_comes_back_to_the_page_below_its_base() -> None:
    address = login_address("/argo", "/workflows?a=1&b=2")

    assert address == (
        "/argo/oauth2/redirect?redirect=%2Fargo%2Fworkflows%3Fa%3D1%26b%3D2&sidecar_silent=1"
    )
    assert parameter(address, "redirect") == "/argo/workflows?a=1&b=2"


@pytest.mark.parametrize(
    ("location", "expected"),
    [
        ("https://idp.example/auth?a=1", "https://idp.example/auth?a=1&prompt=none"),
        ("https://idp.example/auth", "https://idp.example/auth?prompt=none"),
        (
            "https://idp.example/auth?prompt=login&a=%20",
            "https://idp.example/auth?a=%20&prompt=none",
        ),
        (
            "https://idp.example/auth?prompt=a=b&prompt&&prompts=1&b=prompt#c",
            "https://idp.example/auth?prompts=1&b=prompt&prompt=none#c",
        ),
    ],
)
def test_the_provider_is_asked_to_show_no_form(location: str, expected: str) -> None:
    assert without_form(location) == expected


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        ("/oauth2/callback?state=abc123&code=x", "abc123"),
        ("/oauth2/callback?state=aB3_-&state=x", "aB3_-"),
        ("/oauth2/callback?state=" + "a" * 64, "a" * 64),
        ("/oauth2/callback?state=x" + "&a=b" * 49, "x"),
        ("/oauth2/callback?state=x" + "&a=b" * 50, ""),
        ("/oauth2/callback?a=x?state=y&b=c", ""),
        ("/oauth2/callback?code=x", ""),
        ("/oauth2/callback?state=a%3Bb", ""),
        ("/oauth2/callback?state=" + "a" * 65, ""),
        ("/oauth2/callback?" + "&".join(["a=b"] * 51), ""),
    ],
)
def test_a_state_is_one_that_argo_server_makes(target: str, expected: str) -> None:
    assert state_of(target) == expected


def test_the_page_that_a_login_began_at_is_in_the_cookie_of_its_state() -> None:
    found = [Crumb("abc", '"/workflows?a=1,2"', ""), Crumb("other", "/x", "")]

    assert page_of(found, "abc", "") == "/workflows?a=1,2"
    assert page_of([Crumb("abc", "/workflowsX", "")], "abc", "") == "/workflowsX"
    assert page_of(found, "unknown", "") == "/"
    assert page_of([Crumb("abc", "//evil.example", "")], "abc", "/argo") == "/argo/"


@pytest.mark.parametrize(
    ("page", "expected"),
    [
        ("/workflows", "/workflows"),
        ("/login?redirect=%2Fworkflows%3Fa%3D1", "/workflows?a=1"),
        ("/login?redirect=https%3A%2F%2Fevil.example", "/"),
        ("/login", "/"),
        ("/login-help", "/login-help"),
    ],
)
def test_from_the_login_page_a_login_leads_on(page: str, expected: str) -> None:
    assert page_after(page, "") == expected


def test_below_a_base_another_login_page_is_a_page_as_others() -> None:
    assert page_after("/argo/login?redirect=%2Fargo%2Fworkflows", "/argo") == "/argo/workflows"
    assert page_after("/argo/login", "/argo") == "/argo/"
    assert page_after("/login?redirect=%2Fargo%2Fworkflows", "/argo") == (
        "/login?redirect=%2Fargo%2Fworkflows"
    )
