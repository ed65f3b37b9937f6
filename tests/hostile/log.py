"""What a hostile provider committed, in order; tokens by their SHA-256 only."""

import hashlib
import time
from collections import Counter, deque
from dataclasses import asdict, dataclass
from typing import Any, Literal

Kind = Literal[
    "login",
    "refresh",
    "reuse",
    "refused",
    "scripted",
    "revoked",
    "ended_by_script",
    "lost_answer",
]
KEPT_ENTRIES = 200_000


@dataclass(frozen=True, kw_only=True)
class Entry:
    """Something that the provider did.

    `login` and `refresh` gave tokens; a `refresh` is `repeated` when it was for a spent token,
    inside the reuse window. `reuse`: a spent token came, and was refused. `refused`: any other
    refusal of the provider's own. `scripted`: a rule answered, or dropped the request, in its
    place, and nothing was committed. `revoked`: a grant ended, `detail` says why.
    `lost_answer` comes after a `login` or `refresh` (`of` is its sequence) whose answer was
    dropped, or whose client had left.

    `method` is how the client authenticated: `basic`, `post`, `assertion` or `none`.

    Grants are numbered from 1; so are the generations of a grant's refresh token. 0: none.
    """

    sequence: int
    monotonic: float
    wall: float
    kind: Kind
    user: str = ""
    grant: int = 0
    presented: int = 0
    given: int = 0
    presented_sha256: str = ""
    given_sha256: str = ""
    repeated: bool = False
    replica: str = ""
    method: str = ""
    peer_port: int = 0
    of: int = 0
    detail: str = ""


class CommitLog:
    """The last entries, and how many there were of each kind."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self._entries: deque[Entry] = deque(maxlen=KEPT_ENTRIES)
        self._last = 0

    def add(self, kind: Kind, **what: Any) -> Entry:
        """Write an entry."""
        self._last += 1
        self.counts[kind] += 1
        entry = Entry(
            sequence=self._last, monotonic=time.monotonic(), wall=time.time(), kind=kind, **what
        )
        self._entries.append(entry)
        return entry

    def page(self, *, after: int, limit: int) -> dict[str, Any]:
        """The entries behind a sequence number, and the oldest number that is kept."""
        oldest = self._entries[0].sequence if self._entries else self._last + 1
        start = max(0, after + 1 - oldest)
        stop = min(start + limit, len(self._entries))
        entries = [asdict(self._entries[index]) for index in range(start, stop)]
        return {"oldest": oldest, "last": self._last, "entries": entries}


def sha256(token: str) -> str:
    """What the log, and the sidecar's intents, know a token by; empty for none."""
    return hashlib.sha256(token.encode()).hexdigest() if token else ""
