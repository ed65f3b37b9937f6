"""What follows from a login and its refreshes. Plain functions over values."""

from collections.abc import Iterator

from sidecar.config.values import written_duration
from sidecar.core.provider_profiles import ProviderProfile
from sidecar.doctor.findings import Finding, fault, ok, warning
from sidecar.doctor.login_look import REUSE_AFTER_SECONDS, LoginSeen, Refreshed
from sidecar.doctor.mends import Mends, mends_at

_FORMS = "Check user and password; a second factor, or a page by script, needs --login by hand"
_CLIENT_WORDS = ("invalid_client", "unauthorized_client")


def of_login(seen: LoginSeen) -> Iterator[Finding]:
    """Everything that is to be said of a login."""
    mends = mends_at(seen.profile.provider)
    if seen.returned.refused:
        yield fault(
            "login.flow",
            f"nobody was signed in: {seen.returned.refused}",
            "Nobody logs in.",
            _FORMS,
        )
        return
    if seen.id_token is None:
        yield fault(
            "login.flow", f"the login gave no ID token: {seen.error}", "Nobody logs in.",
            "See the findings about the provider's secret and keys",
        )  # fmt: skip
        return
    life = written_duration(seen.id_token.life_seconds)
    yield ok("login.flow", f"signed in; the ID token is good, and lives {life}")
    yield from _argocd(seen)
    yield _groups(seen, mends)
    if not seen.has_refresh_token:
        yield fault(
            "login.refresh_token", "the login gave no refresh token",
            f"Everybody goes to the login every {life}.", mends.renewing,
        )  # fmt: skip
        return
    yield ok("login.refresh_token", "the login gave a refresh token")
    yield from _refreshes(seen, mends)
    yield from _wrong_secret(seen.wrong_secret)
    yield from _reuse(seen, seen.profile, mends)


def _argocd(seen: LoginSeen) -> Iterator[Finding]:
    if seen.argocd_takes_it:
        yield ok("login.argocd", "Argo CD takes the ID token")
    elif seen.argocd_takes_it is False:
        yield fault(
            "login.argocd", "Argo CD does not take the ID token", "Every request is 401.",
            "Make issuer and clientID (or allowedAudiences) in oidc.config those of the token, and "
            "look into argocd-server's log",
        )  # fmt: skip


def _groups(seen: LoginSeen, mends: Mends) -> Finding:
    groups = seen.id_token.groups if seen.id_token else None
    if groups:
        return ok("login.groups", f"{len(groups)} in the ID token")
    return warning(
        "login.groups",
        "the ID token has no groups",
        "Roles in argocd-rbac-cm that go by group are nobody's.",
        mends.groups,
    )


def _refreshes(seen: LoginSeen, mends: Mends) -> Iterator[Finding]:
    failed = [refresh for refresh in seen.refreshes if refresh.error]
    if failed:
        yield fault(
            "login.refresh", f"a refresh was refused: {failed[0].error}",
            "Everybody goes to the login when the first token ends.", mends.renewing,
        )  # fmt: skip
        return
    yield ok("login.refresh", f"{len(seen.refreshes)} refreshes worked")
    tokens = [refresh.id_token for refresh in seen.refreshes]
    if None in tokens:
        yield fault(
            "login.renewed", "a refresh gives no ID token",
            "At the token's end the browser is sent through the provider.", mends.renewed,
        )  # fmt: skip
        return
    first = seen.id_token.groups if seen.id_token else None
    if all(token is not None and set(token.groups or ()) == set(first or ()) for token in tokens):
        yield ok("login.renewed", "each gives an ID token with the same groups")
    else:
        yield warning(
            "login.renewed", "the ID token of a refresh has other groups than the login's",
            "People lose their roles at the first renewal.", mends.groups,
        )  # fmt: skip


def _wrong_secret(seen: Refreshed | None) -> Iterator[Finding]:
    name = "login.wrong_secret"
    if seen is None:
        return
    if seen.over:
        yield fault(
            name, f"a wrong secret looks like an ended login ({seen.error})",
            "When the secret is changed, sessions end that need not.",
            "Set SIDECAR_PROVIDER to what the provider is; change secrets with an overlap",
        )  # fmt: skip
    elif not seen.error:
        yield warning(
            name, "the provider takes a wrong secret", "A stolen refresh token is enough.",
            "Make the client a confidential one",
        )  # fmt: skip
    elif seen.error in _CLIENT_WORDS:
        yield ok(name, f"a wrong secret is {seen.error}: it ends no session")
    else:
        yield ok(name, f"a wrong secret ends no session ({seen.error[:60]})")


def _reuse(seen: LoginSeen, profile: ProviderProfile, mends: Mends) -> Iterator[Finding]:
    if not seen.refreshes or any(refresh.error for refresh in seen.refreshes):
        return
    if not seen.refreshes[-1].rotated:
        yield ok("login.rotation", "the refresh token stays the same: it does not rotate")
        return
    yield ok("login.rotation", "every refresh gives a new refresh token")
    longest, expected = REUSE_AFTER_SECONDS[-1], profile.reuse_window_seconds
    taken = seen.reused_after
    if not seen.reuse_refused and taken is None:
        yield warning(
            "login.reuse", "what a spent token does could not be seen",
            "How safe a repeated renewal is stays unknown.", "Run it again",
        )  # fmt: skip
    elif taken is None and expected > 0:
        yield warning(
            "login.reuse",
            f"a spent token is refused at once; {profile.title} is known to take it for "
            f"{expected:.0f} s",
            "A renewal whose answer is lost is repeated, and ends the session.",
            f"{mends.rotation}; or SIDECAR_PROVIDER=generic, so that nothing is repeated",
        )
    elif taken is None:
        after = "the newest one goes on" if seen.lives_on else "the whole login is over"
        yield ok("login.reuse", f"a spent token is refused at once, and then {after}")
    elif seen.reuse_refused:
        yield ok("login.reuse", f"a spent token is taken for {taken:.0f} s or more, then refused")
    else:
        yield ok("login.reuse", f"a spent token was taken for all of {longest:.0f} s")
