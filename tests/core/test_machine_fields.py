import pytest

from sidecar.core.machine_fields import (
    is_read_for_machines,
    presented_tokens,
    with_credential,
    without_cookies,
    without_identity,
)
from sidecar.core.upstream_kinds import UpstreamKind, upstream_profile

ARGOCD = upstream_profile(UpstreamKind.ARGOCD)
DEVTRON = upstream_profile(UpstreamKind.DEVTRON)


@pytest.mark.parametrize(
    ("field", "token"),
    [
        (("Authorization", "Bearer a.b.c"), "a.b.c"),
        (("authorization", "bearer   a.b.c "), "a.b.c"),
        (("Authorization", "Bearer XaX"), "XaX"),
        (("Authorization", "Bearer a\xa0"), "a\xa0"),
        (("token", "a.b.c"), "a.b.c"),
        (("Grpc-Metadata-Token", "a.b.c"), "a.b.c"),
        (("grpc-metadata-authorization", "Bearer a.b.c"), "a.b.c"),
    ],
)
def test_a_token_is_looked_for_where_argo_cd_looks(field: tuple[str, str], token: str) -> None:
    assert presented_tokens([("Host", "x"), field], ARGOCD) == [token]


@pytest.mark.parametrize(
    "field",
    [
        ("Authorization", "Basic a.b.c"),
        ("Authorization", "Bearer"),
        ("Cookie", "argocd.token=a.b.c"),
        ("Api-Token", "a.b.c"),
        ("X-Token", "a.b.c"),
    ],
)
def test_nothing_else_is_one(field: tuple[str, str]) -> None:
    assert [token for token in presented_tokens([field], ARGOCD) if token] == []


def test_in_front_of_devtron_its_own_field_counts_and_gets_the_credential() -> None:
    fields = [("api-token", "a.b.c"), ("Cookie", "argocd.token=x"), ("Accept", "*/*")]

    assert presented_tokens(fields, DEVTRON) == ["a.b.c"]
    assert with_credential(fields, "new", DEVTRON) == [("Accept", "*/*"), ("api-token", "new")]


def test_nothing_goes_up_beside_the_credential_that_may_be_one() -> None:
    credentials = [
        ("AUTHORIZATION", "Bearer x"), ("Cookie", "argocd.token=x"), ("Token", "x"),
        ("Grpc-Metadata-Token", "x"), ("grpc-metadata-anything", "x"),
    ]  # fmt: skip
    other = ("Api-Token", "x")

    assert with_credential([*credentials, other], "new", ARGOCD) == [
        other,
        ("Authorization", "Bearer new"),
    ]
    assert with_credential([*credentials, other], "new", DEVTRON) == [("api-token", "new")]


def test_what_passes_between_fields_stays_between_them() -> None:
    fields = [("Host", "x"), ("", ""), ("Authorization", "Bearer a"), ("", ""), ("Accept", "y")]

    assert with_credential(fields, "new", ARGOCD) == [
        ("Host", "x"), ("", ""), ("", ""), ("Accept", "y"), ("Authorization", "Bearer new")
    ]  # fmt: skip
    assert without_identity(fields) == fields


@pytest.mark.parametrize(
    "name", ["impersonate-user", "x-remote-group", "remote-user", "grpc-metadata-x"]
)
def test_what_is_dropped_for_machines_is_read(name: str) -> None:
    assert is_read_for_machines(name)


@pytest.mark.parametrize(
    "name",
    ["Argocd-User-Groups", "Argocd-User-Id", "Argocd-Username", "Remote-Email", "Remote-Group",
     "Remote-Groups", "Remote-Name", "Remote-User", "X-Forwarded-Access-Token",
     "X-Forwarded-Email", "X-Forwarded-Groups", "X-Forwarded-Preferred-Username",
     "X-Forwarded-User", "Impersonate-User", "Impersonate-Extra-Scopes", "X-Remote-User",
     "X-Remote-Extra-Any", "X-Auth-Request-Email", "X-Auth-Request-User"],
)  # fmt: skip
def test_nobody_outside_says_who_they_are_however_it_is_spelled(name: str) -> None:
    host = ("Host", "x")

    assert is_read_for_machines(name.lower())
    for spelled in (name, name.upper(), name.lower(), name.replace("-", "_")):
        assert without_identity([host, (spelled, "admin"), host]) == [host, host]


@pytest.mark.parametrize("name", ["x-forwarded-for", "user-agent", "remote", "x-forwarded-host"])
def test_what_says_nothing_of_who_somebody_is_passes(name: str) -> None:
    assert not is_read_for_machines(name)
    assert without_identity([(name, "1")]) == [(name, "1")]


def test_no_cookie_and_no_token_comes_back() -> None:
    fields = [("Set-Cookie", "a=1"), ("Grpc-Metadata-Renew-Token", "t"), ("ETag", "x")]

    assert without_cookies(fields) == [("ETag", "x")]
