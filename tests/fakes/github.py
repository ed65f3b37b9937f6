"""An issuer as GitHub Actions' is: its metadata, its claims, keys that change, on loopback.

From GitHub's public reference of its OIDC claims, and its metadata as they are published.
"""

import asyncio
import base64
import json
import secrets
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import web
from cryptography.hazmat.primitives.asymmetric import rsa
from jwt.algorithms import RSAAlgorithm

from sidecar.config.tls import server_tls
from tests.proxy.certificates import Pair

AUDIENCE = "https://argocd.example.org"
LIFE_SECONDS = 300
REPOSITORY = "octo-org/octo-repo"
CLAIMS = {
    "sub": f"repo:{REPOSITORY}:ref:refs/heads/main",
    "ref": "refs/heads/main",
    "sha": "3c1e2b6b7f5f0e4f4a2f7d2f7f3f4b7b2f0e4f4a",
    "repository": REPOSITORY,
    "repository_owner": "octo-org",
    "repository_owner_id": "65",
    "repository_id": "74",
    "repository_visibility": "private",
    "run_id": "1632493567",
    "run_number": "10",
    "run_attempt": "2",
    "runner_environment": "github-hosted",
    "actor": "octocat",
    "actor_id": "12",
    "workflow": "deploy",
    "workflow_ref": f"{REPOSITORY}/.github/workflows/deploy.yml@refs/heads/main",
    "head_ref": "",
    "base_ref": "",
    "event_name": "push",
    "ref_type": "branch",
    "ref_protected": "true",
    "job_workflow_ref": "octo-org/octo-automation/.github/workflows/oidc.yml@refs/heads/main",
}


def base64url(data: bytes) -> str:
    """Without padding (RFC 7515 section 2)."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def signed(key: rsa.RSAPrivateKey, header: Mapping[str, Any] | bytes, payload: bytes) -> str:
    """A token with any header and payload, with a good RS256 signature."""
    head = header if isinstance(header, bytes) else json.dumps(header).encode()
    text = f"{base64url(head)}.{base64url(payload)}"
    signature = RSAAlgorithm(RSAAlgorithm.SHA256).sign(text.encode(), key)
    return f"{text}.{base64url(signature)}"


class GitHub:
    """What `token.actions.githubusercontent.com` is to whoever verifies its tokens."""

    def __init__(self, now: Callable[[], float], key: rsa.RSAPrivateKey) -> None:
        self.available = True
        self.gate: asyncio.Event | None = None
        """While this is not set, no answer goes out."""
        self.keys_document: object = None
        """What is published in the place of its keys."""
        self.issuer = ""
        """What it calls itself; unless it is given a name, its address."""
        self.address = ""
        self.asked: list[str] = []
        """The paths that were asked for."""
        self._now = now
        self._published: dict[str, dict[str, Any]] = {}
        self.rotate(key)

    @property
    def key_reads(self) -> int:
        """How many times the keys were read."""
        return self.asked.count("/.well-known/jwks")

    def rotate(self, key: rsa.RSAPrivateKey | None = None, *, keep_old: bool = True) -> None:
        """Sign with another key from now on; the old ones stay published, or not."""
        if not keep_old:
            self._published.clear()
        self.key = key or rsa.generate_private_key(public_exponent=65537, key_size=2048)
        self.kid = secrets.token_hex(16).upper()
        public = json.loads(RSAAlgorithm.to_jwk(self.key.public_key()))
        public.pop("key_ops", None)
        self._published[self.kid] = {**public, "kid": self.kid, "use": "sig", "alg": "RS256"}

    def header(self, **changes: Any) -> dict[str, Any]:
        """The header of a token; None takes a parameter out."""
        return _changed({"typ": "JWT", "alg": "RS256", "x5t": "x", "kid": self.kid}, changes)

    def claims(self, **changes: Any) -> dict[str, Any]:
        """The claims of a token for a push to main; None takes one out."""
        now = int(self._now())
        times = {"nbf": now - 600, "iat": now, "exp": now + LIFE_SECONDS}
        who = {"iss": self.issuer, "aud": AUDIENCE, "jti": secrets.token_hex(8)}
        return _changed({**who, **CLAIMS, **times}, changes)

    def token(self, *, header: Mapping[str, Any] | None = None, **changes: Any) -> str:
        """A token, as a job asks for it, with these changes."""
        return self.sign(json.dumps(self.claims(**changes)).encode(), header=header)

    def sign(self, payload: bytes, *, header: Mapping[str, Any] | None = None) -> str:
        """A token with any payload."""
        return signed(self.key, self.header(**(header or {})), payload)

    @asynccontextmanager
    async def running(self, *, tls: Pair | None = None) -> AsyncIterator[str]:
        """The issuer, while it answers; with a certificate it is at `localhost`."""
        app = web.Application()
        app.router.add_get("/{path:.*}", self._answer)
        context = server_tls(*tls, http2=False) if tls else None
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=2)
        await runner.setup()
        try:
            await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context).start()
            port = runner.addresses[0][1]
            self.address = f"https://localhost:{port}" if tls else f"http://127.0.0.1:{port}"
            self.issuer = self.issuer or self.address
            yield self.issuer
        finally:
            await runner.cleanup()

    async def _answer(self, request: web.Request) -> web.Response:
        self.asked.append(request.path)
        if self.gate is not None:
            await self.gate.wait()
        if not self.available:
            return web.Response(status=503)
        if request.path == "/.well-known/openid-configuration":
            return web.json_response(self._metadata())
        if request.path == "/.well-known/jwks":
            keys = {"keys": list(self._published.values())}
            return web.json_response(self.keys_document or keys)
        return web.Response(status=404)

    def _metadata(self) -> dict[str, Any]:
        return {
            "issuer": self.issuer,
            "jwks_uri": f"{self.issuer}/.well-known/jwks",
            "subject_types_supported": ["public", "pairwise"],
            "response_types_supported": ["id_token"],
            "claims_supported": ["sub", "aud", "exp", "iat", "iss", "jti", "nbf", *CLAIMS],
            "id_token_signing_alg_values_supported": ["RS256"],
            "scopes_supported": ["openid"],
        }


def _changed(before: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in {**before, **changes}.items() if value is not None}
