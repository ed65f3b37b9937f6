"""Sessions as a terminal and a program see them; nothing that is shown opens one."""

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime

from sidecar.core.person import person_of, printable
from sidecar.core.session import SessionKey
from sidecar.flows.ending import Revoked
from sidecar.flows.walk import Found

_MOST_NAMED = 20
_COLUMNS = ("SESSION", "USER", "SIGNED IN", "LAST SEEN", "ENDS", "TOKEN ENDS", "BROWSER")
_WIDEST = 60
_WHY = {
    Revoked.QUEUED: "the provider did not take it. The sidecars try again for a day",
    Revoked.AWAY: "the provider did not answer. Revoke them there, or end their sign-ins there",
    Revoked.REFUSED: "the provider refused. Look at the client's rights there",
    Revoked.NO_ENDPOINT: "the provider has no revocation endpoint. End their sign-ins there",
    Revoked.UNREADABLE: "what is stored of them does not open here. End their sign-ins there",
}


class Table:
    """Sessions for people, sorted by who they are."""

    def __init__(self) -> None:
        self._rows: dict[SessionKey, tuple[str, ...]] = {}

    def add(self, found: Found) -> None:
        """One more row; a session that comes again has one."""
        self._rows[found.key] = _row(found)

    def text(self) -> str:
        """All rows below their headings."""
        if not self._rows:
            return "No sessions."
        rows = sorted(self._rows.values(), key=lambda row: (row[1].casefold(), row[2]))
        rows.insert(0, _COLUMNS)
        widths = [max(len(row[column]) for row in rows) for column in range(len(_COLUMNS))]
        lines = ("  ".join(f"{c:{w}}" for c, w in zip(row, widths, strict=True)) for row in rows)
        return "\n".join(line.rstrip() for line in lines)


class Named:
    """Who is left, by what stood in the way; so many are named, the rest is counted."""

    def __init__(self) -> None:
        self._names: dict[Revoked, list[str]] = {}
        self._counts: Counter[Revoked] = Counter()

    def __bool__(self) -> bool:
        """Whether anybody is."""
        return bool(self._counts)

    def add(self, why: Revoked, name: str) -> None:
        """One more."""
        self._counts[why] += 1
        names = self._names.setdefault(why, [])
        if len(names) < _MOST_NAMED:
            names.append(printable(name))

    def lines(self) -> Iterator[str]:
        """A line for each thing that stood in the way."""
        for why, count in self._counts.items():
            names = self._names[why]
            more = f" and {count - len(names)} more" if count > len(names) else ""
            yield f"Not revoked at the provider: {', '.join(names)}{more}: {_WHY[why]}"


def as_json(found: Found) -> str:
    """A session as one line for programs."""
    about: dict[str, object] = {
        "session": found.key.shown,
        "user_tag": found.key.user_tag,
    }
    if found.unreadable:
        about["unreadable"] = found.unreadable
    if found.grant:
        person = person_of(found.grant)
        about |= {
            "subject": person.subject,
            "email": person.email,
            "name": person.name,
            "preferred_username": person.preferred_username,
            "groups": person.groups,
            "token_ends_at": _iso(found.grant.tokens.id_token_expires_at),
            "renewals": found.grant.renewals,
        }
    if found.session:
        about |= {
            "signed_in_at": _iso(found.session.created_at),
            "last_seen_at": _iso(found.session.last_seen_at),
            "ends_at": _iso(found.session.ends_at),
            "browser": found.session.user_agent,
            "cookie_signed_by": found.session.signed_by,
        }
    return json.dumps(about)


def of_unreadable(unreadable: Counter[str], *, ended: bool = False) -> Iterator[str]:
    """What could not be opened, with the mend."""
    for why, count in unreadable.items():
        what = f"{count:,} could not be opened ({printable(why)})"
        if ended:
            yield f"{what}, and have ended with the rest"
        elif why.startswith("sealed by key"):
            yield (
                f"{what}. Give this command the keys that the replicas have "
                "(SIDECAR_SESSION_KEYS), old ones included; or they are another installation's "
                "in the same Redis"
            )
        else:
            yield f"{what}. They may be anybody's: `sidecar sessions end --session` ends one"


def of_ended(sessions: int, revoked: int) -> str:
    """How many have ended."""
    line = f"{_count(sessions, 'session')} ended." if sessions else "No session has ended."
    return f"{line} {_count(revoked, 'grant')} revoked at the provider." if revoked else line


def of_untold(count: int) -> Iterator[str]:
    """Of whose ID tokens Argo CD does not know that they are no longer good."""
    if count:
        yield (
            f"Argo CD could not be told of {_count(count, 'ID token')}: browsers that hold them "
            "(SIDECAR_COOKIE_MODE=mirror) are let in until they end"
        )


def of_namesakes(name: str, sessions: Sequence[Found]) -> str:
    """Why nothing was ended, with the subjects to choose from."""
    people = sorted({_described(found) for found in sessions})[:_MOST_NAMED]
    return "\n".join(
        [f"More than one user is called {printable(name)!r}. Name one by the subject:", *people]
    )


def _described(found: Found) -> str:
    if found.grant is None:
        return f"  ? ({found.key.user_tag})"
    person = person_of(found.grant)
    names: Iterable[str] = filter(None, (person.email, person.preferred_username, person.name))
    return printable(f"  --user {person.subject!r}  {', '.join(names)}")


def _row(found: Found) -> tuple[str, ...]:
    session, grant = found.session, found.grant
    who = person_of(grant).known_as if grant else f"? {found.unreadable or 'without its grant'}"
    times = (session.created_at, session.last_seen_at, session.ends_at) if session else (None,) * 3
    token_ends = grant.tokens.id_token_expires_at if grant else None
    shown = (_short(at) for at in (*times, token_ends))
    browser = printable(session.user_agent)[:_WIDEST] if session else ""
    return (found.key.shown, printable(who)[:_WIDEST], *shown, browser)


def _count(count: int, word: str) -> str:
    return f"{count:,} {word}{'' if count == 1 else 's'}"


def _short(at: float | None) -> str:
    return "" if at is None else _utc(at).strftime("%Y-%m-%d %H:%MZ")


def _iso(at: float) -> str:
    return _utc(at).isoformat(timespec="seconds")


def _utc(at: float) -> datetime:
    return datetime.fromtimestamp(at, UTC)
