import re
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.config import values
from sidecar.config.values import CookieMode, Listen, LogLevel
from sidecar.core.authorization import OfflineAccess
from sidecar.core.refresh_policy import RefreshWindow
from tests.core.examples import properties

KEY = "AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE="


def refused(reader: Callable[[str], Any], text: str) -> str:
    with pytest.raises(ValueError, match=r"^\w") as raised:
        reader(text)
    return str(raised.value)


@pytest.mark.parametrize(
    ("reader", "text", "value"),
    [
        (values.listen, ":8080", Listen(None, 8080)),
        (values.listen, "127.0.0.1:8080", Listen("127.0.0.1", 8080)),
        (values.listen, "localhost:0", Listen("localhost", 0)),
        (values.listen, "[::1]:65535", Listen("::1", 65535)),
        (values.listen, "[::ffff:10.0.0.1]:80", Listen("::ffff:10.0.0.1", 80)),
        (values.duration, "30s", 30.0),
        (values.duration, "5m", 300.0),
        (values.duration, "1h30m", 5400.0),
        (values.duration, "250ms", 0.25),
        (values.duration, "1.5h", 5400.0),
        (values.duration, "1m30s500ms", 90.5),
        (values.duration, "0s", 0.0),
        (values.duration, "8784h", 366 * 24 * 3600.0),
        (values.positive_duration, "1ms", 0.001),
        (values.refresh_window, "25%", RefreshWindow(share=0.25)),
        (values.refresh_window, "1%", RefreshWindow(share=0.01)),
        (values.refresh_window, "50%", RefreshWindow(share=0.5)),
        (values.refresh_window, "12.5%", RefreshWindow(share=0.125)),
        (values.refresh_window, "2m", RefreshWindow(seconds=120.0)),
        (values.public_url, "https://argocd.example.org", "https://argocd.example.org"),
        (values.public_url, "https://argocd.example.org/", "https://argocd.example.org"),
        (values.public_url, "https://ArgoCD.example.org/Argo/", "https://argocd.example.org/Argo"),
        (values.public_url, "https://argocd.example.org/a/b", "https://argocd.example.org/a/b"),
        (values.public_url, "https://argocd.example.org/..x", "https://argocd.example.org/..x"),
        (values.public_url, "http://127.0.0.1:8080", "http://127.0.0.1:8080"),
        (values.public_url, "http://[::1]:8080", "http://[::1]:8080"),
        (values.issuer, "https://idp.example.org", "https://idp.example.org"),
        (values.issuer, "https://idp.example.org/", "https://idp.example.org/"),
        (values.issuer, "https://IdP.example.org/realms/X", "https://IdP.example.org/realms/X"),
        (values.issuer, "http://127.0.0.1:5556/dex", "http://127.0.0.1:5556/dex"),
        (values.upstream, "http://127.0.0.1:8090", "http://127.0.0.1:8090"),
        (values.upstream, "http://argocd_server/", "http://argocd_server"),
        (values.upstream, "https://[::1]:8090", "https://[::1]:8090"),
        (values.store_url, "memory://", "memory://"),
        (values.store_url, "redis://redis:6379/0", "redis://redis:6379/0"),
        (values.store_url, "rediss://user:p@ss@redis", "rediss://user:p@ss@redis"),
        (values.store_url, "unix:///run/redis.sock?db=1", "unix:///run/redis.sock?db=1"),
        (values.store_url, "redis+sentinel://a,b:1/main/2", "redis+sentinel://a,b:1/main/2"),
        (values.store_url, "rediss+cluster://u:p@a,[::1]:1", "rediss+cluster://u:p@a,[::1]:1"),
        (values.scopes, "openid", ("openid",)),
        (values.scopes, " openid, email  groups", ("openid", "email", "groups")),
        (values.scopes, "openid api://x/.default", ("openid", "api://x/.default")),
        (values.client_id, "argo cd", "argo cd"),
        (values.client_id, "x" * 512, "x" * 512),
        (values.one_of(OfflineAccess), "consent", OfflineAccess.CONSENT),
        (values.one_of(CookieMode), "mirror", CookieMode.MIRROR),
        (values.one_of(LogLevel), "warning", LogLevel.WARNING),
    ],
)
def test_a_good_value_is_read(reader: Callable[[str], Any], text: str, value: object) -> None:
    assert reader(text) == value


SITE = "Write https://argocd.example.org"
SERVER = "Write http://127.0.0.1:8090"
PROVIDER = "Write the https address"
REDIS = "rediss://…, unix:///… or memory://"
LISTEN = "Write :8080 or 127.0.0.1:8080"
DURATION = "Write 30s, 5m or 1h30m"
WINDOW = "Write 25% or 2m"


@pytest.mark.parametrize(
    ("reader", "mend", "texts"),
    [
        (
            values.listen,
            LISTEN,
            [
                "",
                "8080",
                ":",
                ":x",
                "::1:8080",
                "[::1]",
                ":65536",
                ":123456",
                "a b:80",
                "http://:80",
            ],
        ),
        (
            values.duration,
            DURATION,
            [
                "",
                "30",
                "s",
                "-5m",
                "5 m",
                "5min",
                "1d",
                "5M",
                "1e3s",
                "1,5h",
                "5m!",
                "inf",
                "8785h",
            ],
        ),
        (values.positive_duration, DURATION, ["0s", "0h0m", "", "x"]),
        (
            values.refresh_window,
            WINDOW,
            [
                "",
                "0%",
                "0.9%",
                "51%",
                "50.1%",
                "100%",
                "-5%",
                "25 %",
                "%",
                "0s",
                "25",
                "abc",
                "1.55%",
            ],
        ),
        (
            values.public_url,
            SITE,
            [
                "",
                "argocd.example.org",
                "//argocd.example.org",
                "ftp://argocd.example.org",
                "https://",
                "https://:8080",
                "https://argocd.example.org:",
                "https://argocd.example.org:0",
                "https://argocd.example.org:99999",
                "https://argocd.example.org:x",
                "https://[::1",
                "https://argocd.example.org?x=1",
                "https://argocd.example.org#x",
                "https://argocd.example.org//",
                "https://argocd.example.org//x",
                "https://argocd.example.org/a//b",
                "https://argocd.example.org/.",
                "https://argocd.example.org/a/../b",
                "https://argocd.example.org/a%2fb",
                "https://argocd.example.org/a b",
                "https://argocd.example.org/é",
                "https://argocd.éxample.org",
                "https://a,b",
                "https://a\\b",
            ],
        ),
        (
            values.issuer,
            PROVIDER,
            [
                "",
                "idp.example.org",
                "ftp://idp.example.org",
                "https://",
                "https://:443",
                "https:///realms/x",
                "https://[::1",
                "https://idp.example.org:99999",
                "https://idp.example.org?x",
                "https://idp.example.org#x",
            ],
        ),
        (
            values.upstream,
            SERVER,
            [
                "",
                "127.0.0.1:8090",
                "http://",
                "http://:8090",
                "tcp://127.0.0.1:8090",
                "http://127.0.0.1:8090/argo",
                "http://127.0.0.1:8090?x",
                "http://127.0.0.1:99999",
                "http://[::1",
            ],
        ),
        (
            values.store_url,
            REDIS,
            [
                "",
                "redis:6379",
                "redis",
                "memory",
                "memory:",
                "memory://x",
                "redis://",
                "redis://:6379",
                "redis://redis:x",
                "redis://[::1",
                "redis:///0",
                "unix://",
                "unix://run",
                "http://redis:6379",
                "postgres://redis:6379",
            ],
        ),
        (
            values.scopes,
            "Write openid profile email groups",
            ["", "email groups", "OpenID", 'openid "x"', "openid a\\b", "openid é", "openid \x7f"],
        ),
        (values.client_id, "Copy it from the provider", ["", "é", "a\nb", "\x7f", "x" * 513]),
        (
            values.one_of(OfflineAccess),
            "auto, always, consent, never",
            ["", "AUTO", "yes", "auto "],
        ),
        (values.session_keys, "sidecar keys new", ["", ",", "x", KEY, "a:AAAA", "a:é", "a:?"]),
    ],
)
def test_a_bad_value_is_refused_with_its_mend(
    reader: Callable[[str], Any], mend: str, texts: list[str]
) -> None:
    for text in texts:
        assert mend in refused(reader, text), text


@pytest.mark.parametrize("reader", [values.public_url, values.issuer, values.upstream])
@pytest.mark.parametrize(
    "text",
    [
        "https://alice:hunter2@example.org",
        "https://hunter2@example.org/path?x#y",
        "alice:hunter2@example.org",
        "https://alice:hunter2[@example.org",
        "https://alice:hunter2/@example.org",
        "https://alice:hunter2?@example.org",
    ],
)
def test_an_address_with_a_password_is_refused_and_not_shown(
    reader: Callable[[str], Any], text: str
) -> None:
    said = refused(reader, text)

    assert said == "must not have a user name in it. Write the address without"


@pytest.mark.parametrize(
    "text",
    [
        "redis://:hunter2@",
        "redis://alice:hunter2@:6379",
        "redis://hunter2:x@redis:x",
        "http://alice:hunter2@redis:6379",
        "redis:hunter2@redis:6379",
        ":hunter2@redis:6379",
        "alice:hunter2@redis",
        "hunter2@redis",
        ":hunter//2hunter2@redis:6379",
        "redis://:hunter2@b@redis:x",
        "redis://redis:x?password=hunter2",
        "redis:6379?password=hunter2",
    ],
)
def test_a_store_address_that_is_none_does_not_show_its_password(text: str) -> None:
    said = refused(values.store_url, text)

    assert "hunter2" not in said
    assert "redis" in said


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("memory://", "memory://"),
        ("redis://redis:6379/0", "redis://redis:6379/0"),
        ("redis://:hunter2@redis:6379/0", "redis://***@redis:6379/0"),
        ("rediss://alice:hunt@er2@redis", "rediss://***@redis"),
        ("redis://redis?password=hunter2", "redis://redis"),
        ("unix://alice:hunter2@/run/redis.sock?db=1", "unix://***@/run/redis.sock"),
        ("hunter2@redis", "***@redis"),
        ("redis+sentinel://:hunter2@a,b/main", "redis+sentinel://***@a,b/main"),
    ],
)
def test_an_address_is_shown_without_its_secrets(url: str, shown: str) -> None:
    assert values.masked(url) == shown


@pytest.mark.parametrize(
    ("text", "guess"),
    [
        ("redis:6379", "Write redis://redis:6379/0"),
        ("argocd-redis", "Write redis://argocd-redis/0"),
        ("http://argocd-redis:6379", "Write redis://argocd-redis:6379/0"),
        ("x y", "Write redis://redis:6379/0"),
        ("redis+sentinel://a,b:26380", "Write redis+sentinel://a,b:26380/<name of the primary>"),
        ("redis://a:26379,b:26379/main", "Write redis+sentinel://a:26379,b:26379/<name"),
        ("redis://a,b", "Write redis+cluster://a,b"),
        ("redis+cluster://a/1", "Write redis+cluster://a"),
        ("redis+cluster://:hunter2@a/1", "Write redis+cluster://a"),
    ],
)
def test_a_store_address_that_is_none_is_guessed_at(text: str, guess: str) -> None:
    assert guess in refused(values.store_url, text)


@pytest.mark.parametrize("text", [":8080", "127.0.0.1:8080", "[::1]:8080", "localhost:0"])
def test_an_address_to_listen_on_is_shown_as_it_is_written(text: str) -> None:
    assert str(values.listen(text)) == text


@properties
@given(st.integers(0, 8000), st.integers(0, 59), st.integers(0, 59), st.integers(0, 999))
def test_the_parts_of_a_duration_add_up(hours: int, minutes: int, seconds: int, ms: int) -> None:
    text = f"{hours}h{minutes}m{seconds}s{ms}ms"

    assert values.duration(text) == pytest.approx(hours * 3600 + minutes * 60 + seconds + ms / 1000)


READERS = [
    values.listen,
    values.duration,
    values.positive_duration,
    values.refresh_window,
    values.public_url,
    values.issuer,
    values.upstream,
    values.store_url,
    values.scopes,
    values.session_keys,
    values.client_id,
    values.one_of(CookieMode),
]


@properties
@given(
    st.sampled_from(READERS),
    st.text(max_size=20)
    | st.lists(st.sampled_from(["http://", "redis://", "[", "]", ":", "@", "//", "1", "a"])).map(
        "".join
    ),
)
def test_no_text_makes_a_reader_crash_or_fall_silent(
    reader: Callable[[str], Any], text: str
) -> None:
    try:
        reader(text)
    except ValueError as fault:
        said = str(fault)
        assert re.match(r"(is|must|has|lacks|key)\b", said), said
        assert len(said) > 20


@pytest.mark.parametrize(
    "url",
    [
        "redis://redis:6379/0?socket_timeout=60",
        "redis://redis:6379/zero",
        "rediss://redis:6379/0?ssl_cert_reqs=none",
        "unix:///run/redis.sock?foo=bar",
    ],
)
def test_a_store_address_changes_no_setting_of_the_client_library(url: str) -> None:
    with pytest.raises(ValueError, match="is not an address"):
        values.store_url(url)


def test_a_default_port_is_left_out_of_the_public_url_as_browsers_leave_it_out() -> None:
    assert values.public_url("https://argocd.example.org:443/") == "https://argocd.example.org"
    assert values.public_url("http://argocd.example.org:80") == "http://argocd.example.org"
    assert values.public_url("https://argocd.example.org:80") == "https://argocd.example.org:80"


@pytest.mark.parametrize(
    ("reader", "text", "value"),
    [
        (values.upstream, "unix:///run/argocd.sock", "unix:///run/argocd.sock"),
        (values.upstream, "https://argocd-server:8443/", "https://argocd-server:8443"),
        (values.switch, "on", True),
        (values.switch, "off", False),
        (values.size, "1KiB", 1024),
        (values.size, "64KiB", 65536),
        (values.size, "3MiB", 3 * 1024**2),
        (values.count, "1", 1),
        (values.count, "9999999", 9_999_999),
        (values.host_name, "argocd-server.argocd.svc", "argocd-server.argocd.svc"),
        (values.origins, "https://A.example:443", ("https://a.example",)),
        (values.origins, "https://a.example,http://b:81 ", ("https://a.example", "http://b:81")),
        (values.origins, "", ()),
    ],
)
def test_what_the_data_path_is_told_is_read(
    reader: Callable[[str], Any], text: str, value: Any
) -> None:
    assert reader(text) == value


@pytest.mark.parametrize(
    ("reader", "text"),
    [
        (values.upstream, "unix://run/argocd.sock"),
        (values.upstream, "unix:///"),
        (values.upstream, "unix:///run/a?x"),
        (values.switch, "On"),
        (values.switch, "true"),
        (values.size, "64"),
        (values.size, "64KB"),
        (values.size, "0KiB"),
        (values.size, "1.5MiB"),
        (values.count, "0"),
        (values.count, "-1"),
        (values.count, "10000000"),
        (values.host_name, "a/b"),
        (values.host_name, ".a"),
        (values.host_name, ""),
        (values.origins, "https://a.example/x"),
        (values.origins, "null"),
        (values.origins, "*"),
    ],
)
def test_what_the_data_path_cannot_be_told_is_refused_with_a_mend(
    reader: Callable[[str], Any], text: str
) -> None:
    assert "Write" in refused(reader, text)


@properties
@given(st.integers(0, 366 * 24 * 3600 * 1000))
def test_a_duration_is_shown_as_it_may_be_written(ms: int) -> None:
    written = values.written_duration(ms / 1000)

    assert values.duration(written) == pytest.approx(ms / 1000)


@pytest.mark.parametrize("text", ["72h", "2m", "30s", "250ms", "90m"])
def test_a_duration_is_shown_in_the_largest_unit_without_a_fraction(text: str) -> None:
    assert values.written_duration(values.duration(text)) == text


@pytest.mark.parametrize("text", ["64KiB", "5MiB", "1GiB", "1025KiB"])
def test_a_size_is_shown_as_it_is_written(text: str) -> None:
    assert values.written_size(values.size(text)) == text
