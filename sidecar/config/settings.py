"""Environment variables → one frozen `Config`, or every fault at once."""

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Self
from urllib.parse import urlsplit

from sidecar.config import values
from sidecar.config.argocd_folder import Folder, Signature, file_signature
from sidecar.config.credentials import (
    credential_faults,
    find_assertion_file,
    read_credentials,
)
from sidecar.config.environment import read_file, variable
from sidecar.config.from_argocd import FromArgoCd
from sidecar.config.sources import ArgoCdSource, filled_by_argocd, given_by
from sidecar.config.store_access import store_faults
from sidecar.config.tls import provider_authorities
from sidecar.config.variables import VARIABLES, Variables
from sidecar.core.client_authentication import Credentials
from sidecar.core.timings import Timings
from sidecar.errors import ConfigurationError


@dataclass(frozen=True, slots=True, kw_only=True)
class Config(Variables):
    """Everything that is set, by the environment and by Argo CD; replaced whole when it changes.

    `argocd` is what Argo CD's settings add, and what is wrong with them. `provider_ca` are the
    authorities to trust for the provider, as PEM; "" for the system's.
    """

    provider_ca: str = field(default="", repr=False)
    argocd: FromArgoCd = field(default=FromArgoCd(), repr=False)
    _secret_digest: str = field(default="", repr=False)
    _set: frozenset[str] = field(default=frozenset(), repr=False)
    _source: ArgoCdSource | None = field(default=None, repr=False)

    @classmethod
    def load(cls, environ: Mapping[str, str], source: ArgoCdSource | None = None) -> Self:
        """The configuration that these variables give, and Argo CD's settings in `source`.

        Without one they are in a folder; what only the Kubernetes API knows is then awaited.

        Raises:
            ConfigurationError: with a line for every fault.
        """
        given, faults = given_by(environ)
        names = frozenset(given)
        argocd, unset = filled_by_argocd(given, environ, source)
        faults += find_assertion_file(given, environ)
        values_read, unreadable = _read(given)
        faults += [*unset, *unreadable]
        if unreadable:
            raise ConfigurationError(faults)
        ca, no_authorities = _authorities(given, argocd.provider_ca)
        said = any(line.startswith(variable("provider_ca_file")) for line in faults)
        faults += [] if said else no_authorities
        config = cls(**values_read, argocd=argocd, provider_ca=ca, _set=names, _source=source)
        faults += [*config.timings.faults(), *additional_url_faults(config)]
        unread = {line.partition(" ")[0] for line in faults}
        faults += [one for one in store_faults(config) if one.partition(" ")[0] not in unread]
        faults += credential_faults(config, has_client=config.argocd.takes_over_logins)
        if config.machine_rules is not None:
            from sidecar.config.machine_rules import credential_faults as of_rules

            faults += of_rules(config.machine_rules, config.upstream_kind)
        if faults:
            raise ConfigurationError(faults)
        with suppress(OSError, ValueError):  # it was there a moment ago, and is read at each use
            return replace(config, _secret_digest=_digest(config))
        return config

    def source(self, field: str) -> str:
        """Where a field's value is from."""
        if field in self._set:
            return variable(field)
        if f"{field}_file" in self._set:
            return variable(f"{field}_file")
        return self.argocd.sources.get(field, "default")

    def watched(self) -> Signature:
        """What changes when anything does that `load` reads; nothing is read for it."""
        files = (
            self.client_secret_file,
            self.client_key_file,
            self.session_keys_file,
            self.provider_ca_file,
            self.machine_rules.path if self.machine_rules else None,
        )
        marks = tuple(file_signature(Path(file)) for file in files if file)
        source = self._source or Folder(self.argocd_config_dir)
        return (*marks, *source.signature())

    def read_client_secret(self) -> str:
        """The client's secret as it is now; empty for a public client."""
        if self.client_secret_file:
            return read_file(self.client_secret_file)
        return self.client_secret or ""

    def read_credentials(self) -> Credentials:
        """What the client authenticates with, as it is now.

        Raises:
            OSError, ValueError: its file cannot be read, or holds nothing that can be used.
        """
        return read_credentials(self, self.read_client_secret)

    def keeping(self, names: Iterable[str], of: "Config") -> Self:
        """This configuration with what another has in these fields, and read at a start only."""
        kept = {name: getattr(of, name) for name in names}
        seed = self.argocd.access_token_seed
        if seed is not None:
            seed = seed.where_it_was(of.argocd.access_token_seed)
        argocd = replace(self.argocd, insecure=of.argocd.insecure, access_token_seed=seed)
        return replace(self, **kept, argocd=argocd)

    def has_secret_of(self, other: "Config") -> bool:
        """Whether the client's secret and key were the same when both were loaded."""
        return self._secret_digest == other._secret_digest

    @property
    def timings(self) -> Timings:
        """How long each part of a renewal may take."""
        return Timings(provider_seconds=self.provider_timeout, command_seconds=self.store_timeout)

    @property
    def root_path(self) -> str:
        """Argo CD's root path: "" or "/name"."""
        return urlsplit(self.public_url).path


def additional_url_faults(config: Config) -> Iterator[str]:
    """What is wrong with the additional URLs beside the public one."""
    for url in config.additional_urls or ():
        if not values.is_alike(url, config.public_url):
            yield (
                f"{variable('additional_urls')} has {url!r}, whose scheme or path is not that of "
                "the public URL. Correct it"
            )


def _digest(config: Config) -> str:
    key = read_file(config.client_key_file) if config.client_key_file else ""
    return hashlib.sha256(f"{config.read_client_secret()}\0{key}".encode()).hexdigest()


def _authorities(given: Mapping[str, str], others: str) -> tuple[str, list[str]]:
    """The authorities to trust for the provider, and what is wrong with the file that has them."""
    try:
        ca_file = given.get("provider_ca_file")
        return provider_authorities(ca_file) if ca_file else others, []
    except ValueError as error:
        return "", [f"{variable('provider_ca_file')} {error}"]


def _read(given: Mapping[str, str]) -> tuple[dict[str, Any], list[str]]:
    """The values, and what cannot be read of them."""
    found, faults = {}, []
    for name, text in given.items():
        try:
            found[name] = VARIABLES[name].read(text)
        except ValueError as error:
            source = f"{name}_file" if f"{name}_file" in given else name
            faults.append(f"{variable(source)} {error}")
    return found, faults
