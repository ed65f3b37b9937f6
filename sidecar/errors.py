"""Everything that can go wrong, one class for each different reaction.

SidecarError
├── ConfigurationError      the start stops: all faults at once, exit 2
├── RequestMalformed        400 or the status that it names; nothing is forwarded
├── AnswerMalformed         502, or the connection breaks off: the upstream speaks no HTTP
├── LoginRefused            a page a person understands; no session
│   └── SilentLoginRefused  the same login again, with the provider's form
├── SessionOver             the session ended; only a new login helps
├── SilentLoginNeeded       the session lives; a login without a form brings its next token
├── TryLater                503 or 502 with Retry-After; the session is kept
│   ├── TooMany             429: more than a limit; nothing was done, and nothing is undone
│   ├── StoreUnavailable
│   │   ├── Busy            too many requests wait for the store already
│   │   └── RecordUnreadable  a record that this replica cannot read; others may
│   │       └── KeyUnknown  sealed by a key that it does not have
│   ├── ProviderUnavailable
│   ├── MachineCredentialUnavailable
│   └── UpstreamUnavailable
│       └── UpstreamSlow    504 in the place of 502
├── KubernetesApiFailed     asked again later; what is known goes on
│   ├── KubernetesApiRefused  the Role lacks a rule
│   └── VersionGone         all of it is listed again
├── ProviderRefused         the provider said no; its class decides what follows
├── SeedUnavailable         Argo CD's Redis took no access token; tried again behind
├── RecordBroken            a stored record that its own key cannot open
├── ExpressionFailed        a rule says nothing of these claims; it does not match
└── TokenInvalid            an ID token that must not be used
"""

from collections.abc import Sequence


class SidecarError(Exception):
    """The root of all errors that the sidecar raises itself."""


class ConfigurationError(SidecarError):
    """The configuration cannot be used; `faults` has one line per fault, each with its mend."""

    def __init__(self, faults: Sequence[str]) -> None:
        super().__init__("\n".join(faults))
        self.faults = tuple(faults)


class RequestMalformed(SidecarError):
    """The request cannot be understood, or is more than we take; nothing of it is forwarded."""

    def __init__(self, message: str, *, status: int = 400) -> None:
        super().__init__(message)
        self.status = status


class AnswerMalformed(SidecarError):
    """The upstream's answer cannot be understood; nothing more of it is passed on."""


class LoginRefused(SidecarError):
    """This login attempt cannot be finished; the person may start another.

    `reason` is a word for logs and metrics, `status` the HTTP status of the page, and the
    message is the sentence for the person. None of them holds anything from the request.
    """

    def __init__(self, reason: str, sentence: str, *, status: int = 400) -> None:
        super().__init__(sentence)
        self.reason = reason
        self.status = status


class SilentLoginRefused(LoginRefused):
    """A login with `prompt=none` needs the person after all (OpenID Connect Core 3.1.2.6)."""


class SessionOver(SidecarError):
    """The session has ended; only a new login helps. `reason` says why, for logs and metrics."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"the session has ended: {reason}")
        self.reason = reason


class SilentLoginNeeded(SidecarError):
    """The provider gives no ID token on refresh; a login with `prompt=none` may bring one."""


class TryLater(SidecarError):
    """The same request may work later; no session is ended and no cookie is cleared."""

    status = 503
    operator = False
    """Whether an operator's fault is in between: then a login may help where waiting does not."""

    def __init__(self, message: str, *, retry_after_seconds: float = 1.0) -> None:
        super().__init__(message)
        self.retry_after_seconds = retry_after_seconds


class TooMany(TryLater):
    """More than a limit lets through; `limit` names it, for logs and metrics."""

    status = 429

    def __init__(self, limit: str, *, retry_after_seconds: float) -> None:
        super().__init__("too many sign-ins", retry_after_seconds=retry_after_seconds)
        self.limit = limit


class StoreUnavailable(TryLater):
    """The store did not answer, or not in time: an error, never a miss."""


class Busy(StoreUnavailable):
    """Too many requests wait for the store already; it says nothing about the store."""


class RecordUnreadable(StoreUnavailable):
    """A record that this replica cannot read, though others may: the store itself has answered."""


class KeyUnknown(RecordUnreadable):
    """A record was sealed by a key that is not in this replica's key ring."""


class ProviderUnavailable(TryLater):
    """The provider did not give a usable answer.

    `token_untouched` is True when it is known that the provider has not acted on the request:
    it was never sent, or was turned away at the door. Otherwise a token may be spent.
    `only_this_grant` is True when the answer may be about this grant alone: it says nothing
    about the provider's health, and alone it does not say that the grant is at its end.
    """

    def __init__(
        self,
        message: str,
        *,
        retry_after_seconds: float = 1.0,
        token_untouched: bool = False,
        only_this_grant: bool = False,
    ) -> None:
        super().__init__(message, retry_after_seconds=retry_after_seconds)
        self.token_untouched = token_untouched
        self.only_this_grant = only_this_grant


class MachineCredentialUnavailable(TryLater):
    """A rule has matched, and what its requests go up with cannot be had now."""


class UpstreamUnavailable(TryLater):
    """The upstream refused the connection or broke off before its answer."""

    status = 502


class UpstreamSlow(UpstreamUnavailable):
    """The upstream did not accept a connection in time."""

    status = 504


class ProviderRefused(SidecarError):
    """The provider answered with an OAuth error (RFC 6749 section 5.2).

    `error` is its JSON `error`, cleaned for logs; `over` says that the grant is at its end,
    otherwise the operator has to mend something and the grant may live on. `reused` is True
    where the provider says that it is over because a spent token came.
    """

    def __init__(self, error: str, *, over: bool, reused: bool = False) -> None:
        super().__init__(f"the provider refused: {error}")
        self.error = error
        self.over = over
        self.reused = reused


class SeedUnavailable(SidecarError):
    """Argo CD's Redis did not take an access token; no login and no renewal fails of it."""


class RecordBroken(SidecarError):
    """A stored record whose key is known does not open: forged, moved or damaged."""


class ExpressionFailed(SidecarError):
    """A rule's condition could not be evaluated; the message shows no claim's value."""


class TokenInvalid(SidecarError):
    """An ID token failed a check of OpenID Connect Core; `check` names which.

    `other_subject` is True when it belongs to another user (Core 12.2): the session must end.
    """

    def __init__(self, check: str, *, other_subject: bool = False) -> None:
        super().__init__(f"the ID token fails its check: {check}")
        self.check = check
        self.other_subject = other_subject


class KubernetesApiFailed(SidecarError):
    """The Kubernetes API did not answer, or with what is no answer.

    The message is what follows the name of what was asked for, with the mend.
    """


class KubernetesApiRefused(KubernetesApiFailed):
    """The Kubernetes API does not let the service account read it."""


class VersionGone(KubernetesApiFailed):
    """The Kubernetes API no longer knows what changed since the version that we know."""
