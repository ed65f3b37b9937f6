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


OIDC = """
name: Keycloak
issuer: https://idp.example.org/realms/argocd
clientID: argocd
clientSecret: $oidc.clientSecret
"""
STOCK: dict[str, dict[str, bytes]] = {
    "argocd-cm": {"url": b"https://argocd.example.org", "oidc.config": OIDC.encode()},
    "argocd-secret": {"oidc.clientSecret": b"hunter2\n", "server.secretkey": b"hunter3"},
    "argocd-cmd-params-cm": {"server.insecure": b"true"},
    "secrets/argocd-redis": {"auth": b"hunter4@/"},
}


class Installation:
    """Argo CD's settings as a pod's folder; changed as the kubelet changes them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._volumes: dict[str, dict[str, bytes]] = {}
        for name, data in STOCK.items():
            self.change(name, data)

    @property
    def environment(self) -> dict[str, str]:
        """What tells a sidecar of it."""
        return {"SIDECAR_ARGOCD_CONFIG_DIR": str(self.folder)}

    def change(self, volume: str, data: Mapping[str, bytes | None]) -> None:
        """Give some keys of a volume other values; None takes one out."""
        changed: dict[str, bytes | None] = {**self._volumes.get(volume, {}), **data}
        self._volumes[volume] = {k: v for k, v in changed.items() if v is not None}
        path = self.folder / volume
        path.mkdir(parents=True, exist_ok=True)
        swap(path, self._volumes[volume])

    def log_in_at(self, issuer: str, client_id: str, client_secret: str, *, url: str) -> None:
        """Point it to a provider."""
        self.change("argocd-secret", {"oidc.clientSecret": client_secret.encode()})
        text = f"issuer: {issuer}\nclientID: {client_id}\nclientSecret: $oidc.clientSecret\n"
        self.change("argocd-cm", {"url": url.encode(), "oidc.config": text.encode()})

    def oidc(self, text: str) -> None:
        """Give `oidc.config` another text."""
        self.change("argocd-cm", {"oidc.config": text.encode()})

    def add_to_oidc(self, lines: str) -> None:
        """Add these lines to `oidc.config`."""
        self.oidc(f"{self._volumes['argocd-cm']['oidc.config'].decode()}{lines}\n")

    def unmount(self, volume: str) -> None:
        """Take a volume away."""
        del self._volumes[volume]
        shutil.rmtree(self.folder / volume)
