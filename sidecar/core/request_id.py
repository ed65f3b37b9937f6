"""`X-Request-Id`: a request's name, from outside where that is harmless."""

import re
from collections.abc import Sequence

from sidecar.core.heads import values
from sidecar.core.messages import RequestHead

FIELD = "X-Request-Id"
# What nginx, Envoy and others write: hexadecimal digits, a UUID. No token is that short, and
# nothing in it means anything to a log, a page or a terminal.
_USABLE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_PASSING = re.compile(rb"(?:^|\n)x-request-id: ([^\r\n]*)\r\n", re.IGNORECASE)


def usable_request_id(given: Sequence[str]) -> str:
    """The one id that came from outside; "" where none did, several, or one that is not taken."""
    return given[0] if len(given) == 1 and _USABLE.fullmatch(given[0]) else ""


def given_request_ids(head: RequestHead) -> list[str]:
    """Every id that a request brings: lines that only pass are looked through when asked."""
    read = values(head.block.fields, FIELD.lower())
    passing = [found for run in head.passing for found in _PASSING.findall(run)]
    return [*read, *(value.decode("latin-1") for value in passing)]


def name_upstream(head: RequestHead, request_id: str) -> None:
    """Have a request go up with this id, once, unless it brings a field of that name.

    What came from outside passes as it came, though it be none that is taken here.
    """
    if not given_request_ids(head) and head.line.count(b"\r\n") == 1:
        head.line += f"{FIELD}: {request_id}\r\n".encode()
