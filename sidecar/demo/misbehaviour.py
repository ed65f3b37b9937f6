"""What a token endpoint can be told to do wrong, once per request."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


class Gate:
    """A place where a request waits, before or after the provider has done what it asks."""

    def __init__(self, *, after_commit: bool) -> None:
        self.after_commit = after_commit
        self._reached, self._released = asyncio.Event(), asyncio.Event()

    async def reached(self) -> None:
        """Wait until a request stands at the gate."""
        await self._reached.wait()

    def release(self) -> None:
        """Let the request go on."""
        self._released.set()

    async def passed(self) -> None:
        """Wait at the gate until it is released; for the provider."""
        self._reached.set()
        await self._released.wait()


@dataclass(frozen=True, kw_only=True)
class Drop:
    """The connection closes without an answer."""

    after_commit: bool


@dataclass(frozen=True, kw_only=True)
class Answer:
    """An answer of any kind in the place of the provider's own; nothing is committed."""

    status: int = 200
    body: str | bytes = ""
    content_type: str = "application/json"
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Change:
    """The provider's own answer, changed; without arguments an honest one.

    `claims` are put into the ID token (None takes one out), `members` into the answer in the same
    way; a `forged` ID token has a signature that no key made.
    """

    claims: Mapping[str, Any] = field(default_factory=dict)
    members: Mapping[str, Any] = field(default_factory=dict)
    forged: bool = False


HONEST = Change()

Behaviour = Gate | Drop | Answer | Change


def changed(original: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """`original` with `changes` put in; what is None afterwards is left out."""
    return {name: value for name, value in {**original, **changes}.items() if value is not None}
