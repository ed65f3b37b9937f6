"""What Devtron's own Secret gives to our settings, as its orchestrator reads it.

`client/k8sClient.go` and `client/oidcClient.go` of Devtron's authenticator: the issuer is the
bundled Dex behind `url`, the client `argo-cd`, its secret follows from `server.secretkey`.
"""

import base64
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from sidecar.config import values
from sidecar.config.from_argocd import LOGIN, FromArgoCd
from sidecar.core import argocd_dex
from sidecar.core.argocd_files import ArgoCdFiles, Finding, Weight
from sidecar.core.sealing import derived_key

SECRET = "devtron-secret"  # noqa: S105 - a name
_CLIENT_SECRET = {"client_secret", "client_secret_file"}
_KEYS = {"session_keys", "session_keys_file"}


def filled_by_devtron(
    given: dict[str, Any], files: ArgoCdFiles, unread: Sequence[Finding]
) -> FromArgoCd:
    """The fields that the environment leaves open, filled in; with what is wrong."""
    return _Filling(given, files, unread).filled()


def kind_faults(given: Mapping[str, Any]) -> Iterator[str]:
    """What does not go together of the upstream's kind and the way logins are made."""
    devtron = given.get("upstream_kind") == "devtron"
    if devtron and given.get("login") != "observed":
        yield (
            "SIDECAR_LOGIN is not observed, and Devtron registers users in its own callback. "
            "Set SIDECAR_LOGIN=observed beside SIDECAR_UPSTREAM_KIND=devtron"
        )
    if devtron and given.get("cookie_mode", "mirror") != "mirror":
        yield (
            "SIDECAR_COOKIE_MODE is not mirror, and Devtron's dashboard reads the cookie. "
            "Take it out beside SIDECAR_UPSTREAM_KIND=devtron"
        )
    if devtron and given.get("http2", "off") != "off":
        yield (
            "SIDECAR_HTTP2 is not off, and is for Argo CD's CLI: nothing is looked at on such "
            "connections. Take it out beside SIDECAR_UPSTREAM_KIND=devtron"
        )
    if devtron and given.get("argocd_config_source") == values.ArgoCdConfigSource.KUBERNETES:
        yield (
            "SIDECAR_ARGOCD_CONFIG_SOURCE is kubernetes, which is for Argo CD. "
            f"Mount {SECRET} at {{SIDECAR_ARGOCD_CONFIG_DIR}}/secrets/{SECRET}"
        )
    if given.get("login") == "observed" and not given.get("dex_upstream"):
        yield (
            "SIDECAR_DEX_UPSTREAM is missing. With SIDECAR_LOGIN=observed, write where the real "
            "Dex is: http://argocd-dex-server:5556"
        )


class _Filling:
    def __init__(
        self, given: dict[str, Any], files: ArgoCdFiles, unread: Sequence[Finding]
    ) -> None:
        self._given = given
        self._findings = list(unread)
        self._sources: dict[str, str] = {}
        self._complete = set(LOGIN) <= set(given)
        secret = files.others.get(SECRET)
        self._secret = secret.data if secret is not None else {}
        if secret is None and not self._complete:
            self._find("", f"cannot be seen. {files.mend(SECRET)}")

    def filled(self) -> FromArgoCd:
        own_client = "issuer" in self._given
        self._take_url(self._url())
        self._given.setdefault("client_id", argocd_dex.CLIENT_ID)
        self._take_secrets(own_client)
        self._look_at_dex()
        return FromArgoCd(findings=tuple(self._findings), sources=self._sources)

    def _url(self) -> str:
        """Devtron's own address; "" where there is none that can be used."""
        try:
            url = self._secret.get("url", b"").decode().strip().rstrip("/")
            if url:
                values.public_url(url)
        except UnicodeDecodeError:
            self._find("url", "is no UTF-8 text. Correct it")
        except ValueError as error:
            self._find("url", str(error))
        else:
            if not url and self._secret and not {"public_url", "issuer"} <= set(self._given):
                self._find("url", "is missing. Save the single sign-on settings in Devtron once")
            return url
        return ""

    def _take_url(self, url: str) -> None:
        if url and "public_url" not in self._given:
            self._put("public_url", "url", url)
        if url and "issuer" not in self._given:
            self._put("issuer", "url", f"{url}{argocd_dex.ISSUER_PATH}")

    def _take_secrets(self, own_client: bool) -> None:
        """The client's secret, which goes to no other issuer, and the keys."""
        needs_client = not own_client and not _CLIENT_SECRET & set(self._given)
        needs_keys = not _KEYS & set(self._given)
        server_secret = self._secret.get("server.secretkey", b"")
        if not server_secret:
            if self._secret and (needs_client or needs_keys):
                sentence = "is not there (yet). Devtron makes it when it starts"
                self._find("server.secretkey", sentence)
            return
        if needs_client:
            self._put("client_secret", "server.secretkey", argocd_dex.client_secret(server_secret))
        if needs_keys:
            key = derived_key(server_secret)
            text = f"{key.id}:{base64.b64encode(key.secret).decode()}"
            self._put("session_keys", "server.secretkey", text)

    def _look_at_dex(self) -> None:
        """Whose logins will not be renewed. What is broken there stops Dex, and nothing here."""
        try:
            dex = argocd_dex.read_dex(self._secret.get("dex.config", b"").decode())
        except ValueError:
            return
        if named := ", ".join(map(str, dex.without_refresh)):
            sentence = (
                f"has {named}, to which Dex gives no refresh token: such a login lasts as long as "
                "its ID token. Use another connector (oidc, ldap, github)"
            )
            self._findings.append(Finding(Weight.NOTE, f"{SECRET}: dex.config", sentence))

    def _put(self, name: str, key: str, text: str) -> None:
        self._given[name] = text
        self._sources[name] = f"{SECRET}: {key}"

    def _find(self, key: str, sentence: str) -> None:
        where = f"{SECRET}: {key}" if key else SECRET
        self._findings.append(Finding(Weight.BROKEN, where, sentence))
