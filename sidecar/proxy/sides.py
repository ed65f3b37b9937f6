"""What the parts of the data path know of one another."""

from typing import Protocol

from sidecar.core.answers import Answer

# Bytes that may wait for one side before the other is stopped. A loop reads up to 256 KiB at once,
# and a side that has not taken all of one such piece needs no second one behind it. Not 0: for the
# loops' own TLS nothing at all would be too much then, and nobody would ever send again.
MOST_UNSENT = 1


class UpstreamUser(Protocol):
    """Who has an upstream connection: an exchange or a tunnel."""

    def from_upstream(self, data: bytes) -> None:
        """Bytes of the upstream."""
        ...

    def upstream_lost(self, error: Exception | None) -> None:
        """The connection has ended; with an `error` if it broke."""
        ...

    def upstream_slow(self) -> None:
        """The upstream takes no more for now."""
        ...

    def upstream_ready(self) -> None:
        """The upstream takes more again."""
        ...


class Middle(UpstreamUser, Protocol):
    """What stands between a browser's connection and the upstream: an exchange or a tunnel."""

    @property
    def name(self) -> str:
        """What the connection is at, for whoever watches."""
        ...

    def from_browser(self, data: bytes) -> bytes:
        """Bytes of the browser; those that are not for this one come back.

        Raises:
            RequestMalformed: the body is none.
        """
        ...

    def browser_slow(self) -> None:
        """The browser takes no more for now."""
        ...

    def browser_ready(self) -> None:
        """The browser takes more again."""
        ...

    def browser_lost(self) -> None:
        """The browser has left."""
        ...

    def end_politely(self) -> None:
        """End what is open, as well as it can be ended where it stands."""
        ...

    def drain(self) -> None:
        """The process ends: what would never end by itself ends now."""
        ...

    def waits_for_browser(self) -> bool:
        """Whether the next bytes have to come from the browser."""
        ...


class Browser(Protocol):
    """The public connection, as an exchange or a tunnel sees it."""

    @property
    def draining(self) -> bool:
        """Whether no other request follows on this connection."""
        ...

    def write(self, data: bytes) -> None:
        """Send bytes."""
        ...

    def write_both(self, head: bytes, data: memoryview) -> None:
        """Send two pieces."""
        ...

    def hold(self) -> None:
        """Read no more for now."""
        ...

    def release(self) -> None:
        """Read again."""
        ...

    def answer(self, answer: Answer) -> None:
        """Send an answer of our own, which ends the exchange."""
        ...

    def refuse(self, status: int) -> None:
        """Answer a request that is not passed on, and close."""
        ...

    def finish(self, *, keep: bool) -> None:
        """The answer is whole; the next request may follow if the connection is kept."""
        ...

    def break_off(self) -> None:
        """End the connection so that nobody takes what has gone out for the whole."""
        ...

    def becomes(self, middle: Middle) -> None:
        """From now on the connection's bytes are for another."""
        ...
