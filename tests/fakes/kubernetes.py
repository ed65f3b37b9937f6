"""A server of ours that answers about ConfigMaps and Secrets as the Kubernetes API does."""

import asyncio
import base64
import json
import shutil
import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aiohttp import web

from sidecar.core.kubernetes_objects import PART_OF
from tests.config.mounted import STOCK
from tests.proxy.certificates import self_signed

NAMESPACE = "argocd"
LABELLED = {PART_OF: "argocd"}
CONFIG_MAPS = ("argocd-cm", "argocd-cmd-params-cm", "argocd-rbac-cm")


@dataclass(frozen=True)
class Asked:
    """A request as it came."""

    name: str
    watch: bool
    version: str


@dataclass
class Cluster:
    """The objects of a namespace, their history, and who watches them.

    Tests break it by its fields: `status` answers everything, `forbidden` names objects.
    """

    account: Path
    """Where the service account is, as the kubelet mounts it."""
    port: int = 0
    token: str = "first"
    status: int = 0
    body: bytes | None = None
    silent: bool = False
    forbidden: set[str] = field(default_factory=set)
    forgotten: int = 0
    """Versions up to this are gone."""
    instead: list[bytes] = field(default_factory=list)
    """Lines that the next watches get first, and end with."""
    asked: list[Asked] = field(default_factory=list)
    _objects: dict[str, dict[str, Any]] = field(default_factory=dict)
    _history: list[tuple[int, str, bytes]] = field(default_factory=list)
    _version: int = 100
    _watches: dict[asyncio.Queue[bytes | None], str] = field(default_factory=dict)

    @property
    def environ(self) -> dict[str, str]:
        """What Kubernetes and the operator put into a pod's environment."""
        return {
            "KUBERNETES_SERVICE_HOST": "localhost",
            "KUBERNETES_SERVICE_PORT": str(self.port),
            "SIDECAR_ARGOCD_CONFIG_SOURCE": "kubernetes",
        }

    @property
    def watched(self) -> list[str]:
        """The names of what is watched now."""
        return sorted(self._watches.values())

    def lists(self, name: str) -> int:
        """How often an object was listed."""
        return sum(asked.name == name and not asked.watch for asked in self.asked)

    def apply(
        self,
        name: str,
        data: Mapping[str, bytes | None],
        labels: Mapping[str, str] = LABELLED,
    ) -> None:
        """Give an object these values, beside those that it has; None takes one out."""
        known = self._objects.get(name)
        values = {**(_values(known) if known else {}), **data}
        self._happened("MODIFIED" if known else "ADDED", name, values, labels)

    def delete(self, name: str) -> None:
        """Take an object away."""
        self._happened("DELETED", name, _values(self._objects[name]), {})
        del self._objects[name]

    def bookmark(self) -> None:
        """Tell every watch of the version that it has reached."""
        self._version += 1
        metadata = {"resourceVersion": str(self._version)}
        line = json.dumps({"type": "BOOKMARK", "object": {"metadata": metadata}}).encode()
        for queue in self._watches:
            queue.put_nowait(line + b"\n")

    def end_watches(self) -> None:
        """End every watch, as the API does after a while."""
        for queue in self._watches:
            queue.put_nowait(None)

    def forget(self) -> None:
        """Remember no history: who asks for what happened has to list again."""
        self._version += 1
        self.forgotten = self._version
        self._version += 1

    def forget_before_bookmark(self) -> None:
        """Remember what happened since the last version only."""
        self.forgotten = self._version

    def rotate_token(self, token: str) -> None:
        """Give the account another token; the old one is taken no more."""
        self.token = token
        (self.account / "token").write_text(token)

    def _happened(
        self, word: str, name: str, data: Mapping[str, bytes | None], labels: Mapping[str, str]
    ) -> None:
        self._version += 1
        made = _object(name, data, labels, self._version)
        self._objects[name] = made
        line = json.dumps({"type": word, "object": made}).encode() + b"\n"
        self._history.append((self._version, name, line))
        for queue, watched in self._watches.items():
            if watched == name:
                queue.put_nowait(line)

    def routes(self) -> list[web.RouteDef]:
        """What it answers besides."""
        return []

    @asynccontextmanager
    async def running(self) -> AsyncIterator["Cluster"]:
        """The server; while this is open the account's files are there."""
        self.account.mkdir(exist_ok=True)
        cert, key = self_signed(self.account.parent / "kubernetes-tls", "localhost")
        shutil.copy(cert, self.account / "ca.crt")
        (self.account / "token").write_text(self.token)
        (self.account / "namespace").write_text(NAMESPACE)
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        tls.load_cert_chain(cert, key)
        app = web.Application()
        base = "/api/v1/namespaces/{namespace}/{kind}"
        app.add_routes([*self.routes(), web.get(base, self._answer)])
        # Whoever asks again while it closes is not waited for.
        runner = web.AppRunner(
            app, access_log=None, handler_cancellation=True, shutdown_timeout=0.1
        )
        await runner.setup()
        try:
            site = web.TCPSite(runner, "127.0.0.1", self.port, ssl_context=tls)
            await site.start()
            self.port = runner.addresses[0][1]
            yield self
        finally:
            self.end_watches()
            await runner.cleanup()

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        name = request.query["fieldSelector"].removeprefix("metadata.name=")
        watch, version = "watch" in request.query, request.query.get("resourceVersion", "")
        self.asked.append(Asked(name, watch, version))
        if self.silent:
            await asyncio.Event().wait()
        if refusal := self._refusal(request, name):
            return web.json_response({"kind": "Status", "code": refusal}, status=refusal)
        if self.body is not None:
            return web.Response(body=self.body)
        if watch:
            return await self._watch(request, name, int(version))
        found = self._objects.get(name)
        return web.json_response(
            {
                "kind": "List",
                "metadata": {"resourceVersion": str(self._version)},
                "items": [found] if found else [],
            }
        )

    def _refusal(self, request: web.Request, name: str) -> int:
        if self.status:
            return self.status
        if request.headers.get("Authorization") != f"Bearer {self.token}":
            return 401
        kind = "configmaps" if name in CONFIG_MAPS else "secrets"
        where = request.match_info["namespace"], request.match_info["kind"]
        return 403 if name in self.forbidden or where != (NAMESPACE, kind) else 0

    async def _watch(self, request: web.Request, name: str, version: int) -> web.StreamResponse:
        answer = web.StreamResponse()
        await answer.prepare(request)
        if self.instead:
            await answer.write(self.instead.pop(0))
            return answer
        if version < self.forgotten:
            gone = {"type": "ERROR", "object": {"kind": "Status", "code": 410}}
            await answer.write(json.dumps(gone).encode() + b"\n")
            return answer
        queue: asyncio.Queue[bytes | None] = asyncio.Queue()
        for at, which, happened in self._history:
            if which == name and at > version:
                queue.put_nowait(happened)
        self._watches[queue] = name
        try:
            while (line := await queue.get()) is not None:
                half = len(line) // 2  # an event comes in pieces
                await answer.write(line[:half])
                await answer.write(line[half:])
        finally:
            del self._watches[queue]
        return answer


def stock(account: Path) -> Cluster:
    """A cluster with a stock Argo CD."""
    cluster = Cluster(account)
    for volume, data in STOCK.items():
        cluster.apply(volume.removeprefix("secrets/"), dict(data))
    return cluster


def _object(
    name: str, data: Mapping[str, bytes | None], labels: Mapping[str, str], version: int
) -> dict[str, Any]:
    kept = {key: value for key, value in data.items() if value is not None}
    metadata = {"name": name, "labels": dict(labels), "resourceVersion": str(version)}
    if name in CONFIG_MAPS:
        return {"metadata": metadata, "data": {k: v.decode() for k, v in kept.items()}}
    encoded = {key: base64.b64encode(value).decode() for key, value in kept.items()}
    return {"metadata": metadata, "data": encoded}


def _values(made: Mapping[str, Any]) -> dict[str, bytes]:
    data: dict[str, str] = made["data"]
    if made["metadata"]["name"] in CONFIG_MAPS:
        return {key: text.encode() for key, text in data.items()}
    return {key: base64.b64decode(text) for key, text in data.items()}
