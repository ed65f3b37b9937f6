"""A cluster with service accounts: it lists them, gives out their tokens, and knows these again."""

import asyncio
import json
import secrets
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import jwt
from aiohttp import web

from tests.fakes.kubernetes import Cluster

OWN_NAMESPACE = "argocd"  # where the cluster's own account is; tests/fakes/kubernetes.py
_ISSUER_KEY = "the-cluster-signs-with-this-in-tests-alone"


@dataclass
class AccountCluster(Cluster):
    """With what Roles let the sidecar do: list in some namespaces, ask for some accounts' tokens.

    It grants what it is asked for, from ten minutes to `most_seconds` (as
    `--service-account-max-token-expiration`), and answers 403 for what no Role has.
    """

    now: Callable[[], float] = field(default=lambda: 0.0)
    listable: set[str] = field(default_factory=set)
    requestable: set[tuple[str, str]] = field(default_factory=set)
    most_seconds: float = 86400.0
    lists_of: list[str] = field(default_factory=list)
    """The namespaces that were listed, in order."""
    requests_for: list[str] = field(default_factory=list)
    """The accounts that tokens were asked for, each as namespace/name, refused ones too."""
    held: asyncio.Event | None = None
    """While it is not set nobody is answered."""
    _accounts: dict[tuple[str, str], dict[str, Any]] = field(default_factory=dict)

    def add(self, namespace: str, name: str, **annotations: str) -> None:
        """An account with annotations of Argo Workflows', `rbac_rule` for its `rbac-rule`.

        The sidecar may list its namespace and ask for its token.
        """
        named = {
            f"workflows.argoproj.io/{key.replace('_', '-')}": value
            for key, value in annotations.items()
        }
        metadata = {"name": name, "namespace": namespace, "annotations": named}
        self._accounts[namespace, name] = {"metadata": metadata}
        self.listable.add(namespace)
        self.requestable.add((namespace, name))

    def make_anew(self, namespace: str, name: str) -> None:
        """Delete an account and make it again: tokens of the first one are good no more."""
        self._accounts[namespace, name] = {**self._accounts[namespace, name]}

    def remove(self, namespace: str, name: str) -> None:
        """Delete an account."""
        del self._accounts[namespace, name]

    def who(self, token: str) -> str:
        """The account whose token this is, as namespace/name; "" for a token that is not good."""
        try:
            claims = jwt.decode(
                token,
                _ISSUER_KEY,
                algorithms=["HS256"],
                options={"verify_exp": False, "verify_iat": False},
            )
        except jwt.PyJWTError:
            return ""
        _, _, namespace, name = claims["sub"].split(":", 3)
        account = self._accounts.get((namespace, name))
        known = account is not None and claims["uid"] == id(account)
        return f"{namespace}/{name}" if known and claims["exp"] > self.now() else ""

    def routes(self) -> list[web.RouteDef]:
        base = "/api/v1/namespaces/{namespace}/serviceaccounts"
        return [web.get(base, self._list), web.post(base + "/{name}/token", self._token)]

    async def _list(self, request: web.Request) -> web.StreamResponse:
        namespace = request.match_info["namespace"]
        self.lists_of.append(namespace)
        if refusal := await self._refused(request, namespace in self.listable):
            return refusal
        if self.body is not None:
            return web.Response(body=self.body)
        items = [item for (where, _), item in sorted(self._accounts.items()) if where == namespace]
        return web.json_response(
            {"kind": "ServiceAccountList", "metadata": {"resourceVersion": "7"}, "items": items}
        )

    async def _token(self, request: web.Request) -> web.StreamResponse:
        namespace, name = request.match_info["namespace"], request.match_info["name"]
        self.requests_for.append(f"{namespace}/{name}")
        if refusal := await self._refused(request, (namespace, name) in self.requestable):
            return refusal
        if (namespace, name) not in self._accounts:
            return _status(404)
        asked = json.loads(await request.read())
        assert asked["kind"] == "TokenRequest", asked
        seconds = asked["spec"]["expirationSeconds"]
        if seconds < 600:
            return _status(422)
        token, ends = self._made(namespace, name, min(seconds, self.most_seconds))
        written = datetime.fromtimestamp(ends, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        status = {"token": token, "expirationTimestamp": written}
        return web.json_response({**asked, "status": status}, status=201)

    def issue(self, namespace: str, name: str) -> str:
        """A token of an account that somebody has in another way."""
        return self._made(namespace, name, 3600)[0]

    def _made(self, namespace: str, name: str, seconds: float) -> tuple[str, int]:
        ends = int(self.now() + seconds)
        claims = {
            "iss": "https://kubernetes.default.svc",
            "sub": f"system:serviceaccount:{namespace}:{name}",
            "exp": ends,
            "jti": secrets.token_hex(8),
            "uid": id(self._accounts[namespace, name]),
        }
        return jwt.encode(claims, _ISSUER_KEY, algorithm="HS256"), ends

    async def _refused(self, request: web.Request, allowed: bool) -> web.Response | None:
        if self.held is not None:
            await self.held.wait()
        if self.status:
            return _status(self.status)
        if request.headers.get("Authorization") != f"Bearer {self.token}":
            return _status(401)
        return None if allowed else _status(403)


def _status(code: int) -> web.Response:
    return web.json_response({"kind": "Status", "code": code}, status=code)
