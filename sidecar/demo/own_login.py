"""The login that Argo CD and Devtron make themselves, at a Dex that they alone reach.

`HandleLogin`, `HandleCallback` and the reverse proxy of argo-cd's `util/oidc` and `util/dex`, which
Devtron's authenticator took over: the browser reaches Dex through the upstream, below `/api/dex`.
"""

import base64
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote_plus, urlencode, urlsplit

from aiohttp import ClientSession, ClientTimeout, DummyCookieJar, web
from yarl import URL

SCOPES = "openid profile email groups"
_SECONDS = 10
_HOP = ("connection", "keep-alive", "te", "transfer-encoding", "upgrade", "content-length")


@dataclass(frozen=True, kw_only=True)
class Client:
    """The upstream as Dex' client. `rewrites`: its own requests go to `dex_server` directly."""

    issuer: str
    client_id: str
    client_secret: str = field(repr=False)
    redirect_uri: str
    dex_server: str
    rewrites: bool = True


class CodeRefused(Exception):
    """The token endpoint gave no ID token."""


class OwnLogin:
    """One upstream's login: where it begins, and what its callback gets for a code."""

    def __init__(self, client: Callable[[], Client]) -> None:
        self._client = client
        self.token_answers: list[Mapping[str, Any]] = []
        """Every answer of the token endpoint that the upstream has seen."""

    async def begin(self, state: str, more: Mapping[str, str] | None = None) -> str:
        """Where the browser is sent."""
        client = self._client()
        endpoint = (await self._discovery())["authorization_endpoint"]
        query = {
            "client_id": client.client_id,
            "redirect_uri": client.redirect_uri,
            "response_type": "code",
            "scope": SCOPES,
            "state": state,
            **(more or {}),
        }
        return f"{endpoint}?{urlencode(query)}"

    async def redeem(self, code: str) -> str:
        """The ID token for a code.

        Raises:
            CodeRefused: there is none.
        """
        client = self._client()
        endpoint = (await self._discovery())["token_endpoint"]
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": client.redirect_uri,
        }
        async with _http() as http:
            basic = {"Authorization": _basic(client.client_id, client.client_secret)}
            async with http.post(self._at(endpoint), data=form, headers=basic) as response:
                body = await response.json(content_type=None) if response.status == 200 else {}
        self.token_answers.append(body)
        id_token = body.get("id_token")
        if not isinstance(id_token, str):
            raise CodeRefused(f"failed to get token: {response.status}")
        return id_token

    async def proxy(self, request: web.Request) -> web.Response:
        """Dex' answer to a browser's request, whose path is Dex' own."""
        url = URL(self._client().dex_server + request.raw_path, encoded=True)
        sent = [(n, v) for n, v in request.headers.items() if n.lower() not in _HOP]
        async with (
            _http() as http,
            http.request(
                request.method,
                url,
                headers=sent,
                data=await request.read(),
                allow_redirects=False,
            ) as response,
        ):
            answer = web.Response(status=response.status, body=await response.read())
            answer.headers.pop("Content-Type", None)
            for name, value in response.headers.items():
                if name.lower() not in _HOP:
                    answer.headers.add(name, value)
            return answer

    async def _discovery(self) -> Mapping[str, str]:
        url = f"{self._client().issuer}/.well-known/openid-configuration"
        async with _http() as http, http.get(self._at(url), raise_for_status=True) as response:
            found: Mapping[str, str] = await response.json()
            return found

    def _at(self, url: str) -> URL:
        """Where the upstream itself reaches an address of Dex (its DexRewriteURLRoundTripper)."""
        client = self._client()
        return URL(rewritten(url, client.dex_server) if client.rewrites else url, encoded=True)


def rewritten(url: str, dex_server: str) -> str:
    """An address with scheme and host of the Dex that is reached directly."""
    parts, at = urlsplit(url), urlsplit(dex_server)
    return parts._replace(scheme=at.scheme, netloc=at.netloc).geturl()


def _http() -> ClientSession:
    return ClientSession(
        cookie_jar=DummyCookieJar(),
        timeout=ClientTimeout(total=_SECONDS),
        auto_decompress=False,
        headers={"Accept-Encoding": "identity"},
    )


def _basic(client_id: str, secret: str) -> str:
    pair = f"{quote_plus(client_id)}:{quote_plus(secret)}"
    return f"Basic {base64.b64encode(pair.encode()).decode()}"
