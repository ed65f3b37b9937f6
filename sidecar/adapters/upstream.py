"""What the sidecar itself asks of Argo CD."""

import asyncio
import ssl
from urllib.parse import urlsplit

from aiohttp import (
    BaseConnector,
    ClientError,
    ClientResponseError,
    ClientSession,
    ClientTimeout,
    DummyCookieJar,
    TCPConnector,
    UnixConnector,
)

from sidecar.core.cookies import TOKEN_COOKIE
from sidecar.errors import UpstreamUnavailable

_TIMEOUT = ClientTimeout(total=5)
_CONNECT_SECONDS = 3.0
_MAX_FIELD_BYTES = 64 * 1024  # Argo CD may set 20 cookies of 4 KiB, and its logout clears as many


def upstream_session(address: str, tls: ssl.SSLContext | None) -> ClientSession:
    """An HTTP client for what listens at `address`: it keeps no cookies.

    With `tls`, that is how an https address is spoken to. A Unix socket has no host: any does.
    """
    parts = urlsplit(address)
    connector: BaseConnector
    if parts.scheme == "unix":
        connector = UnixConnector(parts.path)
    else:
        connector = TCPConnector(ssl=tls or True)
    return ClientSession(
        connector=connector,
        cookie_jar=DummyCookieJar(),
        timeout=ClientTimeout(total=None, sock_connect=_CONNECT_SECONDS),
        max_field_size=_MAX_FIELD_BYTES,
        max_headers=256,
    )


async def speaks_tls(address: str) -> bool | None:
    """Whether what listens at `address` takes TLS; None where nothing can be asked."""
    parts, tls = urlsplit(address), ssl.create_default_context()
    tls.check_hostname = False
    tls.verify_mode = ssl.CERT_NONE
    try:
        async with asyncio.timeout(_CONNECT_SECONDS):
            _, writer = await asyncio.open_connection(parts.hostname, parts.port, ssl=tls)
    except (ConnectionRefusedError, TimeoutError):
        return None
    except OSError:  # also what ssl raises
        return False
    writer.transport.abort()
    return True


class ArgoCd:
    """The server behind the sidecar, at `address`, below `root_path`.

    `server_name` is what its certificate is for, where that is not its address.
    """

    def __init__(
        self, http: ClientSession, address: str, root_path: str, *, server_name: str | None = None
    ) -> None:
        self._http = http
        host = "http://localhost" if address.startswith("unix:") else address
        self._logout = f"{host}{root_path}/auth/logout"
        self._server_name = server_name

    async def log_out(self, id_token: str, *, site: str) -> str:
        """Revoke an ID token there (3.4 or later); the address its `logoutURL` gives, or "".

        Its own logout does both, so nothing is known here of its revocation list. By the host of
        `site` it knows (2.13 or later) to which of its addresses the browser is to come back.
        """
        headers = {"Cookie": f"{TOKEN_COOKIE}={id_token}"}
        if site:
            headers["Host"] = urlsplit(site).netloc
        try:
            async with self._http.get(
                self._logout,
                headers=headers,
                allow_redirects=False,
                timeout=_TIMEOUT,
                server_hostname=self._server_name,
            ) as response:
                return response.headers.get("Location", "") if response.status == 303 else ""
        except ClientResponseError:
            # Not chained: it shows the request's headers, and so the ID token.
            raise UpstreamUnavailable("Argo CD's answer to the logout is not HTTP") from None
        except (ClientError, TimeoutError, OSError) as error:
            raise UpstreamUnavailable("Argo CD did not answer the logout") from error


class NobodyToTell:
    """An upstream that has no logout of its own: Devtron ends a login in its page alone."""

    async def log_out(self, id_token: str, *, site: str = "") -> str:
        """Nothing, and no address."""
        return ""
