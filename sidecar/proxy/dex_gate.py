"""The port at which an upstream has the sidecar as its Dex: all passes but what a login needs."""

from collections.abc import Callable
from dataclasses import replace

from sidecar.core.authorization import Sites
from sidecar.core.cookies import CookieJar
from sidecar.core.heads import Kind, OwnPath, Paths, Purpose, clean_path
from sidecar.core.observing import with_offline_access
from sidecar.metrics import Metrics
from sidecar.proxy.gate import Gate
from sidecar.proxy.passes import Asked, Memory, NoLogins, Pass, Rules

Asking = Callable[[], str]
"""The client whose authorization requests ask for a refresh token; "" while none do."""


class DexPaths(Paths):
    """Only the token endpoint is answered here: its answer is read before it is passed on."""

    __slots__ = ()

    def purpose(self, method: str, target: str, accept: str) -> Purpose | None:
        """What a request is for; None where its target is refused."""
        path = clean_path(target)
        if path is None:
            return None
        token = method == "POST" and path.endswith("/token")
        page = method in ("GET", "HEAD") and "text/html" in accept
        kind = Kind.PAGE if page else Kind.OTHER
        return Purpose(path, OwnPath.DEX_TOKEN if token else None, kind, gets_settings=False)


class DexGate(Gate):
    """Passes everything, and lets our client's authorization requests ask for a refresh token."""

    def __init__(self, asking: Asking, count: Callable[[], None]) -> None:
        here = "http://localhost"
        rules = Rules(
            CookieJar(here), DexPaths(), Sites(here), frozenset(), mirror=False, min_token_life=0.0
        )
        # Of its own: a browser's request passes the public port, too, and is counted there.
        super().__init__(NoLogins(), NoLogins(), rules, metrics=Metrics())
        self._asking = asking
        self._came = count

    def pass_now(self, asked: Asked, memory: Memory) -> Pass | None:
        """How a request goes up: as it came, but for that one parameter of that one request."""
        self._came()
        client_id, head = self._asking(), asked.head
        if client_id:
            target = with_offline_access(head.target, client_id)
            if target != head.target:
                line = head.line.replace(head.target.encode(), target.encode(), 1)
                asked.head = replace(head, target=target, line=line)
        return super().pass_now(asked, memory)
