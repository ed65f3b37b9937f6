"""What the flows need of the outside world."""

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum, StrEnum, auto
from typing import NamedTuple, Protocol

from sidecar.core.bearer_tokens import Machine
from sidecar.core.id_token import SigningKey
from sidecar.core.kubernetes_objects import AccountItem
from sidecar.core.machine_rules import Choice, Credential, Refusal
from sidecar.core.provider_profiles import ProviderProfile
from sidecar.core.published_keys import PublishedKeys
from sidecar.core.session import SessionKey
from sidecar.core.tokens import TokenResponse


class Clock(Protocol):
    """Time. Only the application names the real one."""

    def now(self) -> float:
        """The wall time, in Unix seconds: for what tokens and records say."""
        ...

    def monotonic(self) -> float:
        """Seconds that never step: for leases and deadlines. It goes on while we are paused."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Wait."""
        ...


@dataclass(frozen=True, slots=True)
class Record:
    """A stored record as the store sees it: sealed, or a tombstone with its reason."""

    version: int
    write_id: str
    sealed: bytes
    ended: str = ""
    newer: bool = False
    """Whether a newer release wrote it, in a form that this one does not know."""


@dataclass(frozen=True, slots=True)
class StoredSession:
    """A session's record, and what the index says of its grant, to be checked when opened."""

    session: Record
    last_seen_at: float
    grant_id: str
    grant: Record | None


@dataclass(frozen=True, slots=True)
class UserSessions:
    """A user's live sessions as the index names them, each to be checked when opened.

    Those used latest come first; `count` is how many there are in all.
    """

    found: list[tuple[SessionKey, StoredSession]]
    count: int


@dataclass(frozen=True, slots=True)
class Write:
    """A sealed record to be written: its version, its end (Unix seconds, the store's clock)."""

    version: int
    write_id: str
    sealed: bytes
    ends_at: float


class RecordKind(StrEnum):
    """Of what a record is."""

    SESSION = "session"
    GRANT = "grant"


class RecordName(NamedTuple):
    """Where a record stands; `id` is a session's digest, or a grant's id."""

    kind: RecordKind
    user_tag: str
    id: str


DUE_SHARDS = 16
KEY_REPORT_SECONDS = 60.0
KEY_USE_SECONDS = 400 * 86400.0  # longer than from one yearly rotation to the next


def due_shard(grant_id: str) -> int:
    """Which of the `DUE_SHARDS` sets holds a grant: they lie on different nodes of a cluster."""
    return zlib.crc32(grant_id.encode()) % DUE_SHARDS


@dataclass(frozen=True, slots=True)
class KeyReports:
    """What the replicas of the last minute have said of their keys, each in its own words.

    `used_at` is when a key was in use at any of them, for as long as that is remembered. Instants
    are Unix seconds by the store's clock.
    """

    replicas: Mapping[str, tuple[float, str]]
    used_at: Mapping[str, float]


class SaveResult(Enum):
    """What became of a compare-and-set."""

    SAVED = auto()
    MOVED = auto()
    """The record has another version: somebody else wrote it."""
    ENDED = auto()
    """A tombstone stands there."""
    MISSING = auto()
    """Nothing stands there. Absence is no end."""


@dataclass(frozen=True, slots=True)
class Ended:
    """What ending a session did.

    `last` says that no other session has the grant, which is ended too; `grant` is then its
    record as it was, unless an earlier call with the same write id has ended it.
    """

    last: bool
    grant: Record | None = None


class Store(Protocol):
    """Sessions and grants, where every replica finds them.

    Each call is one step: it happens whole or not at all. What is written again with the
    same write id counts once. Ends are judged by the store's own clock.

    Every call raises `StoreUnavailable` when the store does not answer in time; then it is
    not known whether the step happened.
    """

    async def now(self) -> float:
        """The store's time, in Unix seconds."""
        ...

    async def attach(
        self,
        key: SessionKey,
        session: Write,
        grant_id: str,
        grant: Write,
        *,
        idle_ends_at: float,
        shared: bool = False,
    ) -> SaveResult:
        """A new session, with the next version of its grant; version 1 makes the grant.

        A session's end is the grant's at most, so the grant is written with every attach. If it
        is to be `shared` by the user's sessions, and another live grant is, that is `MOVED`.
        """
        ...

    async def load(self, key: SessionKey) -> StoredSession | None:
        """A session with its grant; a tombstone is a record with a reason; None: nothing there."""
        ...

    async def load_grant(self, user_tag: str, grant_id: str) -> Record | None:
        """A grant's record, None where nothing is."""
        ...

    async def user_sessions(self, user_tag: str, *, limit: int) -> UserSessions:
        """A user's live sessions with their grants, `limit` at most, those used latest first."""
        ...

    async def shared_grant(self, user_tag: str) -> str:
        """The id of the live grant that a user's sessions share; "" if they share none."""
        ...

    async def surplus(self, key: SessionKey, *, most: int) -> list[tuple[SessionKey, str]]:
        """The live sessions that the user of `key` has beyond `most`, each with its grant's id.

        They are those that were unused the longest, in this order, and never `key` itself. What
        the index says of sessions that are gone is forgotten.
        """
        ...

    async def touch(
        self,
        key: SessionKey,
        grant_id: str,
        *,
        seen_at: float,
        idle_ends_at: float,
        ends_at: float,
    ) -> None:
        """Note that a live session was used, and that it has this grant; else nothing."""
        ...

    async def save_grant(self, user_tag: str, grant_id: str, grant: Write) -> SaveResult:
        """Put a grant's next version in the place of `grant.version - 1`."""
        ...

    async def end_session(
        self, key: SessionKey, grant_id: str, *, reason: str, write_id: str
    ) -> Ended:
        """A tombstone for a session, and for its grant if no other live session has it."""
        ...

    async def end_grant(
        self, user_tag: str, grant_id: str, *, version: int, reason: str, write_id: str
    ) -> SaveResult:
        """Tombstones for a grant at `version` and all its sessions."""
        ...

    async def take_lease(self, user_tag: str, grant_id: str, owner: str, *, seconds: float) -> bool:
        """Whether the lease of a grant is now `owner`'s."""
        ...

    async def release_lease(self, user_tag: str, grant_id: str, owner: str) -> None:
        """Give the lease back, if it is still `owner`'s."""
        ...

    @property
    def interrupted_at(self) -> float:
        """The `Clock.monotonic()` of when the store was first reached, or had to be again.

        What answers since then may have lost what was written before. Minus infinity: never.
        """
        ...

    async def changed(
        self, known: Sequence[tuple[RecordName, str]]
    ) -> dict[RecordName, Record | None]:
        """Of records that are known by their write ids, those that are not so any more.

        None: nothing stands there.
        """
        ...

    async def put_back_grant(
        self,
        user_tag: str,
        grant_id: str,
        grant: Write,
        *,
        over: int,
        hold_seconds: float,
        shared: bool = False,
    ) -> SaveResult:
        """Write a grant that the store has lost, over version `over`, 0 where nothing stands.

        Nobody gets its lease for `hold_seconds`, so that all that is known of it comes first.
        """
        ...

    async def put_back_session(
        self,
        key: SessionKey,
        session: Write,
        grant_id: str,
        *,
        seen_at: float,
        idle_ends_at: float,
    ) -> SaveResult:
        """Write a session that the store has lost, where nothing stands."""
        ...

    async def put_back_end(self, name: RecordName, *, reason: str, write_id: str) -> None:
        """Write a tombstone that the store has lost, whatever stands there."""
        ...

    async def schedule(self, user_tag: str, grant_id: str, due_at: float | None) -> None:
        """Note when a grant is to be renewed without a request; None: not at all. A hint."""
        ...

    async def take_due(
        self, shard: int, *, now: float, limit: int, hide_seconds: float
    ) -> list[tuple[str, str]]:
        """Grants of a shard that are due: (user tag, grant id), hidden from others for a while.

        Whoever took them schedules them anew; if it dies, they are due again.
        """
        ...

    async def last_seen(self, user_tag: str, grant_id: str) -> float | None:
        """When a live session of a grant was last used, by the store's clock; None: it has none."""
        ...

    async def redeem(self, state_hash: str, owner: str, *, seconds: float) -> bool:
        """Whether a login's state is `owner`'s to redeem: nobody else has come before."""
        ...

    async def set_redeemed(self, state_hash: str, outcome: bytes) -> None:
        """What became of a redeemed state, for those who come a second time."""
        ...

    async def redeemed(self, state_hash: str) -> bytes | None:
        """What became of a redeemed state: empty while not known, None when not redeemed."""
        ...

    async def note_provider_sid(self, sid_hash: str, user_tag: str, *, seconds: float) -> None:
        """Note whose the provider's session is, for logouts that name nobody. A hint."""
        ...

    async def user_of_provider_sid(self, sid_hash: str) -> str:
        """Whose the provider's session is; "" where that is not known."""
        ...

    async def note_logout_token(self, token_hash: str, *, seconds: float) -> None:
        """Note that a logout token has done its work."""
        ...

    async def knows_logout_token(self, token_hash: str) -> bool:
        """Whether a logout token has done its work."""
        ...

    async def queue_revocation(self, entry: bytes, *, due_at: float, limit: int) -> bool:
        """Whether a sealed revocation is in the queue now: it takes `limit` at most."""
        ...

    async def take_revocations(self, *, now: float, limit: int, hide_seconds: float) -> list[bytes]:
        """Revocations that are due, hidden from others for a while.

        Whoever took them puts them off, or takes them out; if it dies, they are due again.
        """
        ...

    async def queued_revocations(self, *, limit: int) -> list[bytes]:
        """Revocations that are in the queue, due or not, which is left as it is."""
        ...

    async def put_off_revocation(self, entry: bytes, due_at: float | None) -> None:
        """When a revocation that is in the queue is due again; None: it is taken out."""

    async def scan(self, kind: RecordKind, cursor: str = "") -> tuple[str, list[RecordName]]:
        """Some of all records' names, tombstones too, and where the next ones are; "": nowhere.

        What is there from the first call to the last comes at least once, whatever else does.
        """
        ...

    async def reseal(self, name: RecordName, opened: Record, sealed: bytes) -> SaveResult:
        """Put the same content, sealed by another key, in the place of the write that was opened.

        Version, write id and end stay as they are, so that nobody who knows the record or is
        about to write its next version notices.
        """
        ...

    async def report_keys(self, replica: str, report: str, *, in_use: str) -> None:
        """Say for a minute which keys a replica has, and that the key `in_use` seals there."""
        ...

    async def key_reports(self) -> KeyReports:
        """What all replicas have said of their keys."""
        ...

    async def ping(self) -> None:
        """Nothing, if the store answers."""
        ...


@dataclass(frozen=True, slots=True)
class ProviderEndpoints:
    """Discovery metadata (OpenID Connect Discovery 1.0 section 3), as far as it is used."""

    issuer: str
    authorization_endpoint: str
    token_endpoint: str
    jwks_uri: str
    revocation_endpoint: str = ""
    end_session_endpoint: str = ""
    userinfo_endpoint: str = ""
    token_endpoint_auth_methods: tuple[str, ...] = ("client_secret_basic",)
    token_endpoint_auth_algorithms: tuple[str, ...] = ()
    scopes_supported: tuple[str, ...] = ()
    iss_parameter_supported: bool = False


class IdentityProvider(Protocol):
    """The OpenID provider.

    Every call raises `ProviderUnavailable` when no usable answer came, `ProviderRefused`
    when it was an OAuth error.
    """

    @property
    def profile(self) -> ProviderProfile:
        """What this provider does differently, as far as it is known by now."""
        ...

    @property
    def issuer_aliases(self) -> tuple[str, ...]:
        """Other values of `iss` that its tokens may have, as they are set."""
        ...

    async def endpoints(self) -> ProviderEndpoints:
        """The provider's metadata, fetched when first asked for."""
        ...

    async def exchange(self, code: str, *, code_verifier: str, redirect_uri: str) -> TokenResponse:
        """The tokens for an authorization code (RFC 6749 4.1.3)."""
        ...

    async def refresh(self, refresh_token: str, *, send_before: float) -> TokenResponse:
        """The tokens for a refresh token (RFC 6749 section 6).

        Nothing is sent once `Clock.monotonic()` has passed `send_before`: that raises
        `ProviderUnavailable` with `token_untouched`.
        """
        ...

    async def revoke(self, refresh_token: str) -> bool:
        """Whether the provider was told to end a grant (RFC 7009); False: it takes no such call."""
        ...

    async def signing_keys(self, id_token: str, *, again: bool = False) -> Sequence[SigningKey]:
        """The keys that may have signed a token.

        They are fetched again for an unknown `kid`, or when asked to `again`, but never more
        often than an interval, whatever tokens come: the second one is for tokens that came
        straight from the provider, and is shorter.

        Raises:
            ProviderUnavailable: they could not be fetched, so that nothing can be said.
        """
        ...

    async def read_keys(self, *, max_age_seconds: float) -> None:
        """Read the keys again, if that was longer ago; `published` tells of them."""
        ...

    @property
    def published(self) -> PublishedKeys | None:
        """The keys as they were last read, another object each time; None before the first."""
        ...


class Upstream(Protocol):
    """The server behind the sidecar, as far as the flows talk to it."""

    async def log_out(self, id_token: str, *, site: str) -> str:
        """Tell it that an ID token is no longer good; where it would send a browser at `site`."""
        ...


@dataclass(frozen=True, slots=True)
class AccessToken:
    """A user's access token, and how long it is to stand."""

    subject: str
    value: str = field(repr=False)
    seconds: float


class AccessTokens(Protocol):
    """Where Argo CD looks for access tokens; every call raises `SeedUnavailable`."""

    async def put(self, token: AccessToken) -> None:
        """Write a token over the one before; Argo CD asks for the user's groups anew."""
        ...

    async def put_back(self, tokens: Sequence[AccessToken]) -> int:
        """Write those of which there is none; how many that were."""
        ...

    async def take_back(self, token: AccessToken) -> None:
        """Take a token out, if it is the one that is there."""
        ...

    async def aclose(self) -> None:
        """Let go of it."""
        ...


class KeySource(Protocol):
    """Where a trusted issuer publishes its keys."""

    async def keys(self) -> Sequence[SigningKey]:
        """All of them, one at least, in bounded time.

        Raises:
            ProviderUnavailable: they could not be read.
        """
        ...


class MachineCredentials(Protocol):
    """What a machine's request goes up with: a token file's content, a service account's token."""

    def token_now(self, credential: Credential) -> str | None:
        """The token if there is nothing to wait for, else None: then ask `token`.

        Asked with every request: it waits for nothing, and gives the same object as long as the
        token is the same.
        """
        ...

    async def token(self, credential: Credential) -> str:
        """The token, which is good now: what may stand in a header field, without white space.

        Raises:
            MachineCredentialUnavailable: there is none to be had now.
        """
        ...

    def refused(self, credential: Credential, token: str) -> None:
        """The upstream has answered 401 to a token: it may be none any more."""
        ...


class AnnotatedRules(Protocol):
    """The rules in service accounts' annotations, where those decide and not the file's.

    A request's `target` names the namespace that it is about.
    """

    def choose_now(self, machine: Machine, target: str) -> Choice | Refusal | None:
        """What a machine's claims lead to, if there is nothing to wait for, else None.

        Asked with every request, with the same `machine` for as long as its token is known.
        """
        ...

    async def choose(self, machine: Machine, target: str) -> Choice | Refusal:
        """The same, after what there is to wait for.

        Raises:
            MachineCredentialUnavailable: the annotations are not known now.
        """
        ...


@dataclass(frozen=True, slots=True)
class AccountToken:
    """A service account's token, and for how many seconds it is good from now."""

    token: str = field(repr=False)
    seconds: float


class ServiceAccounts(Protocol):
    """The service accounts of a Kubernetes cluster, as far as the sidecar's own may see them."""

    namespace: str
    """The sidecar's own."""

    async def accounts(self, namespace: str) -> list[AccountItem]:
        """All of a namespace.

        Raises:
            KubernetesApiFailed: the API does not say.
        """
        ...

    async def token(self, namespace: str, name: str, *, seconds: int) -> AccountToken:
        """A new token of one of them, asked for with this life.

        Raises:
            KubernetesApiFailed: the API gives none.
        """
        ...
