"""Folders as kubelet mounts ConfigMaps and Secrets: a generation, and the link that names it."""

import itertools
import shutil
from collections.abc import Mapping
from pathlib import Path

_numbers = itertools.count(1)


def mount(volume: Path, data: Mapping[str, bytes]) -> None:
    """Make a volume, as kubelet does it."""
    volume.mkdir(parents=True)
    swap(volume, data)


def swap(volume: Path, data: Mapping[str, bytes]) -> None:
    """Put a new generation into the place of the old one, as kubelet does it."""
    link = volume / "..data"
    old = volume / link.readlink() if link.is_symlink() else None
    new = volume / f"..2026_11_26_{next(_numbers)}"
    new.mkdir()
    for key, value in data.items():
        (new / key).write_bytes(value)
    temporary = volume / "..data_tmp"
    temporary.symlink_to(new.name)
    temporary.rename(link)
    for path in volume.iterdir():
        if not path.name.startswith("..") and path.name not in data:
            path.unlink()
    for key in data:
        if not (volume / key).is_symlink():
            (volume / key).symlink_to(f"..data/{key}")
    if old is not None:
        shutil.rmtree(old)
