"""Which token Argo CD finds in a request: cookies, chunks and metadata as its Go code reads them.

Written from Argo CD's own behaviour and not from the sidecar's code, which it judges.
"""

import math
import re
from collections.abc import Iterable

COOKIE = "argocd.token"
MAX_COOKIE_BYTES = 4093  # Argo CD's util/http; browsers take 4096

Pairs = Iterable[tuple[str, str]]

# Go's net/http: a cookie whose name is no token, or whose value has other bytes, is left out.
NAME = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
VALUE = re.compile(r"[\x20-\x7e]*")
FORBIDDEN = frozenset('";\\')

# grpc-gateway passes these to gRPC as `grpcgateway-<name>`, `Grpc-Metadata-<name>` as `<name>`.
METADATA_PREFIX = "grpc-metadata-"
COOKIE_METADATA = "grpcgateway-cookie"


def cookies(lines: Iterable[str]) -> list[tuple[str, str]]:
    """Names and values of the cookies in some Cookie header lines, as Go splits them."""
    parts = (part.strip(" \t") for line in lines for part in line.split(";"))
    found = (_cookie(part) for part in parts if part)
    return [cookie for cookie in found if cookie]


def _cookie(part: str) -> tuple[str, str] | None:
    name, _, value = part.partition("=")
    name = name.strip(" \t")
    if len(value) > 1 and value[0] == value[-1] == '"':
        value = value[1:-1]
    good = NAME.fullmatch(name) and VALUE.fullmatch(value) and not FORBIDDEN & set(value)
    return (name, value) if good else None


def join_cookies(found: Iterable[tuple[str, str]]) -> str:
    """The token in `argocd.token` and its chunks `argocd.token-1` and so on.

    Raises:
        ValueError: there is none, or its first part has no form that Argo CD knows.
    """
    ours = {name: value for name, value in found if name.startswith(COOKIE)}
    if COOKIE not in ours:
        raise ValueError(f"failed to retrieve cookie {COOKIE}")
    parts = ours[COOKIE].split(":")
    if len(parts) > 2:
        raise ValueError(f"invalid cookie for key {COOKIE}")
    count = int(parts[0]) if len(parts) == 2 else 1
    return parts[-1] + "".join(ours.get(f"{COOKIE}-{i}", "") for i in range(1, count))


def set_cookies(token: str, *attributes: str) -> list[str]:
    """The Set-Cookie lines that hold `token`, none longer than Argo CD allows."""
    flags = "; ".join(attributes)
    room = MAX_COOKIE_BYTES - (len(COOKIE) + 3) - (len(flags) + 2)
    count = math.ceil(len(token) / room)
    chunks = [token[i * room : (i + 1) * room] for i in range(count)]
    names = [COOKIE, *(f"{COOKIE}-{i}" for i in range(1, count))]
    if count > 1:
        chunks[0] = f"{count}:{chunks[0]}"
    lines = (f"{name}={chunk}" for name, chunk in zip(names, chunks, strict=True))
    return ["; ".join((line, *attributes)) for line in lines]


def is_jwt(token: str) -> bool:
    """Whether Argo CD takes `token` for a JWT: it has two dots or more."""
    return token.count(".") >= 2


def rest_token(headers: Pairs) -> str:
    """The token of a REST request, or nothing: metadata, then Bearer, then the cookie."""
    metadata = _gateway_metadata(headers)
    return _metadata_token(metadata, metadata.get(COOKIE_METADATA, []))


def grpc_web_token(headers: Pairs) -> str:
    """The token of a grpc-web request, or nothing: its headers are the metadata."""
    metadata: dict[str, list[str]] = {}
    for name, value in headers:
        metadata.setdefault(name.lower(), []).append(value)
    return _metadata_token(metadata, [])


def cookie_token(headers: Pairs) -> str:
    """The token in the cookies, for the handlers that look at nothing else, or nothing."""
    try:
        return join_cookies(cookies(v for name, v in headers if name.lower() == "cookie"))
    except ValueError:
        return ""


def _gateway_metadata(headers: Pairs) -> dict[str, list[str]]:
    metadata: dict[str, list[str]] = {}
    for name, value in headers:
        key = name.lower()
        if key.startswith(METADATA_PREFIX):
            metadata.setdefault(key.removeprefix(METADATA_PREFIX), []).append(value)
        elif key in ("authorization", "cookie"):
            target = COOKIE_METADATA if key == "cookie" else key
            metadata.setdefault(target, []).append(value)
    return metadata


def _metadata_token(metadata: dict[str, list[str]], cookie_lines: list[str]) -> str:
    if given := metadata.get("token"):
        return given[0]
    bearers = (v.removeprefix("Bearer ") for v in metadata.get("authorization", []) if _bearer(v))
    # Each Cookie line is read for itself here: chunks in two lines do not come together.
    from_cookies = (cookie_token([("cookie", line)]) for line in cookie_lines)
    return next((token for token in (*bearers, *from_cookies) if is_jwt(token)), "")


def _bearer(value: str) -> bool:
    return value.startswith("Bearer ")
