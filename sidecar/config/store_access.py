"""How the store lets us in: passwords and certificates, as their files have them now."""

import ssl
from collections.abc import Callable, Iterator
from pathlib import Path

from sidecar.config.argocd_folder import Signature, file_signature
from sidecar.config.environment import read_file, variable
from sidecar.config.tls import refuse_encrypted, why_unusable
from sidecar.config.variables import Variables
from sidecar.core.store_address import StoreAddress, StoreKind

_TLS = ("store_ca_file", "store_tls_cert_file", "store_tls_key_file", "store_tls_server_name")
_PASSWORD = ("store_password", "store_password_file")
_SENTINEL = ("store_sentinel_password", "store_sentinel_password_file")


class StoreTls:
    """TLS to the store, made anew when one of the files has changed."""

    def __init__(self, ca_file: str | None, cert_file: str | None, key_file: str | None) -> None:
        self._ca_file, self._cert_file, self._key_file = ca_file, cert_file, key_file
        self._seen: Signature | None = None
        self._made: ssl.SSLContext | None = None

    def __call__(self) -> ssl.SSLContext:
        """The context for a new connection.

        Raises:
            OSError, ValueError: the files cannot be read, or hold nothing that can be used.
        """
        files = (self._ca_file, self._cert_file, self._key_file)
        seen = tuple(file_signature(Path(file)) for file in files if file)
        if self._made is None or seen != self._seen:
            context = ssl.create_default_context(cafile=self._ca_file)
            context.minimum_version = ssl.TLSVersion.TLSv1_2
            if self._cert_file:
                context.load_cert_chain(self._cert_file, self._key_file, password=refuse_encrypted)
            self._seen, self._made = seen, context
        return self._made


def store_password(config: Variables) -> Callable[[], str]:
    """The store's password as it is now; "" without one."""
    own = _read(config.store_password, config.store_password_file)
    if own is not None:
        return own
    password = _address(config).password
    return lambda: password


def sentinel_password(config: Variables) -> Callable[[], str]:
    """The Sentinels' password as it is now; "" without one."""
    own = _read(config.store_sentinel_password, config.store_sentinel_password_file)
    return own or (lambda: "")


def store_tls(config: Variables) -> StoreTls | None:
    """How TLS is spoken to the store; None where it is not."""
    if not _address(config).tls:
        return None
    return StoreTls(config.store_ca_file, config.store_tls_cert_file, config.store_tls_key_file)


def store_faults(config: Variables) -> Iterator[str]:
    """What is wrong with these settings beside the address, whose files can be read."""
    address = _address(config)
    for name in _given(config, _PASSWORD):
        if address.password:
            yield f"{variable(name)} is set, and SIDECAR_STORE_URL has a password. Take one out"
    for name in _given(config, _SENTINEL):
        if address.kind is not StoreKind.SENTINEL:
            yield f"{variable(name)} is not used: SIDECAR_STORE_URL names no Sentinels. Take it out"
    for name in _given(config, _TLS):
        if not address.tls:
            yield (
                f"{variable(name)} is not used: the store is reached without TLS. "
                "Write rediss://… in SIDECAR_STORE_URL, or take it out"
            )
    pair = _given(config, ("store_tls_cert_file", "store_tls_key_file"))
    if len(pair) == 1:
        (other,) = {"store_tls_cert_file", "store_tls_key_file"} - set(pair)
        yield f"{variable(other)} is missing. Set it beside {variable(pair[0])}, or neither"
    elif address.tls:
        yield from _file_faults(config)


def _file_faults(config: Variables) -> Iterator[str]:
    try:
        StoreTls(config.store_ca_file, None, None)()
    except (OSError, ValueError) as error:
        yield (
            f"{variable('store_ca_file')} has no certificates ({why_unusable(error)}). "
            "Mount a file in PEM form"
        )
        return
    try:
        StoreTls(config.store_ca_file, config.store_tls_cert_file, config.store_tls_key_file)()
    except (OSError, ValueError) as error:
        yield (
            f"{variable('store_tls_cert_file')} is no certificate that goes with "
            f"{variable('store_tls_key_file')} ({why_unusable(error)}). Mount both of one Secret"
        )


def _given(config: Variables, names: tuple[str, ...]) -> list[str]:
    return [name for name in names if getattr(config, name) is not None]


def _address(config: Variables) -> StoreAddress:
    if config.store_url == "memory://":
        return StoreAddress()
    return StoreAddress.parse(config.store_url)


def _read(value: str | None, file: str | None) -> Callable[[], str] | None:
    if file is not None:
        path = file
        return lambda: read_file(path)
    return (lambda: value) if value is not None else None
