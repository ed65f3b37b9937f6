"""The bundled Dex as all of Argo CD's settings make it, and what is wrong with them."""

from collections.abc import Callable
from dataclasses import replace

from sidecar.core import argocd_dex
from sidecar.core.argocd_dex import Connector, Dex, read_dex
from sidecar.core.argocd_files import CM, DEX_TLS_SECRET, SECRET, ArgoCdFiles, Texts, Weight

_Find = Callable[[Weight, str, str], None]
_WHERE = f"{CM}: dex.config"


def bundled_dex(files: ArgoCdFiles, cm: Texts, params: Texts, find: _Find) -> Dex | None:
    """The bundled Dex, where Argo CD has its logins go through it; `find` is told what is wrong.

    `cm` and `params` are the texts of `argocd-cm` and `argocd-cmd-params-cm`.
    """
    text = cm["dex.config"]
    if not text or cm["oidc.config"]:
        return None
    try:
        dex = read_dex(text)
    except ValueError as error:
        find(Weight.BROKEN, _WHERE, f"{error}: no Dex starts with it. Correct it")
        return None
    _judge(dex, find)
    return replace(
        dex,
        issuer=f"{cm['url']}{argocd_dex.ISSUER_PATH}",
        client_secret=_client_secret(files, find),
        server=argocd_dex.server_address(
            params["server.dex.server"],
            plaintext=argocd_dex.is_on(params[argocd_dex.PLAINTEXT]),
        ),
        strict_tls=argocd_dex.is_on(params[argocd_dex.STRICT_TLS]),
        authority=_authority(files),
        connector_id=_connector_id(cm["dex.auth.connectorId"], dex.connectors, find),
    )


def _judge(dex: Dex, find: _Find) -> None:
    """Whose logins will not be renewed."""
    named = ", ".join(map(str, dex.without_refresh))
    if named:
        some = len(dex.connectors) > len(dex.without_refresh)
        others = "; those of the other connectors are renewed" if some else ""
        find(
            Weight.NOTE,
            f"{_WHERE}: connectors",
            f"has {named}, to which Dex gives no refresh token: such a session lasts as long "
            f"as its ID token, then the browser logs in anew{others}. Use another connector (oidc, "
            "ldap, github), or longer expiry.idTokens",
        )
    if dex.refresh_is_off:
        find(
            Weight.NOTE,
            f"{_WHERE}: oauth2.grantTypes",
            "leaves out refresh_token, so that no login can be renewed. Add it",
        )


def _client_secret(files: ArgoCdFiles, find: _Find) -> str:
    key = (files.secret or {}).get("server.secretkey")
    if key:
        return argocd_dex.client_secret(key)
    find(
        Weight.BROKEN,
        _WHERE,
        f"needs server.secretkey of {SECRET}, from which the client's secret at Dex is derived, "
        f"and that is not there (yet). {files.mend(SECRET)}",
    )
    return ""


def _authority(files: ArgoCdFiles) -> str:
    """What its certificate is checked by: Argo CD's own Secret, where it can be seen."""
    secret = files.others.get(DEX_TLS_SECRET)
    found = secret.data if secret is not None else {}
    return (found.get("ca.crt") or found.get("tls.crt") or b"").decode("ascii", "replace")


def _connector_id(name: str, connectors: tuple[Connector, ...], find: _Find) -> str:
    if not name or any(each.id == name for each in connectors):
        return name
    find(
        Weight.NOTE,
        f"{CM}: dex.auth.connectorId",
        "is the id of no connector in dex.config, and is ignored. Correct it",
    )
    return ""
