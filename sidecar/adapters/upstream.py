"""What the sidecar itself asks of Argo CD."""

from aiohttp import ClientError, ClientResponseError, ClientSession, ClientTimeout

from sidecar.core.cookies import TOKEN_COOKIE
from sidecar.errors import UpstreamUnavailable

_TIMEOUT = ClientTimeout(total=5)


class ArgoCd:
    """The server behind the sidecar, at `address`, below `root_path`."""

    def __init__(self, http: ClientSession, address: str, root_path: str) -> None:
        self._http = http
        self._logout = f"{address}{root_path}/auth/logout"

    async def log_out(self, id_token: str) -> str:
        """Revoke an ID token there (3.4 or later); the address its `logoutURL` gives, or "".

        Its own logout does both, so nothing is known here of its revocation list.
        """
        headers = {"Cookie": f"{TOKEN_COOKIE}={id_token}"}
        try:
            async with self._http.get(
                self._logout, headers=headers, allow_redirects=False, timeout=_TIMEOUT
            ) as response:
                return response.headers.get("Location", "") if response.status == 303 else ""
        except ClientResponseError:
            # Not chained: it shows the request's headers, and so the ID token.
            raise UpstreamUnavailable("Argo CD's answer to the logout is not HTTP") from None
        except (ClientError, TimeoutError, OSError) as error:
            raise UpstreamUnavailable("Argo CD did not answer the logout") from error
