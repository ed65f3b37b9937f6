from urllib.parse import quote

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from sidecar.core.cookies import CookieJar, crumbs
from sidecar.core.heads import (
    PASSING,
    Credential,
    Kind,
    OwnPath,
    Paths,
    _purpose,
    clean_path,
    connection_options,
    end_to_end,
    has_client_credential,
    head_bytes,
    head_pieces,
    is_usable_host,
    upstream_fields,
    values,
    without_our_cookies,
    without_renewed_token,
)
from sidecar.core.upstream_kinds import UpstreamKind
from tests.core.examples import properties

SESSION = CookieJar("https://argocd.example.org").session
OWN = {
    "/auth/login": OwnPath.LOGIN,
    "/auth/callback": OwnPath.CALLBACK,
    "/auth/logout": OwnPath.LOGOUT,
    "/_sidecar": OwnPath.SIDECAR,
    "/_sidecar/anything": OwnPath.SIDECAR,
    "/_sidecar/session": OwnPath.SESSIONS,
    "/_sidecar/signed-out": OwnPath.SIGNED_OUT,
    "/auth/backchannel-logout": OwnPath.BACKCHANNEL_LOGOUT,
}

# --- paths


@pytest.mark.parametrize(
    ("target", "path"),
    [
        ("/", "/"),
        ("/a/b", "/a/b"),
        ("/a/b/", "/a/b"),
        ("//a///b", "/a/b"),
        ("/a/./b/.", "/a/b"),
        ("/a/../b", "/b"),
        ("/../../a", "/a"),
        ("/a/..", "/"),
        ("/a/b/../../../c", "/c"),
        ("/a%2fb", "/a/b"),
        ("/%61", "/a"),
        ("/a%2F..%2Fb", "/b"),
        ("/%2e%2E/a", "/a"),
        ("/a?b/../c", "/a"),
        ("/a%3fb", "/a?b"),
        ("/a%23b", "/a#b"),
        ("/a#b", "/a"),
        ("/a?x#y", "/a"),
        ("/%252e%252e/a", "/%2e%2e/a"),  # decoded once, as Go does
        ("/a\\b", "/a\\b"),
        ("/..;/a", "/..;/a"),
        ("/.../a", "/.../a"),
        ("/%", "/%"),
        ("/%zz", "/%zz"),
        ("/%ff", "/\udcff"),
        ("/%c3%a9", "/é"),
        ("/+", "/+"),
    ],
)
def test_a_target_means_the_path_that_go_makes_of_it(target: str, path: str) -> None:
    assert clean_path(target) == path


@pytest.mark.parametrize(
    "target",
    ["", "*", "a", "?x", "http://argocd.example.org/", "argocd:443", "/a\x00", "/%00", "/a%00b/"],
)
def test_a_target_that_is_no_path_or_hides_a_nul_is_refused(target: str) -> None:
    assert clean_path(target) is None


@st.composite
def spelled(draw: st.DrawFn, root: str) -> tuple[str, OwnPath]:
    """An own path, as crookedly as a client may write it."""
    path, own = draw(st.sampled_from(list(OWN.items())))
    text = ""
    for letter in root + path:
        if letter == "/":
            noise = st.sampled_from(
                ["/", "//", "/./", "/%2e/", "/x/../", "/x/%2E./", "/.//", "%2f"]
            )
            text += draw(noise) if text else "/" + draw(noise)
        elif draw(st.booleans()):
            text += letter
        else:
            code = f"%{ord(letter):02x}"
            text += draw(st.sampled_from([code, code.upper()]))
    return text + draw(st.sampled_from(["", "/", "/.", "//", "?x", "/?/../y", "#z", "/y/.."])), own


@properties
@given(st.data(), st.sampled_from(["", "/argo", "/a.b/c"]))
def test_no_spelling_of_an_own_path_goes_unrecognised(data: st.DataObject, root: str) -> None:
    target, own = data.draw(spelled(root))

    path = clean_path(target)

    assert path is not None
    assert Paths(root).own(path) is own


@properties
@given(st.text(st.sampled_from("/.%2feE5cauthlogin?#_;\\"), max_size=30).map(lambda x: "/" + x))
def test_a_cleaned_path_stays_as_it_is_when_it_is_cleaned_again(target: str) -> None:
    path = clean_path(target)

    assume(path is not None and "%" not in path)
    assert path is not None
    assert clean_path(quote(path, errors="surrogateescape")) == path
    assert path.startswith("/")
    assert not {"", ".", ".."} & set(path[1:].split("/")) or path == "/"


@pytest.mark.parametrize("root", ["", "/argo"])
@pytest.mark.parametrize(("path", "own"), OWN.items())
def test_own_paths_lie_below_the_root(root: str, path: str, own: OwnPath) -> None:
    assert Paths(root).own(root + path) is own


@pytest.mark.parametrize(
    "path",
    ["/", "/auth", "/auth/loginx", "/auth/login/x", "/_sidecarx", "/x/auth/login", "/Auth/login"],
)
def test_other_paths_are_the_upstreams(path: str) -> None:
    assert Paths().own(path) is None


@pytest.mark.parametrize("path", ["/auth/login", "/_sidecar", "/argox/auth/login", "/"])
def test_a_path_outside_of_the_root_is_the_upstreams(path: str) -> None:
    assert Paths("/argo").own(path) is None
    assert Paths("/argo").inner(path) is None


def test_the_root_itself_is_the_upstreams_start_page() -> None:
    assert Paths("/argo").inner("/argo") == "/"
    assert Paths("/argo").inner("/argo/x") == "/x"
    assert Paths("").inner("/") == "/"


HTML = "text/html,application/xhtml+xml"
EVENTS = "text/event-stream"


@pytest.mark.parametrize(
    ("method", "path", "accept", "kind"),
    [
        ("GET", "/", HTML, Kind.PAGE),
        ("HEAD", "/applications", HTML, Kind.PAGE),
        ("POST", "/applications", HTML, Kind.OTHER),
        ("GET", "/main.js", "*/*", Kind.OTHER),
        ("GET", "/api", HTML, Kind.PAGE),
        ("GET", "/api/v1/applications", "*/*", Kind.API),
        ("GET", "/api/v1/applications", HTML, Kind.API),
        ("GET", "/api/v1/stream/applications", "*/*", Kind.STREAM),
        ("GET", "/api/v1/applications/x/logs", EVENTS, Kind.STREAM),
        ("GET", "/api/v1/session/userinfo", "*/*", Kind.USERINFO),
        ("POST", "/api/v1/session", "*/*", Kind.LOCAL_LOGIN),
        ("DELETE", "/api/v1/session", "*/*", Kind.PUBLIC),
        ("GET", "/api/v1/settings", "*/*", Kind.PUBLIC),
        ("GET", "/api/v1/settings/x", "*/*", Kind.API),
        ("GET", "/api/version", "*/*", Kind.PUBLIC),
        ("GET", "/api/badge", "*/*", Kind.PUBLIC),
        ("POST", "/api/webhook", "*/*", Kind.PUBLIC),
        ("POST", "/api/dex/token", "*/*", Kind.DEX),
        ("GET", "/api/dex/", "text/html", Kind.DEX),
        ("GET", "/api/dexter", "*/*", Kind.API),
        ("GET", "/terminal", "*/*", Kind.COOKIE_ONLY),
        ("GET", "/terminals", "*/*", Kind.OTHER),
        ("POST", "/extensions/metrics/x", "*/*", Kind.COOKIE_ONLY),
        ("GET", "/extensions.js", "*/*", Kind.OTHER),
        ("GET", "/stream", EVENTS, Kind.OTHER),
        ("GET", "/auth/logout", HTML, Kind.LOGOUT),
        ("POST", "/auth/logout", "*/*", Kind.LOGOUT),
        ("POST", "/auth/logout/x", "*/*", Kind.OTHER),
    ],
)
@pytest.mark.parametrize("root", ["", "/argo"])
def test_a_request_is_told_by_its_path_and_what_it_accepts(
    root: str, method: str, path: str, accept: str, kind: Kind
) -> None:
    cleaned = clean_path(root + path)

    assert cleaned is not None
    assert Paths(root).kind(method, cleaned, accept) is kind


@pytest.mark.parametrize(
    ("path", "own", "kind"),
    [
        ("/auth/login", None, Kind.SIGN_IN),
        ("/auth/callback", None, Kind.SIGN_IN),
        ("/auth/logout", OwnPath.LOGOUT, Kind.LOGOUT),
        ("/_sidecar/session", OwnPath.SESSIONS, Kind.PAGE),
        ("/_sidecar/x", OwnPath.SIDECAR, Kind.PAGE),
        ("/auth/backchannel-logout", OwnPath.BACKCHANNEL_LOGOUT, Kind.PAGE),
        ("/auth/callback/x", None, Kind.PAGE),
        ("/api/v1/settings", None, Kind.PUBLIC),
    ],
)
@pytest.mark.parametrize("root", ["", "/argo"])
def test_where_logins_are_observed_login_and_callback_are_the_upstreams(
    root: str, path: str, own: OwnPath | None, kind: Kind
) -> None:
    purpose = Paths(root, observes_logins=True).purpose("GET", root + path, HTML)

    assert purpose is not None
    assert (purpose.own, purpose.kind) == (own, kind)
    assert not purpose.gets_settings


@pytest.mark.parametrize(
    ("method", "path", "accept", "kind"),
    [
        ("GET", "/", HTML, Kind.PAGE),
        ("GET", "/dashboard/app/list", HTML, Kind.PAGE),
        ("GET", "/dashboard/assets/index.js", "*/*", Kind.OTHER),
        ("GET", "/grafana/d/x", HTML, Kind.API),
        ("GET", "/health", "*/*", Kind.OTHER),
        ("GET", "/orchestrator/app/list", "*/*", Kind.API),
        ("GET", "/orchestrator/app/list", HTML, Kind.API),
        ("GET", "/orchestrator/k8s/pods/logs/x", EVENTS, Kind.STREAM),
        ("GET", "/orchestrator/auth/login", HTML, Kind.SIGN_IN),
        ("GET", "/orchestrator/auth/callback", HTML, Kind.SIGN_IN),
        ("GET", "/orchestrator/login", HTML, Kind.API),
        ("POST", "/orchestrator/api/v1/session", "*/*", Kind.LOCAL_LOGIN),
        ("GET", "/orchestrator/api/dex/auth", HTML, Kind.DEX),
        ("POST", "/orchestrator/api/dex/token", "*/*", Kind.DEX),
        ("GET", "/orchestrator/sso/list", "*/*", Kind.PUBLIC),
        ("GET", "/orchestrator/sso/list/x", "*/*", Kind.API),
        ("POST", "/orchestrator/webhook/git/x", "*/*", Kind.PUBLIC),
        ("GET", "/orchestrator/auth/logout", HTML, Kind.LOGOUT),
    ],
)
def test_a_request_to_devtron_is_told_by_what_devtron_serves_without_a_login(
    method: str, path: str, accept: str, kind: Kind
) -> None:
    paths = Paths("/orchestrator", observes_logins=True, upstream=UpstreamKind.DEVTRON)

    assert paths.kind(method, path, accept) is kind


@pytest.mark.parametrize(
    ("method", "path", "accept", "kind"),
    [
        ("GET", "/", HTML, Kind.PAGE),
        ("HEAD", "/workflows/argo", HTML, Kind.PAGE),
        ("POST", "/workflows/argo", HTML, Kind.OTHER),
        ("GET", "/main.js", "*/*", Kind.OTHER),
        ("GET", "/oauth2/redirect", HTML, Kind.SIGN_IN),
        ("GET", "/oauth2/callback", HTML, Kind.SIGN_IN),
        ("GET", "/oauth2/callback/x", HTML, Kind.OTHER),
        ("GET", "/oauth2", HTML, Kind.PAGE),
        ("GET", "/api", HTML, Kind.PAGE),
        ("GET", "/api/v1/info", HTML, Kind.API),
        ("GET", "/api/v1/workflows/argo", "*/*", Kind.API),
        ("GET", "/api/v1/workflows/argo/x/log", EVENTS, Kind.STREAM),
        ("GET", "/api/v1/stream/events/argo", "*/*", Kind.STREAM),
        ("GET", "/api/v1/workflow-events/argo", "*/*", Kind.STREAM),
        ("GET", "/x/api/v1/stream/events/argo", "*/*", Kind.OTHER),
        ("GET", "/metrics", HTML, Kind.OTHER),
        ("GET", "/artifacts/argo/x", HTML, Kind.OTHER),
        ("GET", "/artifacts-by-uid/x", HTML, Kind.OTHER),
        ("GET", "/input-artifacts/argo/x", HTML, Kind.OTHER),
        ("GET", "/input-artifacts-by-uid/x", HTML, Kind.OTHER),
        ("GET", "/artifact-files/argo/x", HTML, Kind.OTHER),
        ("POST", "/upload-artifacts/argo/x", HTML, Kind.OTHER),
        ("GET", "/upload-artifacts/argo/x", HTML, Kind.OTHER),
        ("GET", "/auth/logout", HTML, Kind.PAGE),
    ],
)
def test_a_request_to_argo_workflows_is_told_by_what_its_server_does_with_it(
    method: str, path: str, accept: str, kind: Kind
) -> None:
    paths = Paths(upstream=UpstreamKind.ARGO_WORKFLOWS, takes_over_logins=False)

    assert paths.kind(method, path, accept) is kind


@pytest.mark.parametrize(
    ("method", "path", "accept", "kind"),
    [
        ("HEAD", "/dashboard", HTML, Kind.PAGE),
        ("POST", "/dashboard", HTML, Kind.OTHER),
        ("PUT", "/orchestrator/auth/login/x", HTML, Kind.PUBLIC),
        ("PUT", "/orchestrator/api/v1/session", HTML, Kind.PUBLIC),
        ("GET", "/orchestrator/api/dex", HTML, Kind.DEX),
        ("GET", "/orchestrator/api/dexter", "*/*", Kind.PUBLIC),
        ("GET", "/api/dex/auth", "*/*", Kind.API),
        ("GET", "/auth/logout", HTML, Kind.API),
    ],
)
def test_what_devtron_serves_to_everybody_is_a_page_or_public(
    method: str, path: str, accept: str, kind: Kind
) -> None:
    paths = Paths("/orchestrator", upstream=UpstreamKind.DEVTRON)

    assert paths.kind(method, path, accept) is kind


@pytest.mark.parametrize("path", OWN)
def test_where_no_login_is_taken_over_every_path_is_the_upstreams(path: str) -> None:
    paths = Paths(takes_over_logins=False)
    settings = paths.purpose("GET", "/api/v1/settings", "")

    assert paths.own(path) is None
    assert settings is not None
    assert not settings.gets_settings


@pytest.mark.parametrize(
    ("field", "brings"),
    [
        (("Authorization", "Bearer a.b.c"), True),
        (("token", "a.b.c"), False),
        (("api-token", "x"), False),
    ],
)
def test_argo_workflows_takes_one_field_before_its_cookies(
    field: tuple[str, str], brings: bool
) -> None:
    assert has_client_credential([field], Kind.API, UpstreamKind.ARGO_WORKFLOWS) is brings


@pytest.mark.parametrize(
    ("field", "brings"),
    [
        (("api-token", "x"), True),
        (("API-Token", "x"), True),
        (("api-token", ""), False),
        (("token", "x"), False),
        (("Authorization", "Bearer a.b.c"), False),
        (("Grpc-Metadata-Token", "x"), False),
    ],
)
def test_devtron_takes_one_field_before_its_cookie(field: tuple[str, str], brings: bool) -> None:
    assert has_client_credential([field], Kind.API, UpstreamKind.DEVTRON) is brings


@pytest.mark.parametrize("path", ["/api/v1/applications", "/terminal", "/"])
def test_nothing_outside_of_the_root_has_a_kind(path: str) -> None:
    assert Paths("/argo").kind("GET", path, HTML) is Kind.OTHER


# --- fields


def test_hop_by_hop_fields_and_those_they_name_stay_here() -> None:
    fields = [
        ("Host", "argocd.example.org"),
        ("Connection", "close, X-Secret ,"),
        ("connection", "x-other"),
        ("Keep-Alive", "timeout=5"),
        ("TE", "trailers"),
        ("Transfer-Encoding", "chunked"),
        ("Upgrade", "websocket"),
        ("Proxy-Connection", "close"),
        ("Proxy-Authenticate", "x"),
        ("Proxy-Authorization", "x"),
        ("X-SECRET", "1"),
        ("X-Other", "2"),
        ("Accept", "a"),
        ("Accept", "b"),
    ]

    assert end_to_end(fields) == [
        ("Host", "argocd.example.org"),
        ("Accept", "a"),
        ("Accept", "b"),
    ]


def test_all_values_of_a_repeated_field_are_found_in_their_order() -> None:
    assert values([("Cookie", "a"), ("X", "1"), ("COOKIE", "b")], "cookie") == ["a", "b"]


@pytest.mark.parametrize(
    ("fields", "brings"),
    [
        ([], False),
        ([("Cookie", "argocd.token=a.b.c")], False),
        ([("Authorization", "Bearer a.b.c")], True),
        ([("AUTHORIZATION", "Bearer a.b.c")], True),
        ([("Authorization", "Bearer opaque")], False),
        ([("Authorization", "Bearer x a.b.c")], True),
        ([("Authorization", "Bearer a.b")], False),
        ([("Authorization", "Bearer a.b.c.d")], False),
        ([("Authorization", "Basic a.b.c")], False),
        ([("Authorization", "")], False),
        ([("Authorization", "Basic x"), ("Authorization", "Bearer a.b.c")], True),
        ([("token", "anything")], True),
        ([("Token", "anything")], True),
        ([("Grpc-Metadata-Token", "anything")], True),
        ([("token", "")], False),
        ([("X-Token", "a.b.c")], False),
        ([("X-Forwarded-Authorization", "Bearer a.b.c")], False),
    ],
)
@pytest.mark.parametrize("kind", [Kind.API, Kind.STREAM, Kind.OTHER, Kind.PAGE])
def test_a_client_brings_its_own_credential_as_argo_cd_takes_it(
    fields: list[tuple[str, str]], brings: bool, kind: Kind
) -> None:
    assert has_client_credential(fields, kind) is brings


@pytest.mark.parametrize(
    "field",
    [("Authorization", "Bearer a.b.c"), ("token", "a.b.c"), ("Grpc-Metadata-Token", "a.b.c")],
)
def test_a_terminal_takes_cookies_only(field: tuple[str, str]) -> None:
    assert not has_client_credential([field], Kind.COOKIE_ONLY)


def up(cookie_headers: list[str], *, id_token: str = "", drop_tokens: bool = False) -> list[str]:
    """The Cookie headers that go up for these."""
    fields = [("Accept", "*/*"), *(("Cookie", text) for text in cookie_headers), ("X", "1")]
    found = crumbs(cookie_headers)
    sent = upstream_fields(fields, found, id_token=id_token, drop_tokens=drop_tokens)
    assert [f for f in sent if f[0] != "Cookie"] == [("Accept", "*/*"), ("X", "1")]
    return values(sent, "cookie")


def test_a_session_puts_its_token_in_the_place_of_all_the_browser_has() -> None:
    headers = [f"a=1; argocd.token=2:x; {SESSION}=u.s.m", "argocd.token-1=y; argocd.tokenx=z; b=2"]

    assert up(headers, id_token="fresh") == ["a=1; b=2; argocd.token=fresh"]


def test_a_session_without_any_other_cookie_has_its_token_alone() -> None:
    assert up([f"{SESSION}=u.s.m"], id_token="fresh") == ["argocd.token=fresh"]
    assert up([], id_token="fresh") == ["argocd.token=fresh"]


def test_our_cookie_never_goes_up_though_a_local_token_does() -> None:
    assert up([f"argocd.token=x; {SESSION}=u.s.m"]) == ["argocd.token=x"]
    assert up([f"{SESSION}=u.s.m"]) == []


def test_cookies_of_which_nothing_is_taken_go_up_as_they_came() -> None:
    assert up(["a=1;b=2 ;", 'c="x"']) == ["a=1;b=2 ;", 'c="x"']


def test_a_local_token_and_our_cookie_are_told_apart_without_being_asked_to() -> None:
    fields = [("Cookie", f"argocd.token=x; {SESSION}=u.s.m")]

    sent = upstream_fields(fields, crumbs(values(fields, "cookie")))

    assert sent == [("Cookie", "argocd.token=x")]


def test_an_ended_sessions_token_does_not_go_up() -> None:
    assert up([f"a=1; argocd.token=old; {SESSION}=u.s.m"], drop_tokens=True) == ["a=1"]


def test_a_cookie_field_is_found_however_it_is_written() -> None:
    fields = [("cOOkie", f"{SESSION}=u.s.m")]

    sent = upstream_fields(fields, crumbs(values(fields, "cookie")), id_token="fresh")

    assert sent == [("Cookie", "argocd.token=fresh")]


@properties
@given(
    st.lists(
        st.sampled_from([f"{SESSION}=s", "argocd.token=t", "argocd.token-1=t", "a=1", '"', "=", ""])
        | st.text(max_size=5),
        max_size=6,
    ).map(lambda parts: [";".join(parts[:3]), "; ".join(parts[3:])])
)
def test_whatever_a_browser_sends_exactly_one_token_goes_up_and_it_is_ours(
    headers: list[str],
) -> None:
    sent = crumbs(up(headers, id_token="fresh"))

    assert [c.value for c in sent if c.name.startswith("argocd.token")] == ["fresh"]
    assert not [c for c in sent if c.name.startswith(SESSION)]


def test_the_browser_never_sees_a_token_that_argo_cd_renews() -> None:
    fields = [
        ("Set-Cookie", "argocd.token=x; path=/"),
        ("set-cookie", " argocd.token-1=y"),
        ("Set-Cookie", "argocd.oauthstate=z"),
        ("Set-Cookie", "other=argocd.token"),
        ("Set-Cookie", "Xargocd.token=x"),
        ("Grpc-Metadata-Renew-Token", "x.y.z"),
        ("grpc-metadata-content-type", "application/grpc"),
        ("Content-Type", "application/json"),
    ]

    assert without_renewed_token(fields) == [
        ("Set-Cookie", "argocd.oauthstate=z"),
        ("Set-Cookie", "other=argocd.token"),
        ("Set-Cookie", "Xargocd.token=x"),
        ("grpc-metadata-content-type", "application/grpc"),
        ("Content-Type", "application/json"),
    ]


@pytest.mark.parametrize(
    "planted",
    [
        f"{SESSION}=x; Path=/",
        f" {SESSION} = x",
        f"={SESSION}=x",
        f" = {SESSION}=x",
        f"{SESSION}-login-0=x",
        SESSION.removeprefix("__Host-") + "=x; Path=/api",
    ],
)
def test_nobody_behind_us_sets_a_cookie_of_ours(planted: str) -> None:
    others = [
        ("Set-Cookie", f"a={SESSION}"),
        ("Set-Cookie", f"X{SESSION}=x"),
        ("Set-Cookie", "argocd.token=x"),
        ("X", SESSION),
    ]

    assert without_our_cookies([("set-cookie", planted), *others]) == others


@pytest.mark.parametrize("root", ["", "/argo"])
@pytest.mark.parametrize(
    ("method", "target"),
    [
        ("GET", "/api/v1/settings"),
        ("POST", "/api/v1/settings"),
        ("GET", "/api/v1/applications?a=/../auth/login"),
        ("GET", "/x/../auth/logout?x"),
        ("GET", "/terminal"),
        ("GET", "/" + "x" * 2000),
    ],
)
def test_a_requests_purpose_is_what_its_path_says(root: str, method: str, target: str) -> None:
    paths, path = Paths(root), clean_path(root + target)
    assert path is not None

    for _ in range(2):
        purpose = paths.purpose(method, root + target, "text/html")

        assert purpose is not None
        assert (purpose.path, purpose.own) == (path, paths.own(path))
        assert purpose.kind is paths.kind(method, path, "text/html")
        assert purpose.gets_settings is (method == "GET" and path == root + "/api/v1/settings")


def test_a_target_that_hides_a_nul_has_no_purpose() -> None:
    assert Paths().purpose("GET", "/a%00b", "") is None


def test_what_strangers_send_is_not_remembered_at_any_length() -> None:
    before = _purpose.cache_info().currsize
    for i in range(10):
        Paths().purpose("GET", f"/{i}" + "x" * 2000, "")
        Paths().purpose("GET", f"/{i}", "y" * 2000)

    assert _purpose.cache_info().currsize == before


@pytest.mark.parametrize(("path", "accept"), [(500, 524), (1024, 0)])
def test_a_purpose_of_usual_length_is_remembered_and_none_is_any_longer(
    path: int, accept: int
) -> None:
    paths = Paths()

    def is_remembered(target: str) -> bool:
        paths.purpose("GET", target, "y" * accept)
        before = _purpose.cache_info().hits
        paths.purpose("GET", target, "y" * accept)
        return _purpose.cache_info().hits > before

    assert is_remembered("/" + "x" * (path - 1) + "?" + "z" * 9999)
    assert not is_remembered("/" + "x" * path)


@pytest.mark.parametrize(
    ("host", "usable"),
    [
        ("a" * 255, True),
        ("ARGOCD.Example.org:65535", True),
        ("a-b~c", True),
        ("[ABCD:ef09::]", True),
        ("argocd.example.org", True),
        ("argocd.example.org:8080", True),
        ("127.0.0.1", True),
        ("[::1]:80", True),
        ("a_b", True),
        ("localhost:", True),
        ("argocd.example.org.", True),
        ("[::ffff:10.0.0.1]", True),
        ("", False),
        (":80", False),
        (".", False),
        ("a..b", False),
        (".a", False),
        ("::1", False),
        ("[::1", False),
        ("[]", False),
        ("a:b", False),
        ("a:80:80", False),
        ("[a]b", False),
        ("a:-1", False),
        ("a:123456", False),
        ("a b", False),
        ("a,b", False),
        ("a/b", False),
        ("a@b", False),
        ("\xe9", False),
        ("a" * 256, False),
    ],
)
def test_a_host_is_one_name_and_nothing_else(host: str, usable: bool) -> None:
    assert is_usable_host(host) is usable


def test_a_head_goes_over_the_wire_a_line_for_each_field() -> None:
    fields = [("Host", "a"), ("X", "\xe9"), ("x", "")]

    assert head_bytes(b"GET / HTTP/1.1\r\n", fields) == (
        b"GET / HTTP/1.1\r\nHost: a\r\nX: \xe9\r\nx: \r\n\r\n"
    )
    assert head_bytes(b"HTTP/1.1 200 OK\r\n", []) == b"HTTP/1.1 200 OK\r\n\r\n"


def test_a_head_is_cut_where_fields_pass_that_are_not_read() -> None:
    fields = [PASSING, ("Host", "a"), ("X", "\xe9"), PASSING, ("Y", "1")]

    assert head_pieces(fields) == [b"", b"Host: a\r\nX: \xe9\r\n", b"Y: 1\r\n\r\n"]
    assert head_pieces([PASSING]) == [b"", b"\r\n"]
    assert head_pieces([]) == [b"\r\n"]


def test_only_white_space_of_http_is_taken_from_what_connection_names() -> None:
    fields = [("Connection", "x,\x85Y, \xa0Z \t"), ("X", "1"), ("Y", "2"), ("Z", "3")]

    assert end_to_end(fields) == [("Y", "2"), ("Z", "3")]


def test_nothing_between_two_commas_is_nothing_that_connection_names() -> None:
    assert connection_options([("Connection", "Close,, X-A,"), ("connection", "")]) == {
        "close",
        "x-a",
    }


def test_trailers_stay_announced() -> None:
    fields = [("Trailer", "X"), ("Connection", "close, X-Mine"), ("X-Mine", "1"), ("TE", "x")]

    assert end_to_end(fields) == [("Trailer", "X")]


def test_the_token_takes_the_place_of_the_first_cookie_field() -> None:
    fields = [("A", "1"), ("Cookie", "a=b"), ("B", "2"), ("cookie", "c=d"), ("C", "3")]

    given = upstream_fields(fields, crumbs(values(fields, "cookie")), id_token="fresh")

    assert given == [("A", "1"), ("Cookie", "a=b; c=d; argocd.token=fresh"), ("B", "2"), ("C", "3")]


def test_the_rules_are_called_as_metrics_and_logs_call_them() -> None:
    assert [each.value for each in Credential] == [
        "client",
        "session",
        "local",
        "none",
        "ended",
        "machine",
        "silent",
    ]


def test_argo_cd_is_at_the_root_unless_it_is_said_to_be_elsewhere() -> None:
    assert Paths().inner("/api/version") == "/api/version"
    assert Paths().inner("/") == "/"
