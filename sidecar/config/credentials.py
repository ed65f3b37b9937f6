"""What the client authenticates with, from the files that the configuration names."""

import functools
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from sidecar.config.environment import AZURE_TOKEN_FILE, read_file, variable
from sidecar.config.variables import Variables
from sidecar.core.client_assertion import AssertionKey, read_assertion_key
from sidecar.core.client_authentication import WITH_SECRET, ClientAuth, Credentials

_key = functools.lru_cache(maxsize=1)(read_assertion_key)


def read_credentials(config: Variables, secret: Callable[[], str]) -> Credentials:
    """The credentials that the files hold now; only what the method needs is read.

    Raises:
        OSError, ValueError: a file cannot be read, or holds nothing that can be used.
    """
    method = _method(config)
    if method is ClientAuth.PRIVATE_KEY_JWT:
        audience = config.client_assertion_audience or ""
        return Credentials(method, key=_read_key(config), audience=audience)
    if method is ClientAuth.WORKLOAD_IDENTITY:
        token = read_file(config.client_assertion_file or "")
        if token.count(".") != 2:
            raise ValueError("is no token")
        return Credentials(method, assertion=token)
    return Credentials(method, secret="" if method is ClientAuth.NONE else secret())


def find_assertion_file(given: dict[str, Any], environ: Mapping[str, str]) -> Iterator[str]:
    """Take the file that Azure's webhook names, and say where there is none."""
    wanted = given.get("client_auth") == ClientAuth.WORKLOAD_IDENTITY
    if not wanted or "client_assertion_file" in given:
        return
    if environ.get(AZURE_TOKEN_FILE):
        given["client_assertion_file"] = environ[AZURE_TOKEN_FILE]
    else:
        yield (
            f"{variable('client_auth')} is workload-identity, and nothing names the token's file. "
            f"Set {variable('client_assertion_file')}, or have Azure's webhook set "
            f'{AZURE_TOKEN_FILE}: label the pod azure.workload.identity/use: "true"'
        )


def credential_faults(config: Variables, *, has_client: bool) -> Iterator[str]:
    """What is wrong with the method, and with what it needs once there is a client."""
    auth, key_file = variable("client_auth"), variable("client_key_file")
    method = _method(config)
    if method is ClientAuth.PRIVATE_KEY_JWT:
        if config.client_key_file is None:
            yield f"{auth} is private-key-jwt, and there is no key. Set {key_file}"
            return
        try:
            _read_key(config)
        except OSError:
            pass  # said already, when all files were looked at
        except ValueError as error:
            yield f"{key_file} {error}"
    elif config.client_key_file is not None:
        yield f"{key_file} is not used: {auth} is {method}. Take one of them out"
    secret = config.client_secret or config.client_secret_file
    if method in WITH_SECRET and has_client and not secret:
        yield f"{auth} is {method}, and there is no secret. Set {variable('client_secret_file')}"


def _method(config: Variables) -> ClientAuth:
    """The method, as far as the settings alone decide it."""
    if config.client_auth is not ClientAuth.AUTO:
        return config.client_auth
    if config.client_key_file is not None:
        return ClientAuth.PRIVATE_KEY_JWT
    if config.client_assertion_file is not None:
        return ClientAuth.WORKLOAD_IDENTITY
    return ClientAuth.AUTO


def _read_key(config: Variables) -> AssertionKey:
    text = read_file(config.client_key_file or "")
    return _key(text, kid=config.client_key_id or "", alg=config.client_key_alg or "")
