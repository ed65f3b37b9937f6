"""What stands behind the sidecar, and what each does differently."""

import pytest

from sidecar.core.upstream_kinds import UpstreamKind, UpstreamProfile, upstream_profile


@pytest.mark.parametrize(
    ("kind", "title"),
    [("argocd", "Argo CD"), ("devtron", "Devtron"), ("argo-workflows", "Argo Workflows")],
)
def test_an_upstream_has_a_word_in_the_settings_and_a_name_for_people(
    kind: str, title: str
) -> None:
    assert upstream_profile(UpstreamKind(kind)).title == title


@pytest.mark.parametrize(
    ("kind", "fields", "does"),
    [
        (UpstreamKind.ARGOCD, ("token", "grpc-metadata-token"), {"bearer"}),
        (UpstreamKind.DEVTRON, ("api-token",), {"cookie_is_login"}),
        (UpstreamKind.ARGO_WORKFLOWS, (), {"bearer", "keeps_sessions"}),
    ],
)
def test_an_upstream_finds_a_token_and_keeps_a_login_in_its_own_way(
    kind: UpstreamKind, fields: tuple[str, ...], does: set[str]
) -> None:
    profile = upstream_profile(kind)

    assert profile.token_fields == fields
    told = ("bearer", "cookie_is_login", "keeps_sessions")
    assert {name: getattr(profile, name) for name in told} == {name: name in does for name in told}


def test_an_upstream_of_which_no_more_is_known_does_nothing_differently() -> None:
    plain = UpstreamProfile("Another", ())

    assert (plain.bearer, plain.cookie_is_login, plain.keeps_sessions) == (False, False, False)
