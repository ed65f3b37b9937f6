"""Argo CD's own renewal of ID tokens (3.3 and later), for logins that its own callback finished.

As in its source: no lock, and the refresh token of whoever has the same `sub` and `sid`.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from aiohttp import ClientError, ClientSession, ClientTimeout

from sidecar.demo.argocd_versions import NativeRefresh

FETCH_SECONDS = 5


@dataclass
class NativeLogins:
    """What it keeps of its own logins, by `sub` and `sid`; `threshold_seconds` is its setting."""

    token_endpoint: str
    client_id: str
    client_secret: str = field(repr=False)
    threshold_seconds: float = 0.0
    refresh_tokens: dict[tuple[str, str], str] = field(default_factory=dict, repr=False)
    renewals: int = 0

    async def renewed(
        self, claims: dict[str, Any], mode: NativeRefresh, *, now: Callable[[], float]
    ) -> str:
        """A new ID token in the place of this one, "" where Argo CD would get none."""
        left = float(claims.get("exp", 0)) - now()
        due = left < self.threshold_seconds and left > 0
        if not due and not (left <= 0 and mode is NativeRefresh.AFTER_IT_TOO):
            return ""
        name = str(claims.get("sub")), str(claims.get("sid") or "")
        refresh_token = self.refresh_tokens.get(name)
        if mode is NativeRefresh.NEVER or refresh_token is None:
            return ""
        return await self._redeem(name, refresh_token)

    async def _redeem(self, name: tuple[str, str], refresh_token: str) -> str:
        form = {
            "grant_type": "refresh_token",
            "refresh_token": refresh_token,
            "client_id": self.client_id,
            "client_secret": self.client_secret,
        }
        try:
            async with (
                ClientSession(timeout=ClientTimeout(total=FETCH_SECONDS)) as http,
                http.post(self.token_endpoint, data=form) as response,
            ):
                if response.status != 200:
                    return ""
                answer = await response.json()
        except (ClientError, TimeoutError):
            return ""
        self.renewals += 1
        self.refresh_tokens[name] = answer.get("refresh_token") or refresh_token
        return str(answer.get("id_token", ""))
