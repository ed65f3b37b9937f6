"""`python -m bench.uncached run`: a sidecar that asks the store at each request, for each alone.

There is no such setting. The application is built with sessions that forget what they know
before every use, and that no two requests ask for together.
"""

from sidecar.__main__ import main
from sidecar.core.session import SessionKey
from sidecar.flows import assembly
from sidecar.flows.cache import session_name
from sidecar.flows.records import Live
from sidecar.flows.sessions import Sessions


class Uncached(Sessions):
    """Sessions that are not remembered from one request to the next."""

    def known(self, key: SessionKey) -> Live | None:
        """Never one: the store is to be asked."""
        return None

    async def load(self, key: SessionKey) -> Live | None:
        """What the store says, to a question of this request's own."""
        self._cache.forget(session_name(key))
        self._loading.pop(key, None)
        return await super().load(key)

    def may_go_up(self, live: Live) -> bool:
        """Whether it may: it was asked for just now, and another request may have forgotten it."""
        return True


if __name__ == "__main__":
    vars(assembly)["Sessions"] = Uncached
    main()
