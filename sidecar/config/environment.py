"""The environment as text: which names are ours, and what the files hold that they name."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

PREFIX = "SIDECAR_"
AZURE_TOKEN_FILE = "AZURE_FEDERATED_TOKEN_FILE"  # noqa: S105 - a name
_FILE = "_file"
# What Kubernetes puts into every pod for a Service whose name starts with "sidecar".
_SERVICE_NAME = re.compile(
    r"SIDECAR_([A-Z0-9_]+_)?"
    r"(SERVICE_HOST|SERVICE_PORT(_[A-Z0-9_]+)?|PORT_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)"
)
_SERVICE_PORT = re.compile(r"SIDECAR_([A-Z0-9_]+_)?PORT")
_MAX_FILE_BYTES = 64 * 1024
MAX_CHAIN_BYTES = 1024 * 1024  # a bundle of all the world's authorities has 220 KiB


def variable(field: str) -> str:
    """The environment variable of a field."""
    return PREFIX + field.upper()


def from_kubernetes(name: str, value: str) -> bool:
    """Whether Kubernetes has set this for a Service, and nobody for us."""
    if _SERVICE_NAME.fullmatch(name):
        return True
    # A Service's own address; one that is not written like that is somebody's mistake.
    looks = value.startswith(("tcp://", "udp://", "sctp://"))
    return bool(_SERVICE_PORT.fullmatch(name)) and looks


def read_files(given: dict[str, Any]) -> Iterator[str]:
    """Read what `…_FILE` names, and say what cannot be read.

    The secret's own file and those for TLS are read again when they are used.
    """
    for field in [name for name in given if name.endswith(_FILE)]:
        plain = field.removesuffix(_FILE)
        if plain in given:
            yield f"{variable(plain)} and {variable(field)} are both set. Set one of them"
            continue
        try:
            content = read_file(given[field], most=_most_bytes(field))
        except (OSError, ValueError) as error:
            why = error.strerror if isinstance(error, OSError) else str(error)
            # What does not look like a path may be the secret itself, in the wrong variable.
            path = repr(given[field]) if given[field].startswith("/") else "not an absolute path"
            yield (
                f"{variable(field)} cannot be read: {path} ({why}). "
                "Mount the file, or correct its path"
            )
            continue
        if plain == "session_keys":
            given[plain] = content


def _most_bytes(field: str) -> int:
    return MAX_CHAIN_BYTES if "tls" in field or "_ca_" in field else _MAX_FILE_BYTES


def read_file(path: str, *, most: int = _MAX_FILE_BYTES, strip: bool = True) -> str:
    """A file's text, without white space around it unless `strip` says otherwise.

    Raises:
        OSError, ValueError: it cannot be read, or is longer than `most` bytes, or no text.
    """
    with Path(path).open("rb") as file:
        content = file.read(most + 1)
    if len(content) > most:
        raise ValueError(f"longer than {most // 1024} KiB")
    try:
        text = content.decode()
    except UnicodeDecodeError:  # whose own text shows a byte of the secret
        raise ValueError("not UTF-8 text") from None
    return text.strip() if strip else text
