"""How TLS is spoken: on the public port, and to the upstream."""

import ssl
from collections.abc import Iterator, Mapping
from typing import Any

from sidecar.config.environment import MAX_CHAIN_BYTES, read_file, variable


def server_tls(cert_file: str, key_file: str, *, http2: bool) -> ssl.SSLContext:
    """TLS for the public port, with the certificate and key as they are in their files now.

    Raises:
        OSError, ValueError: they cannot be read, or do not fit together.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_RENEGOTIATION
    context.load_cert_chain(cert_file, key_file, password=refuse_encrypted)
    # The server's order decides: a browser offers both, and must never be spliced to the upstream.
    context.set_alpn_protocols(["http/1.1", "h2"] if http2 else ["http/1.1"])
    return context


def upstream_tls(*, verify: bool, ca_file: str | None, http2: bool = False) -> ssl.SSLContext:
    """TLS to the upstream, for HTTP/1.1 or for HTTP/2.

    Raises:
        OSError: the authorities cannot be read.
    """
    context = ssl.create_default_context(cafile=ca_file)
    if not verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    context.set_alpn_protocols(["h2" if http2 else "http/1.1"])
    return context


def provider_tls(pem: str, *, verify: bool) -> ssl.SSLContext:
    """TLS to the provider: with these authorities in the place of the system's, or unchecked.

    Raises:
        ssl.SSLError: it has no certificates.
    """
    # What stands around the certificates is nobody's business, but must be ASCII for Python.
    context = ssl.create_default_context(cadata=pem.encode("ascii", "replace").decode() or None)
    if not verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def pair_faults(given: Mapping[str, Any]) -> Iterator[str]:
    """What is wrong with the public port's certificate and key, whose files can be read."""
    pair = "tls_cert_file", "tls_key_file"
    missing = [name for name in pair if name not in given]
    if len(missing) == 1:
        (other,) = set(pair) - set(missing)
        yield f"{variable(missing[0])} is missing. Set it beside {variable(other)}, or neither"
    elif not missing:
        try:
            server_tls(given["tls_cert_file"], given["tls_key_file"], http2=False)
        except (OSError, ValueError) as error:
            yield (
                f"{variable('tls_cert_file')} is no certificate that goes with "
                f"{variable('tls_key_file')} ({why_unusable(error)}). "
                "Mount tls.crt and tls.key of one Secret"
            )


def upstream_ca_faults(given: Mapping[str, Any]) -> Iterator[str]:
    """What is wrong with the upstream's authorities, whose file can be read."""
    ca_file = given.get("upstream_tls_ca_file")
    if ca_file is None:
        return
    try:
        upstream_tls(verify=True, ca_file=ca_file)
    except OSError as error:
        yield (
            f"{variable('upstream_tls_ca_file')} has no certificates ({why_unusable(error)}). "
            "Mount a file in PEM form"
        )


def provider_authorities(ca_file: str) -> str:
    """The authorities to trust for the provider, as PEM.

    Raises:
        ValueError: with what follows the variable's name.
    """
    try:
        pem = read_file(ca_file, most=MAX_CHAIN_BYTES)
        provider_tls(pem or "nothing", verify=True)
    except (OSError, ValueError) as error:
        raise ValueError(
            f"has no certificates ({why_unusable(error)}). Mount a file in PEM form"
        ) from None
    return pem


def why_unusable(error: Exception) -> str:
    """OpenSSL's own word for what it does not like, which shows nothing of a file."""
    if isinstance(error, ssl.SSLError):
        return (error.reason or "not in pem form").replace("_", " ").lower()
    return str(error)


def refuse_encrypted() -> str:
    """In the place of OpenSSL's question for a password at the terminal."""
    raise ValueError("the key is encrypted")
