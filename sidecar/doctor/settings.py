"""What can be said of the configuration alone: its faults, its sources, keys and cookies."""

from collections.abc import Iterator
from urllib.parse import urlsplit

from sidecar.config.environment import AZURE_TOKEN_FILE
from sidecar.config.settings import Config
from sidecar.config.values import CookieMode
from sidecar.core.argocd_files import Weight
from sidecar.doctor.addresses import is_loopback
from sidecar.doctor.findings import Finding, Level, fault, ok, warning
from sidecar.errors import ConfigurationError

_LEVELS = {
    Weight.NOTE: Level.WARNING,
    Weight.DOUBTFUL: Level.WARNING,
    Weight.BROKEN: Level.FAULT,
    Weight.ABSENT: Level.FAULT,
}
_WHY = {
    Weight.NOTE: "Argo CD and the sidecar go on without it.",
    Weight.DOUBTFUL: "Argo CD goes on with it, and a change to it is refused here.",
    Weight.BROKEN: "Logins cannot be taken over: they pass to Argo CD, and nobody is kept in.",
    Weight.ABSENT: "There is no login to take over: all of them pass to Argo CD.",
}


def of_faults(error: ConfigurationError) -> Iterator[Finding]:
    """What stops a start; each line has its own mend."""
    for line in error.faults:
        what, _, mend = line.partition(". ")
        yield fault("settings.variables", what, "The sidecar does not start with it.", mend)


def of_settings(config: Config) -> Iterator[Finding]:
    """What a configuration that can be used says of itself."""
    yield ok("settings.variables", f"the settings can be used; {_sources(config)}")
    for found in config.argocd.findings:
        sentence, _, mend = found.sentence.partition(". ")
        yield Finding(
            "settings.argocd", _LEVELS[found.weight], f"{found.where} {sentence}",
            _WHY[found.weight], mend,
        )  # fmt: skip
    if config.argocd.takes_over_logins:
        yield _keys(config)
        yield _cookies(config)
        yield from _secret(config)


def _sources(config: Config) -> str:
    if config.argocd.leaves_logins:
        return "logins are the upstream's own"
    issuer, client = config.source("issuer"), config.source("client_id")
    return f"issuer by {issuer}, client by {client}" if issuer != client else f"client by {client}"


def _keys(config: Config) -> Finding:
    source = config.source("session_keys")
    if config.session_keys is None:
        return warning(
            "settings.keys",
            "what is stored is sealed with a key that is made at each start",
            "Everybody logs in again after a restart, and two replicas cannot share sessions.",
            "Set SIDECAR_SESSION_KEYS; make one with: sidecar keys new",
        )
    count = len(config.session_keys)
    return ok("settings.keys", f"{count} key{'s' if count > 1 else ''} by {source}")


def _cookies(config: Config) -> Finding:
    if config.public_url.startswith("https:"):
        mirrored = config.cookie_mode is CookieMode.MIRROR
        beside = ", and argocd.token beside it (mirror)" if mirrored else ""
        return ok(
            "settings.cookies", f"cookies are Secure, HttpOnly, SameSite=Lax, __Host-{beside}"
        )
    if is_loopback(urlsplit(config.public_url).hostname or ""):
        return ok("settings.cookies", "cookies have no Secure: the public URL is this machine's")
    return warning(
        "settings.cookies",
        "cookies have no Secure and no __Host-: the public URL is http",
        "Whoever sees the traffic has the session.",
        "Put https before Argo CD, and into url of argocd-cm or SIDECAR_PUBLIC_URL",
    )


def _secret(config: Config) -> Iterator[Finding]:
    try:
        credentials = config.read_credentials()
    except (OSError, ValueError):
        yield fault(
            "settings.secret",
            "the file with the client's secret, key or token cannot be read",
            "No login and no renewal works.",
            "Correct SIDECAR_CLIENT_SECRET_FILE, …_KEY_FILE or …_ASSERTION_FILE (the one that is "
            f"set, or {AZURE_TOKEN_FILE}), or mount the Secret",
        )
        return
    what = "no client secret: a public client"
    if credentials.secret:
        what = f"a client secret by {config.source('client_secret')}"
    elif credentials.key:
        what = f"the client's key by {config.source('client_key_file')}"
    elif credentials.assertion:
        what = f"a token for the client by {config.source('client_assertion_file')}"
    yield ok("settings.secret", what)
