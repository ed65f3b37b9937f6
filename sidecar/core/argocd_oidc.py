"""`oidc.config` of `argocd-cm`, read as Argo CD reads it.

Argo CD decodes it with Go's JSON rules: a key counts whatever its case, a number or a switch may
stand where a text is wanted, any other mismatch makes the whole setting void.
"""

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from sidecar.core.bounded_yaml import YamlBroken, read_yaml

_EXACT = 2**53  # beyond it Argo CD, which reads numbers as JSON, changes their digits


class _Void(ValueError):
    """What makes Argo CD ignore the whole setting, as the rest of a sentence."""


@dataclass(frozen=True, slots=True)
class Azure:
    """What is special about Entra ID."""

    use_workload_identity: bool = False
    enable_user_group_overage_claim: bool = False
    graph_api_endpoint: str = ""
    user_group_overage_claim_cache_expiration: str = ""


@dataclass(frozen=True, slots=True)
class Oidc:
    """Everything that Argo CD reads of `oidc.config`, with its secrets put in."""

    name: str = ""
    issuer: str = ""
    client_id: str = ""
    client_secret: str = field(default="", repr=False)
    cli_client_id: str = ""
    enable_user_info_groups: bool = False
    user_info_base_url: str = ""
    user_info_path: str = ""
    user_info_cache_expiration: str = ""
    requested_scopes: tuple[str, ...] = ()
    requested_id_token_claims: str = ""
    """The value of the `claims` parameter (OpenID Connect Core 5.5); "" for none."""
    logout_url: str = ""
    root_ca: str = ""
    enable_pkce_authentication: bool = False
    domain_hint: str = ""
    azure: Azure = Azure()
    refresh_token_threshold: str = ""
    allowed_audiences: tuple[str, ...] = ()
    skip_audience_check_when_token_has_no_audience: bool = False

    @property
    def audiences(self) -> tuple[str, ...]:
        """Whose tokens Argo CD accepts (its OAuth2AllowedAudiences)."""
        named = (self.client_id, self.cli_client_id) if self.cli_client_id else (self.client_id,)
        return self.allowed_audiences or named


def read_oidc(text: str, resolve: Callable[[str, str], str]) -> tuple[Oidc, list[str]]:
    """What a text of `oidc.config` says, and the keys in it that Argo CD does not know.

    `resolve` is given each text with the key it stands under, and puts a secret in its place.

    Raises:
        ValueError: Argo CD ignores all of it; the message is the rest of a sentence.
    """
    try:
        document = read_yaml(text)
    except YamlBroken as error:
        raise _Void(str(error)) from None
    if not isinstance(document, dict | None):
        raise _Void("is no mapping of keys to values")
    unknown: list[str] = []
    found = _read(Oidc, _resolved(document or {}, resolve), "", unknown)
    return Oidc(**found), unknown


def _resolved(value: Any, resolve: Callable[[str, str], str], key: str = "") -> Any:
    """A value with its references put in, at every depth (Argo CD's ReplaceMapSecrets)."""
    if isinstance(value, dict):
        return {k: _resolved(v, resolve, key or _key(k)) for k, v in value.items()}
    if isinstance(value, list):
        return [_resolved(part, resolve, key) for part in value]
    return resolve(key, value) if isinstance(value, str) else value


def _read(
    shape: type[Oidc] | type[Azure], document: Mapping[Any, Any], path: str, unknown: list[str]
) -> dict[str, Any]:
    """The fields of a mapping. Of two spellings of one key the last in order counts, as in Go."""
    known = {f.name.replace("_", ""): f for f in fields(shape)}
    found: dict[str, Any] = {}
    for key, value in _in_order(document):
        described = known.get(key.lower())
        if described is None:
            unknown.append(path + key)
        elif value is not None and described.type is Azure:
            inner = _read(Azure, _mapping(value, path + key), f"{key}.", unknown)
            found[described.name] = Azure(**inner)
        elif value is not None:
            read = _claims if described.name.endswith("_claims") else _READERS[described.type]
            found[described.name] = read(value, path + key)
    return found


def _in_order(document: Mapping[Any, Any]) -> list[tuple[str, Any]]:
    named = {_key(key): value for key, value in document.items()}
    return [(key, named[key]) for key in sorted(named)]


def _key(key: Any) -> str:
    """A key as text; Argo CD takes those that are no text, too."""
    return _text(key, "one of its keys")


def _text(value: Any, path: str) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int) and abs(value) > _EXACT:
        raise _Void(f"has a number that is too long under {path}. Put it into quotes")
    if isinstance(value, float) and not math.isfinite(value):
        raise _Void(f"has no text under {path}")
    if isinstance(value, float | int):
        return f"{value:.15g}" if isinstance(value, float) else str(value)
    if not isinstance(value, str):
        raise _Void(f"has no text under {path}")
    return value


def _flag(value: Any, path: str) -> bool:
    if not isinstance(value, bool):
        raise _Void(f"has neither true nor false under {path}")
    return value


def _texts(value: Any, path: str) -> tuple[str, ...]:
    if not isinstance(value, list):
        raise _Void(f"has no list under {path}")
    return tuple("" if part is None else _text(part, path) for part in value)


def _mapping(value: Any, path: str) -> Mapping[Any, Any]:
    if not isinstance(value, dict):
        raise _Void(f"has no mapping of keys to values under {path}")
    return value


def _claims(value: Any, path: str) -> str:
    """The `claims` parameter that Argo CD makes of `requestedIDTokenClaims`."""
    asked = {_key(name): _claim(claim, path) for name, claim in _mapping(value, path).items()}
    return json.dumps({"id_token": asked}, separators=(",", ":"), sort_keys=True) if asked else ""


def _claim(value: Any, path: str) -> dict[str, Any] | None:
    if value is None:
        return None
    read: dict[str, Any] = {}
    for key, inner in _in_order(_mapping(value, path)):
        if inner is None or key.lower() not in _CLAIM:
            continue
        read[key.lower()] = _CLAIM[key.lower()](inner, path)
    # Go leaves out what is empty.
    return {name: given for name, given in read.items() if given}


_READERS: dict[Any, Callable[[Any, str], Any]] = {
    str: _text,
    bool: _flag,
    tuple[str, ...]: _texts,
}
_CLAIM: dict[str, Callable[[Any, str], Any]] = {
    "essential": _flag,
    "value": _text,
    "values": _texts,
}
