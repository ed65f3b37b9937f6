"""As many open files as the connections need."""

import resource
from contextlib import suppress

from structlog.typing import FilteringBoundLogger

_EACH = 2  # a browser's connection, and the one upstream
_BESIDE = 512  # idle connections upstream, those to the store and the provider, the libraries


def allow_open_files(connections: int, log: FilteringBoundLogger) -> None:
    """Raise this process' limit to what so many connections need, or as far as it may be.

    A container begins with 1,024 where containerd 2 starts it, which half as many streams fill.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = _EACH * connections + _BESIDE
    if soft == resource.RLIM_INFINITY or soft >= needed:
        return
    most = needed if hard == resource.RLIM_INFINITY else min(needed, hard)
    with suppress(OSError, ValueError):  # macOS has a limit below the one that it tells
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
    allowed, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if allowed < needed:
        log.warning(
            "open_files_limited",
            allowed=allowed,
            needed=needed,
            mend="raise the container's limit of open files, or lower SIDECAR_MAX_CONNECTIONS",
        )
