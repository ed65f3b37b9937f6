"""Where values come from: the environment, then Argo CD's settings."""

import difflib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlsplit

from sidecar.config import values
from sidecar.config.argocd_folder import Folder, Signature
from sidecar.config.environment import (
    AZURE_TOKEN_FILE,
    PREFIX,
    from_kubernetes,
    read_files,
    variable,
)
from sidecar.config.from_argocd import LOGIN, FromArgoCd, Merging
from sidecar.config.from_devtron import filled_by_devtron, kind_faults
from sidecar.config.from_dex import ADDRESSES
from sidecar.config.from_workflows import (
    KIND,
    filled_by_workflows,
    for_workflows_alone,
    workflows_faults,
)
from sidecar.config.tls import pair_faults, upstream_ca_faults
from sidecar.config.values import CookieMode, LoginMode
from sidecar.config.variables import ARGOCD_CONFIG_DIR, VARIABLES, Variables
from sidecar.core.argocd_files import AWAITED, ArgoCdFiles, Finding
from sidecar.core.upstream_kinds import UpstreamKind


class ArgoCdSource(Protocol):
    """Where Argo CD's settings are read."""

    def read(self) -> tuple[ArgoCdFiles, Sequence[Finding]]:
        """What they are now, and what of them cannot be read."""
        ...

    def signature(self) -> Signature:
        """What changes when anything does; nothing is read."""
        ...

    def file(self, secret: str, key: str) -> str:
        """Where a Secret's key is as a file."""
        ...


class NotAsked:
    """The Kubernetes API, of which nothing has been read."""

    def read(self) -> tuple[ArgoCdFiles, Sequence[Finding]]:
        """Nothing."""
        return ArgoCdFiles(awaited=True), [AWAITED]

    def signature(self) -> Signature:
        """It never changes."""
        return ()

    def file(self, secret: str, key: str) -> str:
        """No Secret is known."""
        raise KeyError(secret)


def given_by(environ: Mapping[str, str]) -> tuple[dict[str, Any], list[str]]:
    """The fields that the environment gives, and the faults of its names and files."""
    given: dict[str, Any] = {}
    faults = []
    for name, value in environ.items():
        if not name.startswith(PREFIX) or from_kubernetes(name, value):
            continue
        field = name.removeprefix(PREFIX).lower()
        if field not in VARIABLES or name != variable(field):
            faults.append(_unknown(name))
        else:
            given[field] = value.strip()
    unread = list(read_files(given))
    faults += unread
    faults += [] if unread else [*pair_faults(given), *upstream_ca_faults(given)]
    return given, faults


def _unknown(name: str) -> str:
    # Compared without the prefix, which alone would make everything look alike.
    given = name.removeprefix(PREFIX).lower()
    near = difflib.get_close_matches(given, VARIABLES, n=1)
    mend = f"Did you mean {variable(near[0])}?" if near else "See docs/configuration.md"
    return f"{name} is not known. {mend}"


def filled_by_argocd(
    given: dict[str, Any],
    environ: Mapping[str, str],
    source: ArgoCdSource | None,
) -> tuple[FromArgoCd, list[str]]:
    """What Argo CD gives, filled into the fields; and the faults of what is then still open."""
    if given.get("upstream_kind") == KIND:
        faults = list(workflows_faults(given))
        return filled_by_workflows(given), faults
    wrong, is_set = [*kind_faults(given), *for_workflows_alone(given)], frozenset(given)
    fill = _filled_by_devtron if given.get("upstream_kind") == UpstreamKind.DEVTRON else _filled
    argocd, unset = fill(given, environ, source or _usual_source(given))
    if given.get("login") == LoginMode.OBSERVED and not ADDRESSES & is_set:
        argocd = _reached_at_dex(given, argocd)
    return argocd, [*wrong, *unset]


def _reached_at_dex(given: dict[str, Any], argocd: FromArgoCd) -> FromArgoCd:
    """The provider is asked at the real Dex; where the upstream has it is the sidecar itself."""
    with suppress(ValueError):  # which is said where it is read
        path = urlsplit(values.issuer(given.get("issuer", ""))).path.rstrip("/")
        given["issuer_internal_url"] = values.dex(given.get("dex_upstream", "")) + path
        sources = {**argocd.sources, "issuer_internal_url": variable("dex_upstream")}
        return replace(argocd, sources=sources)
    return argocd


def _filled_by_devtron(
    given: dict[str, Any], environ: Mapping[str, str], source: ArgoCdSource | None
) -> tuple[FromArgoCd, list[str]]:
    given.setdefault("cookie_mode", CookieMode.MIRROR)
    given.setdefault("http2", "off")
    found = filled_by_devtron(given, *source.read()) if source is not None else FromArgoCd()
    if not found.takes_over_logins:
        given.setdefault("store_url", "memory://")  # not used: logins pass
        return found, []
    return found, [*_missing(given), *_left_to_choose(given, environ)]


def _filled(
    given: dict[str, Any], environ: Mapping[str, str], source: ArgoCdSource | None
) -> tuple[FromArgoCd, list[str]]:
    if source is None:
        return FromArgoCd(), [*_missing(given), *_left_to_choose(given, environ)]
    files, unread = source.read()
    lifetime = Variables().session_max_lifetime
    assertion_file = environ.get(AZURE_TOKEN_FILE, "")
    merged = Merging(
        files, unread, source.file, given, lifetime=lifetime, assertion_file=assertion_file
    ).merged()
    given.setdefault("store_url", "memory://")  # not used: logins pass where Argo CD has none
    return merged, list(_missing(given)) if merged.takes_over_logins else []


def _usual_source(given: Mapping[str, Any]) -> ArgoCdSource | None:
    """The folder that is named, or the usual one if it is there."""
    if given.get("argocd_config_source") == values.ArgoCdConfigSource.KUBERNETES:
        return NotAsked()
    named = given.get("argocd_config_dir", "")
    folder = Path(named or ARGOCD_CONFIG_DIR)
    return Folder(folder) if named.startswith("/") or folder.is_dir() else None


def _missing(given: Mapping[str, Any]) -> Iterator[str]:
    for name in LOGIN:
        if name not in given:
            yield f"{variable(name)} is missing. Set it: {VARIABLES[name].meaning}"


def _left_to_choose(given: dict[str, Any], environ: Mapping[str, str]) -> Iterator[str]:
    """What only a developer's machine may leave out."""
    if "store_url" not in given:
        given["store_url"] = "memory://"
        if "KUBERNETES_SERVICE_HOST" in environ:
            yield (
                "SIDECAR_STORE_URL is missing. In a pod, write redis://…, or memory:// to lose "
                "all sessions at every restart"
            )
    shared = given["store_url"] != "memory://"
    if shared and not {"session_keys", "session_keys_file"} & set(given):
        yield (
            "SIDECAR_SESSION_KEYS is missing. Replicas and restarts need the same keys. "
            "Make one with: sidecar keys new"
        )
