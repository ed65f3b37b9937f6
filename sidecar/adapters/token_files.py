"""Upstream credentials in mounted files, read again when they have changed."""

import asyncio
import os
import re
from dataclasses import dataclass, field
from pathlib import Path

from sidecar.core.machine_rules import Credential, TokenFile
from sidecar.errors import MachineCredentialUnavailable
from sidecar.ports import Clock

LOOK_EVERY_SECONDS = 1.0
MOST_BYTES = 16 * 1024
_TOKEN = re.compile(r"[\x21-\x7e]+")

_Signature = tuple[int, ...]


@dataclass(slots=True)
class _Known:
    signature: _Signature
    token: str = field(repr=False)
    look_at: float


class TokenFiles:
    """An Argo CD API token and the like, each in its file. One that is gone is not used on."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._known: dict[str, _Known] = {}

    def token_now(self, credential: Credential) -> str | None:
        """The token, while its file is as it was when that was read."""
        if not isinstance(credential, TokenFile) or credential.path not in self._known:
            return None
        known, now = self._known[credential.path], self._clock.monotonic()
        if now >= known.look_at:
            if _look(credential.path) != known.signature:
                return None
            known.look_at = now + LOOK_EVERY_SECONDS
        return known.token

    async def token(self, credential: Credential) -> str:
        """The token as it is in the file now.

        Raises:
            MachineCredentialUnavailable: it cannot be read, or is none.
        """
        if not isinstance(credential, TokenFile):
            raise MachineCredentialUnavailable(f"nobody here knows the token of {credential}")
        self._known.pop(credential.path, None)
        try:
            signature, token = await asyncio.to_thread(_read, credential.path)
        except (OSError, ValueError) as error:
            why = error.strerror if isinstance(error, OSError) else str(error)
            raise MachineCredentialUnavailable(
                f"{credential} cannot be used ({why}). Mount it, or correct SIDECAR_MACHINE_RULES"
            ) from None
        look_at = self._clock.monotonic() + LOOK_EVERY_SECONDS
        self._known[credential.path] = _Known(signature, token, look_at)
        return token

    def refused(self, credential: Credential, token: str) -> None:
        """Nothing to do: another one comes with the file's next change, which is seen at once."""


def _read(path: str) -> tuple[_Signature, str]:
    with Path(path).open("rb") as file:
        signature = _marks(os.fstat(file.fileno()))
        content = file.read(MOST_BYTES + 1)
    if len(content) > MOST_BYTES:
        raise ValueError(f"longer than {MOST_BYTES // 1024} KiB")
    token = content.decode("latin-1").strip()
    if not _TOKEN.fullmatch(token):
        raise ValueError("no token")
    return signature, token


def _look(path: str) -> _Signature:
    """What changes when the file does, or a link on its path leads elsewhere."""
    try:
        return _marks(os.stat(path))
    except OSError:
        return ()


def _marks(found: os.stat_result) -> _Signature:
    return found.st_dev, found.st_ino, found.st_mtime_ns, found.st_size
