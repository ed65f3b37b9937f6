"""`python -m bench.upstream`: stands for Argo CD; says until when a request's token is good."""

import asyncio
import base64
import json

from bench.serving import Handler, Reply, Request, serve

_COOKIE = b"argocd.token="
_bodies: dict[bytes, bytes] = {}


def answer(request: Request) -> Reply:
    """`{"exp": …}`: 0 without a token."""
    token = _token(request.head)
    body = _bodies.get(token)
    if body is None:
        body = _bodies[token] = json.dumps({"exp": _end_of(token)}).encode()
    return Reply(body)


def _token(head: bytes) -> bytes:
    start = head.find(_COOKIE)
    if start < 0:
        return b""
    return head[start + len(_COOKIE) :].split(b"\r\n", 1)[0].split(b";", 1)[0]


def _end_of(token: bytes) -> float:
    if not token:
        return 0.0
    body = token.split(b".")[1]
    return float(json.loads(base64.urlsafe_b64decode(body + b"=" * (-len(body) % 4)))["exp"])


def _make(_: str) -> Handler:
    return answer


if __name__ == "__main__":
    asyncio.run(serve(_make))
