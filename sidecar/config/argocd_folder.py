"""Argo CD's ConfigMaps and Secrets as Kubernetes mounts them: one folder each, one file a key.

Kubernetes writes a new generation beside the old one and swaps the link `..data`: what is read here
is of one generation. Files that are written in place are read as they are.
"""

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from sidecar.core.argocd_files import (
    CM,
    PARAMS,
    RBAC,
    SECRET,
    ArgoCdFiles,
    Finding,
    Secret,
    Weight,
)

MAX_BYTES = 2 * 1024 * 1024  # Kubernetes takes one of each
MAX_FILES = 4096
MAX_SECRETS = 64
_LINK = "..data"
_ATTEMPTS = 5

Signature = tuple[object, ...]


@dataclass(frozen=True, slots=True)
class Folder:
    """Argo CD's settings as they are mounted below a folder."""

    path: Path

    def read(self) -> tuple[ArgoCdFiles, list[Finding]]:
        """What is mounted, and what of it cannot be read."""
        return read_argocd_folder(self.path)

    def signature(self) -> Signature:
        """What changes when anything does; nothing is read."""
        return signature(self.path)

    def file(self, secret: str, key: str) -> str:
        """Where a Secret's key is as a file."""
        return str(self.path / (secret if secret == SECRET else f"secrets/{secret}") / key)


class _Swapped(Exception):
    """A new generation came while the old one was read."""


def read_argocd_folder(folder: Path) -> tuple[ArgoCdFiles, list[Finding]]:
    """What is mounted below a folder, and what of it cannot be read."""
    findings: list[Finding] = []
    cm, secret, params = (_look(folder / name, findings) for name in (CM, SECRET, PARAMS))
    others = {
        path.name: Secret(data)
        for path in _secret_folders(folder, findings)
        if (data := _look(path, findings)) is not None
    }
    rbac = _look(folder / RBAC, findings)
    return ArgoCdFiles(cm, secret, params, others, rbac=rbac), findings


def signature(folder: Path) -> Signature:
    """What changes when anything below a folder does; nothing is read."""
    named = (folder / name for name in (CM, SECRET, PARAMS, RBAC))
    paths = [*named, *_secret_folders(folder, [])]
    return tuple((str(path), *_marks(path)) for path in paths)


def file_signature(path: Path) -> Signature:
    """What changes when a file does, or a link on its path leads elsewhere."""
    try:
        found = path.stat()
    except OSError:
        return ()
    return found.st_dev, found.st_ino, found.st_mtime_ns, found.st_size


def _secret_folders(folder: Path, findings: list[Finding]) -> list[Path]:
    try:
        found = sorted(path for path in (folder / "secrets").iterdir() if path.is_dir())
    except OSError:
        return []
    if len(found) > MAX_SECRETS:
        findings.append(
            Finding(Weight.NOTE, "secrets", f"has more than {MAX_SECRETS} folders: some are left")
        )
    return found[:MAX_SECRETS]


def _look(path: Path, findings: list[Finding]) -> dict[str, bytes] | None:
    """The keys and values of a mounted ConfigMap or Secret; None where there is none."""
    try:
        return _read(path)
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else str(error)
        sentence = f"cannot be read ({why}). Mount it as a folder that the sidecar may read"
        findings.append(Finding(Weight.NOTE, path.name, sentence))
        return None


def _read(path: Path) -> dict[str, bytes]:
    for _ in range(_ATTEMPTS):
        try:
            return _read_generation(path)
        except _Swapped:
            continue
    raise ValueError("it changes all the time")


def _read_generation(path: Path) -> dict[str, bytes]:
    link = _generation(path)
    folder = os.open(path / link if link else path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        data = dict(_files(folder))
    except FileNotFoundError:
        raise _Swapped from None
    finally:
        os.close(folder)
    if _generation(path) != link:
        raise _Swapped
    return data


def _generation(path: Path) -> str:
    """The folder that `..data` leads to; "" where there is no such link."""
    try:
        return os.readlink(path / _LINK)
    except FileNotFoundError:
        path.stat()  # the mount itself is missing: another thing than a folder without the link
        return ""


def _files(folder: int) -> Iterator[tuple[str, bytes]]:
    names = [name for name in sorted(os.listdir(folder)) if not name.startswith("..")]
    if len(names) > MAX_FILES:
        raise ValueError(f"it has more than {MAX_FILES} keys")
    left = MAX_BYTES
    for name in names:
        content = _content(name, folder, left)
        if content is not None:
            left -= len(content)
            yield name, content


def _content(name: str, folder: int, left: int) -> bytes | None:
    """A file's bytes; None for what is no file. A pipe is not waited for."""
    opened = os.open(name, os.O_RDONLY | os.O_NONBLOCK, dir_fd=folder)
    if not stat.S_ISREG(os.fstat(opened).st_mode):
        os.close(opened)
        return None
    with open(opened, "rb") as file:
        content = file.read(left + 1)
    if len(content) > left:
        raise ValueError(f"it is longer than {MAX_BYTES // 1024**2} MiB")
    return content


def _marks(path: Path) -> Iterator[object]:
    try:
        yield _generation(path)
        for name in sorted(os.listdir(path))[:MAX_FILES]:
            yield name, *file_signature(path / name)
    except OSError:
        yield None
