"""How often a browser was sent to sign in lately: it carries that itself, so nothing is stored.

Whoever drops the cookie is not counted. It is against a loop, not against an attacker: a session
that does not last, a clock that is wrong, an Argo CD that refuses every token.
"""

import re

MOST_LOGINS = 20  # of one browser in a minute; every tab asks for one when a session has ended
WITHIN_SECONDS = 60
_WRITTEN = re.compile(rf"[0-9a-f]{{1,12}}(\.[0-9a-f]{{1,12}}){{0,{MOST_LOGINS - 1}}}")


def recent_logins(value: str, now: float) -> list[int]:
    """When the browser began its logins of the last minute, in Unix seconds, the oldest first."""
    if not _WRITTEN.fullmatch(value):
        return []
    found = sorted(int(part, 16) for part in value.split("."))
    return [at for at in found if 0 <= now - at < WITHIN_SECONDS]


def wait_seconds(recent: list[int], now: float) -> float:
    """0 if the browser may begin one more; else for how long it may not."""
    return recent[0] + WITHIN_SECONDS - now if len(recent) >= MOST_LOGINS else 0.0


def with_login(recent: list[int], now: float) -> str:
    """The cookie's value with one more login."""
    return ".".join(f"{at:x}" for at in [*recent, int(now)][-MOST_LOGINS:])
