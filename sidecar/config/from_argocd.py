"""What Argo CD's settings give to ours: values for what is not set, each with its source.

What cannot be used is a finding, never a fault: Argo CD must not be less available than before.
"""

import base64
import ssl
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from urllib.parse import quote, urlsplit

from sidecar.config import values
from sidecar.config.environment import AZURE_TOKEN_FILE
from sidecar.config.from_dex import FromDex
from sidecar.config.seeding import AccessTokenSeed, access_token_seed
from sidecar.config.tls import pair_faults, provider_tls
from sidecar.core.argocd_config import ArgoCdConfig, Redis, read_argocd_config
from sidecar.core.argocd_files import (
    CM,
    PARAMS,
    RBAC,
    REDIS_SECRET,
    SECRET,
    ArgoCdFiles,
    Finding,
    Weight,
)
from sidecar.core.client_authentication import ClientAuth
from sidecar.core.sealing import derived_key

LOGIN = ("public_url", "issuer", "client_id")
UPSTREAM_TLS = "https://127.0.0.1:8090"
_STOPS = (Weight.BROKEN, Weight.ABSENT)


@dataclass(frozen=True, slots=True)
class FromArgoCd:
    """What Argo CD says that has no variable here."""

    authorization: tuple[tuple[str, str], ...] = ()
    """Parameters of the authorization request: `claims`, `domain_hint`, `connector_id`."""
    provider_ca: str = ""
    """`rootCA`: the authorities to trust for the provider, as PEM; "" for the system's."""
    reuse_seconds: float | None = None
    """For how long the bundled Dex takes a spent refresh token again; None: it is another."""
    anonymous: bool = False
    insecure: bool | None = None
    """`server.insecure`; None where it is not known."""
    leaves_logins: bool = False
    """Whether logins are the upstream's own, and nothing is wrong with that."""
    awaited: bool = False
    """Whether what `argocd-server` has begun with is not known yet."""
    access_token_seed: AccessTokenSeed | None = None
    """How access tokens get to Argo CD; None where it does not ask for them."""
    findings: tuple[Finding, ...] = ()
    sources: Mapping[str, str] = field(default_factory=dict, compare=False)
    """Where each field's value is from that Argo CD gives."""

    @property
    def takes_over_logins(self) -> bool:
        """Whether nothing speaks against it; else they pass to Argo CD."""
        stopped = any(finding.weight in _STOPS for finding in self.findings)
        return not stopped and not self.leaves_logins


class Merging:
    """Fills `given`, the fields that the environment sets, with what Argo CD says."""

    def __init__(
        self,
        files: ArgoCdFiles,
        unread: Sequence[Finding],
        file: Callable[[str, str], str],
        given: dict[str, str],
        *,
        lifetime: float,
        assertion_file: str = "",
    ) -> None:
        self._argocd = read_argocd_config(files)
        self._files = files
        self._file = file
        self._given = given
        self._set = frozenset(given)
        self._lifetime = lifetime
        self._assertion_file = assertion_file
        self._findings = [*unread, *self._argocd.findings]
        self._sources: dict[str, str] = {}

    def merged(self) -> FromArgoCd:
        """What is left over when the fields are filled."""
        self._findings = [self._weighed(finding) for finding in self._findings]
        self.take("public_url", f"{CM}: url", self._argocd.url, values.public_url)
        self._check_root_path()
        self._take_additional_urls()
        oidc, dex = self._take_client(), self._take_dex()
        if dex is not None:
            dex.take()
        self._take_lifetime()
        claims = " ".join(self._argocd.groups_claims)
        self.take("groups_claims", f"{RBAC}: scopes", claims, values.claims)
        self._take_upstream()
        self._take_certificate()
        self._take_store()
        self._take_keys()
        seed = self._access_token_seed()
        return FromArgoCd(
            authorization=_parameters(self._argocd) if oidc or dex else (),
            provider_ca=self._provider_ca() if oidc else dex.authority if dex else "",
            reuse_seconds=dex.reuse_seconds if dex else None,
            anonymous=self._argocd.anonymous,
            insecure=self._argocd.insecure,
            awaited=self._files.awaited,
            access_token_seed=seed,
            findings=tuple(self._findings),
            sources=self._sources,
        )

    @property
    def _own_client(self) -> bool:
        """Whether the client is the environment's: then nothing of `oidc.config` counts."""
        return {"issuer", "client_id"} <= self._set

    @property
    def _own_login(self) -> bool:
        """Whether all that a login needs is the environment's."""
        return set(LOGIN) <= self._set

    def _weighed(self, finding: Finding) -> Finding:
        """A finding about what the environment has in its place is only a note."""
        about_client = finding.where.startswith((f"{CM}: oidc", f"{CM}: dex"))
        beside = (about_client and self._own_client) or self._own_login
        return replace(finding, weight=Weight.NOTE) if beside else finding

    def find(self, weight: Weight, where: str, sentence: str) -> None:
        """Note something that is wrong or worth knowing."""
        self._findings.append(Finding(weight, where, sentence))

    def take(self, name: str, where: str, text: str, reader: values.Reader) -> None:
        """Take a value that the environment leaves open, if it is one that we can use."""
        if name in self._set or not text:
            return
        try:
            reader(text)
        except ValueError as error:
            self.find(Weight.BROKEN, where, str(error))
        else:
            self.put(name, where, text)

    def put(self, name: str, where: str, text: str) -> None:
        """Fill a field, with where its value is from."""
        self._given[name] = text
        self._sources[name] = where

    def _check_root_path(self) -> None:
        path = urlsplit(self._given.get("public_url", "")).path.strip("/")
        root = self._argocd.root_path
        if "public_url" in self._given and root is not None and root != path:
            self.find(
                Weight.BROKEN,
                f"{PARAMS}: server.rootpath",
                f"is {root!r}, and the path of the public URL is {path!r}. Make them the same",
            )

    # The provider

    def _take_client(self) -> bool:
        """Whether the provider is Argo CD's: its client's secret goes to no other."""
        oidc, where = self._argocd.oidc, f"{CM}: oidc.config"
        if oidc is None or self._own_client or self._given.get("issuer", "") != "":
            return False
        self.take("issuer", f"{where}: issuer", oidc.issuer, values.issuer)
        self.take("client_id", f"{where}: clientID", oidc.client_id, values.client_id)
        scopes = " ".join(oidc.requested_scopes)
        self.take("scopes", f"{where}: requestedScopes", scopes, values.scopes)
        if oidc.azure.use_workload_identity:
            self._take_workload_identity(f"{where}: azure.useWorkloadIdentity")
        own_secret = {"client_secret", "client_secret_file"} & self._set
        if oidc.client_secret and not own_secret and self._given.get("client_id") == oidc.client_id:
            self.put("client_secret", f"{where}: clientSecret", oidc.client_secret)
        own_tls = {"provider_tls_verify", "provider_ca_file"} & self._set
        if self._argocd.tls_insecure_skip_verify and not own_tls:
            self.put("provider_tls_verify", f"{CM}: oidc.tls.insecure.skip.verify", "off")
        return True

    def _take_workload_identity(self, where: str) -> None:
        """The token that Argo CD itself would show; a method of our own wins."""
        if {"client_auth", "client_key_file"} & self._set:
            return
        if not ("client_assertion_file" in self._set or self._assertion_file):
            self.find(
                Weight.BROKEN,
                where,
                f"needs the file that {AZURE_TOKEN_FILE} names, and nothing sets it here. Label "
                'the pod azure.workload.identity/use: "true", and do not have the webhook skip '
                "the sidecar's container",
            )
            return
        self.put("client_auth", where, ClientAuth.WORKLOAD_IDENTITY)
        if "client_assertion_file" not in self._set:
            self.put("client_assertion_file", AZURE_TOKEN_FILE, self._assertion_file)

    def _take_dex(self) -> FromDex | None:
        """What the bundled Dex gives, where it is the provider."""
        if self._argocd.dex is None or self._own_client or self._given.get("issuer", "") != "":
            return None
        return FromDex(self._argocd.dex, self._argocd, self._files, self, self._given, self._set)

    def _provider_ca(self) -> str:
        """`rootCA`; one that is none is passed over, as Argo CD does it."""
        pem = self._argocd.oidc.root_ca if self._argocd.oidc else ""
        if not pem:
            return ""
        try:
            provider_tls(pem, verify=True)
        except ssl.SSLError:
            self.find(
                Weight.DOUBTFUL,
                f"{CM}: oidc.config: rootCA",
                "has no certificates in PEM form, so the system's authorities count. Correct it",
            )
            return ""
        return pem

    def _take_additional_urls(self) -> None:
        """Those that can work: one session cookie, and one root path, has to do for all."""
        where, found = f"{CM}: additionalUrls", []
        public = self._given.get("public_url", "").rstrip("/")
        for text in self._argocd.additional_urls:
            try:
                url = values.public_url(text)
            except ValueError as error:
                self.find(Weight.NOTE, where, f"has one that {error}")
                continue
            if not values.is_alike(url, public):
                sentence = f"has {url!r}, which has not the scheme and path of url: it is left out"
                self.find(Weight.NOTE, where, sentence)
            else:
                found.append(url)
        if found and "additional_urls" not in self._set:
            self.put("additional_urls", where, " ".join(found))

    def _take_lifetime(self) -> None:
        """`users.session.duration` caps the default; a variable that is set wins."""
        seconds, where = self._argocd.session_seconds, f"{CM}: users.session.duration"
        if seconds is None:
            return
        if "session_max_lifetime" in self._set:
            self.find(Weight.NOTE, where, "does not count: SIDECAR_SESSION_MAX_LIFETIME is set")
        elif seconds < self._lifetime:
            self.put("session_max_lifetime", where, f"{int(seconds)}s")

    # The two ports

    def _take_upstream(self) -> None:
        if "upstream" in self._set or self._argocd.insecure is not False:
            return
        self.put("upstream", f"{PARAMS}: server.insecure", UPSTREAM_TLS)
        if "upstream_tls_verify" not in self._set and "upstream_tls_ca_file" not in self._set:
            # Argo CD's own, which it may have signed itself; both ends are in one pod.
            self.put("upstream_tls_verify", f"{PARAMS}: server.insecure", "off")

    def _take_certificate(self) -> None:
        name = self._argocd.certificate_in
        if self._argocd.insecure is not False or not name:
            return
        if {"tls_cert_file", "tls_key_file"} & self._set:
            return
        keys = {"tls_cert_file": "tls.crt", "tls_key_file": "tls.key"}
        pair = {field: self._file(name, key) for field, key in keys.items()}
        if any(True for _ in pair_faults(pair)):
            self.find(
                Weight.DOUBTFUL,
                f"{name}: tls.crt",
                "is no certificate that goes with tls.key, so TLS is not spoken. Correct it",
            )
            return
        for field_name, path in pair.items():
            self.put(field_name, f"{name}: {keys[field_name]}", path)

    # The store and its keys

    def _take_store(self) -> None:
        if "store_url" in self._set:
            return
        redis, mend = self._argocd.redis, "or set SIDECAR_STORE_URL"
        if redis is None or self._files.awaited:
            self.find(Weight.BROKEN, PARAMS, f"cannot be seen. {self._files.mend(PARAMS)}, {mend}")
        elif redis.sentinel:
            self.find(
                Weight.BROKEN,
                f"{PARAMS}: redis.sentinel.hosts",
                "does not say the primary's name. Set SIDECAR_STORE_URL to "
                "redis+sentinel://<the hosts>/<the name, which is Argo CD's --sentinelmaster>",
            )
        elif redis.password is None:
            self.find(
                Weight.BROKEN,
                REDIS_SECRET,
                f"has no auth that can be seen. {self._files.mend(REDIS_SECRET)}, {mend}",
            )
        else:
            self.take("store_url", f"{PARAMS}: redis.server", redis_url(redis), values.store_url)

    def _take_keys(self) -> None:
        if {"session_keys", "session_keys_file"} & self._set:
            return
        if self._argocd.secret_key:
            key = derived_key(self._argocd.secret_key)
            text = f"{key.id}:{base64.b64encode(key.secret).decode()}"
            self.put("session_keys", f"{SECRET}: server.secretkey", text)
        elif self._given.get("store_url") != "memory://":
            self.find(
                Weight.BROKEN,
                f"{SECRET}: server.secretkey",
                f"is not there (yet). {self._files.mend(SECRET)}, or set SIDECAR_SESSION_KEYS",
            )

    # What Argo CD needs of us

    def _access_token_seed(self) -> AccessTokenSeed | None:
        redis = self._argocd.redis
        reached = redis is not None and not redis.sentinel and redis.password is not None
        url = redis_url(redis) if redis is not None and reached else ""
        seed, findings = access_token_seed(self._argocd, self._files, self._given, url)
        for finding in findings:
            # A client of the environment's is taken over all the same, and Argo CD refuses it.
            beside = self._own_client or self._own_login
            weight = Weight.DOUBTFUL if beside else finding.weight
            self.find(weight, finding.where, finding.sentence)
        return seed


def redis_url(redis: Redis) -> str:
    """Argo CD's Redis as an address of ours."""
    credentials = quote(redis.username, safe="")
    if redis.password:
        credentials += f":{quote(redis.password, safe='')}"
    at = "@" if credentials else ""
    return f"redis://{credentials}{at}{redis.address}/{redis.database}"


def _parameters(argocd: ArgoCdConfig) -> tuple[tuple[str, str], ...]:
    """What Argo CD adds to the authorization request, where it is set."""
    oidc, dex = argocd.oidc, argocd.dex
    named = (
        ("claims", oidc.requested_id_token_claims if oidc else ""),
        ("domain_hint", oidc.domain_hint if oidc else ""),
        ("connector_id", dex.connector_id if dex else ""),
    )
    return tuple(pair for pair in named if pair[1])
