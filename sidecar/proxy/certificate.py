"""The public port's certificate: loaded again when its files change, kept when they are broken."""

import os
import ssl
from collections.abc import Callable, Sequence

from structlog.typing import FilteringBoundLogger

from sidecar.metrics import Metrics

_Signature = tuple[tuple[int, ...], ...]


class Certificate:
    """What new TLS connections are served with, as `context`."""

    def __init__(
        self,
        files: Sequence[str],
        load: Callable[[], ssl.SSLContext],
        metrics: Metrics,
        log: FilteringBoundLogger,
    ) -> None:
        self.files = files
        self._load = load
        self._metrics = metrics
        self._log = log
        self._seen = self._look()
        self.context = load()

    def reload(self) -> None:
        """Load it again if a file has changed, and keep the old one if that does not load.

        Files that are written one after the other are broken for a moment, and seen to change
        again.
        """
        seen = self._look()
        if seen == self._seen:
            return
        self._seen = seen
        try:
            self.context = self._load()
        except (OSError, ValueError) as error:
            self._metrics.alarms.labels("certificate_refused").inc()
            self._log.error(
                "certificate_refused",
                error=type(error).__name__,
                mend="check SIDECAR_TLS_CERT_FILE and SIDECAR_TLS_KEY_FILE; the old one is kept",
            )
        else:
            self._log.info("certificate_loaded")

    def _look(self) -> _Signature:
        """What changes when a file does, or when a link on its path leads elsewhere."""
        return tuple(_signature(file) for file in self.files)


def _signature(file: str) -> tuple[int, ...]:
    try:
        found = os.stat(file)
    except OSError:
        return ()
    return found.st_dev, found.st_ino, found.st_mtime_ns, found.st_size
