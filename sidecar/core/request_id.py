"""`X-Request-Id`: a request's name, from outside where that is harmless."""

import re
from collections.abc import Sequence

from sidecar.core.messages import RequestHead

FIELD = "X-Request-Id"
# What nginx, Envoy and others write: hexadecimal digits, a UUID. No token is that short, and
# nothing in it means anything to a log, a page or a terminal.
_USABLE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


def usable_request_id(given: Sequence[str]) -> str:
    """The one id that came from outside; "" where none did, several, or one that is not taken."""
    return given[0] if len(given) == 1 and _USABLE.fullmatch(given[0]) else ""


def given_request_ids(head: RequestHead) -> list[str]:
    """Every id that a request brings."""
    return head.find(FIELD.lower())


def name_upstream(head: RequestHead, request_id: str, given: Sequence[str]) -> None:
    """Have a request go up with this id, once, unless it brings a field of that name.

    What came from outside passes as it came, though it be none that is taken here.
    """
    line = f"{FIELD}: {request_id}\r\n".encode()
    if not given and line not in head.line:
        head.line += line
