"""What Argo CD's ConfigMaps and Secrets say, read as Argo CD reads them (its util/settings).

A part that is broken hides no other: it becomes a finding, and the rest counts.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from sidecar.core.argocd_bundled_dex import bundled_dex
from sidecar.core.argocd_dex import Dex
from sidecar.core.argocd_files import (
    CM,
    PARAMS,
    RBAC,
    REDIS_SECRET,
    SECRET,
    TLS_SECRET,
    ArgoCdFiles,
    Finding,
    Secret,
    Texts,
    Weight,
)
from sidecar.core.argocd_oidc import Oidc, read_oidc
from sidecar.core.argocd_references import References
from sidecar.core.bounded_yaml import YamlBroken, read_yaml
from sidecar.core.groups import MAX_CLAIMS

DEFAULT_REDIS = "argocd-redis:6379"
_UNIT_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_LONGEST_SECONDS = 366 * 86400
_CLAIM = re.compile(r"[!-+\--~]{1,256}")  # of printable ASCII all but the comma


@dataclass(frozen=True, slots=True)
class Redis:
    """Where Argo CD's Redis is. The credentials are None where the Secret cannot be seen."""

    address: str
    database: int
    username: str = ""
    password: str | None = field(default=None, repr=False)
    sentinel: bool = False


@dataclass(frozen=True, slots=True)
class ArgoCdConfig:
    """What Argo CD says, as far as it is of use here."""

    url: str = ""
    additional_urls: tuple[str, ...] = ()
    oidc: Oidc | None = None
    dex: Dex | None = None
    """The bundled Dex, where logins go through it: not with an `oidc.config`."""
    tls_insecure_skip_verify: bool = False
    session_seconds: float | None = None
    """`users.session.duration`, where it is set."""
    anonymous: bool = False
    root_path: str | None = None
    """`server.rootpath` without slashes around it; None where it is not set."""
    insecure: bool | None = None
    """`server.insecure`; None where `argocd-cmd-params-cm` cannot be seen."""
    redis: Redis | None = None
    redis_key_prefix: str = ""
    """What Argo CD's keys in its Redis begin with (3.6)."""
    secret_key: bytes = field(default=b"", repr=False)
    certificate_in: str = ""
    """The Secret that Argo CD takes its certificate from; "" for one that it makes itself."""
    groups_claims: tuple[str, ...] = ()
    """The `scopes` of `argocd-rbac-cm`: the claims that its policies go by; () where not set."""
    findings: tuple[Finding, ...] = ()


def read_argocd_config(files: ArgoCdFiles) -> ArgoCdConfig:
    """What these files say. It never raises: what cannot be used is a finding."""
    return _Reading(files).config()


class _Reading:
    """One look at the files, and what was found on the way."""

    def __init__(self, files: ArgoCdFiles) -> None:
        self._files = files
        self._findings: list[Finding] = []
        self._cm = self._texts(CM, files.cm or {})
        self._params = self._texts(PARAMS, files.params or {})

    def config(self) -> ArgoCdConfig:
        if self._files.cm is None:
            self._find(Weight.BROKEN, CM, f"cannot be seen. {self._files.mend(CM)}")
        oidc = self._oidc() if self._files.cm is not None else None
        dex = bundled_dex(self._files, self._cm, self._params, self._find)
        url = self._cm["url"]
        if (oidc or dex) is not None and not url:
            self._find(
                Weight.BROKEN, f"{CM}: url", "is missing. Set it to where browsers see Argo CD"
            )
        return ArgoCdConfig(
            url=url,
            additional_urls=self._additional_urls(),
            oidc=oidc,
            dex=dex,
            tls_insecure_skip_verify=self._cm["oidc.tls.insecure.skip.verify"] == "true",
            session_seconds=self._session_seconds(),
            anonymous=self._cm["users.anonymous.enabled"] == "true",
            root_path=self._root_path(),
            insecure=self._insecure(),
            redis=self._redis(),
            redis_key_prefix=self._params["redis.key.prefix"],
            secret_key=(self._files.secret or {}).get("server.secretkey", b""),
            certificate_in=self._certificate_in(),
            groups_claims=self._groups_claims(),
            findings=tuple(self._findings),
        )

    def _find(self, weight: Weight, where: str, sentence: str) -> None:
        self._findings.append(Finding(weight, where, sentence))

    def _texts(self, where: str, data: Mapping[str, bytes]) -> Texts:
        texts = Texts()
        for key, value in data.items():
            try:
                texts[key] = value.decode()
            except UnicodeDecodeError:
                self._find(Weight.NOTE, f"{where}: {key}", "is no UTF-8 text, and not looked at")
        return texts

    # The provider

    def _oidc(self) -> Oidc | None:
        text, where = self._cm["oidc.config"], f"{CM}: oidc.config"
        if not text:
            if not self._cm["dex.config"]:
                self._find(
                    Weight.ABSENT,
                    where,
                    "is missing: Argo CD has no single sign-on. Set it to have logins taken over",
                )
            return None
        try:
            oidc, unknown = read_oidc(text, References(self._files, self._find).resolve)
        except ValueError as error:
            self._find(Weight.BROKEN, where, f"{error}. Argo CD ignores it: correct it")
            return None
        for key in unknown:
            self._find(
                Weight.NOTE, where, f"has the key {key!r}, which Argo CD does not know. Take it out"
            )
        self._judge(oidc, where)
        return oidc

    def _judge(self, oidc: Oidc, where: str) -> None:
        """What Argo CD takes, and would not work here."""
        for name, value in (("issuer", oidc.issuer), ("clientID", oidc.client_id)):
            if not value:
                self._find(Weight.BROKEN, where, f"has no {name}. Set it")
        if oidc.client_id and oidc.client_id not in oidc.audiences:
            self._find(
                Weight.BROKEN,
                f"{where}: allowedAudiences",
                "does not have the clientID, so Argo CD would refuse its tokens. Add it",
            )
        if oidc.refresh_token_threshold:
            self._find(
                Weight.NOTE,
                f"{where}: refreshTokenThreshold",
                "has no effect on logins through the sidecar: Argo CD has no refresh token of "
                "theirs. Take it out",
            )
        if self._cm["oidc.tls.insecure.skip.verify"] == "true":
            self._find(
                Weight.NOTE,
                f"{CM}: oidc.tls.insecure.skip.verify",
                "switches off the check of the provider's certificate, here too. "
                "Give rootCA instead",
            )

    # The rest of argocd-cm

    def _additional_urls(self) -> tuple[str, ...]:
        where = f"{CM}: additionalUrls"
        try:
            found = read_yaml(self._cm["additionalUrls"])
        except YamlBroken as error:
            self._find(Weight.NOTE, where, f"{error}, and is ignored. Correct it")
            return ()
        if found is None:
            return ()
        if not isinstance(found, list) or not all(isinstance(url, str) for url in found):
            self._find(Weight.NOTE, where, "is no list of addresses, and is ignored. Correct it")
            return ()
        return tuple(found)

    def _session_seconds(self) -> float | None:
        """`users.session.duration`, of which Argo CD takes one number with one unit."""
        text = self._cm.get("users.session.duration")
        if text is None:
            return None
        match = re.fullmatch(r"(\d{1,18})([smhd])", text, re.ASCII)
        seconds = int(match[1]) * _UNIT_SECONDS[match[2]] if match else 0
        if seconds <= 0:
            self._find(
                Weight.NOTE,
                f"{CM}: users.session.duration",
                "is not a number with s, m, h or d, and is ignored. Write 24h",
            )
            return None
        return float(min(seconds, _LONGEST_SECONDS))

    def _groups_claims(self) -> tuple[str, ...]:
        where = f"{RBAC}: scopes"
        try:
            found = read_yaml((self._files.rbac or {}).get("scopes", b"").decode())
        except (YamlBroken, UnicodeDecodeError):
            found = ()
        listed = found if isinstance(found, list) else []
        names = [each for each in listed if isinstance(each, str) and _CLAIM.fullmatch(each)]
        if found is not None and (names != found or len(names) > MAX_CLAIMS):
            sentence = f"is no list of up to {MAX_CLAIMS} claims; what is none is ignored"
            self._find(Weight.NOTE, where, f"{sentence}. Write [groups]")
        return tuple(names[:MAX_CLAIMS])

    # argocd-cmd-params-cm and what goes with it

    def _root_path(self) -> str | None:
        path = self._params["server.rootpath"].strip("/")
        return path or None

    def _insecure(self) -> bool | None:
        if self._files.params is None:
            return None
        return self._params["server.insecure"].lower() == "true"

    def _redis(self) -> Redis | None:
        if self._files.params is None:
            return None
        database = self._params["redis.db"] or "0"
        if not re.fullmatch(r"\d{1,9}", database, re.ASCII):
            self._find(
                Weight.NOTE, f"{PARAMS}: redis.db", "is no number, so it is 0, as for Argo CD"
            )
            database = "0"
        credentials = self._files.others.get(REDIS_SECRET)
        return Redis(
            self._params["redis.server"] or DEFAULT_REDIS,
            int(database),
            self._credential(credentials, "auth_username") or "",
            self._credential(credentials, "auth"),
            sentinel=bool(self._params["redis.sentinel.hosts"]),
        )

    def _credential(self, secret: Secret | None, key: str) -> str | None:
        value = secret.data.get(key) if secret is not None else None
        try:
            return value.decode() if value is not None else None
        except UnicodeDecodeError:
            self._find(Weight.NOTE, f"{REDIS_SECRET}: {key}", "is no UTF-8 text. Correct it")
            return None

    def _certificate_in(self) -> str:
        external = self._files.others.get(TLS_SECRET)
        if external is not None and {"tls.crt", "tls.key"} <= set(external.data):
            return TLS_SECRET
        return SECRET if {"tls.crt", "tls.key"} <= set(self._files.secret or {}) else ""
