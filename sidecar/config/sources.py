"""Where values come from: the environment, then Argo CD's folder."""

import difflib
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from pydantic.fields import FieldInfo

from sidecar.config import values
from sidecar.config.argocd_folder import read_argocd_folder
from sidecar.config.environment import PREFIX, from_kubernetes, read_files, variable
from sidecar.config.from_argocd import LOGIN, FromArgoCd, Merging
from sidecar.config.tls import pair_faults, upstream_ca_faults
from sidecar.core.argocd_config import read_argocd_config

ARGOCD_CONFIG_DIR = Path("/etc/argocd-token-refresh/argocd")


def given_by(
    environ: Mapping[str, str], fields: Mapping[str, FieldInfo]
) -> tuple[dict[str, Any], list[str]]:
    """The fields that the environment gives, and the faults of its names and files."""
    given: dict[str, Any] = {}
    faults = []
    for name, value in environ.items():
        if not name.startswith(PREFIX) or from_kubernetes(name, value):
            continue
        field = name.removeprefix(PREFIX).lower()
        if field not in fields or name != variable(field):
            faults.append(_unknown(name, fields))
        else:
            given[field] = value.strip()
    unread = list(read_files(given))
    faults += unread
    faults += [] if unread else [*pair_faults(given), *upstream_ca_faults(given)]
    return given, faults


def _unknown(name: str, fields: Mapping[str, FieldInfo]) -> str:
    # Compared without the prefix, which alone would make everything look alike.
    given = name.removeprefix(PREFIX).lower()
    near = difflib.get_close_matches(given, fields, n=1)
    mend = f"Did you mean {variable(near[0])}?" if near else "See docs/configuration.md"
    return f"{name} is not known. {mend}"


def filled_by_argocd(
    given: dict[str, Any], environ: Mapping[str, str], fields: Mapping[str, FieldInfo]
) -> tuple[FromArgoCd, list[str]]:
    """What Argo CD gives, filled into the fields; and the faults of what is then still open."""
    folder = _argocd_folder(given)
    if folder is None:
        return FromArgoCd(), [*_missing(given, fields), *_left_to_choose(given, environ)]
    files, unread = read_argocd_folder(folder)
    lifetime = values.duration(fields["session_max_lifetime"].default)
    merged = Merging(read_argocd_config(files), folder, given, lifetime=lifetime).merged()
    merged = replace(merged, findings=(*unread, *merged.findings))
    given.setdefault("store_url", "memory://")  # not used: logins pass where Argo CD has none
    return merged, list(_missing(given, fields)) if merged.takes_over_logins else []


def _argocd_folder(given: Mapping[str, Any]) -> Path | None:
    """Where Argo CD's settings are; one that is named, or the usual one if it is there."""
    named = given.get("argocd_config_dir", "")
    folder = Path(named or ARGOCD_CONFIG_DIR)
    return folder if named.startswith("/") or folder.is_dir() else None


def _missing(given: Mapping[str, Any], fields: Mapping[str, FieldInfo]) -> Iterator[str]:
    for name in LOGIN:
        if name not in given:
            yield f"{variable(name)} is missing. Set it: {fields[name].description}"


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
