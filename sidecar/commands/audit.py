"""Who has changed what by a command: a JSON line on standard error, and in the audit log's file."""

import getpass
import os
from collections.abc import Mapping

from sidecar.core.person import printable
from sidecar.logs import command_audit_log


class Audit:
    """Events of one command, each with the user and the host, as far as a process knows them."""

    def __init__(self, environ: Mapping[str, str], where: str = "off") -> None:
        by = {"by": _user(environ), "host": os.uname().nodename}
        self._log = command_audit_log(where).bind(**by)

    def note(self, event: str, **about: object) -> None:
        """One thing that was changed."""
        self._log.info(event, **about)


def _user(environ: Mapping[str, str]) -> str:
    """The user of this process; who became it by sudo is said too."""
    try:
        name = getpass.getuser()
    except (OSError, KeyError, ImportError):  # an image has no names for its numbers
        name = f"uid {os.getuid()}"
    before = environ.get("SUDO_USER", "")
    return printable(f"{name} ({before})" if before else name)
