"""What argocd-server answers, byte for byte where the UI and the sidecar look."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

from sidecar.demo.argocd_native import NativeLogins
from sidecar.demo.argocd_userinfo import UserinfoSettings
from sidecar.demo.argocd_versions import Traits, traits_of

EVENT_STREAM = "text/event-stream"
APPLICATIONS = ("guestbook", "payments", "search", "storefront")
BADGE = (
    '<svg xmlns="http://www.w3.org/2000/svg" width="131" height="20">'
    '<rect width="131" height="20" rx="3" fill="#0d7e61"/>'
    '<text x="8" y="14" fill="#fff" font-family="sans-serif" font-size="11">Healthy · Synced</text>'
    "</svg>"
)


@dataclass(kw_only=True)
class ArgocdSettings:
    """What the stand-in knows of itself; may be changed while it runs.

    `url` is Argo CD's public address, `rootpath` its folder (`argo`), `pkce` its setting
    `enablePKCEAuthentication`, `event_seconds` the time between two events of a stream (None: only
    `emit`), `userinfo` what `enableUserInfoGroups` needs, `native` its own renewals; what comes of
    them follows from the `version`. With `dex_server`, the address of its
    bundled Dex, it makes its own logins there.
    """

    issuer: str
    client_id: str = "argo-cd"
    url: str = ""
    additional_urls: tuple[str, ...] = ()
    anonymous: bool = False
    rootpath: str = ""
    allowed_audiences: tuple[str, ...] = ()
    pkce: bool = False
    logout_url: str = ""
    admin_password: str = field(default="admin", repr=False)
    event_seconds: float | None = 1.0
    version: str = "v3.5.1"
    gzip: bool = True
    dex_server: str = ""
    client_secret: str = field(default="demo-secret", repr=False)
    userinfo: UserinfoSettings | None = None
    native: NativeLogins | None = None

    @property
    def traits(self) -> Traits:
        """What this version does."""
        return traits_of(self.version)

    @property
    def audiences(self) -> set[str]:
        """The audiences of which an ID token must name one."""
        return set(self.allowed_audiences or (self.client_id,))

    @property
    def root(self) -> str:
        """The root path with a slash before it and none behind, or nothing."""
        name = self.rootpath.strip("/")
        return f"/{name}" if name else ""


def compact(value: object) -> str:
    """`value` as JSON without spaces, as Go writes it."""
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)


def api_answer(value: object, *, status: int = 200) -> web.Response:
    """An answer of the REST gateway."""
    return _exact(compact(value), "application/json", status)


def api_error(message: str, *, status: int, code: int) -> web.Response:
    """An error of the REST gateway, with its gRPC code."""
    return api_answer({"error": message, "code": code, "message": message}, status=status)


def unauthenticated(message: str) -> web.Response:
    """401 of a plain API call."""
    return api_error(message, status=401, code=16)


def stream_unauthenticated(message: str, *, as_events: bool) -> web.Response:
    """401 of a stream: one event, or one line of JSON, by what the client accepts."""
    error = {
        "grpc_code": 16,
        "http_code": 401,
        "message": message,
        "http_status": "Unauthorized",
    }
    body = compact({"error": error})
    if as_events:
        return _exact(f"data: {body}\n\n", EVENT_STREAM, 401)
    return _exact(body, "application/json", 401)


def go_error(message: str, status: int) -> web.Response:
    """An error as Go's `http.Error` writes it."""
    response = _exact(message + "\n", "text/plain; charset=utf-8", status)
    response.headers["X-Content-Type-Options"] = "nosniff"
    return response


def grpc_web_answer(message: str = "") -> web.Response:
    """A grpc-web answer: always 200; an error, if any, is in the headers."""
    status = {"Grpc-Status": "16", "Grpc-Message": message} if message else {"Grpc-Status": "0"}
    headers = {"Content-Type": "application/grpc-web+proto", **status}
    return web.Response(headers=headers)


def settings_body(settings: ArgocdSettings, *, url: str, logged_in: bool) -> dict[str, Any]:
    """/api/v1/settings: what the UI must know before anybody has signed in."""
    oidc: dict[str, Any] = {
        "name": "Demo provider",
        "issuer": settings.issuer,
        "clientID": settings.client_id,
        "scopes": ["openid", "profile", "email", "groups"],
    }
    if settings.pkce and settings.traits.shows_pkce:
        oidc["enablePKCEAuthentication"] = True
    body: dict[str, Any] = {
        "url": url,
        "oidcConfig": oidc,
        "appLabelKey": "app.kubernetes.io/instance",
        "googleAnalytics": {"anonymizeUsers": True},
        "kustomizeOptions": {"BuildOptions": "", "BinaryPath": "", "Versions": None},
        "help": {},
        "trackingMethod": "annotation",
        "resourceViewEnabled": True,
    }
    return {**body, "resourceOverrides": {}} if logged_in else body


def application(name: str, *, sync: str = "Synced", health: str = "Healthy") -> dict[str, Any]:
    """An application as the list and the stream show it, with few of its fields."""
    return {
        "metadata": {"name": name, "namespace": "argocd"},
        "spec": {"project": "default"},
        "status": {"sync": {"status": sync}, "health": {"status": health}},
    }


def stream_message(change: Mapping[str, Any], *, as_events: bool) -> bytes:
    """One message of a stream: `change` has a type and an application."""
    body = compact({"result": change})
    return (f"data: {body}\n\n" if as_events else f"{body}\n").encode()


def _exact(body: str, content_type: str, status: int) -> web.Response:
    """An answer whose Content-Type has no charset that was not asked for."""
    headers = {"Content-Type": content_type}
    return web.Response(status=status, body=body.encode(), headers=headers)
